//! Mounting an image, by the way that trust allows.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::filesystem::{Calls, Detached, Filesystem};
use super::{ApplyError, FileAccess, fuse, rootfs, step};
use crate::config::SiteConfig;
use crate::image::source::{Layout, Source};
use crate::image::trust::Method;
use crate::sys;
use crate::sys::loopdev::LoopDevice;
use crate::sys::mount::Attributes;

const IMAGE: Attributes = Attributes {
    read_only: true,
    nosuid: true,
    nodev: true,
    noexec: false,
};

/// An image's file system, mounted nowhere yet.
#[derive(Debug)]
pub struct ImageMount(Way);

#[derive(Debug)]
enum Way {
    /// A directory: bound from the container's own view of the host, where it is
    /// opened again and must be the same.
    Directory {
        path: PathBuf,
        device: u64,
        inode: u64,
        tree: Option<Detached>,
    },
    /// The kernel's squashfs; the device is held until the mount has it.
    Kernel { made: Detached, _device: LoopDevice },
    /// FUSE; what the server needs is kept while it is not started.
    Fuse {
        made: Detached,
        pending: Option<(fuse::Connection, OwnedFd, u64)>,
    },
}

impl ImageMount {
    /// Prepares as much as can be done before there is a place to mount at.
    ///
    /// # Errors
    /// Any [`ApplyError`] of mounting.
    pub fn new(
        source: &Source,
        method: Method,
        config: &SiteConfig,
        access: &FileAccess,
        calls: Calls,
    ) -> Result<Self, ApplyError> {
        match (source.layout, method) {
            (Layout::Directory, _) => Self::directory(source),
            (Layout::Squashfs { offset, size }, Method::Kernel) => {
                let device = sys::loopdev::attach(source.fd.as_fd(), offset, size)
                    .map_err(ApplyError::Loop)?;
                let filesystem = Filesystem {
                    what: "the image by the kernel's squashfs",
                    kind: "squashfs",
                    source: device.path.clone(),
                    options: Vec::new(),
                    attributes: IMAGE,
                };
                let made = Detached::new(filesystem, calls)?;
                Ok(Self(Way::Kernel {
                    made,
                    _device: device,
                }))
            }
            (Layout::Squashfs { offset, .. }, Method::Fuse) => {
                let connection = fuse::Connection::open()?;
                let (uid, gid) = match access {
                    FileAccess::As(who) => (who.uid, who.gid),
                    FileAccess::Own => (
                        rustix::process::getuid().as_raw(),
                        rustix::process::getgid().as_raw(),
                    ),
                };
                let made = Detached::new(connection.filesystem(uid, gid), calls)?;
                let image = copy(source)?;
                if matches!(made, Detached::Made(_)) {
                    connection.serve(&config.fuse.server, image.as_fd(), offset, access)?;
                    Ok(Self(Way::Fuse {
                        made,
                        pending: None,
                    }))
                } else {
                    Ok(Self(Way::Fuse {
                        made,
                        pending: Some((connection, image, offset)),
                    }))
                }
            }
        }
    }

    fn directory(source: &Source) -> Result<Self, ApplyError> {
        let what = "looking at the image's directory";
        let stat = rustix::fs::fstat(&source.fd).map_err(|e| step(what)(e.into()))?;
        let path = sys::mount::descriptor_path(source.fd.as_fd());
        let path =
            rustix::fs::readlink(path.as_str(), Vec::new()).map_err(|e| step(what)(e.into()))?;
        Ok(Self(Way::Directory {
            path: OsString::from_vec(path.into_bytes()).into(),
            device: stat.st_dev,
            inode: stat.st_ino,
            tree: None,
        }))
    }

    /// In the container's namespace, before anything is covered: takes a copy of
    /// a directory's mount tree. Nothing to do for files.
    ///
    /// # Errors
    /// [`ApplyError::Step`], also where the directory is another one by now.
    pub fn open_directory(&mut self, access: &FileAccess, calls: Calls) -> Result<(), ApplyError> {
        let Way::Directory {
            path,
            device,
            inode,
            tree,
        } = &mut self.0
        else {
            return Ok(());
        };
        let fd = access
            .with(|| rootfs::open_source(path))
            .and_then(|opened| opened)
            .map_err(step("opening the image's directory"))?;
        let stat = rustix::fs::fstat(&fd)
            .map_err(|e| step("looking at the image's directory")(e.into()))?;
        if (stat.st_dev, stat.st_ino) != (*device, *inode) {
            return Err(step(
                "the image's directory was replaced while it was opened",
            )(io::ErrorKind::NotFound.into()));
        }
        *tree =
            Some(Detached::bind(fd, IMAGE, calls).map_err(step("binding the image's directory"))?);
        Ok(())
    }

    /// Mounts at the directory behind `target`.
    ///
    /// # Errors
    /// Any [`ApplyError`] of mounting.
    pub fn attach(
        self,
        target: &OwnedFd,
        config: &SiteConfig,
        access: &FileAccess,
    ) -> Result<(), ApplyError> {
        match self.0 {
            Way::Directory {
                tree: Some(made), ..
            }
            | Way::Kernel { made, .. } => made.attach(target.as_fd()),
            Way::Directory { tree: None, .. } => Err(step("binding the image's directory")(
                io::ErrorKind::InvalidInput.into(),
            )),
            Way::Fuse { made, pending } => {
                made.attach(target.as_fd())?;
                match pending {
                    Some((connection, image, offset)) => {
                        connection.serve(&config.fuse.server, image.as_fd(), offset, access)
                    }
                    None => Ok(()),
                }
            }
        }
    }
}

fn copy(source: &Source) -> Result<OwnedFd, ApplyError> {
    source
        .fd
        .try_clone()
        .map_err(step("copying the image's descriptor"))
}

/// A look-up that finds the server gone says so in its own way.
#[must_use]
pub fn explain_lookup(what: &'static str, error: io::Error) -> ApplyError {
    match error.raw_os_error() {
        Some(libc::ENOTCONN | libc::ECONNABORTED) => ApplyError::ServerEnded,
        _ => ApplyError::Step { what, error },
    }
}
