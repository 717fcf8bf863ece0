//! `--container-overlay`: what the user lays over the image.
//!
//! Opened with his rights, as the image is, and judged by the same rules; a file that
//! others than root may have written is served by FUSE. Nothing is written to it.

use std::os::fd::{AsFd, OwnedFd};

use super::failure::Failure;
use super::half::{self, Opened};
use super::node::Node;
use super::protocol::Start;
use super::view::in_task_view;
use crate::apply::FileAccess;
use crate::apply::image::ImageMount;
use crate::image::layout::Role;
use crate::image::policy;
use crate::image::source::{Layout, Source};
use crate::image::trust::{self, Method};
use crate::path::HostPath;
use crate::request::ImageName;
use crate::sys::cgroup::Groups;

impl Node<'_> {
    /// The overlays, the lowest first, as the task in `namespace` sees them.
    pub(super) fn overlays(
        &self,
        namespace: &OwnedFd,
        start: &Start,
        task: &Groups,
    ) -> Result<Vec<ImageMount>, Failure> {
        let overlays = &self.request.options.overlays;
        if overlays.is_empty() {
            return Ok(Vec::new());
        }
        if self.name().is_some() {
            return Err(Failure::OverlayNamed);
        }
        let within = |failure| Failure::Overlay(Box::new(failure));
        let mut list = Vec::new();
        for overlay in overlays {
            let source = in_task_view(namespace, || {
                self.open_overlay(&overlay.path, start.cwd.as_ref(), task)
            })
            .map_err(within)?;
            if overlay.writable && source.layout == Layout::Directory {
                return Err(Failure::OverlayWritten(overlay.path.clone()));
            }
            list.push(self.mount_overlay(&overlay.path, &source).map_err(within)?);
        }
        Ok(list)
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
        let name = ImageName::parse(path.as_path().as_os_str())?;
        let images = &self.config.images;
        let refused = |error| Failure::Choice {
            image: name.clone(),
            error,
        };
        let about =
            rustix::fs::fstat(&source.fd).map_err(|e| refused(std::io::Error::from(e).into()))?;
        policy::allows_file(images, &source.path, about.st_uid, &policy::uid_of)
            .map_err(|denial| refused(denial.into()))?;
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
}
