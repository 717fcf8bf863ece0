//! `oarlock-prepare`: makes one container for all ranks of a step on a node.
//!
//! The plugin starts it in `init_post_opt`, by fork and exec, so that nothing of
//! it lives in slurmstepd. It opens and mounts the image, and builds the
//! container as the first rank sees the host, while slurmstepd goes on; when that
//! rank is about to start, every rank is answered with the namespace. Should the
//! rank then have another working directory or MPI server than expected, the
//! container is built once more.
//!
//! ```text
//! slurmstepd ── request (memfd) ──▶ prepare (root) ──fork──▶ profile reader (the user), where one is named
//!                                          ├──fork──▶ image half (the user): open, parse
//!      task_init_privileged ── namespace ──▶  │
//!      task_init ── cwd, paths ──▶            ├──fork──▶ builder (root): mounts, on descriptors
//!      every rank ◀── namespace, environment ─┘              └──fork──▶ survey (the user)
//! ```

#[cfg(feature = "construct")]
mod as_user;
#[cfg(feature = "construct")]
mod asked;
#[cfg(feature = "construct")]
pub mod builder;
#[cfg(feature = "construct")]
mod changes;
#[cfg(feature = "construct")]
pub mod checker;
#[cfg(feature = "construct")]
mod choose;
#[cfg(feature = "construct")]
pub mod debug;
#[cfg(feature = "construct")]
mod devices;
#[cfg(feature = "construct")]
pub(crate) mod explain;
#[cfg(feature = "construct")]
mod failure;
#[cfg(feature = "construct")]
mod groups;
#[cfg(feature = "construct")]
mod half;
#[cfg(feature = "construct")]
mod named;
#[cfg(feature = "construct")]
mod node;
#[cfg(feature = "construct")]
mod overlays;
#[cfg(feature = "construct")]
mod profile;
pub mod protocol;
#[cfg(feature = "construct")]
mod save;
#[cfg(feature = "construct")]
mod search;
#[cfg(feature = "construct")]
pub mod serve;
#[cfg(feature = "construct")]
mod staging;
#[cfg(feature = "construct")]
mod view;
