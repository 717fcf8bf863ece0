//! Intel's GPUs: graphics devices with Intel's PCI vendor. They share no device with each other.
//!
//! Their user-space drivers (Level Zero, OpenCL) are the image's own: the kernel's interface is stable, as with
//! AMD. Numbers are in the order of the PCI bus, which Level Zero follows with `ZE_ENABLE_PCI_ID_DEVICE_ORDER=1`;
//! without it, it puts the fastest first.

use super::{Gpu, Gpus, Vendor, drm, position};

/// The PCI vendor.
const VENDOR: u32 = 0x8086;

/// Level Zero's loader and driver and the OpenCL driver: names before `.so`, for a site that wants the node's.
pub const LIBRARIES: [&str; 6] = [
    "libigdgmm",
    "libigdrcl",
    "libze_intel_gpu",
    "libze_loader",
    "libze_tracing_layer",
    "libze_validation_layer",
];

pub(super) fn find(cards: &[drm::Device], found: &mut Gpus) {
    let own = cards
        .iter()
        // A device without a render node computes nothing.
        .filter(|card| card.vendor == Some(VENDOR) && card.render.is_some());
    for (index, card) in own.enumerate() {
        found.all.push(Gpu {
            vendor: Vendor::Intel,
            index: position(index),
            nodes: card.nodes.clone(),
            uuid: None,
            bus: card.bus.clone(),
            model: None,
            mig: Vec::new(),
            shared: Vec::new(),
        });
    }
}
