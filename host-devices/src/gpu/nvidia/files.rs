//! Files of NVIDIA's driver besides its libraries: programs, sockets, firmware, and what tells loaders of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::capabilities::Capabilities;
use super::names;
use crate::Host;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A program.
    Program,
    /// A socket of a service of the node's.
    Socket,
    /// What the driver loads into a GPU.
    Firmware,
    /// What tells a loader of the driver's libraries (Vulkan, EGL, OpenCL), or a library that a loader looks for
    /// in a directory of its own.
    Loader,
}

/// One file, that belongs at the same path in a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DriverFile {
    /// Its path.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// What it is for.
    pub capabilities: Capabilities,
}

/// What there is of them, sorted by path; `beside` are directories that the driver's libraries are in.
pub(super) fn find(
    host: &Host,
    version: Option<&str>,
    beside: &BTreeSet<PathBuf>,
) -> Vec<DriverFile> {
    let mut all = Vec::new();
    let mut add = |path: PathBuf, kind, capabilities| {
        all.push(DriverFile {
            path,
            kind,
            capabilities,
        });
    };
    for (name, capabilities) in names::PROGRAMS {
        let mut places = names::PROGRAM_DIRECTORIES
            .iter()
            .map(|base| Path::new(base).join(name));
        if let Some(path) = places.find(|path| host.is_file(path)) {
            add(path, Kind::Program, capabilities);
        }
    }
    for (path, capabilities) in names::SOCKETS {
        if host.is_socket(Path::new(path)) {
            add(path.into(), Kind::Socket, capabilities);
        }
    }
    for (path, capabilities) in names::FILES {
        if host.is_file(Path::new(path)) {
            add(path.into(), Kind::Loader, capabilities);
        }
    }
    for base in names::DIRECTORIES.map(Path::new) {
        for name in host.list(base) {
            let path = base.join(&name);
            if is_nvidias(&name)
                && !names::FILES
                    .iter()
                    .any(|(other, _)| path == Path::new(other))
                && host.is_file(&path)
            {
                add(path, Kind::Loader, names::GRAPHICS_FILES);
            }
        }
    }
    for base in beside {
        for (name, capabilities) in names::BESIDE {
            let path = base.join(name);
            if host.is_file(&path) {
                add(path, Kind::Loader, capabilities);
            }
        }
    }
    for path in version
        .map(|version| firmware(host, version))
        .unwrap_or_default()
    {
        add(path, Kind::Firmware, names::FIRMWARE);
    }
    all.sort();
    all
}

/// Of the module's own version only: others are of another boot.
fn firmware(host: &Host, version: &str) -> Vec<PathBuf> {
    let base = Path::new("/lib/firmware/nvidia").join(version);
    let names = host.list(&base);
    let all = names.iter().filter(|name| name.ends_with(".bin"));
    all.map(|name| base.join(name))
        .filter(|path| host.is_file(path))
        .collect()
}

/// Others' files are in the same directories, the image's own.
fn is_nvidias(name: &str) -> bool {
    name.contains("nvidia")
}
