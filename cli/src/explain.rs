//! `oarlock explain`: what Slurm granted the step that this is run in, and where each
//! figure comes from. It only reads, and what it reads its user can read.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use clap::Args;
use host_devices::gpu::Gpus;
use runtime_core::allocation::Allocation;
use runtime_core::host::Host;
use runtime_core::message::for_people;
use runtime_core::path::HostPath;
use runtime_core::request::Request;

/// Print what Slurm granted the step that this runs in
///
/// Nodes, CPUs, memory and GPUs of this node, each with the variable or the file that it
/// comes from. For what a container would show of it: srun --container-explain.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NothingToExplain {
    #[error(
        "explain: this is no step of a Slurm job (SLURM_JOB_ID is not set); run it in one: srun oarlock explain"
    )]
    NoJob,
    #[error("explain: cannot write: {0}")]
    Write(io::Error),
}

/// Runs the verb.
pub(crate) fn run(_: &ExplainArgs) -> Result<(), NothingToExplain> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let job = variable("SLURM_JOB_ID").ok_or(NothingToExplain::NoJob)?;
    // A batch script is in no step that is counted.
    let step = variable("SLURM_STEP_ID").unwrap_or_else(|| "batch".to_owned());
    let node = variable("SLURMD_NODENAME").unwrap_or_default();
    let request = Request {
        environment: environment(),
        ranks: ranks(variable).unwrap_or(1),
        node,
        slurm_conf: variable("SLURM_CONF").and_then(|path| HostPath::new(&path).ok()),
        label: format!("{job}.{step}"),
        ..Request::default()
    };
    let mut allocation = Allocation::of(&request, &Host::this());
    let unplaced = allocation.gpus.as_mut().and_then(|gpus| {
        let host = host_devices::Host::at(Path::new("/")).ok()?;
        gpus.value.place(&Gpus::find(&host))
    });
    let mut text = String::new();
    let lines = allocation.lines();
    for line in lines.iter().chain(&allocation.problems).chain(&unplaced) {
        text.push_str(&for_people(line));
        text.push('\n');
    }
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(NothingToExplain::Write(error))
        }
        _ => Ok(()),
    }
}

/// As `NAME=value`.
fn environment() -> Vec<OsString> {
    std::env::vars_os()
        .map(|(name, value)| {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend(value.into_vec());
            OsString::from_vec(entry)
        })
        .collect()
}

/// The ranks of this node, by the step's list of them.
fn ranks(variable: impl Fn(&str) -> Option<String>) -> Option<u32> {
    let list =
        variable("SLURM_STEP_TASKS_PER_NODE").or_else(|| variable("SLURM_TASKS_PER_NODE"))?;
    let node = variable("SLURM_NODEID").and_then(|number| number.parse().ok());
    on_node(&list, node.unwrap_or(0))
}

/// A list as `2(x3),1`: so many on each of three nodes, and then on one.
fn on_node(list: &str, node: usize) -> Option<u32> {
    let mut before = 0;
    for part in list.split(',') {
        let (ranks, nodes) = match part.split_once("(x") {
            Some((ranks, nodes)) => (ranks, nodes.strip_suffix(')')?.parse().ok()?),
            None => (part, 1_usize),
        };
        before += nodes;
        if node < before {
            return ranks.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_each_node() {
        for (list, node, expected) in [
            ("4", 0, Some(4)),
            ("2(x3),1", 2, Some(2)),
            ("2(x3),1", 3, Some(1)),
            ("2(x3),1", 4, None),
            ("2(x", 0, None),
        ] {
            assert_eq!(on_node(list, node), expected, "{list} {node}");
        }
    }
}
