//! Mounting an image, by the way that trust allows.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::filesystem::{Calls, Detached, Filesystem};
use super::fuse::{self, Attached};
use super::{ApplyError, FileAccess, binds, step};
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
        seen: OwnedFd,
        tree: Option<Detached>,
    },
    /// The kernel's squashfs; the device is held until the mount has it.
    Kernel { made: Detached, _device: LoopDevice },
    /// FUSE; what the server needs is kept while it is not started.
    Fuse {
        made: Detached,
        pending: Option<(fuse::Connection, OwnedFd, u64)>,
        server: Option<u32>,
    },
}

impl ImageMount {
    /// Prepares as much as can be done before there is a place to mount at. A
    /// kernel mount that fails becomes a FUSE mount.
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
        let Layout::Squashfs { offset, size } = source.layout else {
            return Self::directory(source);
        };
        if method == Method::Kernel {
            match Self::kernel(source, offset, size, calls) {
                Ok(mount) => return Ok(mount),
                // No loop device left, or a compression that this kernel was
                // built without: the server can do it all the same.
                Err(error) => tracing::warn!(%error, "no kernel mount; serving the image by FUSE"),
            }
        }
        Self::fuse(source, offset, config, access, calls)
    }

    fn kernel(source: &Source, offset: u64, size: u64, calls: Calls) -> Result<Self, ApplyError> {
        let device =
            sys::loopdev::attach(source.fd.as_fd(), offset, size).map_err(ApplyError::Loop)?;
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

    fn fuse(
        source: &Source,
        offset: u64,
        config: &SiteConfig,
        access: &FileAccess,
        calls: Calls,
    ) -> Result<Self, ApplyError> {
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
        if matches!(made, Detached::ToMake(_)) {
            return Ok(Self(Way::Fuse {
                made,
                pending: Some((connection, image, offset)),
                server: None,
            }));
        }
        let program = &config.fuse.server;
        let server = connection.serve(program, image.as_fd(), offset, access, Attached::No)?;
        Ok(Self(Way::Fuse {
            made,
            pending: None,
            server: Some(server),
        }))
    }

    /// The image's root, where it can be looked at before it is attached.
    #[must_use]
    pub fn root(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Way::Directory { seen, .. } => Some(seen.as_fd()),
            Way::Kernel {
                made: Detached::Made(root),
                ..
            }
            | Way::Fuse {
                made: Detached::Made(root),
                ..
            } => Some(root.as_fd()),
            Way::Kernel { .. } | Way::Fuse { .. } => None,
        }
    }

    /// The process id of the FUSE server, where there is one already.
    #[must_use]
    pub fn server(&self) -> Option<u32> {
        match &self.0 {
            Way::Fuse { server, .. } => *server,
            Way::Directory { .. } | Way::Kernel { .. } => None,
        }
    }

    fn directory(source: &Source) -> Result<Self, ApplyError> {
        let path = sys::mount::descriptor_path(source.fd.as_fd());
        let path = rustix::fs::readlink(path.as_str(), Vec::new())
            .map_err(|e| step("looking at the image's directory")(e.into()))?;
        Ok(Self(Way::Directory {
            path: OsString::from_vec(path.into_bytes()).into(),
            seen: copy(source)?,
            tree: None,
        }))
    }

    /// In the container's namespace, before anything is covered: takes a copy of
    /// a directory's mount tree. Nothing to do for files.
    ///
    /// # Errors
    /// [`ApplyError::Step`], also where the directory is another one by now.
    pub fn open_directory(&mut self, access: &FileAccess, calls: Calls) -> Result<(), ApplyError> {
        let Way::Directory { path, seen, tree } = &mut self.0 else {
            return Ok(());
        };
        let opened = access
            .with(|| binds::open_source(path))
            .and_then(|opened| opened)
            .map_err(step("opening the image's directory"))?;
        let id = |fd: &OwnedFd| {
            rustix::fs::fstat(fd)
                .map(|stat| (stat.st_dev, stat.st_ino))
                .map_err(|e| step("looking at the image's directory")(e.into()))
        };
        if id(&opened)? != id(seen)? {
            let replaced = step("the image's directory was replaced while it was opened");
            return Err(replaced(io::ErrorKind::NotFound.into()));
        }
        let bound = Detached::bind(opened, IMAGE, calls);
        *tree = Some(bound.map_err(step("binding the image's directory"))?);
        Ok(())
    }

    /// Mounts at the directory `place`, which `target` holds open.
    ///
    /// # Errors
    /// Any [`ApplyError`] of mounting.
    pub fn attach(
        self,
        target: &OwnedFd,
        place: &Path,
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
            Way::Fuse { made, pending, .. } => {
                made.attach(target.as_fd())?;
                match pending {
                    Some((connection, image, offset)) => connection
                        .serve(
                            &config.fuse.server,
                            image.as_fd(),
                            offset,
                            access,
                            Attached::At(place),
                        )
                        .map(drop),
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
