//! Why no container was made: whatever part of the work says so.

use super::as_user::Unanswered;
use super::builder::BuildError;
use super::choose::ChoiceError;
use super::devices::cdi::CdiError;
use super::named::NamedError;
use super::save::SaveError;
use crate::apply::ApplyError;
use crate::apply::identity::IdentityError;
use crate::cgroup::hold::HoldError;
use crate::config::{ConfigError, NotAllowed};
use crate::path::HostPath;
use crate::request::{DeviceName, ImageName, ProfileName, RequestError};

/// Why no container was made: one line for the user.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("site configuration {0}")]
    Config(#[from] ConfigError),
    #[error(
        "the plugin's request cannot be read ({0}); are plugin and oarlock-prepare of one version?"
    )]
    Request(String),
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Named(#[from] NamedError),
    #[error(transparent)]
    Save(#[from] SaveError),
    #[error("image {image}: {error}")]
    Image { image: ImageName, error: ApplyError },
    #[error("image {image}: {error}")]
    Choice {
        image: ImageName,
        error: ChoiceError,
    },
    #[error(transparent)]
    Name(#[from] RequestError),
    #[error("profile {0} names no image; add one to it, or give --container-image=PATH")]
    NoImage(ProfileName),
    #[error(
        "the container that is joined has process ids or root of its own, and the step has a task prolog; use its files without joining it: --container-name=NAME:no_exec"
    )]
    PrologInside,
    #[error("the first task of the node was ended before its container was there")]
    TaskGone,
    #[error("--container-overlay: {0}")]
    Overlay(Box<Failure>),
    #[error(
        "overlay {0}: is a directory; write {0}:ro to lay it over for reading, or {0}:rw to keep the container's changes in it"
    )]
    OverlayUnsaid(HostPath),
    #[error("overlay {0}: only the last one can take the container's changes; write :ro")]
    OverlayBelow(HostPath),
    #[error("overlay {0}: writing to one is not allowed here (writable.overlay in oarlock.toml)")]
    OverlayNotAllowed(HostPath),
    #[error("--container-readonly does not go with --container-overlay={0}:rw; leave one out")]
    OverlayReadOnly(HostPath),
    #[error("overlay {path}: {why}; changes go into a directory of yours")]
    OverlayUnusable { path: HostPath, why: Unanswered },
    #[error(
        "--container-overlay does not go with --container-name: such a container keeps the files that it was made with; leave one out"
    )]
    OverlayNamed,
    #[error("--container-device={name}: {why}")]
    Device { name: DeviceName, why: String },
    #[error("devices of the step: {0}")]
    Cdi(#[from] CdiError),
    #[error(transparent)]
    Hold(#[from] HoldError),
    #[error("image {image}: images.require_signature asks for a checked copy: {why}")]
    NoCopy { image: ImageName, why: String },
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(
        "container {0}: it runs already and is joined as it is; leave --container-unshare and --container-remap-root out, or wait for that step's end"
    )]
    Joined(String),
    #[error("{what}: {error}")]
    Step {
        what: &'static str,
        error: std::io::Error,
    },
}

pub(super) fn step(what: &'static str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::Step { what, error }
}

#[cfg(test)]
mod tests;
