//! What a step's container may change, where that is kept, and what becomes of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::failure::{Failure, step};
use super::named::{self, Named};
use super::node::{Built, Node};
use super::protocol::{self, Start};
use super::save::Target;
use super::view::in_task_view;
use crate::apply::identity::Inside;
use crate::apply::image::Owner;
use crate::apply::seen::Seen;
use crate::apply::writable::{Changes, Upper};
use crate::cgroup::Groups;
use crate::config::Place;
use crate::request::Unshare;
use crate::sys::{self, ipc, mount};
use crate::way::Ids;

impl Node<'_> {
    pub(super) fn name(&self) -> Option<&Named> {
        let held = self.held.as_ref().map(|held| &held.named);
        held.or(self.named.as_ref())
    }

    /// Whether the container has a layer of changes.
    fn is_changed(&self) -> bool {
        let is_written = self.request.options.writable == Some(true);
        is_written || self.name().is_some() || self.has_own_layer()
    }

    /// Whose the image's files are, where they may be written, or are root's inside, or
    /// all be read to be saved.
    pub(super) fn owner(&self) -> Option<Owner> {
        let who = &self.request.identity;
        let saved = self.request.options.save.is_some();
        let asked = self.is_changed() || self.inside.is_some() || saved;
        asked.then_some(Owner {
            uid: who.uid,
            gid: who.gid,
        })
    }

    /// Where there are other ids inside, the image's are those.
    pub(super) fn map(&self) -> Option<BorrowedFd<'_>> {
        let inside = self.inside?;
        (inside.ids == Ids::Root).then(|| inside.namespace.fd.as_fd())
    }

    /// The user namespace for one more builder.
    pub(super) fn inside(&self) -> Result<Option<Inside>, Failure> {
        let inside = self.inside.map(Inside::try_clone);
        inside.transpose().map_err(step("copying a descriptor"))
    }

    /// The container that runs already and is joined. It is as its first step made it.
    pub(super) fn joined(&self) -> Result<Option<OwnedFd>, Failure> {
        let Some((held, join)) = self
            .held
            .as_ref()
            .and_then(|held| Some((held, held.joined()?)))
        else {
            return Ok(None);
        };
        let options = &self.request.options;
        if options.unshare != Unshare::NONE || options.remap_root == Some(true) {
            return Err(Failure::Joined(held.named.key.name.clone()));
        }
        if !options.mounts.is_empty() {
            self.tell("--container-mounts is left out: the container runs already, and is joined");
        }
        join.map(Some).map_err(step("copying a descriptor"))
    }

    /// What takes the container's changes: `own` where the user has a directory for
    /// them.
    pub(super) fn upper(&self, own: Option<Seen>) -> Result<Option<Upper>, Failure> {
        let Some(owner) = self.owner().filter(|_| self.is_changed()) else {
            return Ok(None);
        };
        let writable = self.request.options.writable == Some(true) || own.is_some();
        let changes = match (own, &self.held) {
            (Some(seen), _) => Some(Changes::Own(seen)),
            (None, Some(held)) => held.changes()?,
            (None, None) => Some(self.unnamed(owner)),
        };
        let name = self.name().map(|named| named.key.to_string());
        Ok(changes.map(|changes| Upper {
            changes,
            owner,
            writable,
            name: name.unwrap_or_else(|| "oarlock".to_owned()),
        }))
    }

    /// Where a container without a name keeps its changes.
    fn unnamed(&self, owner: Owner) -> Changes {
        let memory = Changes::Memory(self.config.writable.size);
        if self.config.writable.place == Place::Tmpfs {
            return memory;
        }
        match named::on_disk(self.request, self.config, owner) {
            Ok(directory) => Changes::Directory(directory),
            Err(error) => {
                tracing::warn!(%error, "the container's changes are kept in memory, not on the disk");
                memory
            }
        }
    }

    /// The container is built, and is told to exist.
    pub(super) fn settle(&mut self, built: &Built) -> Result<(), Failure> {
        if let (Some(held), Some(opened)) = (&mut self.held, &built.opened) {
            held.settle(opened, built.container.files.as_ref(), built.lasting)?;
        }
        Ok(())
    }

    /// Where the container is to be saved: opened before any rank has begun, so that
    /// a wrong path costs nobody his work.
    pub(super) fn save_target(
        &self,
        namespace: &OwnedFd,
        start: &Start,
        task: &Groups,
    ) -> Result<Option<Target>, Failure> {
        let Some(path) = &self.request.options.save else {
            return Ok(None);
        };
        in_task_view(namespace, || {
            let user = self.user(Some(task));
            Ok(Target::open(path, start.cwd.as_ref(), self.request, user)?)
        })
        .map(Some)
    }

    /// The last rank has ended: saves the container, and says what came of it.
    pub(super) fn save(&self, target: &Target, built: &Built, task: &OwnedFd, groups: &Groups) {
        let text = match &built.container.files {
            None => {
                "--container-save needs Linux 5.12 or newer, and prepare.mount_calls = \"auto\""
                    .to_owned()
            }
            Some(files) => {
                // One that the node keeps is attached already.
                let copy = mount::clone_one(files.as_fd());
                let files = copy.as_ref().unwrap_or(files);
                match target.save(files, self.request, task, groups, self.socket.as_fd()) {
                    Ok(said) => said,
                    Err(error) => {
                        tracing::error!(JOB_STEP = %self.request.label, "{error}");
                        error.to_string()
                    }
                }
            }
        };
        // slurmstepd sees this process end: one that is left would keep the job's
        // control groups from being removed.
        let own = sys::process::pidfd_of(std::process::id());
        let fds: Vec<_> = own.iter().map(AsFd::as_fd).collect();
        let message = protocol::saved_message(text.as_ref());
        let _ = ipc::send(self.socket.as_fd(), &message, &fds);
    }
}
