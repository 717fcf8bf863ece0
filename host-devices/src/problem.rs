//! What is wrong with a node's drivers, one line each. Nothing here ends a search: what else there is is still found.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use serde::{Serialize, Serializer};

use crate::libraries::cache::CacheError;
use crate::libraries::elf::ElfError;

/// Something that a node's administrator should know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The kernel refused.
    #[error("cannot read {}: {why}", path.display())]
    Read {
        /// Which file or directory.
        path: PathBuf,
        /// The kernel's reason.
        why: String,
    },
    /// A file that is longer than any that its program writes.
    #[error("{} is longer than {limit} bytes, more than such a file has; look what wrote it", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// A file of the driver's that is not root's alone, and is not read.
    #[error("{}: others than root could have written it; chown root and chmod go-w it", .0.display())]
    Foreign(PathBuf),
    /// The cache of libraries is not as ldconfig writes it; the usual directories were looked into instead.
    #[error("{}: {why}; run ldconfig", path.display())]
    Cache {
        /// Which file.
        path: PathBuf,
        /// What about it.
        why: CacheError,
    },
    /// A library that is no library.
    #[error("{}: {why}; install the driver again", path.display())]
    Library {
        /// Which file.
        path: PathBuf,
        /// What about it.
        why: ElfError,
    },
    /// The driver has a GPU, and there is no device for it.
    #[error("GPU {gpu} has no {}; {hint}", node.display())]
    NoNode {
        /// The GPU: where it is on the bus, or its number.
        gpu: String,
        /// The device that should be there.
        node: PathBuf,
        /// What makes it.
        hint: &'static str,
    },
    /// The driver has GPUs, and devices are missing that programs need for each of them.
    #[error("NVIDIA's driver is loaded without {}, and no program can use a GPU in a container; run nvidia-modprobe -c 0 -u at boot", joined(.0))]
    NoControl(Vec<PathBuf>),
    /// The driver says nothing of the number of a GPU's device.
    #[error("GPU {bus}: {} names no Device Minor; look at the driver's version", file.display())]
    NoMinor {
        /// Where the GPU is on the bus.
        bus: String,
        /// Where it should be named.
        file: PathBuf,
    },
    /// There is a device, and the driver has no GPU for it.
    #[error("{} is there, but the driver has no such GPU; remove what is left of another boot or card", node.display())]
    StaleNode {
        /// The device.
        node: PathBuf,
    },
    /// There are GPUs, and a library that their programs need is missing.
    #[error("{} is there, but the node has no {soname}; install the driver's libraries and run ldconfig", node.display())]
    NoLibrary {
        /// A GPU's device.
        node: PathBuf,
        /// The library.
        soname: String,
    },
    /// A library is of another version than the kernel's module, which will refuse it.
    #[error("{} is of version {version}, the kernel's module of {module}; finish the driver's update", path.display())]
    OtherVersion {
        /// Which library.
        path: PathBuf,
        /// Its version.
        version: String,
        /// The module's.
        module: String,
    },
}

fn joined(paths: &[PathBuf]) -> String {
    let all: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    all.join(" and ")
}

impl Problem {
    pub(crate) fn read(path: &Path, errno: Errno) -> Self {
        Self::Read {
            path: path.to_owned(),
            why: errno.to_string(),
        }
    }
}

/// As the line that people read.
impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
