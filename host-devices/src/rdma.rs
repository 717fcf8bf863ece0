//! RDMA hardware: adapters of InfiniBand, RoCE, Slingshot and Omni-Path, and what MPI libraries use beside them
//! (shared memory without copies, the GPU's memory). Found by the devices that are there.
//!
//! Left out: /dev/infiniband/umad* and issm*. Who can write them sends management packets as the node's own, which
//! is for the fabric's administrators; no program that computes needs them. So are the devices of diagnosis
//! (/dev/mst*, /dev/hfi1_diag*).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Host;
use crate::libraries::directories;
use crate::libraries::machine::Machine;

const VERBS: &str = "/dev/infiniband";
const ADAPTERS: &str = "/sys/class/infiniband";
const VERBS_CLASS: &str = "/sys/class/infiniband_verbs";
const PROVIDERS: &str = "/etc/libibverbs.d";

/// What a device is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// InfiniBand's verbs, which RoCE and EFA have as well: /dev/infiniband/uverbsN.
    Verbs,
    /// Connections of verbs: /dev/infiniband/rdma_cm.
    Connections,
    /// Slingshot: /dev/cxiN.
    Slingshot,
    /// Omni-Path: /dev/hfi1_N.
    OmniPath,
    /// Other ranks' memory on the node: /dev/xpmem, /dev/knem.
    SharedMemory,
    /// A GPU's memory for the processor: /dev/gdrdrv.
    GpuMemory,
    /// Files read right into a GPU's memory: /dev/nvidia-fsN. Which files, the descriptors of the process say.
    GpuStorage,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its path.
    pub path: PathBuf,
    /// What it is for.
    pub kind: Kind,
}

/// An adapter as the kernel names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Adapter {
    /// Its name, such as `mlx5_0`.
    pub name: String,
    /// Its verbs, where the device is there.
    pub node: Option<PathBuf>,
    /// What is on its first port: `InfiniBand` or `Ethernet`.
    pub link: Option<String>,
}

/// A driver in user space that the node's libibverbs would load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Provider {
    /// The file that names it, in /etc/libibverbs.d.
    pub config: PathBuf,
    /// What it names: `mlx5`, or a path without its end.
    pub name: String,
    /// The library, where it was found.
    pub library: Option<PathBuf>,
}

/// What a node has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rdma {
    /// The adapters, by name.
    pub adapters: Vec<Adapter>,
    /// The devices, by kind and number.
    pub nodes: Vec<Node>,
    /// The drivers. An image with a libibverbs of its own has its own, and needs none of the node's.
    pub providers: Vec<Provider>,
}

impl Rdma {
    /// Finds it.
    #[must_use]
    pub fn find(host: &Host) -> Self {
        Self {
            adapters: adapters(host),
            nodes: nodes(host),
            providers: providers(host),
        }
    }

    /// Whether there is an adapter that a program can open.
    #[must_use]
    pub fn has_adapter(&self) -> bool {
        let is_adapter = |kind| matches!(kind, Kind::Verbs | Kind::Slingshot | Kind::OmniPath);
        self.nodes.iter().any(|node| is_adapter(node.kind))
    }

    /// One line where there is an adapter and memory cannot be locked without limit, or, for who knows how much is
    /// needed and asks only then, where less can be. The limits are in bytes, as
    /// `RLIMIT_MEMLOCK` has them; `None` is unlimited.
    #[must_use]
    pub fn memlock_warning(&self, soft: Option<u64>, hard: Option<u64>) -> Option<String> {
        let soft = soft.filter(|_| self.has_adapter())?;
        let what = match hard {
            None => "say ulimit -l unlimited before srun",
            Some(_) => {
                "for admins: LimitMEMLOCK=infinity for slurmd, and PropagateResourceLimitsExcept=MEMLOCK in slurm.conf"
            }
        };
        Some(format!(
            "RDMA: only {} can be locked in memory (memlock): libraries of MPI fail with an adapter, or do without; {what}",
            size(soft)
        ))
    }
}

