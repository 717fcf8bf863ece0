//! The way of one rank into its container: short, because it runs once a rank.
//!
//! The caller is the task itself: the user's ids already, one thread, no
//! effective capability and none in the bounding set, but `CAP_SYS_ADMIN` and
//! `CAP_SYS_CHROOT` still permitted. Afterwards it has no capability in any set, cannot get one, and
//! is in the container's mount namespace; its ids are unchanged.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::thread::CapabilitySet;

use crate::environment::{self, Change};
use crate::path::{ContainerPath, HostPath};
use crate::sys;

/// Why a rank could not enter.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// A step of the way.
    #[error("{what}: {error}")]
    Step {
        /// What was being done.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// The directory that the user asked for.
    #[error("working directory {path}: {error}; it must be a directory inside the container")]
    Workdir {
        /// As asked for.
        path: ContainerPath,
        /// What the kernel said.
        error: io::Error,
    },
}

fn step(what: &'static str) -> impl Fn(io::Error) -> EnterError {
    move |error| EnterError::Step { what, error }
}

/// Reads the environment's changes, which the image's owner may have written.
///
/// # Errors
/// [`EnterError::Step`].
pub fn changes(file: BorrowedFd<'_>) -> Result<Vec<Change>, EnterError> {
    let wrong = step("reading the container's environment");
    let length = rustix::fs::fstat(file)
        .map_err(|e| wrong(e.into()))?
        .st_size;
    let length = u64::try_from(length)
        .unwrap_or(0)
        .min(environment::MAX_BYTES * 2);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let mut have = 0;
    while let Some(rest) = bytes.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(wrong(error.into())),
        }
    }
    Ok(environment::decode(bytes.get(..have).unwrap_or_default()))
}

/// Enters the namespace and gives up every capability.
///
/// # Errors
/// [`EnterError::Step`]; the caller must then end without running anything.
pub fn enter(namespace: &OwnedFd) -> Result<(), EnterError> {
    sys::credentials::raise(CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_CHROOT)
        .map_err(step("raising the capabilities to enter the container"))?;
    rustix::thread::move_into_link_name_space(
        namespace.as_fd(),
        Some(rustix::thread::LinkNameSpaceType::Mount),
    )
    .map_err(|e| step("entering the container's mount namespace")(e.into()))?;
    sys::credentials::drop_all_but_bounding().map_err(step("dropping capabilities"))
}

/// Goes to the working directory: the one asked for, or else where the task was,
/// the home directory, or `/`, whichever is the first that exists inside.
///
/// # Errors
/// [`EnterError::Workdir`] where the one asked for cannot be entered.
pub fn change_directory(
    asked: Option<&ContainerPath>,
    was: Option<&HostPath>,
    home: Option<&Path>,
) -> Result<(), EnterError> {
    if let Some(path) = asked {
        return rustix::process::chdir(path.as_path()).map_err(|e| EnterError::Workdir {
            path: path.clone(),
            error: e.into(),
        });
    }
    let candidates = [was.map(HostPath::as_path), home, Some(Path::new("/"))];
    for path in candidates.into_iter().flatten() {
        if rustix::process::chdir(path).is_ok() {
            return Ok(());
        }
    }
    Err(step("entering /")(io::ErrorKind::NotFound.into()))
}
