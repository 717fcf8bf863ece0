//! Where a container is saved to, as its user finds it, and with which permissions.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags, ResolveFlags};

use super::super::as_user::{AsUser, Findings, Unanswered};
use crate::request::Request;

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
pub(super) fn open(
    parent: &Path,
    name: &OsStr,
    user: AsUser<'_>,
) -> Result<Option<OwnedFd>, Unanswered> {
    let subject = parent.display().to_string();
    let findings = user.ask(&subject, || {
        open_directory(parent, name).map(|directory| Findings {
            bytes: Vec::new(),
            fds: directory.into_iter().collect(),
        })
    })?;
    Ok(findings.fds.into_iter().next())
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
