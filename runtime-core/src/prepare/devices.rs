//! The devices that a step's container shows: what Slurm granted it, and what the site
//! shows to all.

use std::path::{Path, PathBuf};

use host_devices::gpu::Gpus;
use host_devices::rdma::Rdma;

use super::node::Node;
use crate::allocation::Allocation;
use crate::config;
use crate::host::Host;
use crate::visible::Shown;

/// The devices of a step on this node.
#[derive(Debug, Default)]
pub(super) struct Devices {
    /// Their places in the host's /dev, which are those in the container's.
    pub(super) nodes: Vec<PathBuf>,
    /// What variables tell of them.
    pub(super) shown: Shown,
    /// What Slurm granted.
    pub(super) allocation: Allocation,
}

impl Node<'_> {
    /// Finds them. What is wrong with the site's files costs the devices that they
    /// name, and not the step.
    pub(super) fn devices(&self) -> Devices {
        let allocation = Allocation::of(self.request, &Host::this());
        for problem in &allocation.problems {
            tracing::warn!(JOB_STEP = %self.request.label, "{problem}");
        }
        let mut devices = Devices::default();
        let host = match host_devices::Host::at(Path::new("/")) {
            Ok(host) => host,
            Err(error) => {
                tracing::warn!(%error, "no devices are looked for");
                return Devices {
                    allocation,
                    ..devices
                };
            }
        };
        if let Some(gpus) = allocation
            .gpus
            .as_ref()
            .filter(|_| self.config.devices.gpus)
        {
            let found = Gpus::find(&host);
            let files = gpus.value.files(&found);
            devices.nodes.extend(found.nodes_for(&files));
            devices.shown.numbers = gpus.value.numbers();
        }
        if self.config.devices.rdma == config::Rdma::Auto {
            let rdma = Rdma::find(&host);
            devices
                .nodes
                .extend(rdma.nodes.into_iter().map(|node| node.path));
        }
        devices.allocation = allocation;
        devices
    }
}
