//! What a job's end takes away: its containers, and mounts of others that nobody uses.
//!
//! Runs as root in the job's epilog, and so knows no configuration: what is to go is
//! named by links below `/run/oarlock/jobs`, where only root may write.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::mount::UnmountFlags;

use super::{Key, gone, names};
use crate::{runtime_directory, sys};

/// A step that makes or mounts a container holds the user's lock for as long as that
/// takes. A whole epilog waits no longer than this: what is left then is tried again.
const PATIENCE: Duration = Duration::from_secs(5);

/// In a directory of links: the job is over, and not all was done.
const ENDED: &str = ".ended";

/// Of one mount namespace no more processes are looked at: one that changed its root
/// does not show all of its mounts.
const LOOKED_AT: usize = 64;

fn links(job: u32) -> PathBuf {
    runtime_directory::path("jobs").join(job.to_string())
}

/// Notes that a job uses this container, whose directory is `directory`.
///
/// # Errors
/// What the kernel said.
pub fn note(job: u32, key: &Key, directory: &Path) -> io::Result<()> {
    let place = runtime_directory::make(&Path::new("jobs").join(job.to_string()))?;
    // It has come back under its number.
    let _ = std::fs::remove_file(place.join(ENDED));
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
/// no process has them. Nothing is deleted here: that takes as long as users like.
///
/// # Errors
/// The last thing that went wrong; all else is done. [`again`] has another try.
pub fn job(job: u32) -> io::Result<()> {
    end(job, Instant::now() + PATIENCE)
}

/// Tries again what was not done at the ends of jobs; waits for nobody.
///
/// # Errors
/// The last thing that went wrong; all else is done.
pub fn again() -> io::Result<()> {
    let jobs = match std::fs::read_dir(runtime_directory::path("jobs")) {
        Ok(jobs) => jobs,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut outcome = Ok(());
    for entry in jobs.flatten() {
        if let Some(job) = entry.file_name().to_str().and_then(|n| n.parse().ok())
            && entry.path().join(ENDED).exists()
            && let Err(error) = end(job, Instant::now())
        {
            outcome = Err(error);
        }
    }
    outcome
}

fn end(job: u32, until: Instant) -> io::Result<()> {
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
    let mut bases = std::collections::BTreeSet::new();
    for entry in entries {
        let directory = std::fs::read_link(entry.path());
        bases.extend(
            directory
                .and_then(|directory| gone::base_of(&directory))
                .ok(),
        );
        let done = release_one(job, &entry.path(), until);
        if let Err(error) = done.and_then(|()| std::fs::remove_file(entry.path())) {
            outcome = Err(error);
        }
    }
    for base in bases {
        if let Err(error) = gone::delete_behind(&base, || Ok(())) {
            outcome = Err(error);
        }
    }
    if outcome.is_err() {
        std::fs::write(links.join(ENDED), b"")?;
        return outcome;
    }
    for mark in marks {
        let _ = std::fs::remove_file(mark.path());
    }
    let _ = std::fs::remove_dir(&links);
    outcome
}

fn release_one(job: u32, link: &Path, until: Instant) -> io::Result<()> {
    let name = link.file_name().unwrap_or_default().to_string_lossy();
    let Some(key) = Key::parse(&name) else {
        return Ok(());
    };
    let directory = std::fs::read_link(link)?;
    let left = || until.saturating_duration_since(Instant::now());
    let _lock = match lock_of(&directory, left()) {
        // Its user's directory is no longer there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        lock => Some(lock?),
    };
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
    if !is_left(&directory, left())? {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
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

/// Takes a container's directory out of sight, and those above it that are empty then;
/// [`gone::delete_behind`] deletes it.
///
/// # Errors
/// What the kernel said.
pub fn remove(directory: &Path) -> io::Result<()> {
    gone::put_aside(&gone::base_of(directory)?, directory)?;
    if let Some(scope) = directory.parent() {
        let _ = rustix::fs::rmdir(scope);
    }
    Ok(())
}

/// Marks a container as used by this process, as long as the result lives: between its
/// making and the first rank no mount namespace shows it.
///
/// # Errors
/// What the kernel said.
pub fn enter(directory: &Path) -> io::Result<OwnedFd> {
    let opened = open_directory(directory)?;
    rustix::fs::flock(&opened, rustix::fs::FlockOperation::NonBlockingLockShared)?;
    Ok(opened)
}

/// Whether no process that prepares a step is at a container; waits for them.
///
/// # Errors
/// What the kernel said.
pub fn is_left(directory: &Path, patience: Duration) -> io::Result<bool> {
    match open_directory(directory) {
        Ok(opened) => sys::lock::exclusive(&opened, patience),
        Err(rustix::io::Errno::NOENT) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn open_directory(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, Mode::empty())
}

/// A process in whose mount namespace the container is, as the kernel says now. The
/// host's own namespace has the node's mount and does not count, nor does a copy of that
/// mount elsewhere. In a namespace that a user has made, who can mount there what he
/// likes, only processes of `uid` count: he can show himself such a mount, and only to
/// himself.
///
/// # Errors
/// Where /proc cannot be read.
pub fn is_mounted_by(uid: u32, key: &Key) -> io::Result<Option<u32>> {
    let namespace_of = |process: &Path| {
        let link = rustix::fs::readlink(process.join("ns/mnt"), Vec::new());
        link.ok().map(std::ffi::CString::into_bytes)
    };
    let hosts = ["/proc/self", "/proc/1"].map(|process| namespace_of(Path::new(process)));
    let mut seen = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let namespace = namespace_of(&entry.path());
        if namespace.is_none() || hosts.contains(&namespace) {
            continue;
        }
        let looked_at: &mut usize = seen.entry(namespace).or_default();
        if *looked_at >= LOOKED_AT {
            continue;
        }
        *looked_at += 1;
        let table = std::fs::read(entry.path().join("mountinfo")).unwrap_or_default();
        if is_used(&table, key) && (belongs_to(&entry.path(), uid) || is_in_ours(&entry.path())) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

/// Whether the process behind a directory of /proc is in a mount namespace that root
/// made, where no user can mount.
fn is_in_ours(process: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::open(process.join("ns/mnt"), flags, Mode::empty())
        .is_ok_and(|ns| sys::mount::belongs_to_own_user_namespace(ns.as_fd()).unwrap_or(false))
}

/// Whether a table of mounts has the container elsewhere than where the node keeps it.
fn is_used(table: &[u8], key: &Key) -> bool {
    let (source, kept) = (key.to_string(), key.mount_point());
    let kept = kept.as_os_str().as_encoded_bytes();
    overlays(table, source.as_bytes()).any(|place| !place.ends_with(kept))
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
    overlays(table, source).any(|place| at.is_none_or(|at| place == at))
}

/// The places of a table of mounts that have an overlay of this source.
fn overlays<'a>(table: &'a [u8], source: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    table.split(|b| *b == b'\n').filter_map(move |line| {
        let mut fields = line.split(|b| *b == b' ');
        let place = fields.nth(4)?;
        let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
        (rest.next() == Some(b"overlay") && rest.next() == Some(source)).then_some(place)
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
    fn the_nodes_own_mount_is_no_use() {
        let key = Key::parse("1000.global.a").unwrap();
        assert!(is_used(TABLE, &key));
        let kept = b"9 8 0:349 / /run/oarlock/live/1000.global.a rw - overlay 1000.global.a rw\n";
        assert!(!is_used(kept, &key));
        let job = b"9 8 0:349 / /x/run/oarlock/live/1000.global.a rw - overlay 1000.global.a rw\n";
        assert!(!is_used(job, &key));
        assert!(is_used(&[kept, TABLE].concat(), &key));
        assert!(!is_used(TABLE, &Key::parse("1000.global.b").unwrap()));
    }

    #[test]
    fn who_prepares_a_step_uses_the_container() {
        let base = tempfile::tempdir().unwrap();
        let one = enter(base.path()).unwrap();
        let two = enter(base.path()).unwrap();
        drop(one);
        assert!(!is_left(base.path(), Duration::ZERO).unwrap());
        drop(two);
        assert!(is_left(base.path(), Duration::ZERO).unwrap());
        assert!(is_left(&base.path().join("none"), Duration::ZERO).unwrap());
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
