//! `/run/oarlock`: what does not outlive a boot, for root's eyes alone.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Only root may enter.
pub const PATH: &str = "/run/oarlock";

/// The path of something in it.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    Path::new(PATH).join(name)
}

/// Makes a directory in it, and those above, where they are missing.
///
/// # Errors
/// What the kernel said; `EPERM` where the directory is there and others than
/// root may write to it.
pub fn make(below: &Path) -> io::Result<PathBuf> {
    let place = Path::new(PATH).join(below);
    make_private(Path::new(PATH))?;
    std::fs::create_dir_all(&place)?;
    Ok(place)
}

/// Makes one directory that only root may enter, or checks that it is one.
///
/// # Errors
/// What the kernel said; `EPERM` where it belongs to another user, or others may
/// write to it.
pub fn make_private(place: &Path) -> io::Result<OwnedFd> {
    let directory = make_owned(place)?;
    let about = rustix::fs::fstat(&directory)?;
    if about.st_mode & 0o077 != 0 {
        rustix::fs::fchmod(&directory, Mode::RWXU)?;
    }
    Ok(directory)
}

/// Makes one directory that only root may enter; one that is there must be root's,
/// and is left as it is: it may be somebody's mount point.
///
/// # Errors
/// As [`make_private`].
pub fn make_owned(place: &Path) -> io::Result<OwnedFd> {
    match rustix::fs::mkdir(place, Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(place, flags, Mode::empty())?;
    let about = rustix::fs::fstat(&directory)?;
    if about.st_uid != rustix::process::geteuid().as_raw() || about.st_mode & 0o022 != 0 {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(directory)
}

/// Opens a file in it, for a lock or as a mark, and makes it where it is missing.
///
/// # Errors
/// What the kernel said.
pub fn open_file(name: &str) -> io::Result<OwnedFd> {
    make_private(Path::new(PATH))?;
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(
        path(name),
        flags,
        Mode::RUSR | Mode::WUSR,
    )?)
}
