//! `[devices]`: what a container shows of the node's hardware.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[devices]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Devices {
    /// Whether the GPUs that a step was granted are shown to it.
    pub gpus: bool,
    /// Whether RDMA hardware is shown to all.
    pub rdma: Rdma,
    /// Where specs of the Container Device Interface lie, the last with the last word.
    pub cdi: Vec<PathBuf>,
    /// What becomes of a spec's hook that is not known, and would have to be run.
    pub cdi_hooks: Hooks,
    /// Whether the driver that the node has is shown with GPUs for which no spec stands.
    pub driver: Driver,
}

/// What becomes of hooks that would have to be run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hooks {
    /// The step fails.
    #[default]
    Refuse,
    /// They are left out.
    Ignore,
}

impl Default for Devices {
    fn default() -> Self {
        Self {
            gpus: true,
            rdma: Rdma::default(),
            cdi: cdi_specs::DIRECTORIES.map(PathBuf::from).into(),
            cdi_hooks: Hooks::default(),
            driver: Driver::default(),
        }
    }
}

/// Whether the node's driver is shown where no spec says what of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// What is found of it, and the image can load.
    #[default]
    Auto,
    /// Nothing of it.
    Never,
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
