//! Reading the image: its passwd, group and locales, and whether it has
//! environment scripts.
//!
//! All of that is content that a user may have written, so it is read by a child
//! that has become the user for good. The child writes its results into files
//! that its parent opened and never reads; ranks read them, as the user.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use super::inside::{has_locale, read_in};
use super::known::Known;
use super::scripts::has_scripts;
use super::{ApplyError, FileAccess, step};
use crate::environment;
use crate::plan::identity;
use crate::request::Request;
use crate::sys;

// Exit codes of the child: bits of what it found.
const HAS_PASSWD: i32 = 1;

const HAS_GROUP: i32 = 2;

const HAS_SCRIPTS: i32 = 4;

const FAILED: i32 = 64;

/// What the child found, by its exit code alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// A passwd file was written.
    pub passwd: bool,
    /// A group file was written.
    pub group: bool,
    /// The image has environment scripts; the changes are not written yet.
    pub scripts: bool,
}

/// Where the child writes.
#[derive(Debug)]
pub struct Files {
    /// The passwd file to show.
    pub passwd: File,
    /// The group file to show.
    pub group: File,
    /// The environment's changes.
    pub changes: File,
}

/// Runs `work` in a child that has the user's rights and no others.
pub(super) fn in_child(
    access: &FileAccess,
    work: impl FnOnce() -> io::Result<i32>,
) -> Result<i32, ApplyError> {
    let mut child = sys::process::fork(|| {
        let code = sys::process::die_with_parent()
            .and_then(|()| sys::process::be_killable_when_memory_is_short())
            .and_then(|()| match access {
                FileAccess::As(who) => sys::credentials::become_user(who.uid, who.gid, &who.groups),
                // In a user namespace of ours: no capability there either.
                FileAccess::Own => sys::credentials::drop_all(),
            })
            .and_then(|()| work());
        code.ok()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(64)
    })
    .map_err(step("starting the survey of the image"))?;
    child
        .wait()
        .map_err(step("waiting for the survey of the image"))
}

/// Looks at the image, and writes what can be written without running its
/// scripts.
///
/// # Errors
/// [`ApplyError::Survey`].
pub fn look(
    image: &OwnedFd,
    known: &OwnedFd,
    files: &Files,
    request: &Request,
    access: &FileAccess,
) -> Result<Found, ApplyError> {
    let code = in_child(access, || look_in_child(image, known, files, request))?;
    if code >= FAILED {
        return Err(ApplyError::Survey(code));
    }
    Ok(Found {
        passwd: code & HAS_PASSWD != 0,
        group: code & HAS_GROUP != 0,
        scripts: code & HAS_SCRIPTS != 0,
    })
}

fn look_in_child(
    image: &OwnedFd,
    known: &OwnedFd,
    files: &Files,
    request: &Request,
) -> io::Result<i32> {
    let known = Known::read(known)?;
    let mut code = 0;
    let image_passwd = read_in(image.as_fd(), "etc/passwd");
    if let Some(text) = identity::passwd_with(&image_passwd, request.identity.uid, &known.passwd) {
        files.passwd.write_all_at(&text, 0)?;
        code |= HAS_PASSWD;
    }
    if let Some(text) = identity::group_with(&read_in(image.as_fd(), "etc/group"), &known.groups) {
        files.group.write_all_at(&text, 0)?;
        code |= HAS_GROUP;
    }
    if has_scripts(image.as_fd()) {
        code |= HAS_SCRIPTS;
    } else {
        let changes =
            environment::changes(&request.environment, &known.image_environment(), |name| {
                has_locale(image.as_fd(), name)
            });
        files
            .changes
            .write_all_at(&environment::encode(&changes), 0)?;
    }
    Ok(code)
}
