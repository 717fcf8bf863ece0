//! NVIDIA's GPUs: what the driver says in /proc/driver/nvidia, and which devices of theirs are there.
//!
//! The order is that of the PCI bus, as `nvidia-smi` has it; a device's number is the driver's and need not be
//! the same. Where the driver says nothing (none is loaded), devices named /dev/nvidiaN are GPUs all the same,
//! in the order of their numbers.
//!
//! Left out: /dev/nvidia-nvswitch*, which the fabric manager of the node works with; the capabilities of MIG's
//! configuration and monitoring and of the fabric's management, which are for administrators; and
//! /dev/nvidia-caps-imex-channels, which are no node's but a job's: Slurm's switch/nvidia_imex gives each its own.

use std::path::{Path, PathBuf};

use super::{Gpu, Gpus, Vendor, bus_order, drm, position};
use crate::host::{Host, number};
use crate::problem::Problem;

pub mod capabilities;
pub mod driver;
mod files;
mod mig;
mod names;

const DEV: &str = "/dev";
const GPUS: &str = "/proc/driver/nvidia/gpus";
/// Devices that every GPU needs, where they are there.
const CONTROL: [&str; 4] = [
    "nvidiactl",
    "nvidia-uvm",
    "nvidia-uvm-tools",
    "nvidia-modeset",
];

/// Those without which CUDA does not begin. Outside a container it would have a setuid
/// program of the driver's make them.
const NEEDED: [&str; 2] = ["nvidiactl", "nvidia-uvm"];

/// The devices that all GPUs share, as far as they are there.
#[must_use]
pub fn control(host: &Host) -> Vec<PathBuf> {
    let all = CONTROL.iter().map(|name| Path::new(DEV).join(name));
    all.filter(|node| host.is_device(node)).collect()
}

fn node(minor: u32) -> PathBuf {
    PathBuf::from(format!("{DEV}/nvidia{minor}"))
}

pub(super) fn find(host: &Host, cards: &[drm::Device], found: &mut Gpus) {
    let shared = control(host);
    let mut minors: Vec<u32> = host.numbered(Path::new(DEV), "nvidia");
    minors.retain(|minor| host.is_device(&node(*minor)));

    let mut own = Vec::new();
    for told in told(host, &mut found.problems) {
        if told.excluded {
            minors.retain(|other| Some(*other) != told.minor);
            continue;
        }
        let card = cards
            .iter()
            .find(|card| card.bus.as_deref() == Some(&told.bus));
        let mut nodes = Vec::new();
        let mut mig = Vec::new();
        if let Some(minor) = told.minor {
            if minors.contains(&minor) {
                minors.retain(|other| *other != minor);
                nodes.push(node(minor));
            } else {
                found.problems.push(Problem::NoNode {
                    gpu: told.bus.clone(),
                    node: node(minor),
                    hint: "run nvidia-modprobe, or nvidia-persistenced at boot",
                });
            }
            mig = mig::instances(host, minor);
        }
        // Without its own device a GPU is not there, whatever draws on it.
        if !nodes.is_empty() {
            nodes.extend(card.iter().flat_map(|card| card.nodes.clone()));
        }
        own.push((nodes, told.uuid, Some(told.bus), told.model, mig));
    }
    let loaded = !own.is_empty();
    if loaded {
        let needed = NEEDED.iter().map(|name| Path::new(DEV).join(name));
        let missing: Vec<PathBuf> = needed.filter(|node| !shared.contains(node)).collect();
        if !missing.is_empty() {
            found.problems.push(Problem::NoControl(missing));
        }
    }
    for minor in minors {
        if loaded {
            let node = node(minor);
            found.problems.push(Problem::StaleNode { node });
        }
        let mig = mig::instances(host, minor);
        own.push((vec![node(minor)], None, None, None, mig));
    }
    for (index, (nodes, uuid, bus, model, mig)) in own.into_iter().enumerate() {
        found.all.push(Gpu {
            vendor: Vendor::Nvidia,
            index: position(index),
            nodes,
            uuid,
            bus,
            model,
            mig,
            shared: shared.clone(),
        });
    }
}

/// What the driver says of a GPU.
struct Told {
    bus: String,
    /// The driver was told to leave it alone; nvidia-smi does not count it.
    excluded: bool,
    minor: Option<u32>,
    uuid: Option<String>,
    model: Option<String>,
}

/// The driver's GPUs in the order of the bus.
fn told(host: &Host, problems: &mut Vec<Problem>) -> Vec<Told> {
    let mut names = host.list(Path::new(GPUS));
    names.sort_by_cached_key(|name| {
        let (numbers, name) = bus_order(name);
        (numbers, name.to_owned())
    });
    let mut all = Vec::new();
    for name in names {
        let file = PathBuf::from(format!("{GPUS}/{name}/information"));
        let Some(text) = host.text(&file) else {
            continue;
        };
        let bus = field(&text, "Bus Location")
            .unwrap_or(&name)
            .to_ascii_lowercase();
        let minor = field(&text, "Device Minor").and_then(number);
        if minor.is_none() {
            problems.push(Problem::NoMinor {
                bus: bus.clone(),
                file,
            });
        }
        // Before a GPU is used for the first time its name is question marks.
        let uuid = field(&text, "GPU UUID").filter(|uuid| !uuid.contains('?'));
        all.push(Told {
            bus,
            excluded: field(&text, "GPU Excluded") == Some("Yes"),
            minor,
            uuid: uuid.map(str::to_owned),
            model: field(&text, "Model").map(str::to_owned),
        });
    }
    all
}

/// `Key: value` on a line of its own, with white space as there is.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty() && !value.chars().any(char::is_control))
}
