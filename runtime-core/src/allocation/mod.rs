//! What Slurm granted a step on this node, and where each figure comes from.
//!
//! It is read from what slurmstepd tells the step in its environment, and from the
//! site's own files. A user can set such variables too, but no more comes of it than
//! he has without a container: where the site holds jobs to their devices, the kernel
//! does that, and not a path in /dev.

pub mod gpus;
pub mod order;

use std::path::Path;

use gpus::{Gpus, Numbering};
use order::Listing;

use crate::host::Host;
use crate::request::Request;
use crate::slurm::conf::Conf;
use crate::slurm::{gres, place};

/// What Slurm granted a step on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allocation {
    /// CPUs of the node.
    pub cpus: Option<Figure<u64>>,
    /// Cores of the node, as Slurm counts them.
    pub cores: Option<Figure<String>>,
    /// Memory on the node, in MiB.
    pub memory: Option<Figure<u64>>,
    /// Nodes of the step.
    pub nodes: Option<Figure<u64>>,
    /// Ranks on this node.
    pub ranks: u32,
    /// GPUs of this node.
    pub gpus: Option<Figure<Gpus>>,
    /// Of how many shares of these GPUs it has them; as a whole where there are none.
    pub shares: Option<Figure<u64>>,
    /// What is wrong with the site's files, as lines for the journal.
    pub problems: Vec<String>,
}

/// A figure and its origin, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure<T> {
    /// The figure.
    pub value: T,
    /// Where it comes from, as `SLURM_STEP_GPUS and /etc/slurm/gres.conf`.
    pub from: String,
}

impl Allocation {
    /// Reads what was granted; the site's files below `host`.
    #[must_use]
    pub fn of(request: &Request, host: &Host) -> Self {
        let number = |names: &[&str]| {
            names.iter().find_map(|name| {
                let value = request.variable(name)?.to_str()?.parse().ok()?;
                Some(Figure {
                    value,
                    from: (*name).to_owned(),
                })
            })
        };
        let mut problems = Vec::new();
        let cpus = number(&["SLURM_CPUS_ON_NODE"]);
        let granted = &request.granted;
        let of_slurm = |value: u64| {
            (value > 0).then(|| Figure {
                value,
                from: "Slurm".to_owned(),
            })
        };
        let memory = of_slurm(granted.memory).or_else(|| number(&["SLURM_MEM_PER_NODE"]));
        let memory = memory.or_else(|| {
            let each: Figure<u64> = number(&["SLURM_MEM_PER_CPU"])?;
            let cpus = cpus.as_ref()?.value;
            Some(Figure {
                value: each.value.checked_mul(cpus)?,
                from: format!("{} and SLURM_CPUS_ON_NODE", each.from),
            })
        });
        let cores = (!granted.cores.is_empty()).then(|| Figure {
            value: granted.cores.clone(),
            from: "Slurm".to_owned(),
        });
        Self {
            cores,
            memory,
            nodes: number(&["SLURM_STEP_NUM_NODES", "SLURM_NNODES"]),
            ranks: request.ranks,
            gpus: gpus_of(request, host, &mut problems),
            shares: number(&[SHARES]),
            cpus,
            problems,
        }
    }

    /// What was granted, in lines for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut say = |what: &str, figure: &Option<Figure<u64>>, unit: &str| {
            if let Some(Figure { value, from }) = figure {
                out.push(format!("granted: {what} {value}{unit} ({from})"));
            }
        };
        say("nodes", &self.nodes, "");
        say("CPUs", &self.cpus, "");
        say("memory", &self.memory, " MiB");
        if let Some(Figure { value, from }) = &self.cores {
            out.push(format!("granted: cores {value} ({from})"));
        }
        out.push(format!(
            "granted: ranks on this node {} (Slurm)",
            self.ranks
        ));
        match &self.gpus {
            None => out.push("granted: no GPU".to_owned()),
            Some(Figure { value, from }) => {
                let gpus: Vec<String> = value.all.iter().map(ToString::to_string).collect();
                out.push(format!("granted: GPUs {} ({from})", gpus.join(", ")));
            }
        }
        if let Some(Figure { value, from }) = &self.shares {
            out.push(format!("granted: shares of GPUs {value} ({from})"));
        }
        out
    }
}

/// How many shares of GPUs a step has (`--gres=shard:…`), gres_shard.c.
const SHARES: &str = "SLURM_SHARDS_ON_NODE";

/// Whether the step was granted GPUs, or asks for devices by name.
#[must_use]
pub fn has_devices(request: &Request) -> bool {
    !request.options.devices.is_empty()
        || numbers_of(request).is_some()
        || request.variable(SHARES).is_some()
}

/// Slurm's numbers of the step's GPUs, and the variable that tells them.
fn numbers_of(request: &Request) -> Option<(Vec<u32>, &'static str)> {
    let is_job = request.label.ends_with(".batch") || request.label.ends_with(".interactive");
    gpus::numbers(&|name| text_of(request, name), is_job)
}

fn text_of(request: &Request, name: &str) -> Option<String> {
    request.variable(name)?.to_str().map(str::to_owned)
}

fn gpus_of(request: &Request, host: &Host, problems: &mut Vec<String>) -> Option<Figure<Gpus>> {
    let (numbers, variable) = numbers_of(request)?;
    let names = gpus::names(&|name| text_of(request, name));
    let only_numbers = || Figure {
        value: Gpus::of(&numbers, &names, Listing::default(), Numbering::OfTheStep),
        from: variable.to_owned(),
    };
    let Some(conf) = place::configuration(host, request.slurm_conf()) else {
        problems.push("slurm.conf is not found, and so no gres.conf".to_owned());
        return Some(only_numbers());
    };
    let path = conf.with_file_name("gres.conf");
    if request.node.is_empty() {
        problems.push(
            "slurmstepd does not say what its node is called: gres.conf is not read".to_owned(),
        );
        return Some(only_numbers());
    }
    let lines = gres::of_node(host, &path, &request.node).unwrap_or_else(|error| {
        problems.push(error.to_string());
        Vec::new()
    });
    let slurm = Conf::look_into(host, &conf).ok();
    let listing = Listing {
        lines,
        configured: slurm
            .as_ref()
            .and_then(|slurm| gres::configured(slurm, &request.node)),
    };
    let numbering = match &slurm {
        Some(slurm) => numbering(host, &conf, slurm),
        None => Numbering::OfTheStep,
    };
    Some(Figure {
        value: Gpus::of(&numbers, &names, listing, numbering),
        from: format!("{variable} and {}", path.display()),
    })
}

/// Whether Slurm counts a step's GPUs from 0 in the vendors' variables: where it
/// holds it to its devices (`gres_use_local_device_index` of gres.c).
fn numbering(host: &Host, path: &Path, slurm: &Conf) -> Numbering {
    // As there, whatever stands before it in the word.
    let plugins = slurm.get("TaskPlugin").unwrap_or_default();
    if !plugins.to_ascii_lowercase().contains("cgroup") {
        return Numbering::OfTheNode;
    }
    let file = path.with_file_name("cgroup.conf");
    let constrains = match Conf::look_into(host, &file) {
        Ok(conf) => conf.switch("ConstrainDevices").unwrap_or(false),
        Err(_) => host.has(&file),
    };
    match constrains {
        true => Numbering::OfTheStep,
        false => Numbering::OfTheNode,
    }
}
