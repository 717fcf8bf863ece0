//! The benchmark: Oarlock beside no container and beside its peers, in one run
//! inside the test cluster.
//!
//! It shows what was measured and judges the targets; a target that is missed
//! is written down, it is no failure of the command.

mod cache;
mod candidates;
mod cold;
mod granted;
mod held;
mod launches;
mod leaks;
mod machine;
mod memory;
mod metadata;
mod page;
mod part;
mod report;
mod script;
mod shell;
mod stats;
mod steps;
mod table;
mod timed;
mod timing;
mod trees;

use std::time::Instant;

use anyhow::{Context, Result, bail};
pub(crate) use part::Part;
use report::Report;

use crate::cluster::{self, Cluster};
use crate::engine::Engine;
use crate::job::{require_root, say};
use crate::layout::{Layout, Slurm};

/// What Oarlock is measured beside.
const PEERS: [&str; 2] = ["apptainer", "ch-run"];

/// What was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// How often each command is measured.
    pub(crate) runs: usize,
    /// The numbers of ranks that steps have.
    pub(crate) ranks: Vec<usize>,
    /// The parts that are measured; none: all but the launches.
    pub(crate) only: Vec<Part>,
    /// Whether all parts are measured.
    pub(crate) full: bool,
    /// How many launches there are, where they were asked for.
    pub(crate) launches: Option<usize>,
    /// Whether docs/benchmarks.md is written.
    pub(crate) write: bool,
    /// Whether a cluster that is up is measured without building anything.
    pub(crate) as_is: bool,
}

impl Options {
    /// The parts that are measured, in the order of the page.
    fn parts(&self) -> Vec<Part> {
        Part::ALL
            .into_iter()
            .filter(|part| {
                self.full
                    || self.only.contains(part)
                    || match part {
                        Part::Launches => self.launches.is_some(),
                        _ => self.only.is_empty(),
                    }
            })
            .collect()
    }
}

/// Measures, prints, and takes down what it started.
pub(crate) fn run(layout: &Layout, slurm: Slurm, options: &Options) -> Result<()> {
    require_root()?;
    if options.runs == 0
        || options.launches == Some(0)
        || options.ranks.is_empty()
        || options.ranks.contains(&0)
    {
        bail!("bench: --runs, --ranks and --launches must be at least 1");
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
        // A page that is missing has no part that could stay.
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, page::page(&report, &before))
            .with_context(|| format!("cannot write {}", path.display()))?;
        say(&format!("written: {}", path.display()));
    }
    down
}

fn measure_and_clear(layout: &Layout, engine: &Engine, options: &Options) -> Result<Report> {
    let outcome =
        trees::make(layout, &options.parts()).and_then(|()| measure(layout, engine, options));
    let cleared = trees::clear(layout);
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
    let mut parts = Vec::new();
    for part in options.parts() {
        say(&format!("part {}", part.name()));
        let begin = Instant::now();
        let sections = match part {
            Part::Steps => vec![steps::measure(engine, ranks, runs, &has)?],
            Part::Prepare => {
                let (entry, prepare) = timing::measure(engine, ranks, runs)?;
                vec![entry, prepare]
            }
            Part::Granted => vec![granted::measure(engine, runs, &has)?],
            Part::Shell => vec![shell::measure(engine, runs, &has)?],
            Part::Metadata => vec![metadata::measure(engine, runs, &has)?],
            Part::Cache => vec![cache::measure(layout, engine, runs, &has)?],
            Part::Memory => vec![memory::measure(layout, engine, &has)?],
            Part::Launches => {
                let launches = options.launches.unwrap_or(launches::DEFAULT);
                vec![launches::measure(engine, launches)?]
            }
        };
        say(&format!("  done in {} s", begin.elapsed().as_secs()));
        parts.push((part, sections));
    }
    Ok(Report {
        machine,
        runs,
        parts,
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

#[cfg(test)]
mod tests {
    use super::{Options, Part};

    #[test]
    fn launches_are_only_measured_when_asked_for() {
        let parts = |only: &[Part], full, launches| {
            let options = Options {
                runs: 1,
                ranks: vec![1],
                only: only.into(),
                full,
                launches,
                write: false,
                as_is: false,
            };
            options.parts()
        };
        assert_eq!(parts(&[], false, None), Part::ALL[..7]);
        assert_eq!(parts(&[], false, Some(9)), Part::ALL);
        assert_eq!(parts(&[], true, None), Part::ALL);
        assert_eq!(parts(&[Part::Cache], false, None), [Part::Cache]);
        assert_eq!(
            parts(&[Part::Launches, Part::Steps], false, None),
            [Part::Steps, Part::Launches]
        );
    }
}
