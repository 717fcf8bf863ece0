//! All that was found on a node, for people and for programs: what `oarlock doctor gpu` prints.

use std::path::PathBuf;

use serde::Serialize;

use crate::gpu::nvidia::driver::{Driver, DriverFile, Library};
use crate::gpu::{Gpu, Gpus, Vendor};
use crate::libraries::Libraries;
use crate::rdma::Rdma;
use crate::{Host, Problem};

/// What a node has of NVIDIA's driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DriverReport {
    /// The kernel module's version.
    pub version: Option<String>,
    /// Libraries that would be bound, by name.
    pub libraries: Vec<Library>,
    /// Other files that would be.
    pub files: Vec<DriverFile>,
}

/// What a node has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Its GPUs, by vendor and in the vendor's order.
    pub gpus: Vec<Gpu>,
    /// NVIDIA's driver, where there is something of it.
    pub nvidia: Option<DriverReport>,
    /// Its RDMA hardware.
    pub rdma: Rdma,
    /// What is missing or wrong, a line each.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Looks at a node.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        let gpus = Gpus::find(host);
        let libraries = Libraries::find(host);
        let first = gpus
            .of(Vendor::Nvidia)
            .find_map(|gpu| gpu.nodes.first().cloned());
        let driver = Driver::find(host, &libraries, first.as_deref());
        let mut problems = gpus.problems;
        problems.extend(driver.problems);
        // Without GPUs nobody asks for the libraries.
        if !gpus.all.is_empty() {
            problems.extend(libraries.problem().cloned());
        }
        let nothing =
            driver.version.is_none() && driver.libraries.is_empty() && driver.files.is_empty();
        Self {
            gpus: gpus.all,
            nvidia: (!nothing).then_some(DriverReport {
                version: driver.version,
                libraries: driver.libraries,
                files: driver.files,
            }),
            rdma: Rdma::find(host),
            problems,
        }
    }

    /// As lines for people, what is wrong last.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for gpu in &self.gpus {
            lines.extend(gpu_lines(gpu));
        }
        if self.gpus.is_empty() {
            lines.push(String::from("no GPU"));
        }
        for vendor in [Vendor::Nvidia, Vendor::Amd, Vendor::Intel] {
            let shared = self.gpus.iter().find(|gpu| gpu.vendor == vendor);
            if let Some(gpu) = shared.filter(|gpu| !gpu.shared.is_empty()) {
                lines.push(format!("{vendor} GPUs share {}", paths(&gpu.shared)));
            }
        }
        if let Some(driver) = &self.nvidia {
            lines.extend(driver_lines(driver));
        }
        lines.extend(rdma_lines(&self.rdma));
        lines.extend(
            self.problems
                .iter()
                .map(|problem| format!("problem: {problem}")),
        );
        lines
    }
}

fn gpu_lines(gpu: &Gpu) -> Vec<String> {
    let known = [&gpu.model, &gpu.bus, &gpu.uuid].into_iter().flatten();
    let known: Vec<&str> = known.map(String::as_str).collect();
    let about = if known.is_empty() {
        String::new()
    } else {
        format!(" ({})", known.join(", "))
    };
    let nodes = if gpu.nodes.is_empty() {
        String::from("no device")
    } else {
        paths(&gpu.nodes)
    };
    let mut lines = vec![format!("{} GPU {}{about}: {nodes}", gpu.vendor, gpu.index)];
    lines.extend(gpu.mig.iter().map(|part| {
        let (gpu_node, compute_node) = (part.gpu_node.display(), part.compute_node.display());
        let (of, number) = (part.gpu_instance, part.compute_instance);
        format!("  GPU instance {of}, compute instance {number}: {gpu_node} {compute_node}")
    }));
    lines
}

fn driver_lines(driver: &DriverReport) -> Vec<String> {
    let version = driver.version.as_deref();
    let mut lines = vec![match version {
        Some(version) => format!("NVIDIA driver {version}"),
        None => String::from("NVIDIA driver: no kernel module is loaded"),
    }];
    lines.extend(driver.libraries.iter().map(|library| {
        let (path, soname, what) = (
            library.path.display(),
            &library.soname,
            library.capabilities,
        );
        format!("  {path} -> {soname} ({what})")
    }));
    lines.extend(driver.files.iter().map(|file| {
        let (path, what) = (file.path.display(), file.capabilities);
        format!("  {path} ({what})")
    }));
    lines
}

fn rdma_lines(rdma: &Rdma) -> Vec<String> {
    let mut lines = Vec::new();
    for adapter in &rdma.adapters {
        let link = adapter
            .link
            .iter()
            .map(|link| format!(" ({link})"))
            .collect::<String>();
        let node = adapter.node.as_ref().map(|node| node.display().to_string());
        let node = node.unwrap_or_else(|| String::from("no device"));
        lines.push(format!("RDMA adapter {}{link}: {node}", adapter.name));
    }
    let nodes: Vec<PathBuf> = rdma.nodes.iter().map(|node| node.path.clone()).collect();
    if nodes.is_empty() {
        lines.push(String::from("no RDMA device"));
    } else {
        lines.push(format!("RDMA devices {}", paths(&nodes)));
    }
    lines.extend(rdma.providers.iter().map(|provider| {
        let library = provider
            .library
            .as_ref()
            .map(|path| path.display().to_string());
        let library = library.unwrap_or_else(|| String::from("not found"));
        format!(
            "  {} -> {}: {library}",
            provider.config.display(),
            provider.name
        )
    }));
    lines
}

fn paths(all: &[PathBuf]) -> String {
    let all: Vec<String> = all.iter().map(|path| path.display().to_string()).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests;
