//! `[writable]`: where what a container writes goes, and how much of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Size;

/// `[writable]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Writable {
    /// Where the changes of a container without a name are kept while it lives.
    #[serde(rename = "where")]
    pub place: Place,
    /// How much they may be in memory: bytes with a unit, or a part of the node's
    /// memory. The job's own limit of memory counts beside it.
    pub size: Size,
    /// A directory of root's on a disk of the node, for containers with a name, and
    /// for all where `place` is the disk.
    pub path: PathBuf,
    /// Whether users may have containers with names, which last.
    pub named: bool,
    /// Whether a directory of the user's may take a container's changes.
    pub overlay: bool,
}

impl Default for Writable {
    fn default() -> Self {
        Self {
            place: Place::default(),
            size: Size::Percent(25),
            path: PathBuf::from("/var/lib/oarlock/containers"),
            named: true,
            overlay: true,
        }
    }
}

/// Where the changes of a container without a name are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In memory; gone with the step.
    #[default]
    Tmpfs,
    /// In `path`; removed at the job's end.
    Disk,
}
