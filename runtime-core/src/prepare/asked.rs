//! From the options as they were typed to the options in force: the profile below
//! them, and the site's own names of images.
//!
//! What was typed is in the request; the profile is read by the user's own process
//! ([`super::profile`]); the site's names are in the site's file.

use std::borrow::Cow;
use std::os::fd::{AsFd, OwnedFd};

use super::as_user::AsUser;
use super::failure::Failure;
use super::named::Named;
use super::node::Node;
use super::profile;
use super::view::{in_task_view, is_own_namespace};
use crate::apply::filesystem::Calls;
use crate::apply::identity::Inside;
use crate::cgroup::Groups;
use crate::config::SiteConfig;
use crate::path::HostPath;
use crate::request::{ImageName, Request};

/// What was asked for, and what rules here.
pub(super) struct Asked<'a> {
    pub(super) socket: &'a OwnedFd,
    pub(super) request: &'a Request,
    pub(super) config: &'a SiteConfig,
    /// The image of the container that is named, where it exists.
    pub(super) recorded: Option<ImageName>,
    /// Who the ranks are inside, where they are not who they are outside.
    pub(super) inside: Option<Inside>,
}

impl<'a> Asked<'a> {
    /// The work on a request, which is this one or what came of it.
    pub(super) fn node<'b>(
        &'b self,
        request: &'b Request,
        calls: Calls,
        named: Option<Named>,
    ) -> Node<'b> {
        Node {
            socket: self.socket,
            request,
            config: self.config,
            calls,
            named,
            held: None,
            inside: self.inside.as_ref(),
        }
    }

    /// Before there is a task: `None` where its view of the files is needed. What
    /// goes wrong is not told yet.
    pub(super) fn early(&self) -> Option<Cow<'a, Request>> {
        self.resolve(None, None).ok()
    }

    /// As the task in `namespace` sees the files; what was found early counts where
    /// it sees the same.
    pub(super) fn for_task(
        &self,
        early: Option<Cow<'a, Request>>,
        namespace: &OwnedFd,
        cwd: Option<&HostPath>,
        task: &Groups,
    ) -> Result<Cow<'a, Request>, Failure> {
        match early {
            Some(found) if found.options.profile.is_none() || is_own_namespace(namespace)? => {
                Ok(found)
            }
            _ => in_task_view(namespace, || self.resolve(cwd, Some(task))),
        }
    }

    fn resolve(
        &self,
        cwd: Option<&HostPath>,
        task: Option<&Groups>,
    ) -> Result<Cow<'a, Request>, Failure> {
        let mut request = Cow::Borrowed(self.request);
        if let Some(name) = &self.request.options.profile {
            let user = AsUser {
                who: &self.request.identity,
                task,
                asker: self.socket.as_fd(),
                seconds: self.config.prepare.timeout,
            };
            let found = profile::read(name, self.request, self.config, cwd, user)?;
            request.to_mut().options = found.below(&self.request.options);
            if request.options.image.is_none() && request.options.name.is_none() {
                return Err(Failure::NoImage(name.clone()));
            }
        }
        if self.request.execute_entrypoint && request.options.entrypoint.is_none() {
            request.to_mut().options.entrypoint = Some(true);
        }
        let image = self.recorded.clone();
        let image = image.or_else(|| self.config.images.alias(request.image()));
        if let Some(image) = image {
            request.to_mut().options.image = Some(image);
        }
        Ok(request)
    }
}
