//! The way of one rank into its container: short, because it runs once a rank.
//!
//! The caller is the task itself: the user's ids already, one thread, no
//! effective capability, but `CAP_SYS_ADMIN` and `CAP_SYS_CHROOT` still permitted.
//! Afterwards it has no capability in any set, cannot get one, and is in the
//! container's namespaces; its ids are unchanged. Where it asked to be root there, it
//! has some capabilities in a user namespace of the step, and none in the host's. A rank
//! that enters only after Slurm's prologs goes through `oarlock-enter` instead; see
//! [`crate::entry`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::thread::CapabilitySet;

use crate::environment::{self, Change};
use crate::path::{ContainerPath, HostPath};
use crate::sys;
use crate::sys::namespaces::Kind;
use crate::sys::stand_in::PassOn;
use crate::way::{Ids, Way};

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
    /// The environment cannot be made, for what the profile asks of it.
    #[error("{0}")]
    Environment(String),
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
/// [`EnterError::Step`], [`EnterError::Environment`].
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
    let bytes = bytes.get(..have).unwrap_or_default();
    match environment::refused(bytes) {
        Some(reason) => Err(EnterError::Environment(reason)),
        None => Ok(environment::decode(bytes)),
    }
}

/// What root has in a user namespace of the step: rights to files and processes that
/// belong to the ids of that namespace. Nothing with which it could make a namespace
/// or a mount, or configure anything: those are much of the kernel, and no package
/// needs them.
const INSIDE: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::SYS_PTRACE);

/// Whether `task_init_privileged` has emptied the bounding set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounding {
    /// It has.
    Empty,
    /// Not yet: the prologs had to have it, for what they start.
    Full,
}

/// Enters the container and gives up every capability; where the rank is root there,
/// every one but what root has among the ids of its own namespace.
///
/// Where the container has process ids of its own, it is a child that returns from
/// here: the caller stays outside, passes on what `pass_on` says, and ends as that child
/// does.
///
/// # Errors
/// [`EnterError::Step`]; the caller must then end without running anything.
pub fn enter(
    way: &Way,
    pass_on: impl FnOnce() -> PassOn,
    bounding: Bounding,
) -> Result<(), EnterError> {
    // Asked of the host's /proc, and only where somebody will stand in: it costs as much
    // as the rest.
    let pass_on = way.of(Kind::Pid).map(|_| pass_on());
    let mut needed = CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_CHROOT;
    if bounding == Bounding::Full {
        needed |= CapabilitySet::SETPCAP;
    }
    sys::credentials::raise(needed)
        .map_err(step("raising the capabilities to enter the container"))?;
    if bounding == Bounding::Full {
        sys::credentials::drop_bounding_set().map_err(step("dropping the bounding set"))?;
    }
    let mut parent = None;
    for namespace in way.namespaces() {
        namespace.join().map_err(step(entering(namespace.kind)))?;
        if let (Kind::Pid, Some(pass_on)) = (namespace.kind, pass_on) {
            let life = way.life.as_ref().unwrap_or(&namespace.fd);
            parent = Some(
                sys::stand_in::fork_below(life.as_fd(), pass_on)
                    .map_err(step("starting the rank among the container's process ids"))?,
            );
        }
    }
    let dropping = step("dropping capabilities");
    match way.ids {
        Ids::Host => sys::credentials::drop_all_but_bounding().map_err(dropping)?,
        Ids::Root | Ids::RootAlone => {
            sys::credentials::keep_only(INSIDE).map_err(dropping)?;
            sys::pretend::install(way.ids == Ids::RootAlone)
                .map_err(step("installing the filter of calls that change ids"))?;
        }
    }
    parent.map_or(Ok(()), |parent| {
        parent
            .die_with_it()
            .map_err(step("tying the rank to the process that Slurm knows"))
    })
}

fn entering(kind: Kind) -> &'static str {
    match kind {
        Kind::Net => "entering the container's network namespace",
        Kind::Ipc => "entering the container's IPC namespace",
        Kind::Uts => "entering the container's UTS namespace",
        Kind::Cgroup => "entering the container's control group namespace",
        Kind::Pid => "entering the container's process id namespace",
        Kind::Mount => "entering the container's mount namespace",
        Kind::User => "entering the container's user namespace",
    }
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
