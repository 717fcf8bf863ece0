//! Control groups, cgroups(7): where a task is, and groups of our own where Slurm has
//! none.
//!
//! Slurm's groups are never changed, and none is made below them: it looks only at the
//! groups that it knows, and a process in another would escape it. Where Slurm holds a
//! step to something, that stands. For what it does not, the step has a group in a tree
//! of our own, [`own::TREE`], and the kernel then sees to the allocation that Slurm has
//! only counted.

#[cfg(feature = "construct")]
pub mod cpus;
#[cfg(feature = "construct")]
pub mod devices;
#[cfg(feature = "construct")]
mod groups;
pub mod hierarchy;
#[cfg(feature = "construct")]
pub mod hold;
pub mod own;
#[cfg(feature = "construct")]
pub mod plan;
#[cfg(feature = "construct")]
pub mod present;
pub mod release;

#[cfg(feature = "construct")]
pub use groups::Groups;

/// Writes to a file that is there: none is made, wherever a path leads.
fn write_existing(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(text.as_bytes())
}
