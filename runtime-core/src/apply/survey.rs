//! Reading the image: its passwd, group and locales, and whether it has
//! environment scripts.
//!
//! All of that is content that a user may have written, so it is read by a child
//! that has become the user for good, and reads nothing outside of the image. The
//! child writes its results into memory
//! files, which its parent carries and never reads.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use super::inside::{has_locale, read_in};
use super::known::Known;
use super::scripts::has_scripts;
use super::{ApplyError, FileAccess, step, warm};
use crate::environment::{self, Change};
use crate::plan::identity;
use crate::profile::environment::over;
use crate::request::Request;
use crate::sys;
use crate::sys::process::Child;
use crate::sys::sandbox::{self, Profile};

// The survey's one byte: bits of what it found.
const HAS_PASSWD: u8 = 1;
const HAS_GROUP: u8 = 2;
const HAS_SCRIPTS: u8 = 4;

/// Where the survey writes: memory files.
#[derive(Debug)]
struct Files {
    passwd: File,
    group: File,
    changes: File,
}

/// A survey that is under way.
#[derive(Debug)]
pub struct Pending {
    done: OwnedFd,
    files: Files,
}

/// The process of a survey; it is killed where this is dropped.
#[derive(Debug)]
pub struct Surveyor(Option<Child>);

impl Drop for Surveyor {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            child.abandon();
        }
    }
}

/// What a survey found.
#[derive(Debug)]
pub struct Surveyed {
    /// The passwd file to show, where the image's own does not do.
    pub passwd: Option<File>,
    /// The group file to show, where the image's own does not do.
    pub group: Option<File>,
    /// The environment's changes; written already unless there are `scripts`.
    pub changes: File,
    /// Whether the image has environment scripts.
    pub scripts: bool,
}

/// Becomes the user for good, in a child.
pub(super) fn become_user(access: &FileAccess) -> io::Result<()> {
    match access {
        FileAccess::As(who) => sys::credentials::become_user(who.uid, who.gid, &who.groups),
        // In a user namespace of ours: no capability there either.
        FileAccess::Own => sys::credentials::drop_all(),
    }
}

/// Starts looking at the image behind `root`, and then reading ahead, beside
/// whatever the caller goes on to do; it ends by itself within `seconds`.
///
/// # Errors
/// [`ApplyError::Step`].
pub fn start(
    root: BorrowedFd<'_>,
    known: &OwnedFd,
    request: &Request,
    access: &FileAccess,
    seconds: u32,
) -> Result<(Surveyor, Pending), ApplyError> {
    let what = "starting the survey of the image";
    let file = |name| {
        sys::ipc::memory_file(name, b"")
            .map(File::from)
            .map_err(step(what))
    };
    let files = Files {
        passwd: file("oarlock-passwd")?,
        group: file("oarlock-group")?,
        changes: file("oarlock-environment")?,
    };
    let (done, say) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|e| step(what)(e.into()))?;
    let child = sys::process::fork(|| {
        sys::process::reset_signals();
        sys::process::end_after(seconds);
        let keep = [
            root,
            known.as_fd(),
            files.passwd.as_fd(),
            files.group.as_fd(),
            files.changes.as_fd(),
            say.as_fd(),
        ];
        sys::process::close_all_but(&keep);
        let ready = become_user(access)
            .and_then(|()| sys::process::die_with_parent())
            .and_then(|()| sandbox::confine(Profile::ReadTree(root)));
        let Ok(found) = ready.and_then(|()| look(root, known, &files, request)) else {
            return 1;
        };
        if rustix::io::write(&say, &[found]) != Ok(1) {
            return 1;
        }
        warm::read_ahead(root, request.program.as_deref());
        0
    })
    .map_err(step(what))?;
    drop(say);
    Ok((Surveyor(Some(child)), Pending { done, files }))
}

impl Pending {
    /// Waits for the findings; the reading ahead goes on.
    ///
    /// # Errors
    /// [`ApplyError::Survey`] where the survey ended without any.
    pub fn wait(self) -> Result<Surveyed, ApplyError> {
        let mut found = [0];
        let have = rustix::io::retry_on_intr(|| rustix::io::read(&self.done, &mut found));
        if have != Ok(1) {
            return Err(ApplyError::Survey);
        }
        let [found] = found;
        let Files {
            passwd,
            group,
            changes,
        } = self.files;
        Ok(Surveyed {
            passwd: (found & HAS_PASSWD != 0).then_some(passwd),
            group: (found & HAS_GROUP != 0).then_some(group),
            changes,
            scripts: found & HAS_SCRIPTS != 0,
        })
    }
}

/// What turns the job's environment into that of a rank, where the image sets `own`.
pub(super) fn changes(
    root: BorrowedFd<'_>,
    own: &[(OsString, OsString)],
    request: &Request,
) -> Vec<Change> {
    let of_image = environment::changes(&request.environment, own, &request.options.env, |name| {
        has_locale(root, name)
    });
    let mut list = Vec::new();
    if request.options.remap_root == Some(true) {
        list = environment::of_root(request.options.mount_home == Some(true));
    }
    list.extend(of_image);
    list
}

/// The environment's changes as bytes, with those of the profile: or why there are
/// none, for the ranks to tell.
pub(super) fn with_profile(changes: Vec<Change>, request: &Request) -> Vec<u8> {
    let options = &request.options;
    let is_chosen = |name: &str| options.env.iter().any(|chosen| chosen == name);
    match over(changes, &request.environment, &options.set, is_chosen) {
        Ok(changes) => environment::encode(&changes),
        Err(error) => environment::refusal(&error.to_string()),
    }
}

/// In the child.
fn look(
    image: BorrowedFd<'_>,
    known: &OwnedFd,
    files: &Files,
    request: &Request,
) -> io::Result<u8> {
    let known = Known::read(known)?;
    let mut code = 0;
    let image_passwd = read_in(image, "etc/passwd");
    let is_root = request.options.remap_root == Some(true);
    let (uid, line, groups) = if is_root {
        let (line, group) = identity::root();
        (0, line, vec![group])
    } else {
        (
            request.identity.uid,
            known.passwd.clone(),
            known.groups.clone(),
        )
    };
    if let Some(text) = identity::passwd_with(&image_passwd, uid, &line) {
        files.passwd.write_all_at(&text, 0)?;
        code |= HAS_PASSWD;
    }
    if let Some(text) = identity::group_with(&read_in(image, "etc/group"), &groups) {
        files.group.write_all_at(&text, 0)?;
        code |= HAS_GROUP;
    }
    if has_scripts(image) {
        code |= HAS_SCRIPTS;
    } else {
        let known = if known.says_nothing() {
            let text = read_in(image, "etc/environment");
            known.with_environment(environment::parse_environment_file(&text))
        } else {
            known
        };
        let changes = changes(image, &known.image_environment(), request);
        // An entry point has the last word on the image's environment.
        let bytes = match request.options.entrypoint {
            Some(true) => environment::encode(&changes),
            _ => with_profile(changes, request),
        };
        files.changes.write_all_at(&bytes, 0)?;
    }
    Ok(code)
}
