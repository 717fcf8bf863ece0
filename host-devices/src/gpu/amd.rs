//! AMD's GPUs: what the kernel's compute driver (KFD) counts, and graphics devices with AMD's PCI vendor.
//!
//! The order is that of KFD's nodes, as ROCR and with it `ROCR_VISIBLE_DEVICES` have it. A GPU that is divided
//! (MI300 in CPX mode) is several nodes there with a render node each, and several GPUs here.
//!
//! No library is bound by default: the kernel's interface for user-space drivers is stable, so an image brings
//! a ROCm of its own that fits its programs, and one of the node's in its place often does not. [`LIBRARIES`] is
//! what Apptainer's `--rocm` binds, as far as ROCm still has it, and what came since: for a site that wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Gpu, Gpus, Vendor, drm, position};
use crate::host::Host;
use crate::problem::Problem;

/// The PCI vendor.
const VENDOR: u32 = 0x1002;
const TOPOLOGY: &str = "/sys/class/kfd/kfd/topology/nodes";
/// Bytes of a node's properties; there are about 30 lines.
const PROPERTIES: u64 = 64 << 10;
/// The compute driver's one device.
const KFD: &str = "/dev/kfd";

/// Libraries of ROCm that a site may have bound: names before `.so`.
pub const LIBRARIES: [&str; 24] = [
    "libMIOpen",
    "libOpenCL",
    "libamd_comgr",
    "libamdhip64",
    "libamdocl64",
    "libcltrace",
    "libdrm",
    "libdrm_amdgpu",
    "libelf",
    "libhipblas",
    "libhiprand",
    "libhiprtc",
    "libhsa-runtime64",
    "libhsakmt",
    "libnuma",
    "libpci",
    "librccl",
    "librocblas",
    "librocfft",
    "librocm_smi64",
    "librocprofiler-register",
    "librocr_debug_agent64",
    "librocrand",
    "librocsolver",
];
/// Programs of ROCm that go with them.
pub const PROGRAMS: [&str; 2] = ["rocm-smi", "rocminfo"];

pub(super) fn find(host: &Host, cards: &[drm::Device], found: &mut Gpus) {
    let kfd = Path::new(KFD);
    let shared: Vec<PathBuf> = Vec::from_iter(host.is_device(kfd).then(|| kfd.to_owned()));
    let gpu = |card: Option<&drm::Device>, uuid, bus: Option<String>| Gpu {
        vendor: Vendor::Amd,
        index: 0,
        nodes: card.map(|card| card.nodes.clone()).unwrap_or_default(),
        uuid,
        bus: card.and_then(|card| card.bus.clone()).or(bus),
        model: None,
        mig: Vec::new(),
        shared: shared.clone(),
    };
    // A GPU of which nothing is told keeps its place, so that the others keep their numbers.
    let mut own: Vec<Option<Gpu>> = Vec::new();
    let mut counted = BTreeSet::new();
    for number in host.numbered(Path::new(TOPOLOGY), "") {
        let node = match Node::read(host, number) {
            Told::Gpu(node) => node,
            Told::Denied => {
                own.push(None);
                continue;
            }
            Told::Nothing => continue,
        };
        counted.insert(node.render);
        let card = cards.iter().find(|card| card.render == Some(node.render));
        let new = gpu(card, node.uuid(), node.bus());
        if new.nodes.is_empty() {
            found.problems.push(Problem::NoNode {
                gpu: new.bus.clone().unwrap_or_else(|| number.to_string()),
                node: format!("/dev/dri/renderD{}", node.render).into(),
                hint: "load the module amdgpu again, and look at udev's rules",
            });
        }
        own.push(Some(new));
    }
    // The cards of what is denied, in the same order; then those that draw and do not compute, or all where the
    // compute driver is not loaded.
    let mut others = cards
        .iter()
        .filter(|card| card.vendor == Some(VENDOR))
        .filter(|card| card.render.is_some_and(|render| !counted.contains(&render)))
        .map(|card| gpu(Some(card), None, None));
    for place in own.iter_mut().filter(|place| place.is_none()) {
        *place = others.next();
    }
    own.extend(others.map(Some));
    for (index, gpu) in own.into_iter().enumerate() {
        let index = position(index);
        found.all.extend(gpu.map(|gpu| Gpu { index, ..gpu }));
    }
}

/// What KFD tells of one of its nodes.
enum Told {
    Gpu(Node),
    /// A GPU that this process's device control group denies: its files cannot be read.
    Denied,
    /// A processor.
    Nothing,
}

/// A GPU among KFD's nodes.
struct Node {
    render: u32,
    unique: u64,
    domain: u64,
    location: u64,
}

impl Node {
    fn read(host: &Host, number: u32) -> Told {
        let path = format!("{TOPOLOGY}/{number}/properties");
        let text = match host.read(Path::new(&path), PROPERTIES) {
            Ok(Some(bytes)) => String::from_utf8(bytes).unwrap_or_default(),
            Ok(None) => return Told::Nothing,
            Err(_) => return Told::Denied,
        };
        let properties: BTreeMap<&str, u64> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter_map(|(key, value)| Some((key, value.trim().parse().ok()?)))
            .collect();
        let get = |key: &str| properties.get(key).copied().unwrap_or(0);
        let render = u32::try_from(get("drm_render_minor")).unwrap_or(0);
        if get("simd_count") == 0 || render == 0 {
            return Told::Nothing;
        }
        Told::Gpu(Self {
            render,
            unique: get("unique_id"),
            domain: get("domain"),
            location: get("location_id"),
        })
    }

    /// As ROCR names it. Some cards have no number of their own.
    fn uuid(&self) -> Option<String> {
        (self.unique != 0).then(|| format!("GPU-{:016x}", self.unique))
    }

    /// KFD's location is bus, device and function in 8, 5 and 3 bits.
    fn bus(&self) -> Option<String> {
        let (bus, device, function) = (
            self.location >> 8 & 0xff,
            self.location >> 3 & 0x1f,
            self.location & 7,
        );
        (self.location != 0)
            .then(|| format!("{:04x}:{bus:02x}:{device:02x}.{function}", self.domain))
    }
}
