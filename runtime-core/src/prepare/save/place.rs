//! Where a container is saved to, as its user finds it, and with which permissions.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, ResolveFlags};

use crate::request::{Identity, Request};
use crate::sys;
use crate::sys::ipc::{self, Waited};

/// What a new file has before the job's umask is taken off.
const MODE: u32 = 0o666;
/// What is taken off where the job does not say.
const UMASK: u32 = 0o022;

/// The new file's permissions, by the umask that Slurm hands on (srun(1)).
pub(super) fn mode_for(request: &Request) -> Mode {
    let said = request.variable("SLURM_UMASK").and_then(OsStr::to_str);
    let umask = said.and_then(|octal| u32::from_str_radix(octal, 8).ok());
    Mode::from_raw_mode(MODE & !umask.unwrap_or(UMASK))
}

/// Opens the directory in which `name` is to be; `None` where that is a directory
/// already.
pub(super) fn open_as_user(
    parent: &Path,
    name: &OsStr,
    who: &Identity,
    asker: BorrowedFd<'_>,
    deadline: Instant,
) -> io::Result<Option<OwnedFd>> {
    let (ours, theirs) = ipc::pair()?;
    let child = sys::process::fork(|| {
        sys::process::close_all_but(&[theirs.as_fd()]);
        let opened = sys::credentials::become_user(who.uid, who.gid, &who.groups)
            .and_then(|()| sys::process::die_with_parent())
            .and_then(|()| open_directory(parent, name));
        let sent = match opened {
            Ok(Some(directory)) => ipc::send(theirs.as_fd(), b"d", &[directory.as_fd()]),
            Ok(None) => ipc::send(theirs.as_fd(), b"x", &[]),
            Err(error) => {
                let number = error.raw_os_error().unwrap_or(libc::EIO).to_le_bytes();
                ipc::send(theirs.as_fd(), &number, &[])
            }
        };
        u8::from(sent.is_err())
    })?;
    drop(theirs);
    match ipc::wait_answer(ours.as_fd(), asker, deadline)? {
        Waited::Ready => {}
        Waited::Deadline | Waited::Unwanted => {
            child.abandon();
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    let message = ipc::receive(ours.as_fd())?.ok_or(io::ErrorKind::UnexpectedEof)?;
    match message.bytes.as_slice() {
        b"d" => Ok(message.fds.into_iter().next()),
        b"x" => Ok(None),
        bytes => Err(bytes.try_into().map_or_else(
            |_| io::ErrorKind::InvalidData.into(),
            |number| io::Error::from_raw_os_error(i32::from_le_bytes(number)),
        )),
    }
}

/// In the child, as the user.
fn open_directory(parent: &Path, name: &OsStr) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let links = ResolveFlags::NO_MAGICLINKS;
    let at = rustix::fs::openat2(rustix::fs::CWD, parent, flags, Mode::empty(), links)?;
    let there = rustix::fs::statat(&at, name, AtFlags::SYMLINK_NOFOLLOW);
    if there.is_ok_and(|about| FileType::from_raw_mode(about.st_mode) == FileType::Directory) {
        return Ok(None);
    }
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(&at, c".", wanted, AtFlags::EACCESS)?;
    Ok(Some(at))
}
