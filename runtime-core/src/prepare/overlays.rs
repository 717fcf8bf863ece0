//! `--container-overlay`: what the user lays over the image.
//!
//! Opened with his rights, as the image is, and judged by the same rules; a file that
//! others than root may have written is served by FUSE. Nothing is written to any of
//! them but to a directory that is to take the container's changes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::as_user::{Findings, Unanswered};
use super::failure::{Failure, step};
use super::half::{self, Opened};
use super::node::Node;
use super::protocol::Start;
use super::view::in_task_view;
use crate::apply::FileAccess;
use crate::apply::image::ImageMount;
use crate::apply::seen::Seen;
use crate::apply::writable::{UPPER, WORK};
use crate::cgroup::Groups;
use crate::image::layout::Role;
use crate::image::policy;
use crate::image::source::{Layout, Source};
use crate::image::trust::{self, Method};
use crate::path::HostPath;
use crate::request::ImageName;

/// What is laid over an image.
#[derive(Debug, Default)]
pub(super) struct Overlays {
    /// For reading, the lowest first.
    pub(super) layers: Vec<ImageMount>,
    /// What takes the changes.
    pub(super) own: Option<Seen>,
}

impl Node<'_> {
    /// Whether a directory of the user's takes the container's changes.
    pub(super) fn has_own_layer(&self) -> bool {
        let mut overlays = self.request.options.overlays.iter();
        overlays.any(|overlay| overlay.writable == Some(true))
    }

    /// The overlays as the task in `namespace` sees them.
    pub(super) fn overlays(
        &self,
        namespace: &OwnedFd,
        start: &Start,
        task: &Groups,
    ) -> Result<Overlays, Failure> {
        let Some((last, others)) = self.request.options.overlays.split_last() else {
            return Ok(Overlays::default());
        };
        if self.name().is_some() {
            return Err(Failure::OverlayNamed);
        }
        if let Some(below) = others.iter().find(|o| o.writable == Some(true)) {
            return Err(Failure::OverlayBelow(below.path.clone()));
        }
        let within = |failure| Failure::Overlay(Box::new(failure));
        let mut all = Overlays::default();
        for overlay in others.iter().chain([last]) {
            let (path, cwd) = (&overlay.path, start.cwd.as_ref());
            if overlay.writable == Some(true) {
                if !self.config.writable.overlay {
                    return Err(Failure::OverlayNotAllowed(path.clone()));
                }
                if self.request.options.writable == Some(false) {
                    return Err(Failure::OverlayReadOnly(path.clone()));
                }
                all.own = Some(in_task_view(namespace, || self.open_own(path, task))?);
                continue;
            }
            let source = in_task_view(namespace, || self.open_overlay(path, cwd, task));
            let source = source.map_err(within)?;
            if overlay.writable.is_none() && source.layout == Layout::Directory {
                return Err(Failure::OverlayUnsaid(path.clone()));
            }
            all.layers
                .push(self.mount_overlay(path, &source).map_err(within)?);
        }
        Ok(all)
    }

    /// The user's directory for changes, with what belongs into it, as Apptainer
    /// lays it out.
    fn open_own(&self, path: &HostPath, task: &Groups) -> Result<Seen, Failure> {
        let unusable = |why| Failure::OverlayUnusable {
            path: path.clone(),
            why,
        };
        let subject = path.to_string();
        let found = self
            .user(Some(task))
            .ask(&subject, || make_own(path))
            .map_err(unusable)?;
        let directory = found.fds.into_iter().next();
        let directory = directory.ok_or_else(|| unusable(Unanswered::Died(subject)))?;
        let source = Source::new(directory, Layout::Directory)
            .map_err(step("looking at the overlay's directory"))?;
        self.allow_overlay(path, &source)?;
        Seen::new(&source).map_err(|error| self.failed(error))
    }

    fn open_overlay(
        &self,
        path: &HostPath,
        cwd: Option<&HostPath>,
        task: &Groups,
    ) -> Result<Source, Failure> {
        let name = ImageName::parse(path.as_path().as_os_str())?;
        let Opened { source, .. } = half::open(&name, Role::Overlay, cwd, self.user(Some(task)))?;
        Ok(source)
    }

    fn mount_overlay(&self, path: &HostPath, source: &Source) -> Result<ImageMount, Failure> {
        let name = self.allow_overlay(path, source)?;
        let images = &self.config.images;
        let method = match &source.layout {
            Layout::File(layout) => {
                let trusted = trust::doubt(source.fd.as_fd()).is_none();
                trust::method(images, layout, trusted)
            }
            Layout::Directory => Method::Fuse,
        };
        let access = FileAccess::As(self.request.identity.clone());
        ImageMount::new(
            source,
            method,
            self.owner(),
            self.map(),
            self.config,
            &access,
            self.calls,
        )
        .map_err(|error| Failure::Image { image: name, error })
    }

    /// The site's rules for images hold for what is laid over them, too.
    fn allow_overlay(&self, path: &HostPath, source: &Source) -> Result<ImageName, Failure> {
        let name = ImageName::parse(path.as_path().as_os_str())?;
        let refused = |error| Failure::Choice {
            image: name.clone(),
            error,
        };
        let about =
            rustix::fs::fstat(&source.fd).map_err(|e| refused(io::Error::from(e).into()))?;
        let images = &self.config.images;
        policy::allows_file(images, &source.path, about.st_uid, &policy::uid_of)
            .map_err(|denial| refused(denial.into()))?;
        Ok(name)
    }
}

/// In the child, as the user.
fn make_own(path: &HostPath) -> io::Result<Findings> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let links = ResolveFlags::NO_MAGICLINKS;
    let here = rustix::fs::CWD;
    let directory = rustix::fs::openat2(here, path.as_path(), flags, Mode::empty(), links)?;
    for (name, mode) in [(UPPER, 0o755), (WORK, 0o700)] {
        match rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Findings {
        bytes: Vec::new(),
        fds: vec![directory],
    })
}
