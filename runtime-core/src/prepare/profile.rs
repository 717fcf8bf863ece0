//! The profile that a step names, read by a child that has become the user.
//!
//! A profile is a user's text: root opens none and reads none. The child looks for
//! it, reads what it is based on, fills in the job's variables, and sends what came of
//! it, or one line. That is checked for its form again before it becomes options.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::as_user::{AsUser, Findings, Unanswered};
use crate::config::SiteConfig;
use crate::path::HostPath;
use crate::profile::library::Files;
use crate::profile::{self, Missing, Places, Profile, ProfileError, wire};
use crate::request::{ProfileName, Request};
use crate::sys;
use crate::sys::sandbox;

/// Reads the profile as the user, in a process of its own; a relative path starts at
/// `cwd`, the task's working directory, once there is a task.
///
/// # Errors
/// [`Unanswered`].
pub(super) fn read(
    name: &ProfileName,
    request: &Request,
    config: &SiteConfig,
    cwd: Option<&HostPath>,
    user: AsUser<'_>,
) -> Result<Profile, Unanswered> {
    let subject = format!("profile {name}");
    let findings = user.ask(&subject, || {
        read_confined(name, request, config, cwd).map(|profile| Findings {
            bytes: wire::encode(&profile),
            fds: Vec::new(),
        })
    })?;
    wire::decode(&findings.bytes).ok_or(Unanswered::Died(subject))
}

/// What the child has to say.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(
        "profile {name}: confining the process that opens it: {error}; Oarlock needs a kernel with seccomp filters"
    )]
    Confine { name: ProfileName, error: io::Error },
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

/// Gives up everything but reading, and then opens what the user has named.
fn read_confined(
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
