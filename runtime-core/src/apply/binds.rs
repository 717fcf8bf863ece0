//! Binds of the host's files and directories: opened with the user's rights,
//! attached where the plan says.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::devices::Wanted;
use super::filesystem::{Calls, Detached, Filesystem};
use super::points::{self, Kind, LastLink};
use super::{ApplyError, FileAccess, SpecMount, TargetProblem, step};
use crate::path::{ContainerPath, HostPath};
use crate::plan::Plan;
use crate::plan::mounts::{Mount, Need, Source};
use crate::request::{Create, Identity};
use crate::sys::mount::Attributes;

/// A bind whose source is open.
pub(super) struct Opened<'a> {
    pub(super) mount: &'a Mount,
    tree: Detached,
    pub(super) kind: Kind,
}

/// Opens every source with the user's rights, and copies its mount tree; makes those
/// that are made of memory.
pub(super) fn open_sources<'a>(
    plan: &'a Plan,
    access: &FileAccess,
    owner: &Identity,
    calls: Calls,
) -> Result<Vec<Opened<'a>>, ApplyError> {
    // Once for all: each change of rights is a handful of system calls.
    let opened: Vec<Option<io::Result<OwnedFd>>> = access
        .with(|| {
            plan.mounts
                .iter()
                .map(|mount| mount.host().map(|path| open_source(path.as_path())))
                .collect()
        })
        .map_err(step("taking the user's rights to files"))?;
    let mut list = Vec::new();
    for (mount, opened) in plan.mounts.iter().zip(opened) {
        let made = match (&mount.source, opened) {
            (Source::Host(_) | Source::Spec(..) | Source::Groups(_), Some(opened)) => {
                opened.and_then(|fd| copy(fd, mount, calls))
            }
            (Source::Tmpfs { size, mode }, _) => {
                let tmpfs = memory(mount, size.as_deref(), mode.as_deref(), owner, calls)?;
                Ok((tmpfs, Kind::Directory))
            }
            (Source::Links(links), _) => links_in_memory(mount, links, calls),
            (Source::Host(_) | Source::Spec(..) | Source::Groups(_), None) => {
                Err(io::ErrorKind::NotFound.into())
            }
        };
        match (made, mount.need) {
            (Ok((tree, kind)), _) => list.push(Opened { mount, tree, kind }),
            (Err(error), Need::IfPossible) => {
                tracing::debug!(source = %mount.source, %error, "mount left out");
            }
            (Err(error), Need::Asked) => {
                let target = mount.target.clone();
                return Err(match &mount.source {
                    Source::Spec(path, spec) => ApplyError::SpecSource {
                        mount: of_spec(path, spec, target),
                        error,
                    },
                    source => ApplyError::MountSource {
                        mount: source.to_string(),
                        target,
                        error,
                    },
                });
            }
        }
    }
    Ok(list)
}

fn of_spec(source: &HostPath, spec: &Path, target: ContainerPath) -> Box<SpecMount> {
    Box::new(SpecMount {
        spec: spec.to_owned(),
        source: source.clone(),
        target,
    })
}

fn copy(fd: OwnedFd, mount: &Mount, calls: Calls) -> io::Result<(Detached, Kind)> {
    let kind = Kind::of(fd.as_fd())?;
    match (mount.create, kind) {
        (Create::Directory, Kind::File) => return Err(io::ErrorKind::NotADirectory.into()),
        (Create::File, Kind::Directory) => return Err(io::ErrorKind::IsADirectory.into()),
        _ => {}
    }
    let tree = Detached::bind(fd, mount.attributes, calls)?;
    match mount.propagation {
        None => Ok((tree, kind)),
        Some(how) => Ok((tree.propagating(how)?, kind)),
    }
}

/// A file system in memory, which the job's memory pays for as it fills.
fn memory(
    mount: &Mount,
    size: Option<&str>,
    mode: Option<&str>,
    owner: &Identity,
    calls: Calls,
) -> Result<Detached, ApplyError> {
    let mut options = vec![
        ("mode", Some(mode.unwrap_or("1777").to_owned())),
        ("uid", Some(owner.uid.to_string())),
        ("gid", Some(owner.gid.to_string())),
    ];
    options.extend(size.map(|size| ("size", Some(size.to_owned()))));
    let filesystem = Filesystem {
        what: "a tmpfs",
        kind: "tmpfs",
        source: "oarlock".to_owned(),
        options,
        attributes: mount.attributes,
    };
    Detached::new(filesystem, calls)
}

