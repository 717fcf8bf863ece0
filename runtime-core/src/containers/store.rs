//! The directories of containers: made, found, recorded, listed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::{GLOBAL, Key, gone, names, release};
use crate::apply::image::Owner;
use crate::apply::writable;
use crate::runtime_directory;

/// No record is longer, in bytes.
const MAX_RECORD: u64 = 64 << 10;

const RECORD: &str = "record";

/// What is known of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The image's path, as the job saw it.
    pub image: PathBuf,
    /// The image's state: it is opened again for each use, and must be the same.
    pub state: State,
    /// When the container was made, in seconds since 1970.
    pub created: u64,
    /// The boot in which it was made.
    pub boot: String,
}

/// A file that has not been changed or replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    inode: u64,
    /// Length and time of change of a file; 0 for a directory.
    size: i64,
    modified: (i64, i64),
}

impl State {
    /// Asks the kernel. The device's number is left out: another boot may give
    /// another one. So is the time of the last change of the inode, which a further
    /// name of the file changes.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        let about = rustix::fs::fstat(file)?;
        let is_file = FileType::from_raw_mode(about.st_mode) == FileType::RegularFile;
        let of_file = |number: i64| if is_file { number } else { 0 };
        // The fields' width differs by architecture.
        #[allow(clippy::unnecessary_cast, clippy::cast_possible_wrap)]
        Ok(Self {
            inode: about.st_ino as u64,
            size: of_file(about.st_size),
            modified: (
                of_file(about.st_mtime as i64),
                of_file(about.st_mtime_nsec as i64),
            ),
        })
    }
}

/// The name of this boot.
#[must_use]
pub fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// Makes the directories above a container's, for root alone.
///
/// # Errors
/// What the kernel said; `EPERM` where they are not root's alone.
pub fn make_above(base: &Path, key: &Key) -> io::Result<PathBuf> {
    if let Some(above) = base.parent() {
        std::fs::create_dir_all(above)?;
    }
    runtime_directory::make_private(base)?;
    let directory = key.directory(base);
    let scope = directory.parent().unwrap_or(base).to_owned();
    runtime_directory::make_private(scope.parent().unwrap_or(base))?;
    runtime_directory::make_private(&scope)?;
    Ok(directory)
}

/// Reads a container's record; `None` where there is no such container.
///
/// # Errors
/// What the kernel said; `InvalidData` where the record is none.
pub fn read(directory: &Path) -> io::Result<Option<Record>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = match rustix::fs::open(directory.join(RECORD), flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut text = Vec::new();
    file.take(MAX_RECORD).read_to_end(&mut text)?;
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

/// Makes a container aside of its place; what was left aside by a crash goes. The
/// user's lock is held.
///
/// # Errors
/// What the kernel said.
pub fn make(directory: &Path, owner: Owner) -> io::Result<PathBuf> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let aside = directory.with_file_name(format!(".new-{name}"));
    gone::put_aside(&gone::base_of(&aside)?, &aside)?;
    let made = runtime_directory::make_private(&aside)?;
    let mode = Mode::from_raw_mode(0o755);
    writable::prepare(&made, mode, owner)?;
    Ok(aside)
}

/// Writes the record of a container that was made aside, and gives it its name.
///
/// # Errors
/// What the kernel said.
pub fn publish(aside: &Path, directory: &Path, record: &Record) -> io::Result<()> {
    let text = serde_json::to_vec(record).map_err(io::Error::other)?;
    let mut file = File::create_new(aside.join(RECORD))?;
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(aside, directory)
}

/// A container's directory, as a mount that is attached nowhere: another mount
/// namespace could not take it from its path.
///
/// # Errors
/// What the kernel said; `ENOSYS` before Linux 5.2.
pub fn open(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty())?;
    if rustix::fs::fstat(opened.as_fd())?.st_uid != rustix::process::geteuid().as_raw() {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    crate::sys::mount::clone_one(opened.as_fd())
}

/// A container of the node's.
#[derive(Debug)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// Its directory.
    pub directory: PathBuf,
    /// What is known of it.
    pub record: Record,
}

/// All containers with a name.
///
/// # Errors
/// What the kernel said of `base`; what cannot be read in it is left out.
pub fn list(base: &Path) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for (uid, place) in numbered(base)? {
        let scopes = names(&place)?.into_iter().filter_map(|scope| {
            if scope == GLOBAL {
                Some((None, scope))
            } else {
                scope.parse().ok().map(|job| (Some(job), scope))
            }
        });
        for (job, scope) in scopes {
            let place = place.join(&scope);
            for name in names(&place)? {
                let directory = place.join(&name);
                if !name.starts_with('.')
                    && let Ok(Some(record)) = read(&directory)
                {
                    found.push(Entry {
                        key: Key { uid, job, name },
                        directory,
                        record,
                    });
                }
            }
        }
    }
    found.sort_by_key(|entry| entry.directory.clone());
    Ok(found)
}

/// Takes what jobs of a former boot have left out of sight, once in a boot;
/// [`gone::delete_behind`] deletes it. Where another step is at it for longer than a
/// moment, this one goes on without.
///
/// # Errors
/// The last thing that went wrong; all else is done.
pub fn sweep_once(base: &Path) -> io::Result<()> {
    const MARK: &str = "swept";
    if runtime_directory::path(MARK).exists() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = match rustix::fs::open(base, flags, Mode::empty()) {
        // There has never been a container.
        Err(rustix::io::Errno::NOENT) => return runtime_directory::open_file(MARK).map(drop),
        opened => opened?,
    };
    if !crate::sys::lock::exclusive(&lock, std::time::Duration::from_secs(5))?
        || runtime_directory::path(MARK).exists()
    {
        return Ok(());
    }
    let swept = sweep(base, booted()?);
    let shown = list(base).and_then(|all| show_all(base, &all));
    runtime_directory::open_file(MARK)?;
    swept.and(shown)
}

