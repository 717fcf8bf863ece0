//! The benchmark: Oarlock beside no container and beside its peers, in one run
//! inside the test cluster.
//!
//! It shows what was measured and judges the targets; a target that is missed
//! is written down, it is no failure of the command.

mod candidates;
mod cold;
mod machine;
mod memory;
mod report;
mod script;
mod shell;
mod stats;
mod steps;
mod table;
mod timed;
mod timing;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use report::Report;

use crate::cluster::{self, Cluster};
use crate::engine::Engine;
use crate::job::{Job, require_root, say};
use crate::layout::{Layout, Slurm, make_dir};

/// What Oarlock is measured beside.
const PEERS: [&str; 2] = ["apptainer", "ch-run"];

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// How often each command is measured.
    pub(crate) runs: usize,
    /// The numbers of ranks that steps have.
    pub(crate) ranks: Vec<usize>,
    /// Whether docs/benchmarks.md is written.
    pub(crate) write: bool,
    /// Whether a cluster that is up is measured without building anything.
    pub(crate) as_is: bool,
}

/// Measures, prints, and takes down what it started.
pub(crate) fn run(layout: &Layout, slurm: Slurm, options: &Options) -> Result<()> {
    require_root()?;
    if options.runs == 0 || options.ranks.is_empty() || options.ranks.contains(&0) {
        bail!("bench: --runs and --ranks must be at least 1");
    }
    let cluster = if options.as_is {
        let engine = Engine::find(layout)
            .filter(cluster::is_up)
            .context("bench: no cluster is up; leave --as-is out, or start one")?;
        Cluster {
            engine,
            started: false,
        }
    } else {
        cluster::up(layout, slurm)?
    };
    let outcome = measure_and_clear(layout, &cluster.engine, options);
    let down = cluster::take_down(layout, &cluster);
    let report = outcome?;
    print!("{}", report.terminal());
    if options.write {
        let path = layout.root.join("docs/benchmarks.md");
        std::fs::write(&path, report.page())
            .with_context(|| format!("cannot write {}", path.display()))?;
        say(&format!("written: {}", path.display()));
    }
    down
}

fn measure_and_clear(layout: &Layout, engine: &Engine, options: &Options) -> Result<Report> {
    make_tree(layout)?;
    let outcome = measure(layout, engine, options);
    let cleared = clear_tree(layout);
    let report = outcome?;
    cleared?;
    Ok(report)
}

fn measure(layout: &Layout, engine: &Engine, options: &Options) -> Result<Report> {
    let &Options { runs, .. } = options;
    let ranks = &options.ranks;
    let peers = peers(engine);
    let has = |program: &str| program == "oarlock" || peers.contains(&program);
    let machine = machine::describe(layout, engine);
    say("a step that does nothing");
    let steps = steps::measure(engine, ranks, runs, &has)?;
    say("entry and preparation");
    let (entry, prepare) = timing::measure(engine, ranks, runs)?;
    say("a command from the shell");
    let shell = shell::measure(engine, runs, &has)?;
    say("memory of helpers");
    let memory = memory::measure(layout, engine, &has)?;
    Ok(Report {
        machine,
        runs,
        sections: vec![steps, entry, prepare, shell, memory],
    })
}

/// The peers that the cluster has: the one of Slurm 22.05 is too old for
/// Apptainer.
fn peers(engine: &Engine) -> Vec<&'static str> {
    let is_there = |program: &&str| {
        engine
            .exec("node1", "alice", "look for a program", ["which", program])
            .succeeds()
    };
    let (there, missing): (Vec<_>, Vec<_>) = PEERS.into_iter().partition(is_there);
    for program in missing {
        say(&format!("{program} is not in the cluster: it is left out"));
    }
    there
}

/// Where the unpacked tree lies on the host.
fn tree(layout: &Layout) -> PathBuf {
    layout.shared().join("bench")
}

/// Puts the demo image's root file system where all machines see it. The files
/// are links to those that it was packed from: that takes no space.
fn make_tree(layout: &Layout) -> Result<()> {
    clear_tree(layout)?;
    make_dir(&layout.shared())?;
    Job::new("make a folder", ["install", "-d", "-o", "root"])
        .args(["-m", "0755"])
        .args([tree(layout)])
        .root_if(true)
        .capture()?;
    Job::new("link the unpacked image", ["cp", "-al"])
        .args([layout.cluster().join("rootfs/demo"), tree(layout)])
        .root_if(true)
        .capture()
        .map(drop)
}

fn clear_tree(layout: &Layout) -> Result<()> {
    Job::new(
        "clear the unpacked image",
        ["rm", "-rf", "--one-file-system"],
    )
    .args([tree(layout)])
    .root_if(true)
    .capture()
    .map(drop)
}
