//! The device that stands for what a scheduler granted.
//!
//! A device node is what was granted; a name is only what somebody calls it, and
//! the numbers of Slurm, of the driver and of the spec need not be the same. So
//! nodes decide, and names where there are none to decide by.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::error::{one_line, shown};
use crate::name::{Kind, QualifiedName};
use crate::registry::{Registry, ResolveError};
use crate::units::{Member, NotWithin, Units};

/// One thing that was granted: a GPU, or a part of one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// The GPU's number.
    pub index: Option<u32>,
    /// The GPU's or the part's UUID, as the vendor writes it: `GPU-…`, `MIG-…`.
    pub uuid: Option<&'a str>,
    /// The part's number in its GPU: `0:1`; or its UUID. Where this is given, no
    /// whole GPU is taken for it by its name.
    pub mig: Option<&'a str>,
    /// Its nodes on the host, all of them, as the scheduler's configuration has them:
    /// `/dev/nvidia1`, `/dev/dri/renderD128`. For a part of a GPU also those of
    /// `/dev/nvidia-caps`. Nodes for control may be among them.
    pub nodes: &'a [PathBuf],
}

impl Wanted<'_> {
    /// The names that it may have, the surest first.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        if let Some(part) = self.mig {
            // nvidia-ctk's --device-name-strategy: `0:1`, `mig0:1` or the UUID.
            names.extend([part.to_owned(), format!("mig{part}")]);
        }
        names.extend(self.uuid.map(str::to_owned));
        if let (Some(index), None) = (self.index, self.mig) {
            names.extend([index.to_string(), format!("gpu{index}")]);
        }
        names
    }

    fn shown(&self) -> String {
        let nodes = self.nodes.iter().map(|node| shown(node));
        let index = self.index.map(|index| format!("number {index}"));
        let words = self.mig.into_iter().chain(self.uuid).map(str::to_owned);
        let words: Vec<String> = words.chain(index).chain(nodes).take(6).collect();
        one_line(&words.join(", "))
    }
}

/// Why no device stands for it. One line.
#[derive(Debug, thiserror::Error)]
pub enum ChooseError {
    /// No spec has such a device.
    #[error("no CDI device of kind {kind} stands for {wanted}{doubts}")]
    None {
        /// The kind.
        kind: Kind,
        /// What was granted.
        wanted: String,
        /// The files that cannot be used, with the first's error.
        doubts: String,
    },
    /// A device has the name, and other nodes: the spec is old, or counts otherwise.
    #[error("{within}; {wanted} was granted: write the spec anew")]
    Other {
        /// The device and its nodes.
        within: NotWithin,
        /// What was granted.
        wanted: String,
    },
}

/// Why a device that somebody asked for is not given. One line.
#[derive(Debug, thiserror::Error)]
pub enum WithinError {
    /// There is no such device, or two.
    #[error(transparent)]
    Unresolved(#[from] ResolveError),
    /// It is not within what was granted.
    #[error(transparent)]
    Outside(#[from] NotWithin),
}

impl Registry {
    /// The device of a kind that stands for what was granted: the one whose own nodes
    /// are just those that were granted, or their companions. Where several are that
    /// (`0`, `GPU-…`), the one with the name that is wanted, else the shortest name.
    /// Where none is, the one with the name, if it has no other nodes.
    ///
    /// # Errors
    /// Where none does.
    pub fn choose(&self, kind: &Kind, wanted: &Wanted<'_>) -> Result<&QualifiedName, ChooseError> {
        let units = Units::of(self, kind);
        let names = wanted.names();
        let nodes: BTreeSet<&Path> = wanted.nodes.iter().map(PathBuf::as_path).collect();
        // What a device's nodes can be compared with: others come with every device.
        let known: BTreeSet<&Path> = units
            .devices()
            .iter()
            .flat_map(|device| device.nodes.intersection(&nodes).copied())
            .collect();
        let is_it = |device: &&Member<'_>| {
            !known.is_empty()
                && known.is_subset(&device.nodes)
                && units.within(device, &known).is_ok()
        };
        let rank = |device: &&Member<'_>| {
            let name = device.name.device();
            let place = names.iter().position(|wanted| wanted == name);
            (
                place.unwrap_or(names.len()),
                name == "all",
                name.len(),
                name.to_owned(),
            )
        };
        if let Some(device) = units.devices().iter().filter(is_it).min_by_key(rank) {
            return Ok(device.name);
        }
        let by_name = |name: &String| units.devices().iter().find(|d| d.name.device() == name);
        let Some(device) = names.iter().find_map(by_name) else {
            return Err(ChooseError::None {
                kind: kind.clone(),
                wanted: wanted.shown(),
                doubts: self.doubts(),
            });
        };
        match units.within(device, &nodes) {
            Err(within) if !nodes.is_empty() && !within.nodes.is_empty() => {
                let wanted = wanted.shown();
                Err(ChooseError::Other { within, wanted })
            }
            _ => Ok(device.name),
        }
    }

    /// A device's own nodes on the host, sorted: without those of the whole spec, and
    /// without those that every device of its kind has beside others. What of /dev it
    /// mounts counts, too.
    ///
    /// # Errors
    /// Where there is no such device, or two.
    pub fn nodes_of(&self, name: &QualifiedName) -> Result<Vec<&Path>, ResolveError> {
        self.find(name)?;
        let units = Units::of(self, name.kind());
        let device = units.devices().iter().find(|device| device.name == name);
        Ok(device.map(|device| units.own(device)).unwrap_or_default())
    }

    /// Whether a device that somebody asked for lies within what was granted: all of
    /// its own nodes were, or are companions of one that was (`card0` of
    /// `renderD128`). So `all` does only where everything was granted. A device
    /// without a node of its own never does: nothing tells whose it is.
    ///
    /// `granted` has the nodes on the host that the scheduler granted, and none that
    /// everybody gets.
    ///
    /// # Errors
    /// Where it does not, and where there is no such device, or two.
    pub fn within(&self, name: &QualifiedName, granted: &[PathBuf]) -> Result<(), WithinError> {
        self.find(name)?;
        let units = Units::of(self, name.kind());
        let granted: BTreeSet<&Path> = granted.iter().map(PathBuf::as_path).collect();
        match units.devices().iter().find(|device| device.name == name) {
            Some(device) => Ok(units.within(device, &granted)?),
            None => Err(WithinError::Outside(NotWithin {
                device: name.clone(),
                nodes: Vec::new(),
            })),
        }
    }
}

#[cfg(test)]
mod tests;
