//! What a job's end takes away: its containers, and mounts of others that nobody uses.
//!
//! Runs as root in the job's epilog, and so knows no configuration: what is to go is
//! named by links below `/run/oarlock/jobs`, where only root may write.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;

use super::{Key, names};
use crate::runtime_directory;

/// A step that makes or mounts a container holds the user's lock for as long as that
/// takes.
const PATIENCE: Duration = Duration::from_secs(5);

fn links(job: u32) -> PathBuf {
    runtime_directory::path("jobs").join(job.to_string())
}

/// Notes that a job uses this container, whose directory is `directory`.
///
/// # Errors
/// What the kernel said.
pub fn note(job: u32, key: &Key, directory: &Path) -> io::Result<()> {
    let place = runtime_directory::make(&Path::new("jobs").join(job.to_string()))?;
    match std::os::unix::fs::symlink(directory, place.join(key.to_string())) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Notes that the container is to be removed at the job's end.
///
/// # Errors
/// What the kernel said.
pub fn note_removal(job: u32, key: &Key) -> io::Result<()> {
    std::fs::write(links(job).join(removal(key)), b"")
}

fn removal(key: &Key) -> String {
    format!(".remove-{key}")
}

/// Takes away what the job's containers were; the mounts of those that stay go where
/// no process has them.
///
/// # Errors
/// The last thing that went wrong; all else is done.
pub fn job(job: u32) -> io::Result<()> {
    let links = links(job);
    let entries = match std::fs::read_dir(&links) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut outcome = Ok(());
    let (marks, entries): (Vec<_>, Vec<_>) = entries
        .flatten()
        .partition(|entry| entry.file_name().as_encoded_bytes().starts_with(b"."));
    for entry in entries {
        let done = release_one(job, &entry.path());
        if let Err(error) = done.and_then(|()| std::fs::remove_file(entry.path())) {
            outcome = Err(error);
        }
    }
    for mark in marks {
        let _ = std::fs::remove_file(mark.path());
    }
    let _ = std::fs::remove_dir(&links);
    outcome
}

fn release_one(job: u32, link: &Path) -> io::Result<()> {
    let name = link.file_name().unwrap_or_default().to_string_lossy();
    let Some(key) = Key::parse(&name) else {
        return Ok(());
    };
    let directory = std::fs::read_link(link)?;
    let _lock = lock_of(&directory, PATIENCE)?;
    if key.job == Some(job) {
        unmount(&key)?;
        remove(&directory)?;
        names::forget(&key);
        return Ok(());
    }
    // Another job's step may be in it.
    if is_mounted_by(key.uid, &key)?.is_some() {
        return Ok(());
    }
    unmount(&key)?;
    if links(job).join(removal(&key)).exists() {
        remove(&directory)?;
        names::forget(&key);
    }
    Ok(())
}

/// The lock on a user's containers: of the directory of one of them.
///
/// # Errors
/// What the kernel said; `EBUSY` where it cannot be had in time.
pub fn lock_of(directory: &Path, patience: Duration) -> io::Result<std::os::fd::OwnedFd> {
    let user = directory.parent().and_then(Path::parent);
    let user = user.ok_or(io::ErrorKind::InvalidInput)?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(user.join("lock"), flags, Mode::RUSR | Mode::WUSR)?;
    if crate::sys::lock::exclusive(&file, patience)? {
        Ok(file)
    } else {
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }
}

/// Takes the node's own mount of a container away; who uses it has one of his own.
///
/// # Errors
/// What the kernel said.
pub fn unmount(key: &Key) -> io::Result<()> {
    let place = key.mount_point();
    loop {
        match rustix::mount::unmount(&place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // No mount (any more).
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => break,
            Err(error) => return Err(error.into()),
        }
    }
    match rustix::fs::rmdir(&place) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes a container's directory, and those above it that are empty then. It loses
/// its name first: nobody finds a half.
///
/// # Errors
/// What the kernel said.
pub fn remove(directory: &Path) -> io::Result<()> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let aside = directory.with_file_name(format!(".gone-{name}"));
    let _ = std::fs::remove_dir_all(&aside);
    match std::fs::rename(directory, &aside) {
        Ok(()) => std::fs::remove_dir_all(&aside)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if let Some(scope) = directory.parent() {
        let _ = rustix::fs::rmdir(scope);
    }
    Ok(())
}

/// A process of the user's in whose mount namespace the container is; as the kernel
/// says now. A user can show himself such a mount, and only to himself.
///
/// # Errors
/// Where /proc cannot be read.
pub fn is_mounted_by(uid: u32, key: &Key) -> io::Result<Option<u32>> {
    let mut seen = std::collections::BTreeSet::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let is_users = belongs_to(&entry.path(), uid);
        let namespace = rustix::fs::readlink(entry.path().join("ns/mnt"), Vec::new());
        let Ok(namespace) = namespace else { continue };
        if !is_users || !seen.insert(namespace) {
            continue;
        }
        let table = std::fs::read(entry.path().join("mountinfo")).unwrap_or_default();
        if has(&table, key.to_string().as_bytes(), None) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

/// Whether the process behind a directory of /proc is the user's. Its own owner does
/// not say so: it is root where the process is not dumpable, as a user can choose.
#[must_use]
pub fn belongs_to(process: &Path, uid: u32) -> bool {
    let status = std::fs::read(process.join("status")).unwrap_or_default();
    has_uid(&status, uid)
}

fn has_uid(status: &[u8], uid: u32) -> bool {
    let uid = uid.to_string();
    status
        .split(|b| *b == b'\n')
        .find_map(|line| line.strip_prefix(b"Uid:\t"))
        .is_some_and(|ids| ids.split(|b| *b == b'\t').any(|id| id == uid.as_bytes()))
}

/// Whether a table of mounts, proc(5), has an overlay of this source, at this place.
#[must_use]
pub fn has(table: &[u8], source: &[u8], at: Option<&[u8]>) -> bool {
    table.split(|b| *b == b'\n').any(|line| {
        let mut fields = line.split(|b| *b == b' ');
        let place = fields.nth(4);
        let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
        rest.next() == Some(b"overlay")
            && rest.next() == Some(source)
            && at.is_none_or(|at| place == Some(at))
    })
}

/// Whether the node's own mount of the container is there.
#[must_use]
pub fn is_kept(key: &Key) -> bool {
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    let place = key.mount_point();
    let place = place.as_os_str().as_encoded_bytes();
    has(&table, key.to_string().as_bytes(), Some(place))
}

/// Opens the node's own mount, where it is.
///
/// # Errors
/// What the kernel said.
pub fn open_kept(key: &Key) -> io::Result<std::os::fd::OwnedFd> {
    let place = crate::sys::mount::open_place(&key.mount_point())?;
    crate::sys::mount::clone_one(place.as_fd())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
1379 1135 0:349 / / rw,nosuid,nodev,relatime shared:1 master:2 - overlay 1000.global.a rw,lowerdir=/tmp/layer0\n\
1380 1135 0:350 / /x rw - tmpfs 1000.global.b rw\n";

    #[test]
    fn an_overlay_is_found_by_its_source() {
        assert!(has(TABLE, b"1000.global.a", None));
        assert!(has(TABLE, b"1000.global.a", Some(b"/")));
        assert!(!has(TABLE, b"1000.global.a", Some(b"/x")));
        assert!(!has(TABLE, b"1000.global.b", None));
        assert!(!has(TABLE, b"1000.global", None));
    }

    #[test]
    fn a_process_is_known_by_its_ids() {
        let status = b"Name:\tUid:\t7\nUid:\t0\t1000\t0\t0\nGid:\t5\t5\t5\t5\n";
        assert!(has_uid(status, 1000));
        assert!(has_uid(status, 0));
        for other in [5, 7, 100] {
            assert!(!has_uid(status, other), "{other}");
        }
        let me = rustix::process::getuid().as_raw();
        assert!(belongs_to(Path::new("/proc/self"), me));
    }

    #[test]
    fn a_container_is_removed_whole() {
        let base = tempfile::tempdir().unwrap();
        let directory = base.path().join("1/global/a");
        std::fs::create_dir_all(directory.join("upper/x")).unwrap();
        remove(&directory).unwrap();
        remove(&directory).unwrap();
        assert!(!base.path().join("1/global").exists());
        assert!(base.path().join("1").exists());
    }
}
