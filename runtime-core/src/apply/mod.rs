//! Carrying out a plan: mounts, namespaces, helpers.
//!
//! Nothing is decided here that [`crate::plan`] could have decided, and nothing
//! that a user wrote is read: this code may run as root, and works on
//! descriptors that were opened with the user's rights.

mod binds;
mod devices;
pub mod filesystem;
pub mod fuse;
mod generated;
pub mod identity;
pub mod image;
pub(crate) mod inside;
pub mod known;
mod layers;
pub mod namespaces;
mod own_layer;
mod plain;
pub mod points;
pub mod rootfs;
pub mod scripts;
pub mod seen;
pub mod shared;
pub mod survey;
mod warm;
pub mod writable;

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::path::{ContainerPath, HostPath};

/// A mount that a CDI spec asks for.
#[derive(Debug)]
pub struct SpecMount {
    /// The spec.
    pub spec: PathBuf,
    /// On the host.
    pub source: HostPath,
    /// In the container.
    pub target: ContainerPath,
}

impl fmt::Display for SpecMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (spec, source) = (self.spec.display(), &self.source);
        write!(f, "{spec}: mount {source} at {}", self.target)
    }
}

/// What could not be done. Every message is complete but for the image's name.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// No loop device could be had for a kernel mount.
    #[error("loop device: {0}; is the loop module loaded and /dev/loop-control there?")]
    Loop(io::Error),
    /// A file system was refused by the kernel.
    #[error("mounting {what}: {error}{}", said(.kernel))]
    Mount {
        /// What was being mounted.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
        /// What the kernel said in words, where it did.
        kernel: String,
    },
    /// The server is not installed.
    #[error("FUSE server {}: {error}; install squashfuse or set fuse.server in oarlock.toml", server.display())]
    NoServer {
        /// The program.
        server: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The account that the server runs as is not there, or is root.
    #[error(
        "fuse.user: {problem} \"{user}\" on this node; make it with systemd-sysusers and Oarlock's sysusers.d/oarlock.conf, or set fuse.user in oarlock.toml"
    )]
    ServerAccount {
        /// As the site names it.
        user: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The library with which the server opens the image is not installed.
    #[error("{}: {error}; it belongs beside oarlock-prepare: install it, or set fuse.user = \"job\" in oarlock.toml", library.display())]
    NoLibrary {
        /// The file.
        library: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// /dev/fuse is not there or not ours.
    #[error("/dev/fuse: {0}; is the fuse module loaded, and may you open it?")]
    NoFuse(io::Error),
    /// Only the kernel can mount this, and it must not.
    #[error(
        "its {0} file system can only be mounted by the kernel, which parses none that others than root may have written; put the image where only root can write, or use squashfs"
    )]
    KernelOnly(crate::image::layout::FilesystemKind),
    /// A writable container of such an image cannot be the user's.
    #[error(
        "the kernel cannot show the files of its {kind} file system as the user's own, which a writable container needs: {error}; use squashfs with Linux 6.2 or newer, or squashfuse 0.5 or newer"
    )]
    Owners {
        /// The file system.
        kind: crate::image::layout::FilesystemKind,
        /// What the kernel said.
        error: io::Error,
    },
    /// The server ended before it answered.
    #[error(
        "the FUSE server ended before it answered; is the image damaged? try unsquashfs -s on it"
    )]
    ServerEnded,
    /// A step in making the namespace.
    #[error("{what}: {error}")]
    Step {
        /// What was being done.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// A mount that the user asked for has no source on this node.
    #[error(
        "mount {mount}:{target}: source: {error}; check that the path exists on this node and that you may reach it"
    )]
    MountSource {
        /// The source.
        mount: String,
        /// The target.
        target: ContainerPath,
        /// What the kernel said.
        error: io::Error,
    },
    /// The target is of another kind than the source, or cannot be made.
    #[error("mount {mount}:{target}: target: {problem}")]
    MountTarget {
        /// The source.
        mount: String,
        /// The target.
        target: ContainerPath,
        /// What is wrong.
        problem: TargetProblem,
    },
    /// A mount that a CDI spec asks for has no source that the user may reach.
    #[error(
        "CDI: {mount}: source: {error}; the spec is older than the node, or its files are not readable for all; for admins: write it anew, as with nvidia-ctk cdi generate"
    )]
    SpecSource {
        /// The mount.
        mount: Box<SpecMount>,
        /// What the kernel said.
        error: io::Error,
    },
    /// The image has something else at the place of such a mount.
    #[error("CDI: {mount}: target: {problem}")]
    SpecTarget {
        /// The mount.
        mount: Box<SpecMount>,
        /// What is wrong.
        problem: TargetProblem,
    },
    /// Where a mount of every container belongs, the image has something on which
    /// none can be put.
    #[error("{path}: {problem}; correct the image")]
    Place {
        /// In the container.
        path: &'static str,
        /// What is wrong.
        problem: PlaceProblem,
    },
    /// The unprivileged survey of the image failed.
    #[error(
        "the process that reads the image's passwd and group ended early; is the image damaged?"
    )]
    Survey,
    /// The image's environment scripts failed in the image's shell.
    #[error(
        "the image's environment scripts (/.singularity.d/env/*.sh) failed in its own /bin/sh; try them one by one in a copy of the image"
    )]
    Scripts,
    /// The image's entry point did not run the command it was given.
    #[error(
        "the image's entry point did not run the command that it was given{0}; leave --container-entrypoint out, or use --container-entrypoint-log to see what it prints"
    )]
    EntryPoint(String),
}

