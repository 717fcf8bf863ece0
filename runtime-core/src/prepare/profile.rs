//! The profile that a step names, read by a child that has become the user.
//!
//! A profile is a user's text: root opens none and reads none. The child looks for
//! it, reads what it is based on, fills in the job's variables, and sends what came of
//! it, or one line. That is checked for its form again before it becomes options.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Instant;

use crate::config::SiteConfig;
use crate::path::HostPath;
use crate::profile::library::Files;
use crate::profile::{self, Missing, Places, Profile, ProfileError, wire};
use crate::request::{ProfileName, Request};
use crate::sys;
use crate::sys::cgroup::Groups;
use crate::sys::ipc::{self, Waited};
use crate::sys::sandbox;

/// Why there is no profile: one line for the user.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What the child said.
    #[error("{0}")]
    Said(String),
    /// It did not answer in time.
    #[error("profile {name}: no answer within {seconds} s; is the file system it lies on alive?")]
    Timeout {
        /// As typed.
        name: ProfileName,
        /// The site's bound.
        seconds: u32,
    },
    /// It ended without a word, or its word was nonsense.
    #[error("profile {0}: the process that reads it ended unexpectedly; see the node's journal")]
    Died(ProfileName),
    /// The step ended meanwhile.
    #[error("the step ended before its profile was read")]
    Unwanted,
    /// It could not be started.
    #[error("profile {name}: starting the process that reads it: {error}")]
    Start {
        /// As typed.
        name: ProfileName,
        /// What the kernel said.
        error: std::io::Error,
    },
}

const FOUND: u8 = b'P';
const REFUSED: u8 = b'X';

/// Where a profile is read.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The task's working directory, once there is a task.
    pub cwd: Option<&'a HostPath>,
    /// The task, whose control groups the child joins.
    pub task: Option<&'a Groups>,
}

/// Reads the profile as the user, in a process of its own. It is given up where
/// `asker` hangs up.
///
/// # Errors
/// Any [`ReadError`].
pub fn read_as_user(
    name: &ProfileName,
    request: &Request,
    config: &SiteConfig,
    place: Place<'_>,
    asker: BorrowedFd<'_>,
    deadline: Instant,
) -> Result<Profile, ReadError> {
    let start = |error| ReadError::Start {
        name: name.clone(),
        error,
    };
    let who = &request.identity;
    let (ours, theirs) = ipc::pair().map_err(start)?;
    let child = sys::process::fork(|| {
        sys::process::close_all_but(&[theirs.as_fd()]);
        let become_user = || {
            sys::credentials::become_user(who.uid, who.gid, &who.groups)?;
            sys::process::die_with_parent()
        };
        match become_user() {
            Ok(()) => u8::from(answer(name, request, config, place.cwd, theirs.as_fd()).is_err()),
            Err(_) => 2,
        }
    })
    .map_err(start)?;
    drop(theirs);
    if let Some(task) = place.task
        && let Err(error) = task.join(child.id())
    {
        tracing::warn!(%error, "the profile is read outside the task's control groups");
    }
    match ipc::wait_answer(ours.as_fd(), asker, deadline).map_err(start)? {
        Waited::Ready => {}
        Waited::Deadline => {
            child.abandon();
            return Err(ReadError::Timeout {
                name: name.clone(),
                seconds: config.prepare.timeout,
            });
        }
        Waited::Unwanted => {
            child.abandon();
            return Err(ReadError::Unwanted);
        }
    }
    let message = ipc::receive(ours.as_fd()).map_err(start)?;
    let died = || ReadError::Died(name.clone());
    match message.as_ref().and_then(|m| m.bytes.split_first()) {
        Some((&FOUND, words)) => wire::decode(words).ok_or_else(died),
        Some((&REFUSED, text)) => Err(ReadError::Said(
            OsStr::from_bytes(text).to_string_lossy().into_owned(),
        )),
        _ => Err(died()),
    }
}

/// In the child.
fn answer(
    name: &ProfileName,
    request: &Request,
    config: &SiteConfig,
    cwd: Option<&HostPath>,
    socket: BorrowedFd<'_>,
) -> std::io::Result<()> {
    let message = match read(name, request, config, cwd) {
        Ok(profile) => {
            let mut message = vec![FOUND];
            message.extend(wire::encode(&profile));
            message
        }
        Err(error) => {
            let mut message = vec![REFUSED];
            message.extend(error.to_string().bytes().take(2048));
            message
        }
    };
    ipc::send(socket, &message, &[])
}

/// What the child has to say.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(
        "profile {name}: confining the process that reads it: {error}; Oarlock needs a kernel with seccomp filters"
    )]
    Confine {
        name: ProfileName,
        error: std::io::Error,
    },
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// Gives up everything but reading, and then opens what the user has named.
fn read(
    name: &ProfileName,
    request: &Request,
    config: &SiteConfig,
    cwd: Option<&HostPath>,
) -> Result<Profile, Refusal> {
    // A name service may ask over the network, which is not possible afterwards.
    let home = match request.variable("HOME") {
        Some(_) => None,
        None => home_of(request.identity.uid),
    };
    sandbox::confine(sandbox::Profile::ReadImage).map_err(|error| Refusal::Confine {
        name: name.clone(),
        error,
    })?;
    let variable = |name: &str| request.variable(name).map(OsStr::to_owned);
    let base: Option<OwnedFd> = cwd.and_then(|cwd| sys::mount::open_place(cwd.as_path()).ok());
    let mut files = Files {
        places: Places::new(&variable, home.as_deref(), &config.profiles.path),
        base: base.as_ref().map(AsFd::as_fd),
    };
    let profile = profile::resolve(name, &mut files, &variable, cwd, Missing::Refused)?;
    Ok(profile)
}

fn home_of(uid: u32) -> Option<OsString> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid));
    user.ok().flatten().map(|user| user.dir.into_os_string())
}
