//! Preparation with nothing in the page cache.
//!
//! Only clean pages are dropped: nothing is lost but time.

use anyhow::{Context, Result};

use super::candidates::{Candidate, FUSE_SIF};
use super::timing::{self, Timing};
use crate::engine::Engine;
use crate::job::{Job, say};

/// The times of one candidate from one state of the page cache.
#[derive(Clone, Debug)]
pub(crate) struct Cold {
    /// The candidate.
    pub(crate) key: &'static str,
    /// The state, as people read it.
    pub(crate) state: &'static str,
    /// One for each step.
    pub(crate) times: Vec<Timing>,
}

/// What is dropped before a step.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Drop {
    Image,
    All,
}

impl Drop {
    fn state(self) -> &'static str {
        match self {
            Drop::Image => "image cold",
            Drop::All => "all cold",
        }
    }

    fn job(self, engine: &Engine) -> Job {
        match self {
            // Both of the image's paths are one file.
            Drop::Image => engine.exec(
                "node1",
                "root",
                "drop the image's pages",
                [
                    "dd",
                    &format!("if={FUSE_SIF}"),
                    "iflag=nocache",
                    "count=0",
                    "status=none",
                ],
            ),
            Drop::All => Job::new(
                "drop the page cache",
                ["sysctl", "-q", "-w", "vm.drop_caches=3"],
            )
            .root_if(true),
        }
    }
}

/// Runs each candidate, which must say its times, on one rank behind each kind
/// of drop that this host allows.
pub(crate) fn measure(
    engine: &Engine,
    candidates: &[Candidate],
    rounds: usize,
) -> Result<Vec<Cold>> {
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
    let mut found: Vec<Cold> = kinds()
        .map(|(candidate, drop)| Cold {
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