/// Why a target cannot be mounted on.
#[derive(Debug, thiserror::Error)]
pub enum TargetProblem {
    /// A directory meets a file.
    #[error("is a {found} in the image, and the source is a {wanted}; choose another target")]
    Kind {
        /// What the image has.
        found: &'static str,
        /// What the source is.
        wanted: &'static str,
    },
    /// It lies in a directory of the host that lacks it.
    #[error(
        "does not exist in the mounted directory above it; create it on the host, or choose another target"
    )]
    Missing,
    /// What the kernel said.
    #[error("{0}")]
    Kernel(#[from] io::Error),
}

/// Why the image has no place for a mount.
#[derive(Debug, thiserror::Error)]
pub enum PlaceProblem {
    /// A directory instead of a file, or the reverse.
    #[error("is a {found} in the image and must be a {wanted}")]
    Kind {
        /// What the image has.
        found: &'static str,
        /// What is to be mounted.
        wanted: &'static str,
    },
    /// Its links lead to where another mount is.
    #[error("leads into another mount through the image's links")]
    Covered,
    /// A loop of links, a file among the directories, or one that is closed.
    #[error("{0} in the image")]
    Kernel(#[from] io::Error),
}

impl PlaceProblem {
    /// The image has the other kind of place than the one that is wanted.
    fn kind(wanted: points::Kind) -> Self {
        let found = match wanted {
            points::Kind::Directory => points::Kind::File,
            points::Kind::File => points::Kind::Directory,
        };
        Self::Kind {
            found: found.name(),
            wanted: wanted.name(),
        }
    }
}

fn said(kernel: &str) -> String {
    if kernel.is_empty() {
        String::new()
    } else {
        format!(" (kernel: {kernel})")
    }
}

/// Names the step in an error.
pub(crate) fn step(what: &'static str) -> impl Fn(io::Error) -> ApplyError {
    move |error| ApplyError::Step { what, error }
}

/// Whose right to files is used while a plan is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileAccess {
    /// The process' own: it is the user already.
    Own,
    /// The user's, by a process that is root.
    As(crate::request::Identity),
}

impl FileAccess {
    /// Runs `work` with these rights.
    ///
    /// # Errors
    /// Where the change of rights failed.
    pub fn with<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        match self {
            Self::Own => Ok(work()),
            Self::As(who) => {
                crate::sys::credentials::with_file_access_of(who.uid, who.gid, &who.groups, work)
            }
        }
    }
}
