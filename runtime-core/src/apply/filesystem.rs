//! Mounting a file system: made detached where the kernel can, attached later.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::ApplyError;
use super::rootfs::SCRATCH;
use crate::config::MountCalls;
use crate::request::Propagation;
use crate::sys::mount::{self, Attributes};

/// Which system calls this kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// fsopen(2), fsmount(2), open_tree(2), move_mount(2), mount_setattr(2).
    Descriptors,
    /// mount(2) alone.
    Old,
}

impl Calls {
    /// What the site asks for and the kernel has.
    #[must_use]
    pub fn detect(wanted: MountCalls) -> Self {
        if wanted == MountCalls::Old {
            return Self::Old;
        }
        // mount_setattr is the youngest of them (5.12): an invalid descriptor
        // is refused with EBADF where it exists.
        let root = rustix::fs::open(
            c"/",
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        );
        let probe = root
            .map_err(io::Error::from)
            .and_then(|root| mount::add_attributes(root.as_fd(), Attributes::default()));
        match probe {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Self::Old,
            _ => Self::Descriptors,
        }
    }
}

/// A file system to mount.
#[derive(Debug, Clone)]
pub struct Filesystem {
    /// For messages.
    pub what: &'static str,
    /// The kernel's name of the type.
    pub kind: &'static str,
    /// The source, as /proc/mounts shows it.
    pub source: String,
    /// Options: a value, or a flag.
    pub options: Vec<(&'static str, Option<String>)>,
    /// Attributes of the mount.
    pub attributes: Attributes,
}

/// A file system that is mounted nowhere yet.
#[derive(Debug)]
pub enum Detached {
    /// Made; only attaching is left.
    Made(OwnedFd),
    /// mount(2) makes and attaches in one.
    ToMake(Filesystem),
    /// A directory of the host, to be bound.
    Bind(OwnedFd, Attributes),
}

impl Detached {
    /// Makes the file system as far as the kernel's calls allow.
    ///
    /// # Errors
    /// [`ApplyError::Mount`] with the kernel's own words.
    pub fn new(filesystem: Filesystem, calls: Calls) -> Result<Self, ApplyError> {
        if calls == Calls::Old {
            return Ok(Self::ToMake(filesystem));
        }
        let context = rustix::mount::fsopen(filesystem.kind, FsOpenFlags::FSOPEN_CLOEXEC)
            .map_err(|e| failed(&filesystem, e.into(), None))?;
        configure(&filesystem, context.as_fd())
            .map(Self::Made)
            .map_err(|error| failed(&filesystem, error, Some(context.as_fd())))
    }

    /// Attaches at the directory behind `target`.
    ///
    /// # Errors
    /// [`ApplyError::Mount`].
    pub fn attach(&self, target: BorrowedFd<'_>) -> Result<(), ApplyError> {
        match self {
            Self::Made(fd) => {
                mount::attach(fd.as_fd(), target).map_err(|error| ApplyError::Mount {
                    what: "a prepared file system",
                    error,
                    kernel: String::new(),
                })
            }
            Self::ToMake(filesystem) => {
                let options: Vec<String> = filesystem
                    .options
                    .iter()
                    .map(|(name, value)| match value {
                        Some(value) => format!("{name}={value}"),
                        None => (*name).to_owned(),
                    })
                    .collect();
                let options = std::ffi::CString::new(options.join(",")).unwrap_or_default();
                rustix::mount::mount(
                    filesystem.source.as_str(),
                    mount::descriptor_path(target).as_str(),
                    filesystem.kind,
                    filesystem.attributes.flags(),
                    options.as_c_str(),
                )
                .map_err(|e| failed(filesystem, e.into(), None))
            }
            Self::Bind(source, attributes) => {
                mount::bind_old(source.as_fd(), target, *attributes, SCRATCH).map_err(|error| {
                    ApplyError::Mount {
                        what: "a directory of the host",
                        error,
                        kernel: String::new(),
                    }
                })
            }
        }
    }

    /// A copy of the host's mount tree at `source`, with more attributes.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn bind(source: OwnedFd, attributes: Attributes, calls: Calls) -> io::Result<Self> {
        if calls == Calls::Old {
            return Ok(Self::Bind(source, attributes));
        }
        let tree = mount::clone_tree(source.as_fd())?;
        mount::add_attributes(tree.as_fd(), attributes)?;
        Ok(Self::Made(tree))
    }

    /// Sets what later mounts do with every mount of the tree.
    ///
    /// # Errors
    /// What the kernel said; [`io::ErrorKind::Unsupported`] where mount(2) alone is
    /// used, which cannot do that before the tree is in its place.
    pub fn propagating(self, how: Propagation) -> io::Result<Self> {
        let Self::Made(tree) = &self else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        // First apart from the host in any case: what the container does, or what is
        // put into it, must not come out.
        match how {
            Propagation::Private => mount::propagate(tree.as_fd(), mount::PRIVATE)?,
            Propagation::Slave => mount::propagate(tree.as_fd(), mount::SLAVE)?,
            Propagation::Shared => {
                mount::propagate(tree.as_fd(), mount::SLAVE)?;
                mount::propagate(tree.as_fd(), mount::SHARED)?;
            }
        }
        Ok(self)
    }
}

fn configure(filesystem: &Filesystem, context: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    rustix::mount::fsconfig_set_string(context, "source", filesystem.source.as_str())?;
    for (name, value) in &filesystem.options {
        match value {
            Some(value) => rustix::mount::fsconfig_set_string(context, *name, value.as_str())?,
            None => rustix::mount::fsconfig_set_flag(context, *name)?,
        }
    }
    if filesystem.attributes.read_only {
        rustix::mount::fsconfig_set_flag(context, "ro")?;
    }
    rustix::mount::fsconfig_create(context)?;
    let mut attributes = MountAttrFlags::empty();
    attributes.set(
        MountAttrFlags::MOUNT_ATTR_RDONLY,
        filesystem.attributes.read_only,
    );
    attributes.set(
        MountAttrFlags::MOUNT_ATTR_NOSUID,
        filesystem.attributes.nosuid,
    );
    attributes.set(
        MountAttrFlags::MOUNT_ATTR_NODEV,
        filesystem.attributes.nodev,
    );
    attributes.set(
        MountAttrFlags::MOUNT_ATTR_NOEXEC,
        filesystem.attributes.noexec,
    );
    Ok(rustix::mount::fsmount(
        context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes,
    )?)
}

/// The kernel leaves its complaints to be read from the context, "Message
/// retrieval" in the kernel's mount_api document.
fn failed(
    filesystem: &Filesystem,
    error: io::Error,
    context: Option<BorrowedFd<'_>>,
) -> ApplyError {
    let mut kernel = Vec::new();
    if let Some(context) = context {
        let mut line = [0; 512];
        while let Ok(n) = rustix::io::read(context, &mut line) {
            let text = String::from_utf8_lossy(line.get(..n).unwrap_or_default()).into_owned();
            let text = text.trim_start_matches(['e', 'w', 'i']).trim().to_owned();
            if n == 0 || kernel.len() > 4 {
                break;
            }
            kernel.push(text);
        }
    }
    ApplyError::Mount {
        what: filesystem.what,
        error,
        kernel: kernel.join("; "),
    }
}
