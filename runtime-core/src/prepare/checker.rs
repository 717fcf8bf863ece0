//! Having a copy looked at: `oarlock-check`, as an account without rights, tells
//! what is in it.
//!
//! It is another account than the job's, whose user could else trace it and say
//! what he likes. Its answer is a few numbers and lines, which are bounded here.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::config::{Fuse, SiteConfig};
use crate::image::layout::{FileLayout, Role};
use crate::store::{Check, RULES};
use crate::sys;

/// The descriptor of the copy in the checking process, opened for reading.
pub const COPY_FD: i32 = 3;
/// Where it writes its answer, a pipe.
pub const ANSWER_FD: i32 = 4;
/// The argument that asks for the file systems to be walked.
pub const VALIDATE: &str = "--validate";

/// No answer is longer, in bytes.
const MAX_ANSWER: u64 = 32 << 10;
/// No text in a record is longer, in bytes.
const MAX_TEXT: usize = 1024;
/// Memory that a check may take, in bytes.
const MAX_MEMORY: u64 = 2 << 30;

/// The code of a child that could not execute the program, as shells have it.
const NOT_EXECUTED: i32 = 127;

/// Why nothing is known of a copy.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The account is not there.
    #[error(
        "there is no account \"{0}\" to check images with; create it (sysusers.d/oarlock.conf) or set images.untrusted = \"fuse\""
    )]
    NoAccount(String),
    /// It could not be started.
    #[error("starting {}: {error}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// It is not there, or cannot become its account.
    #[error("{} cannot be executed as its account; is Oarlock installed whole?", .0.display())]
    NotExecuted(PathBuf),
    /// It ended without an answer, or its answer was nonsense.
    #[error("{} ended with code {code} and without an answer", program.display())]
    Died {
        /// The program.
        program: PathBuf,
        /// Its exit code, or 128 and a signal.
        code: i32,
    },
}

/// Looks at a copy.
///
/// # Errors
/// Any [`CheckError`].
pub fn check(copy: BorrowedFd<'_>, config: &SiteConfig) -> Result<Check, CheckError> {
    let program = program();
    let start = |error| CheckError::Start {
        program: program.clone(),
        error,
    };
    let (uid, gid) = account(config)?;
    let text = |s: &OsStr| CString::new(s.as_bytes()).unwrap_or_default();
    let path = text(program.as_os_str());
    let mut arguments = vec![path.clone(), text(config.images.keyring.as_os_str())];
    if config.images.validate {
        arguments.push(text(OsStr::new(VALIDATE)));
    }
    let (reader, writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| start(e.into()))?;
    let mut child = sys::process::fork(|| {
        let become_checker = || -> io::Result<()> {
            place(copy, &writer)?;
            sys::process::limit_memory(MAX_MEMORY)?;
            sys::sandbox::lift_process_limit()?;
            sys::credentials::become_user(uid, gid, &[gid])?;
            sys::process::die_with_parent()?;
            Ok(rustix::process::chdir(c"/")?)
        };
        if become_checker().is_ok() {
            let _ = sys::process::execute(&path, &arguments, &[]);
        }
        127
    })
    .map_err(start)?;
    drop(writer);
    let mut answer = Vec::new();
    let read = File::from(reader).take(MAX_ANSWER).read_to_end(&mut answer);
    let code = child.wait().map_err(start)?;
    if code == NOT_EXECUTED {
        return Err(CheckError::NotExecuted(program));
    }
    let died = || CheckError::Died {
        program: program.clone(),
        code,
    };
    read.map_err(|_| died())?;
    if code != 0 {
        return Err(died());
    }
    let answer: Check = postcard::from_bytes(&answer).map_err(|_| died())?;
    let length = rustix::fs::fstat(copy)
        .ok()
        .and_then(|about| u64::try_from(about.st_size).ok())
        .unwrap_or_default();
    Ok(bounded(answer, length))
}

/// What an answer may say at the most.
fn bounded(check: Check, length: u64) -> Check {
    let cut = |text: String| -> String {
        text.chars()
            .filter(|c| !c.is_control())
            .take(MAX_TEXT)
            .collect()
    };
    let layout = check
        .layout
        .filter(|layout: &FileLayout| layout.fits(length, Role::Image));
    let rules = if check.rules == RULES && layout.is_some() {
        RULES
    } else {
        0
    };
    Check {
        layout,
        rules,
        invalid: check.invalid.map(cut),
        signed_by: check.signed_by.into_iter().take(16).map(cut).collect(),
        unsigned: check.unsigned.map(cut),
    }
}

/// Nothing, the copy, the answer; and no other descriptor.
fn place(copy: BorrowedFd<'_>, answer: &OwnedFd) -> io::Result<()> {
    sys::process::reset_signals();
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let copy = rustix::io::fcntl_dupfd_cloexec(copy, 16)?;
    let answer = rustix::io::fcntl_dupfd_cloexec(answer, 16)?;
    for number in 0..3 {
        sys::process::place_descriptor(null.as_fd(), number)?;
    }
    sys::process::place_descriptor(copy.as_fd(), COPY_FD)?;
    sys::process::place_descriptor(answer.as_fd(), ANSWER_FD)?;
    sys::process::close_from(ANSWER_FD.unsigned_abs() + 1);
    // close_from() closed these behind their owners' backs.
    std::mem::forget((copy, answer, null));
    Ok(())
}

/// Beside `oarlock-prepare`.
fn program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.join("oarlock-check")))
        .unwrap_or_else(|| Path::new("/usr/libexec/oarlock/oarlock-check").to_owned())
}

/// The FUSE server's account, also where the site lets the job's user serve: he
/// must not be the one who checks.
fn account(config: &SiteConfig) -> Result<(u32, u32), CheckError> {
    let name = match config.fuse.user.as_str() {
        Fuse::JOB => "oarlock",
        name => name,
    };
    match nix::unistd::User::from_name(name) {
        Ok(Some(user)) if !user.uid.is_root() => Ok((user.uid.as_raw(), user.gid.as_raw())),
        _ => Err(CheckError::NoAccount(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::layout::{FilesystemKind, Partition};

    #[test]
    fn an_answer_is_bounded_by_the_file() {
        let layout = FileLayout {
            root: Partition {
                kind: FilesystemKind::Squashfs,
                offset: 10,
                size: 90,
            },
            overlays: Vec::new(),
        };
        let check = Check {
            layout: Some(layout),
            rules: RULES,
            invalid: None,
            signed_by: vec!["a\nb".to_owned(); 40],
            unsigned: Some("x".repeat(5000)),
        };
        let good = bounded(check.clone(), 100);
        assert_eq!((good.rules, good.signed_by.len()), (RULES, 16));
        assert_eq!(good.signed_by.first().map(String::as_str), Some("ab"));
        assert_eq!(good.unsigned.map(|text| text.len()), Some(MAX_TEXT));
        let bad = bounded(check, 99);
        assert_eq!((bad.rules, bad.layout), (0, None));
    }
}
