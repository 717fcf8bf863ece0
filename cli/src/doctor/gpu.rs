//! GPUs and RDMA hardware: what the node has, whether Slurm's gres.conf names what is
//! there, and what of NVIDIA's driver a container gets. What is told is found by the code
//! that finds it for a step. Loads no library, and opens no device.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use cdi_specs::{Kind, Registry, Trust, Wanted};
use host_devices::Problem;
use host_devices::gpu::{Gpu, Vendor};
use host_devices::report::{DriverReport, Report};
use runtime_core::config::Driver;
use runtime_core::image::trust;
use runtime_core::slurm::gres;

use super::check::{Findings, Verdict};
use super::node::Node;

/// Without it no program uses a GPU of NVIDIA's.
const CUDA: &str = "libcuda.so.1";

pub(super) fn look(node: &Node, findings: &mut Findings) {
    let root = node.host.place(Path::new("/"));
    let host = match host_devices::Host::at(&root) {
        // A tree of files has files for devices.
        Ok(host) if !node.host.is_this() => host.with_stand_ins(),
        Ok(host) => host,
        Err(error) => {
            return findings.failed(
                "devices",
                error.to_string(),
                "Oarlock needs openat2(2), Linux 5.6",
            );
        }
    };
    let report = Report::of(&host);
    gpus(&report, findings);
    configured(node, findings);
    let spec = specs(node, &report, findings);
    nvidia(node, &report, spec, findings);
    for problem in &report.problems {
        tell(problem, spec, findings);
    }
    rdma(&report, findings);
}

fn gpus(report: &Report, findings: &mut Findings) {
    if report.gpus.is_empty() {
        findings.not_here("GPUs", "none");
    }
    for gpu in &report.gpus {
        let known = [&gpu.model, &gpu.bus, &gpu.uuid].into_iter().flatten();
        let mut words: Vec<&str> = known.map(String::as_str).collect();
        let nodes = paths(gpu.nodes.iter().chain(&gpu.shared));
        words.push(&nodes);
        let parts = match gpu.mig.len() {
            0 => String::new(),
            parts => format!(", {parts} parts (MIG)"),
        };
        let name = format!("{} {}", gpu.vendor, gpu.index);
        // That one has no device is among the problems.
        findings.ok(&name, format!("{}{parts}", words.join(", ")));
    }
}

/// What gres.conf names must be there: a step that is granted it would find nothing.
fn configured(node: &Node, findings: &mut Findings) {
    const NAME: &str = "gres.conf";
    let Some(found) = node.beside_slurm_conf(NAME) else {
        return findings.not_here(NAME, "none");
    };
    let lines = found
        .content
        .map_err(|error| error.to_string())
        .and_then(|conf| gres::lines_of(&conf, &node.name).map_err(|error| error.to_string()));
    let lines = match lines {
        Ok(lines) => lines,
        Err(error) => return findings.failed(NAME, error, "correct the file"),
    };
    let files: Vec<&PathBuf> = lines.iter().flat_map(|line| &line.files).collect();
    let missing = files.iter().filter(|file| !node.host.has(file)).copied();
    let missing = paths(missing);
    if !missing.is_empty() {
        findings.failed(
            NAME,
            format!("names what is not there: {missing}"),
            "load the driver, or correct File= for this node",
        );
    } else if files.is_empty() {
        findings.not_here(NAME, "names no device of this node");
    } else {
        findings.ok(NAME, format!("all {} devices are there", files.len()));
    }
}

/// Whether specs stand for NVIDIA's GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    /// For all that there are.
    All,
    /// Not for each.
    Lacking,
}

fn specs(node: &Node, report: &Report, findings: &mut Findings) -> Spec {
    let root = node.host.place(Path::new("/"));
    let trust = match node.host.is_this() {
        true => Trust::ROOT,
        false => Trust::also(node.host.root_uid()),
    };
    let registry = Registry::load(&root, &node.config.devices.cdi, trust);
    for error in registry.errors() {
        findings.warning(
            "CDI",
            error.to_string(),
            "correct the spec; until then it is passed over",
        );
    }
    let gpus: Vec<&Gpu> = of_nvidia(report).collect();
    let with = gpus.iter().filter(|gpu| stands(&registry, gpu)).count();
    if with > 0 {
        let of = gpus.len();
        findings.ok("CDI", format!("specs stand for {with} of {of} NVIDIA GPUs"));
    } else if gpus.is_empty() && registry.specs().is_empty() {
        findings.not_here("CDI", "no spec");
    } else if gpus.is_empty() {
        findings.ok("CDI", format!("{} specs", registry.specs().len()));
    } else {
        // What comes of that the driver's check says.
        findings.not_here("CDI", "no spec stands for an NVIDIA GPU");
    }
    match with == gpus.len() {
        true => Spec::All,
        false => Spec::Lacking,
    }
}