/// A directory with links alone; mount(2) cannot make one before it is in its place.
fn links_in_memory(
    mount: &Mount,
    links: &[(OsString, PathBuf)],
    calls: Calls,
) -> io::Result<(Detached, Kind)> {
    let made = Detached::new(
        Filesystem {
            what: "a directory of links",
            kind: "tmpfs",
            source: "oarlock".to_owned(),
            options: vec![
                ("mode", Some("0755".to_owned())),
                ("size", Some("1m".to_owned())),
            ],
            attributes: Attributes {
                read_only: false,
                ..mount.attributes
            },
        },
        calls,
    );
    let made = made.map_err(|error| io::Error::other(error.to_string()))?;
    let Detached::Made(directory) = &made else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    for (name, target) in links {
        match rustix::fs::symlinkat(target, directory, name) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    crate::sys::mount::add_attributes(directory.as_fd(), mount.attributes)?;
    Ok((made, Kind::Directory))
}

/// Opens a source as a place; no link of /proc is followed into a process.
pub(super) fn open_source(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let fd = rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
    rustix::fs::fstat(&fd)?;
    Ok(fd)
}

/// The node's own files take the place of links; the user's mounts go where the
/// image's links lead.
pub(super) fn last_link(bind: &Opened<'_>) -> LastLink {
    match (bind.mount.need, bind.kind) {
        (Need::IfPossible, Kind::File) => LastLink::Cover,
        _ => LastLink::Follow,
    }
}

/// Whether the mount point lies in another bind, and so is not the image's.
pub(super) fn is_below_another(mount: &Mount, all: &[Mount]) -> bool {
    all.iter().any(|other| {
        mount
            .target
            .below(&other.target)
            .is_some_and(|rest| !rest.as_bytes().is_empty())
    }) || mount.target.as_bytes().starts_with(b"/dev/")
}

/// The mount point that a bind below /dev needs there.
pub(super) fn wanted_below_dev(bind: &Opened<'_>) -> Option<Wanted> {
    let inside = bind.mount.target.as_bytes().strip_prefix(b"/dev/")?;
    let names = inside.split(|b| *b == b'/').map(<[u8]>::to_vec).collect();
    Some(Wanted {
        names,
        kind: bind.kind,
    })
}

/// A default that cannot be shown is left out; the user's own is an error.
pub(super) fn refuse_target(bind: &Opened<'_>, error: io::Error) -> Result<(), ApplyError> {
    if bind.mount.need == Need::IfPossible {
        tracing::debug!(target_path = %bind.mount.target, %error, "default mount left out");
        return Ok(());
    }
    let found = match bind.kind {
        Kind::Directory => Kind::File,
        Kind::File => Kind::Directory,
    };
    let problem = match error.kind() {
        io::ErrorKind::AlreadyExists => TargetProblem::Kind {
            found: found.name(),
            wanted: bind.kind.name(),
        },
        io::ErrorKind::NotFound => TargetProblem::Missing,
        _ => TargetProblem::Kernel(error),
    };
    let target = bind.mount.target.clone();
    Err(match &bind.mount.source {
        Source::Spec(path, spec) => ApplyError::SpecTarget {
            mount: of_spec(path, spec, target),
            problem,
        },
        source => ApplyError::MountTarget {
            mount: source.to_string(),
            target,
            problem,
        },
    })
}

pub(super) fn attach_bind(root: &OwnedFd, bind: &Opened<'_>) -> Result<(), ApplyError> {
    let resolve = || points::resolve_to(root.as_fd(), &bind.mount.target, last_link(bind));
    let uncovered = |point: OwnedFd| {
        if !matches!(bind.mount.source, Source::Groups(_)) {
            return Ok(point);
        }
        // Fails where nothing is mounted, and where it cannot be taken away: then it is
        // covered.
        let place = crate::sys::mount::descriptor_path(point.as_fd());
        let _ = rustix::mount::unmount(place.as_str(), rustix::mount::UnmountFlags::DETACH);
        resolve()
    };
    let point = match resolve().and_then(uncovered) {
        Ok(point) => point,
        Err(error) => return refuse_target(bind, error),
    };
    match Kind::of(point.as_fd()) {
        Ok(kind) if kind == bind.kind => {}
        Ok(_) => return refuse_target(bind, io::ErrorKind::AlreadyExists.into()),
        Err(error) => return refuse_target(bind, error),
    }
    bind.tree
        .attach(point.as_fd())
        .or_else(|error| match bind.mount.need {
            Need::IfPossible => {
                tracing::debug!(target_path = %bind.mount.target, %error, "default mount left out");
                Ok(())
            }
            Need::Asked => Err(error),
        })
}
