//! `[devices]`: what a container shows of the node's hardware.

use serde::{Deserialize, Serialize};

/// `[devices]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Devices {
    /// Whether the GPUs that a step was granted are shown to it.
    pub gpus: bool,
    /// Whether RDMA hardware is shown to all.
    pub rdma: Rdma,
}

impl Default for Devices {
    fn default() -> Self {
        Self {
            gpus: true,
            rdma: Rdma::default(),
        }
    }
}

/// Whether RDMA hardware is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rdma {
    /// Where the node has it.
    #[default]
    Auto,
    /// To nobody.
    Never,
}