/// When this boot began, in seconds since 1970, proc(5).
fn booted() -> io::Result<i64> {
    let about = std::fs::read_to_string("/proc/stat")?;
    let time = about.lines().find_map(|line| line.strip_prefix("btime "));
    time.and_then(|time| time.trim().parse().ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn sweep(base: &Path, booted: i64) -> io::Result<()> {
    let boot = boot();
    let mut outcome = Ok(());
    for (_, place) in numbered(base)? {
        for (_, job) in numbered(&place).unwrap_or_default() {
            match is_older(&job, &boot, booted) {
                Ok(false) => {}
                Ok(true) => {
                    if let Err(error) = gone::put_aside(base, &job) {
                        outcome = Err(error);
                    }
                }
                Err(error) => outcome = Err(error),
            }
        }
    }
    outcome
}

/// Shows users what there is of theirs, and nothing else: after a boot, and after
/// somebody has taken directories away by hand.
///
/// # Errors
/// The last thing that went wrong; all others are shown.
fn show_all(base: &Path, all: &[Entry]) -> io::Result<()> {
    let mut outcome = Ok(());
    for entry in all {
        let Entry { key, record, .. } = entry;
        if let Err(error) = names::show(key, &record.image, record.created) {
            outcome = Err(error);
        }
    }
    // Asked again for each: one may just have been made or removed.
    for key in names::shown() {
        if !key.directory(base).exists() {
            names::forget(&key);
        }
    }
    outcome
}

/// Whether nothing was made in a job's directory since this boot began: a step that has
/// just begun has no record yet, but has changed the directory.
fn is_older(job: &Path, boot: &str, booted: i64) -> io::Result<bool> {
    let about = rustix::fs::lstat(job)?;
    // The field's width differs by architecture.
    #[allow(clippy::unnecessary_cast, clippy::cast_possible_wrap)]
    let changed = about.st_ctime as i64;
    Ok(changed < booted
        && !names(job)?
            .iter()
            .any(|name| matches!(read(&job.join(name)), Ok(Some(r)) if r.boot == boot)))
}

fn names(place: &Path) -> io::Result<Vec<String>> {
    match std::fs::read_dir(place) {
        Ok(entries) => Ok(entries
            .flatten()
            .filter_map(|entry| String::from_utf8(entry.file_name().into_vec()).ok())
            .collect()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

fn numbered(place: &Path) -> io::Result<Vec<(u32, PathBuf)>> {
    Ok(names(place)?
        .into_iter()
        .filter_map(|name| Some((name.parse().ok()?, place.join(&name))))
        .collect())
}

/// Removes a container that nobody runs.
///
/// # Errors
/// What the kernel said; `EBUSY` where one runs, or a step is just at it.
pub fn remove(entry: &Entry) -> io::Result<()> {
    let patience = std::time::Duration::from_secs(5);
    let _lock = release::lock_of(&entry.directory, patience)?;
    if release::is_mounted_by(entry.key.uid, &entry.key)?.is_some()
        || !release::is_left(&entry.directory, std::time::Duration::ZERO)?
    {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    release::unmount(&entry.key)?;
    release::remove(&entry.directory)?;
    names::forget(&entry.key);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn a_container_is_there_when_it_is_whole() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().join("containers");
        let key = Key {
            uid: 1,
            job: None,
            name: "a".to_owned(),
        };
        let me = rustix::process::getuid().as_raw();
        let owner = Owner {
            uid: me,
            gid: rustix::process::getgid().as_raw(),
        };
        let directory = make_above(&base, &key).unwrap();
        assert_eq!(read(&directory).unwrap(), None);
        let aside = make(&directory, owner).unwrap();
        assert!(list(&base).unwrap().is_empty());
        // As after a crash.
        let again = make(&directory, owner).unwrap();
        assert_eq!(aside, again);
        let record = Record {
            image: "/x.sif".into(),
            state: State::of(File::open("/etc/passwd").unwrap().as_fd()).unwrap(),
            created: 1,
            boot: boot(),
        };
        publish(&aside, &directory, &record).unwrap();
        assert_eq!(read(&directory).unwrap(), Some(record));
        let all = list(&base).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].key, key);
        remove(&all[0]).unwrap();
        assert!(list(&base).unwrap().is_empty());
    }

    #[test]
    fn only_what_is_older_than_the_boot_is_swept() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        std::fs::create_dir_all(base.join("1/7/.new-a/upper/x")).unwrap();
        std::fs::create_dir_all(base.join("1/global/a")).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = i64::try_from(now.as_secs()).unwrap();
        assert!(booted().unwrap() <= now);
        sweep(base, now - 60).unwrap();
        assert!(base.join("1/7/.new-a").exists());
        sweep(base, now + 60).unwrap();
        assert!(!base.join("1/7").exists());
        assert!(base.join("1/global/a").exists());
        assert_eq!(std::fs::read_dir(base.join(".gone")).unwrap().count(), 1);
    }

    #[test]
    fn a_file_is_known_by_its_state() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let before = State::of(file.as_file().as_fd()).unwrap();
        assert_eq!(State::of(file.as_file().as_fd()).unwrap(), before);
        std::fs::write(file.path(), b"x").unwrap();
        assert_ne!(State::of(file.as_file().as_fd()).unwrap(), before);
    }
}
