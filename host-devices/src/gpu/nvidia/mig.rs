//! Parts of an NVIDIA GPU (MIG): GPU instances, and compute instances in them, each with a capability of its own
//! that a process must be able to open.
//!
//! Their names `MIG-…` are the management library's and stand in no file; Slurm names the devices.

use std::path::{Path, PathBuf};

use super::super::MigInstance;
use super::field;
use crate::host::{Host, number};

const CAPABILITIES: &str = "/proc/driver/nvidia/capabilities";
const NODES: &str = "/dev/nvidia-caps";

/// The parts of the GPU with this device, as far as their capabilities are there.
pub(super) fn instances(host: &Host, minor: u32) -> Vec<MigInstance> {
    let base = PathBuf::from(format!("{CAPABILITIES}/gpu{minor}/mig"));
    let mut all = Vec::new();
    for gpu_instance in host.numbered(&base, "gi") {
        let place = base.join(format!("gi{gpu_instance}"));
        let Some(gpu_node) = capability(host, &place) else {
            continue;
        };
        for compute_instance in host.numbered(&place, "ci") {
            let part = place.join(format!("ci{compute_instance}"));
            if let Some(compute_node) = capability(host, &part) {
                all.push(MigInstance {
                    gpu_instance,
                    compute_instance,
                    gpu_node: gpu_node.clone(),
                    compute_node,
                });
            }
        }
    }
    all
}

/// The device that the file `access` names, where it is there.
fn capability(host: &Host, place: &Path) -> Option<PathBuf> {
    let text = host.text(&place.join("access"))?;
    let minor = number(field(&text, "DeviceFileMinor")?)?;
    let node = PathBuf::from(format!("{NODES}/nvidia-cap{minor}"));
    host.is_device(&node).then_some(node)
}