fn stands(registry: &Registry, gpu: &Gpu) -> bool {
    let wanted = Wanted {
        index: Some(gpu.index),
        uuid: gpu.uuid.as_deref(),
        mig: None,
        nodes: &gpu.nodes,
    };
    let kinds = registry.kinds().into_iter();
    let mut of_gpus = kinds.filter(|kind: &&Kind| kind.class() == "gpu");
    of_gpus.any(|kind| registry.choose(kind, &wanted).is_ok())
}

fn of_nvidia(report: &Report) -> impl Iterator<Item = &Gpu> {
    let all = report.gpus.iter();
    all.filter(|gpu| gpu.vendor == Vendor::Nvidia)
}

/// What a container gets of the driver.
fn nvidia(node: &Node, report: &Report, spec: Spec, findings: &mut Findings) {
    const NAME: &str = "NVIDIA driver";
    let has_gpu = of_nvidia(report).next().is_some();
    let Some(driver) = &report.nvidia else {
        // That libraries are missing is among the problems.
        return findings.not_here(NAME, "none");
    };
    let version = driver.version.as_deref();
    let version = version.unwrap_or("no kernel module is loaded");
    let shown = match (has_gpu, spec, node.config.devices.driver) {
        (false, _, _) => "there is no GPU for it",
        (true, Spec::All, _) => "containers get what the CDI specs say",
        (true, Spec::Lacking, Driver::Auto) => "containers get what follows",
        (true, Spec::Lacking, Driver::Never) => {
            return findings.warning(
                NAME,
                format!("{version}; without a spec containers get the devices alone"),
                "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml, or set devices.driver = \"auto\" in oarlock.toml",
            );
        }
    };
    let has_module = driver.version.is_some() || !has_gpu;
    let advice = (!has_module).then_some("modprobe nvidia");
    let verdict = match has_module {
        true => Verdict::Ok,
        false => Verdict::Warning,
    };
    findings.add(NAME, verdict, &format!("{version}; {shown}"), advice);
    parts(node, driver, findings);
}

/// The driver's parts, and those that no container gets.
fn parts(node: &Node, driver: &DriverReport, findings: &mut Findings) {
    let libraries: Vec<&str> = driver
        .libraries
        .iter()
        .map(|library| library.soname.as_str())
        .collect();
    if !libraries.is_empty() {
        findings.ok("NVIDIA libraries", libraries.join(" "));
    }
    if !driver.files.is_empty() {
        findings.ok(
            "NVIDIA files",
            paths(driver.files.iter().map(|file| &file.path)),
        );
    }
    if !node.host.is_this() {
        return;
    }
    for library in &driver.libraries {
        let Ok(file) = File::open(&library.path) else {
            continue;
        };
        if let Some(doubt) = trust::doubt(file.as_fd()) {
            let verdict = match library.soname == CUDA {
                true => Verdict::Failed,
                false => Verdict::Warning,
            };
            findings.add(
                &library.soname,
                verdict,
                &format!(
                    "{}: {doubt}; containers do not get it",
                    library.path.display()
                ),
                Some("make it and the directories above it root's, and writable by nobody else"),
            );
        }
    }
}

/// A problem is one line: what is wrong, and behind the last semicolon what to do.
fn tell(problem: &Problem, spec: Spec, findings: &mut Findings) {
    let is_cuda = |path: &Path| path.file_name().is_some_and(|name| name == CUDA);
    let verdict = match problem {
        Problem::NoNode { .. } | Problem::NoControl(_) | Problem::OtherVersion { .. } => {
            Verdict::Failed
        }
        // A spec may bring it from elsewhere, such as a container of the driver's.
        Problem::NoLibrary { .. } if spec == Spec::All => return,
        Problem::NoLibrary { .. } => Verdict::Failed,
        Problem::Library { path, .. } | Problem::Foreign(path) if is_cuda(path) => Verdict::Failed,
        Problem::Library { .. }
        | Problem::Foreign(_)
        | Problem::Read { .. }
        | Problem::TooLong { .. }
        | Problem::Cache { .. }
        | Problem::NoMinor { .. }
        | Problem::StaleNode { .. } => Verdict::Warning,
    };
    let line = problem.to_string();
    let (found, advice) = match line.rsplit_once("; ") {
        Some((found, advice)) => (found, Some(advice)),
        None => (line.as_str(), None),
    };
    findings.add("problem", verdict, found, advice);
}

fn rdma(report: &Report, findings: &mut Findings) {
    let rdma = &report.rdma;
    for adapter in &rdma.adapters {
        let link = adapter.link.as_deref().unwrap_or("no link layer is told");
        match &adapter.node {
            Some(node) => findings.ok(&adapter.name, format!("{link}, {}", node.display())),
            None => findings.warning(
                &adapter.name,
                format!("{link}, without a device: no program can open it"),
                "modprobe ib_uverbs",
            ),
        }
    }
    let nodes = paths(rdma.nodes.iter().map(|node| &node.path));
    if nodes.is_empty() {
        findings.not_here("RDMA", "no device");
    } else {
        findings.ok("RDMA", nodes);
    }
}

fn paths<'a>(all: impl Iterator<Item = &'a PathBuf>) -> String {
    let all: Vec<String> = all.map(|path| path.display().to_string()).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests;