/// In the largest unit that has no rest.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |(shift, _): &(u32, &str)| bytes > 0 && bytes.trailing_zeros() >= *shift;
    match units.into_iter().find(fits) {
        Some((shift, unit)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} B"),
    }
}

/// The devices alone, without looking at adapters and their libraries.
#[must_use]
pub fn nodes(host: &Host) -> Vec<Node> {
    // The directory, what stands before a number, or the whole name.
    let numbered = [
        (VERBS, "uverbs", Kind::Verbs),
        ("/dev", "cxi", Kind::Slingshot),
        ("/dev", "hfi1_", Kind::OmniPath),
        ("/dev", "nvidia-fs", Kind::GpuStorage),
    ];
    let named = [
        (VERBS, "rdma_cm", Kind::Connections),
        ("/dev", "xpmem", Kind::SharedMemory),
        ("/dev", "knem", Kind::SharedMemory),
        ("/dev", "gdrdrv", Kind::GpuMemory),
    ];
    let mut all: Vec<Node> = Vec::new();
    for (directory, prefix, kind) in numbered {
        for number in host.numbered(Path::new(directory), prefix) {
            let path = PathBuf::from(format!("{directory}/{prefix}{number}"));
            all.push(Node { path, kind });
        }
    }
    all.extend(named.map(|(directory, name, kind)| Node {
        path: Path::new(directory).join(name),
        kind,
    }));
    all.retain(|node| host.is_device(&node.path));
    all
}

fn adapters(host: &Host) -> Vec<Adapter> {
    let class = Path::new(VERBS_CLASS);
    let mut verbs: BTreeMap<String, PathBuf> = BTreeMap::new();
    for number in host.numbered(class, "uverbs") {
        let name = format!("uverbs{number}");
        let node = Path::new(VERBS).join(&name);
        if let Some(adapter) = host.word(&class.join(name).join("ibdev"))
            && host.is_device(&node)
        {
            verbs.insert(adapter, node);
        }
    }
    let base = Path::new(ADAPTERS);
    let names = host.list(base).into_iter();
    let adapter = |name: String| Adapter {
        node: verbs.get(&name).cloned(),
        link: host.word(&base.join(&name).join("ports/1/link_layer")),
        name,
    };
    names.map(adapter).collect()
}

fn providers(host: &Host) -> Vec<Provider> {
    let base = Path::new(PROVIDERS);
    let mut all = Vec::new();
    for file in host
        .list(base)
        .iter()
        .filter(|name| name.ends_with(".driver"))
    {
        let config = base.join(file);
        let text = host.text(&config).unwrap_or_default();
        // `driver NAME`, where NAME may be a path without its end.
        let names = text
            .lines()
            .filter_map(|line| line.strip_prefix("driver "))
            .map(str::trim)
            .filter(|name| !name.is_empty() && !name.chars().any(char::is_control));
        all.extend(names.map(|name| Provider {
            config: config.clone(),
            name: name.to_owned(),
            library: provider_library(host, name),
        }));
    }
    all
}

/// `libNAME-rdmavN.so`, where N is the version of the interface of libibverbs; of several the highest.
fn provider_library(host: &Host, name: &str) -> Option<PathBuf> {
    let (directories, prefix) = match Path::new(name).parent().filter(|_| name.starts_with('/')) {
        Some(directory) => {
            let file = Path::new(name).file_name()?.to_str()?;
            (vec![directory.to_owned()], format!("{file}-rdmav"))
        }
        None if name.contains('/') => return None,
        None => {
            let bases = directories(Machine::own()).into_iter();
            let all = bases.map(|base| Path::new(&base).join("libibverbs"));
            (all.collect(), format!("lib{name}-rdmav"))
        }
    };
    directories.into_iter().find_map(|directory| {
        let version = |file: &String| {
            let number = file.strip_prefix(&prefix)?.strip_suffix(".so")?;
            crate::host::number(number)
        };
        let files = host.list(&directory).into_iter();
        let file = files
            .filter(|file| version(file).is_some())
            .max_by_key(version)?;
        Some(directory.join(file))
    })
}

#[cfg(test)]
mod tests;
