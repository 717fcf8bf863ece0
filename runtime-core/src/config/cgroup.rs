//! `[cgroup]`: what holds a step to its allocation where Slurm does not.

use serde::{Deserialize, Serialize};

/// `[cgroup]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cgroup {
    /// Whether control groups are made for what Slurm does not hold steps to.
    pub enforce: Enforce,
    /// Processes and threads that a step may have for each of its cores, 4096 at least;
    /// 0 for no bound.
    pub pids_per_core: u32,
}

/// Whether control groups are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforce {
    /// For each controller that the node has and Slurm has no group in.
    #[default]
    Auto,
    /// None are made.
    Never,
}

impl Default for Cgroup {
    fn default() -> Self {
        Self {
            enforce: Enforce::default(),
            pids_per_core: 1024,
        }
    }
}
