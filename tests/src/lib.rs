//! What the cluster tests stand on: commands in the machines of the cluster, the
//! images that they use, and the look at what a test leaves behind.
//!
//! Nothing here knows what Oarlock should do; that is said by the tests alone.
//! Failures are panics: this crate is linked into a test program only.

pub mod agent;
pub mod case;
pub mod cluster;
pub mod hostile;
pub mod images;
pub mod leftovers;
pub mod output;

pub use case::{Case, skip};
pub use cluster::{Cluster, Restore};
pub use output::Output;
