//! What nobody has a name for any more: directories below `BASE/.gone`, for root alone,
//! that a process of its own deletes.
//!
//! Users have made what is in them: any number of files, at any depth. So nobody waits
//! for the deletion, it gives way to all other work, and it needs a handful of
//! descriptors: a directory that is not empty is moved to the top first. It follows no
//! link, leaves no mount's file system, and starts over where it was killed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Dir, FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::{runtime_directory, sys};

/// The directory of them, below a base of containers.
pub const PLACE: &str = ".gone";

/// A process that is about to end may still write to what is deleted: so often, and
/// so long apart, it is looked at again.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos());
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{now:x}-{:x}-{count:x}", std::process::id())
}

/// Takes a directory's name away: it is in `base`'s `.gone` then, whatever it holds.
/// One that is not there is no error.
///
/// # Errors
/// What the kernel said.
pub fn put_aside(base: &Path, directory: &Path) -> io::Result<()> {
    let gone = runtime_directory::make_private(&base.join(PLACE))?;
    match rustix::fs::renameat(CWD, directory, &gone, unique()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The directory of all containers: of the directory of one of them.
///
/// # Errors
/// `InvalidInput` where it is none.
pub fn base_of(directory: &Path) -> io::Result<PathBuf> {
    let base = directory.ancestors().nth(3).map(Path::to_owned);
    base.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Deletes what was put aside in a process of its own, which nobody waits for; none
/// is started where there is nothing. `join` is called in it: what fails there ends it.
/// This process must have one thread.
///
/// # Errors
/// What the kernel said.
pub fn delete_behind(base: &Path, join: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let place = base.join(PLACE);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let gone = match rustix::fs::open(&place, flags, Mode::empty()) {
        Ok(gone) => gone,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if std::fs::read_dir(&place)?.next().is_none() {
        return Ok(());
    }
    // An epilog may run without standard streams: their numbers are about to be used.
    let gone = rustix::io::fcntl_dupfd_cloexec(&gone, 3)?;
    let work = || {
        sys::process::reset_signals();
        let _ = rustix::process::chdir("/");
        let _ = rustix::thread::set_name(c"oarlock-gone");
        if join().is_err() || be_silent().is_err() {
            return 1;
        }
        sys::process::close_all_but(&[gone.as_fd()]);
        // As slow or as mortal as it is, it must be done.
        let _ = sys::process::be_killable_when_memory_is_short();
        let _ = rustix::process::nice(19);
        let _ = sys::idle::give_way();
        u8::from(delete_all(gone.as_fd(), PAUSE).is_err())
    };
    // slurmd kills its epilog's process group as soon as the epilog has ended: the
    // process must be in another one before that.
    let leave = || Ok(rustix::process::setsid().map(drop)?);
    sys::process::fork_orphan(leave, work).map(drop)
}

/// Nobody waits for the end of this process' output.
fn be_silent() -> io::Result<()> {
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    (0..=2).try_for_each(|number| sys::process::place_descriptor(null.as_fd(), number))
}

/// Deletes all there is, unless another process is at it, which then does.
fn delete_all(gone: BorrowedFd<'_>, pause: Duration) -> io::Result<()> {
    let mut tries = 0;
    while tries < TRIES && !is_empty(gone)? {
        match rustix::fs::flock(gone, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        while pass(gone)? > 0 {
            tries = 0;
        }
        // What came after the last look finds nobody at it, or is found here.
        rustix::fs::flock(gone, FlockOperation::Unlock)?;
        if !is_empty(gone)? {
            tries += 1;
            std::thread::sleep(pause);
        }
    }
    Ok(())
}

fn is_empty(directory: BorrowedFd<'_>) -> io::Result<bool> {
    for entry in Dir::read_from(directory)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Goes once through what is at the top; how many were deleted or moved there.
fn pass(gone: BorrowedFd<'_>) -> io::Result<usize> {
    let mut done = 0;
    for entry in Dir::read_from(gone)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if delete(gone, name) {
            done += 1;
        } else if let Ok(directory) = open(gone, name) {
            done += empty(directory, gone).unwrap_or(0);
            done += usize::from(delete(gone, name));
        }
    }
    Ok(done)
}

/// Deletes what is in a directory; another directory that is not empty goes to the top.
fn empty(directory: OwnedFd, gone: BorrowedFd<'_>) -> io::Result<usize> {
    let mut done = 0;
    let mut entries = Dir::new(directory)?;
    while let Some(entry) = entries.read() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let from = entries.fd()?;
        if delete(from, name) || rustix::fs::renameat(from, name, gone, unique()).is_ok() {
            done += 1;
        }
    }
    Ok(done)
}

/// Whether a file, a link or an empty directory was deleted.
fn delete(from: BorrowedFd<'_>, name: &std::ffi::CStr) -> bool {
    rustix::fs::unlinkat(from, name, AtFlags::empty()).is_ok()
        || rustix::fs::unlinkat(from, name, AtFlags::REMOVEDIR).is_ok()
}

fn open(from: BorrowedFd<'_>, name: &std::ffi::CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let within = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    match rustix::fs::openat2(from, name, flags, Mode::empty(), within) {
        // Before Linux 5.6.
        Err(Errno::NOSYS) => rustix::fs::openat(from, name, flags, Mode::empty()),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    fn deep(top: &Path, levels: usize) {
        std::fs::create_dir_all(top).unwrap();
        let mut at = rustix::fs::open(top, OFlags::PATH, Mode::empty()).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&at, c"d", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, c"d", OFlags::PATH, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn what_is_deep_or_has_many_files_goes() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        let outside = base.join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("kept"), "").unwrap();
        let directory = base.join("1/global/a");
        deep(&directory, 5000);
        let many = directory.join("many");
        std::fs::create_dir(&many).unwrap();
        for number in 0..3000 {
            std::fs::write(many.join(number.to_string()), "x").unwrap();
        }
        std::os::unix::fs::symlink(&outside, directory.join("link")).unwrap();
        std::os::unix::fs::symlink(&outside, many.join("link")).unwrap();
        put_aside(base, &directory).unwrap();
        put_aside(base, &directory).unwrap();
        assert!(!directory.exists());

        let gone = rustix::fs::open(base.join(PLACE), OFlags::RDONLY, Mode::empty()).unwrap();
        // Not this process: other tests run in it. The child has few descriptors.
        let mut child = sys::process::fork(|| {
            sys::process::close_all_but(&[gone.as_fd()]);
            let before = getrlimit(Resource::Nofile);
            let few = Rlimit {
                current: Some(64),
                maximum: before.maximum,
            };
            if setrlimit(Resource::Nofile, few).is_err() {
                return 2;
            }
            u8::from(delete_all(gone.as_fd(), Duration::ZERO).is_err())
        })
        .unwrap();
        assert_eq!(child.wait().unwrap(), 0);
        assert!(is_empty(gone.as_fd()).unwrap());
        assert!(outside.join("kept").exists());
    }

    #[test]
    fn one_process_is_at_it() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        std::fs::create_dir_all(base.join("1/global/a/x")).unwrap();
        put_aside(base, &base.join("1/global/a")).unwrap();
        let open = || rustix::fs::open(base.join(PLACE), OFlags::RDONLY, Mode::empty()).unwrap();
        let (one, two) = (open(), open());
        rustix::fs::flock(&one, FlockOperation::LockExclusive).unwrap();
        delete_all(two.as_fd(), Duration::ZERO).unwrap();
        assert!(!is_empty(two.as_fd()).unwrap());
        drop(one);
        delete_all(two.as_fd(), Duration::ZERO).unwrap();
        assert!(is_empty(two.as_fd()).unwrap());
    }

    #[test]
    fn the_base_is_above_user_scope_and_name() {
        let base = base_of(Path::new("/v/containers/1000/global/a")).unwrap();
        assert_eq!(base, Path::new("/v/containers"));
        base_of(Path::new("a")).unwrap_err();
    }
}
