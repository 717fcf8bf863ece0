//! Preparation with nothing in the page cache.
//!
//! Only clean pages are dropped: nothing is lost but time.

use anyhow::{Context, Result};

use super::candidates::{self, Candidate, DEMO};
use super::timing::{self, Prepared, Timing};
use crate::engine::Engine;
use crate::job::{Job, say};

/// How people read the state without the image's pages.
pub(crate) const IMAGE: &str = "image cold";

/// How people read the state without any pages.
pub(crate) const ALL: &str = "all cold";

/// What is dropped before a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Drop {
    Image,
    All,
}

impl Drop {
    fn state(self) -> &'static str {
        match self {
            Drop::Image => IMAGE,
            Drop::All => ALL,
        }
    }

    fn job(self, engine: &Engine) -> Job {
        match self {
            // Both of the image's paths are one file.
            Drop::Image => drop_image(engine, DEMO),
            Drop::All => drop_all(),
        }
    }
}

/// Drops an image's pages; both of its paths are one file.
pub(crate) fn drop_image(engine: &Engine, image: &str) -> Job {
    let file = format!("if={}", candidates::fuse_sif(image));
    engine.exec(
        "node1",
        "root",
        "drop the image's pages",
        ["dd", &file, "iflag=nocache", "count=0", "status=none"],
    )
}

/// Drops the host's whole page cache and its inodes, where this host lets root
/// do so.
pub(crate) fn drop_all() -> Job {
    Job::new(
        "drop the page cache",
        ["sysctl", "-q", "-w", "vm.drop_caches=3"],
    )
    .root_if(true)
}

/// Runs each candidate, which must say its times, on one rank behind each kind
/// of drop that this host allows.
pub(crate) fn measure(
    engine: &Engine,
    candidates: &[Candidate],
    rounds: usize,
) -> Result<Vec<Prepared>> {
    let mut drops = vec![Drop::Image];
    if Drop::All.job(engine).succeeds() {
        drops.push(Drop::All);
    } else {
        say("  this host does not let root drop its page cache: only the image's pages are");
    }
    let kinds = || {
        candidates
            .iter()
            .flat_map(|candidate| drops.iter().map(move |&drop| (candidate, drop)))
    };
    let mut found: Vec<Prepared> = kinds()
        .map(|(candidate, drop)| Prepared {
            key: candidate.key,
            state: drop.state(),
            times: Vec::new(),
        })
        .collect();
    for _ in 0..rounds {
        for ((candidate, drop), cold) in kinds().zip(&mut found) {
            drop.job(engine).capture()?;
            cold.times.push(step(engine, candidate)?);
        }
    }
    Ok(found)
}

fn step(engine: &Engine, candidate: &Candidate) -> Result<Timing> {
    let line = format!("cd && set -- 1 && {} 2>&1", candidate.command);
    let said = engine
        .exec("login", "alice", "run a cold step", ["bash", "-c", &line])
        .limit(120)
        .capture()?;
    said.lines()
        .find_map(timing::parse)
        .with_context(|| format!("bench: {} did not say its times: {said}", candidate.key))
}
