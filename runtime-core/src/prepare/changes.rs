//! What a step's container may change, where that is kept, and what becomes of it.

use std::os::fd::{AsFd, OwnedFd};

use super::named::{self, Named};
use super::node::{Built, Failure, Node, in_task_view};
use super::protocol::{self, Start};
use super::save::Target;
use crate::apply::FileAccess;
use crate::apply::image::Owner;
use crate::apply::writable::{Changes, Upper};
use crate::config::Place;
use crate::sys::cgroup::Groups;
use crate::sys::{self, ipc, mount};

impl Node<'_> {
    pub(super) fn name(&self) -> Option<&Named> {
        let held = self.held.as_ref().map(|held| &held.named);
        held.or(self.named.as_ref())
    }

    /// Whether the container has a layer of changes.
    fn is_changed(&self) -> bool {
        self.request.options.writable == Some(true) || self.name().is_some()
    }

    /// Whose the image's files are, where they may be written, or all be read to be
    /// saved.
    pub(super) fn owner(&self) -> Option<Owner> {
        let who = &self.request.identity;
        let asked = self.is_changed() || self.request.options.save.is_some();
        asked.then_some(Owner {
            uid: who.uid,
            gid: who.gid,
        })
    }

    /// What takes the container's changes.
    pub(super) fn upper(&self) -> Result<Option<Upper>, Failure> {
        let Some(owner) = self.owner().filter(|_| self.is_changed()) else {
            return Ok(None);
        };
        let changes = match &self.held {
            Some(held) => held.changes()?,
            None => Some(self.unnamed(owner)),
        };
        let name = self.name().map(|named| named.key.to_string());
        Ok(changes.map(|changes| Upper {
            changes,
            owner,
            writable: self.request.options.writable == Some(true),
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
    ) -> Result<Option<Target>, Failure> {
        let Some(path) = &self.request.options.save else {
            return Ok(None);
        };
        let access = FileAccess::As(self.request.identity.clone());
        in_task_view(namespace, || {
            Ok(Target::open(path, start.cwd.as_ref(), &access)?)
        })
        .map(Some)
    }

    /// The last rank has ended: saves the container, and says what came of it.
    pub(super) fn save(&self, target: &Target, built: &Built, groups: Option<&Groups>) {
        let text = match &built.container.files {
            None => {
                "--container-save needs Linux 5.12 or newer, and prepare.mount_calls = \"auto\""
                    .to_owned()
            }
            Some(files) => {
                // One that the node keeps is attached already.
                let copy = mount::clone_one(files.as_fd());
                let files = copy.as_ref().unwrap_or(files);
                let who = &self.request.identity;
                match target.save(files, who, groups, self.socket.as_fd()) {
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
