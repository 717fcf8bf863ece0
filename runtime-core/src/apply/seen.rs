//! A directory of the host's that was opened for the user, and is found again where
//! the container is built: another mount namespace has mounts of its own.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use super::filesystem::{Calls, Detached};
use super::{ApplyError, FileAccess, binds, step};
use crate::image::source::Source;
use crate::sys::mount::Attributes;

/// The directory, by its path and as it was opened.
#[derive(Debug)]
pub struct Seen {
    path: PathBuf,
    seen: OwnedFd,
    tree: Option<Detached>,
}

impl Seen {
    /// Remembers what was opened.
    ///
    /// # Errors
    /// [`ApplyError::Step`].
    pub fn new(source: &Source) -> Result<Self, ApplyError> {
        let seen = source.fd.try_clone();
        Ok(Self {
            path: source.path.clone(),
            seen: seen.map_err(step("copying a descriptor"))?,
            tree: None,
        })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.seen.as_fd()
    }

    /// In the container's namespace, before anything is covered: takes a copy of the
    /// directory's mount tree.
    ///
    /// # Errors
    /// [`ApplyError::Step`], also where the directory is another one by now.
    pub(super) fn open(
        &mut self,
        access: &FileAccess,
        attributes: Attributes,
        calls: Calls,
    ) -> Result<(), ApplyError> {
        let opened = access
            .with(|| binds::open_source(&self.path))
            .and_then(|opened| opened)
            .map_err(step("opening the image's directory"))?;
        let id = |fd: &OwnedFd| {
            rustix::fs::fstat(fd)
                .map(|stat| (stat.st_dev, stat.st_ino))
                .map_err(|e| step("looking at the image's directory")(e.into()))
        };
        if id(&opened)? != id(&self.seen)? {
            let replaced = step("the image's directory was replaced while it was opened");
            return Err(replaced(io::ErrorKind::NotFound.into()));
        }
        let bound = Detached::bind(opened, attributes, calls);
        self.tree = Some(bound.map_err(step("binding the image's directory"))?);
        Ok(())
    }

    /// Attaches what [`Self::open`] has opened.
    ///
    /// # Errors
    /// [`ApplyError::Mount`], and [`ApplyError::Step`] where nothing was opened.
    pub(super) fn attach(&self, target: BorrowedFd<'_>) -> Result<(), ApplyError> {
        let missing = step("binding the image's directory");
        let tree = self.tree.as_ref();
        tree.ok_or_else(|| missing(io::ErrorKind::InvalidInput.into()))?
            .attach(target)
    }
}
