//! What a step's container may change, and where that is kept.

use super::named::{self, Named};
use super::node::{Built, Failure, Node};
use crate::apply::image::Owner;
use crate::apply::writable::{Changes, Upper};
use crate::config::Place;

impl Node<'_> {
    pub(super) fn name(&self) -> Option<&Named> {
        let held = self.held.as_ref().map(|held| &held.named);
        held.or(self.named.as_ref())
    }

    /// Whose the image's files are, where they may be written.
    pub(super) fn owner(&self) -> Option<Owner> {
        let who = &self.request.identity;
        let is_written = self.request.options.writable == Some(true) || self.name().is_some();
        is_written.then_some(Owner {
            uid: who.uid,
            gid: who.gid,
        })
    }

    /// What takes the container's changes.
    pub(super) fn upper(&self) -> Result<Option<Upper>, Failure> {
        let Some(owner) = self.owner() else {
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
}
