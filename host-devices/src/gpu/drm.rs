//! Graphics devices as the kernel lists them in /sys/class/drm: who made them, and which nodes are one device's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Host;
use crate::host::number;

const CLASS: &str = "/sys/class/drm";
const NODES: &str = "/dev/dri";

/// One device and its nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Device {
    /// The PCI vendor, such as 0x1002; none for a part of a device.
    pub(super) vendor: Option<u32>,
    /// Where it is on the PCI bus; none for a part of a device.
    pub(super) bus: Option<String>,
    /// The number of its render node, as in renderD128.
    pub(super) render: Option<u32>,
    /// Its nodes that are there: the render node first.
    pub(super) nodes: Vec<PathBuf>,
}

/// All devices, in the order of their places on the bus; those without one last, by their render nodes.
pub(super) fn devices(host: &Host) -> Vec<Device> {
    let class = Path::new(CLASS);
    // Card and render node both have a link to the device that they are of.
    let mut found: BTreeMap<(u64, u64), Device> = BTreeMap::new();
    // Sorted backwards, so that renderD128 is before card0.
    for name in host.list(class).iter().rev() {
        let render = name.strip_prefix("renderD").and_then(number);
        let card = name.strip_prefix("card").and_then(number);
        if render.or(card).is_none() {
            continue; // An output: card0-HDMI-A-1.
        }
        let place = class.join(name).join("device");
        let Some(identity) = host.identity(&place) else {
            continue;
        };
        let device = found.entry(identity).or_insert_with(|| Device {
            vendor: host
                .word(&place.join("vendor"))
                .and_then(|word| hexadecimal(&word)),
            bus: bus(host, &place),
            ..Device::default()
        });
        device.render = device.render.or(render);
        let node = Path::new(NODES).join(name);
        if host.is_device(&node) {
            device.nodes.push(node);
        }
    }
    let mut all: Vec<Device> = found.into_values().collect();
    all.sort_by_cached_key(|device| {
        let bus = device.bus.clone();
        let order = bus.map(|bus| super::bus_order(&bus).0);
        (order.is_none(), order, device.render, device.nodes.clone())
    });
    all
}

fn bus(host: &Host, device: &Path) -> Option<String> {
    let event = host.text(&device.join("uevent"))?;
    event
        .lines()
        .find_map(|line| line.strip_prefix("PCI_SLOT_NAME="))
        .filter(|bus| !bus.is_empty() && bus.bytes().all(|byte| byte.is_ascii_graphic()))
        .map(str::to_ascii_lowercase)
}

fn hexadecimal(word: &str) -> Option<u32> {
    u32::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}
