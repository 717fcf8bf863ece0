//! The node's GPUs: their devices, their names, and which device of a grant brings which others along.
//!
//! A grant names devices, as gres.conf's `File=` does. What a GPU has besides is found here: the card of a render
//! node, the devices that all GPUs of a vendor share, the capabilities of MIG instances. Grants nothing itself.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{Host, Problem};

pub mod amd;
mod drm;
pub mod intel;
pub mod nvidia;

/// Who made a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Vendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
    /// Intel.
    Intel,
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nvidia => "NVIDIA",
            Self::Amd => "AMD",
            Self::Intel => "Intel",
        })
    }
}

/// A part of an NVIDIA GPU that programs see as a GPU: a compute instance of a GPU instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigInstance {
    /// The GPU instance's number.
    pub gpu_instance: u32,
    /// The compute instance's number in it.
    pub compute_instance: u32,
    /// The capability of the GPU instance, in /dev/nvidia-caps.
    pub gpu_node: PathBuf,
    /// The capability of the compute instance.
    pub compute_node: PathBuf,
}

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Who made it.
    pub vendor: Vendor,
    /// Its number in the vendor's own order, from 0: what `nvidia-smi` and `ROCR_VISIBLE_DEVICES` count by.
    pub index: u32,
    /// Its own devices, the one that Slurm names first: /dev/nvidiaN, or for others the render node; then card
    /// and render node. Empty where the driver has the GPU and /dev has nothing.
    pub nodes: Vec<PathBuf>,
    /// The vendor's name for just this GPU, such as `GPU-…`, where the driver tells it.
    pub uuid: Option<String>,
    /// Where it is on the PCI bus: `0000:17:00.0`.
    pub bus: Option<String>,
    /// What it is called in shops.
    pub model: Option<String>,
    /// Its parts, where it is divided.
    pub mig: Vec<MigInstance>,
    /// Devices that it shares with the vendor's other GPUs, and needs.
    pub shared: Vec<PathBuf>,
}

/// What a device of a grant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named<'a> {
    /// One of a GPU's own devices.
    Gpu(&'a Gpu),
    /// A capability of a part of a GPU: the first such part.
    Mig(&'a Gpu, &'a MigInstance),
    /// No GPU's that is known: a device of a vendor's that is not known here, or none that is there.
    Unknown,
}

/// All GPUs of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gpus {
    /// By vendor, and in the vendor's order.
    pub all: Vec<Gpu>,
    /// What is wrong with them.
    pub problems: Vec<Problem>,
}

impl Gpus {
    /// Finds them.
    #[must_use]
    pub fn find(host: &Host) -> Self {
        let cards = drm::devices(host);
        let mut found = Self::default();
        nvidia::find(host, &cards, &mut found);
        amd::find(host, &cards, &mut found);
        intel::find(&cards, &mut found);
        found
    }

    /// Those of one vendor, in its order.
    pub fn of(&self, vendor: Vendor) -> impl Iterator<Item = &Gpu> {
        self.all.iter().filter(move |gpu| gpu.vendor == vendor)
    }

    /// What a device is, by its path.
    #[must_use]
    pub fn named(&self, node: &Path) -> Named<'_> {
        for gpu in &self.all {
            if gpu.nodes.iter().any(|own| own == node) {
                return Named::Gpu(gpu);
            }
            let part = |mig: &&MigInstance| mig.gpu_node == node || mig.compute_node == node;
            if let Some(mig) = gpu.mig.iter().find(part) {
                return Named::Mig(gpu, mig);
            }
        }
        Named::Unknown
    }

    /// All devices that a grant of these brings: what is granted, what comes along of the same GPUs, and what
    /// their GPUs share, in that order and each once.
    ///
    /// Of a GPU that is granted as a whole, all its devices and parts. Of one of which parts are granted, its main
    /// device and just these parts: a compute instance with its GPU instance, or a GPU instance with all in it.
    /// What is unknown comes alone.
    #[must_use]
    pub fn nodes_for(&self, granted: &[PathBuf]) -> Vec<PathBuf> {
        let given: BTreeSet<&Path> = granted.iter().map(PathBuf::as_path).collect();
        let mut own: Vec<&Path> = Vec::new();
        let mut shared: Vec<&Path> = Vec::new();
        for node in granted {
            let gpu = match self.named(node) {
                Named::Gpu(gpu) | Named::Mig(gpu, _) => gpu,
                Named::Unknown => {
                    own.push(node);
                    continue;
                }
            };
            shared.extend(gpu.shared.iter().map(PathBuf::as_path));
            let parts = granted_parts(gpu, &given);
            let whole = parts.is_empty();
            let nodes = if whole { gpu.nodes.len() } else { 1 };
            own.extend(gpu.nodes.iter().take(nodes).map(PathBuf::as_path));
            for part in gpu.mig.iter().filter(|part| whole || parts.contains(part)) {
                own.extend([part.gpu_node.as_path(), &part.compute_node]);
            }
        }
        let mut seen = BTreeSet::new();
        own.extend(shared);
        own.retain(|node| seen.insert(*node));
        own.into_iter().map(Path::to_owned).collect()
    }
}

/// The parts of a GPU that are granted by themselves.
fn granted_parts<'a>(gpu: &'a Gpu, given: &BTreeSet<&Path>) -> Vec<&'a MigInstance> {
    let computes = |part: &MigInstance| given.contains(part.compute_node.as_path());
    // A GPU instance is named beside its compute instance, and stands for all only where it is alone.
    let divided: BTreeSet<u32> = gpu
        .mig
        .iter()
        .filter(|part| computes(part))
        .map(|part| part.gpu_instance)
        .collect();
    let stands = |part: &MigInstance| {
        given.contains(part.gpu_node.as_path()) && !divided.contains(&part.gpu_instance)
    };
    gpu.mig
        .iter()
        .filter(|part| computes(part) || stands(part))
        .collect()
}

/// The order of places on the PCI bus: domain, bus, device, function, which are hexadecimal.
fn bus_order(bus: &str) -> (Vec<u64>, &str) {
    let parts = bus.split([':', '.']);
    let numbers = parts.map(|part| u64::from_str_radix(part, 16).unwrap_or(u64::MAX));
    (numbers.collect(), bus)
}

/// A position in a list as a GPU's number.
fn position(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
