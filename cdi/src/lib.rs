//! Specs of the CNCF Container Device Interface (CDI), as a container runtime
//! reads them: which devices there are on this node, and what a container needs
//! for each.
//!
//! [`Registry::load`] reads `*.json`, `*.yaml` and `*.yml` in [`DIRECTORIES`];
//! where two directories have the same device, the later one wins, and where two
//! files of one directory have it, nobody knows which is meant and it cannot be
//! used. [`Registry::resolve`] merges what the files say of some devices into one
//! [`Edits`]. [`Registry::choose`] finds the device that stands for what a
//! scheduler granted, and [`Registry::within`] says whether a device that
//! somebody asked for lies within that. [`hooks`] tells hooks that only make links
//! or run ldconfig, which the caller can do itself, from those that would have to
//! be run.
//!
//! What is accepted is what the reference library accepts (version 1.1.0 of the
//! specification; specs from 0.3.0 on): unknown fields are errors, and so is a
//! field that is newer than the version that the file declares. This crate is
//! stricter where a file would otherwise do something else than it seems to:
//!
//! - Paths are absolute, without `..` and control characters.
//! - Field names are told apart by case, which Go does not do.
//! - YAML has one document and no aliases.
//! - Annotations are checked as the specification has it, and then dropped.
//! - Only files that root owns and that nobody else can write count, and only in
//!   such directories; a link is followed where it is root's and what it leads to
//!   is so, too. See [`Trust`].
//!
//! One wrong file takes none of the others with it. Its error is kept, for those
//! who ask for a device that might be in it and for a report of the node's health.
//!
//! Never writes, never runs what a spec names, never looks at a device node, and
//! never follows a link of a user's. All bounds are in [`limits`]; everything
//! takes linear time but for a logarithm, and the order of all results is that of
//! directories, names and the files' own lists.
#![forbid(unsafe_code)]

mod check;
mod choose;
mod edits;
mod error;
pub mod hooks;
mod host;
pub mod limits;
mod merge;
mod name;
mod path;
mod raw;
mod registry;
mod spec;
mod units;
mod version;
mod yaml;

#[cfg(test)]
mod testing;

pub use choose::{ChooseError, Wanted, WithinError};
pub use edits::{
    Access, DeviceNode, Edits, Hook, IntelRdt, Mount, NetDevice, NodeKind, Stage, Variable,
};
pub use error::{FileError, Problem};
pub use host::Trust;
pub use name::{Kind, NameError, QualifiedName};
pub use registry::{Found, Registry, ResolveError};
pub use spec::{Device, Format, Spec};
pub use units::NotWithin;
pub use version::Version;

/// Where specs are, from the least to the most important: the site's own, and
/// those that services write at boot. The reference library's defaults.
pub const DIRECTORIES: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
