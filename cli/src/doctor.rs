//! `oarlock doctor`: says what Oarlock finds on this machine of what it needs.
//!
//! Each section has a file, and only looks: it changes nothing, leaves nothing, and
//! waits for nothing longer than half a minute. What it finds goes to people as text and
//! to programs as JSON; a monitor reads the exit code.

mod cgroup;
mod check;
mod command;
mod config;
mod fuse;
mod gpu;
mod kernel;
mod leftovers;
mod loops;
mod node;
mod programs;
mod rdma;
mod slurm;
mod store;
mod text;
mod watch;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use runtime_core::host::Host;

use check::{Check, Findings, Report, Verdict};
use node::Node;
use watch::Deadline;

/// Look whether this machine has what Oarlock needs
///
/// Says of each thing whether it is in order, and what to do where it is not. Nothing is
/// changed. Some things only root can see; without root they are "unknown".
///
/// Exit code: 0 where all is in order or has warnings only, 1 where something does not
/// work (with --strict also for warnings), 2 for wrong usage.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// What to look at; all of it where none is given
    #[arg(value_name = "SECTION", value_parser = clap::builder::PossibleValuesParser::new(SECTIONS.iter().map(Section::value)))]
    sections: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Count warnings as failures in the exit code
    #[arg(long)]
    strict: bool,
    /// The site's file; that of Slurm's plugstack.conf where none is given
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A part of the machine.
struct Section {
    /// As on the command line.
    name: &'static str,
    /// For the help.
    about: &'static str,
    /// Looks.
    look: fn(&Node, &mut Findings),
}

impl Section {
    fn value(&self) -> clap::builder::PossibleValue {
        clap::builder::PossibleValue::new(self.name).help(self.about)
    }
}

/// All sections, in the order in which they are shown. A new one is a line here.
const SECTIONS: &[Section] = &[
    Section {
        name: "kernel",
        about: "system calls, file systems, user namespaces",
        look: kernel::look,
    },
    Section {
        name: "slurm",
        about: "its version, the plugin in plugstack.conf, other plugins, MPI",
        look: slurm::look,
    },
    Section {
        name: "cgroup",
        about: "what Slurm holds jobs to",
        look: cgroup::look,
    },
    Section {
        name: "config",
        about: "oarlock.toml, and what it names",
        look: config::look,
    },
    Section {
        name: "fuse",
        about: "the servers for images that the kernel must not parse",
        look: fuse::look,
    },
    Section {
        name: "loop",
        about: "loop devices",
        look: loops::look,
    },
    Section {
        name: "gpu",
        about: "GPUs, NVIDIA's driver, RDMA hardware, gres.conf",
        look: gpu::look,
    },
    Section {
        name: "rdma",
        about: "adapters, and memory that jobs may lock",
        look: rdma::look,
    },
    Section {
        name: "programs",
        about: "Oarlock's own programs",
        look: programs::look,
    },
    Section {
        name: "store",
        about: "copies of images, containers, and the clock",
        look: store::look,
    },
    Section {
        name: "leftovers",
        about: "what ended jobs left behind",
        look: leftovers::look,
    },
];

/// Runs the verb.
pub(crate) fn run(args: &DoctorArgs) -> ExitCode {
    let slurm_conf = std::env::var_os("SLURM_CONF").map(PathBuf::from);
    let config = args.config.clone();
    let is_root = rustix::process::geteuid().is_root();
    let deadline = Deadline::after(watch::PATIENCE);
    let node = watch::within(deadline, move || {
        Node::of(
            Host::this(),
            config.as_deref(),
            slurm_conf.as_deref(),
            is_root,
        )
    });
    let report = match node {
        Some(node) => examine(&Arc::new(node), &args.sections, deadline),
        None => Report::new(String::new(), watch::nothing()),
    };
    let shown = if args.json {
        serde_json::to_string_pretty(&report).map(|text| text + "\n")
    } else {
        Ok(text::render(&report))
    };
    let written = shown
        .map_err(io::Error::from)
        .and_then(|text| io::stdout().write_all(text.as_bytes()));
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("oarlock: cannot write the report: {error}");
            ExitCode::FAILURE
        }
        _ => exit_code(report.verdict, args.strict),
    }
}

/// Looks at these sections, or at all.
fn examine(node: &Arc<Node>, wanted: &[String], deadline: Deadline) -> Report {
    let mut checks: Vec<Check> = Vec::new();
    for section in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|name| name == section.name) {
            checks.extend(watch::section(section.name, section.look, node, deadline));
        }
    }
    Report::new(node.name.clone(), checks)
}

fn exit_code(verdict: Verdict, strict: bool) -> ExitCode {
    match verdict {
        Verdict::Failed => ExitCode::FAILURE,
        Verdict::Warning if strict => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests;
