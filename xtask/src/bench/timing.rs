//! What Oarlock says of its own times where `OARLOCK_TIMING` is set: how long
//! the node's preparation took, and each rank's entry.

use anyhow::{Result, bail};

use super::candidates::{self, Candidate, FUSE, KERNEL};
use super::cold;
use super::held;
use super::report::{Section, Target};
use super::script::Plan;
use super::stats::{Spread, number};
use super::table::Table;
use super::timed::{self, Place, Run, Runs};
use crate::engine::Engine;

/// What a rank's entry may take, at the 99th percentile, in microseconds.
const ENTRY_LIMIT: f64 = 50.0;

/// What a cold preparation with a kernel mount may take, in milliseconds.
const COLD_LIMIT: f64 = 8.0;

/// What it may take where another step has the image mounted, in milliseconds.
const HELD_LIMIT: f64 = 1.0;

const ENTRY: &str = "\
With `OARLOCK_TIMING=1` each rank says how long its entry took: from the container's namespace in hand to being in it, with
every capability dropped and the environment set. All ranks of all rounds. *Processor* is the time that the rank itself ran: on
few cores, many ranks are interrupted by each other while the clock goes on. *Privileged* is the plugin's other hook in the
rank, which empties the capability bounding set while Slurm still starts other ranks. These nodes have control groups of version
1, where a rank goes to a group of Oarlock's first (`pids`). The kernel lets one process go at a time, and has the first one in some
milliseconds wait for a grace period of RCU: so the last figures of many ranks on two processors.";

const PREPARE: &str = "\
Once a node and step: *image* is opening, checking and mounting the image, which runs beside Slurm's own work; *build* is the
rest, which the ranks wait for. *Held by another step*: another step of the same user on that node has the image mounted.
*Used before*: steps before this one had it, nobody has it now. *Image cold*: the image's pages were dropped from the page
cache before. *All cold*: the host's whole page cache and its inodes were, Oarlock's own programs and Slurm's with them; what
is measured then is mostly the disk.";

/// One rank's line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Timing {
    /// Opening and mounting the image, in milliseconds.
    image: f64,
    /// Building the container, in milliseconds.
    pub(crate) build: f64,
    /// This rank's privileged hook, in microseconds.
    privileged: f64,
    /// This rank's entry, in microseconds.
    pub(crate) entry: f64,
    /// The processor's part of the entry, in microseconds.
    processor: f64,
}

/// The preparations of one candidate in one state of the node.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    /// The candidate.
    pub(crate) key: &'static str,
    /// The state, as people read it.
    pub(crate) state: &'static str,
    /// One for each step.
    pub(crate) times: Vec<Timing>,
}

/// Reads `… timing: image 2870 us, build 5184 us, privileged 61000 ns, entry 30659 ns, processor 29000 ns`.
pub(crate) fn parse(line: &str) -> Option<Timing> {
    let (_, rest) = line.split_once("timing: ")?;
    let mut parts = rest.trim_end().split(", ");
    let mut number = |name: &str, unit: &str| -> Option<f64> {
        let value: u32 = parts
            .next()?
            .strip_prefix(name)?
            .strip_suffix(unit)?
            .trim()
            .parse()
            .ok()?;
        Some(f64::from(value) / 1000.0)
    };
    Some(Timing {
        image: number("image", "us")?,
        build: number("build", "us")?,
        privileged: number("privileged", "ns")?,
        entry: number("entry", "ns")?,
        processor: number("processor", "ns")?,
    })
}

fn timings(run: &Run) -> Vec<Timing> {
    run.said.iter().filter_map(|line| parse(line)).collect()
}

/// Measures entry for these numbers of ranks, and preparation warm and cold.
pub(crate) fn measure(
    engine: &Engine,
    ranks: &[usize],
    rounds: usize,
) -> Result<(Section, Section)> {
    let candidates: Vec<Candidate> = candidates::steps("true", |_| false)
        .into_iter()
        .filter(|candidate| [KERNEL, FUSE].contains(&candidate.key))
        .map(|candidate| Candidate {
            command: format!("OARLOCK_TIMING=1 {}", candidate.command),
            ..candidate
        })
        .collect();
    let plan = Plan {
        rounds,
        pause: "0.15",
        keep_words: true,
    };
    // Preparation is reported for one rank, whatever entry is asked for.
    let mut counts = ranks.to_vec();
    if !counts.contains(&1) {
        counts.push(1);
    }
    let runs = timed::run(engine, Place::Allocation, &candidates, &counts, plan)?;
    for (candidate, count) in pairs(&candidates, &counts) {
        if let Some(run) = runs
            .of(candidate.key, count)
            .find(|run| timings(run).len() != count)
        {
            bail!(
                "bench: {count} ranks should have said how long they took, {} did; is OARLOCK_TIMING known to what is installed?",
                timings(run).len()
            );
        }
    }
    let mut prepared = held::measure(engine, &candidates, rounds)?;
    prepared.extend(candidates.iter().map(|candidate| {
        Prepared {
            key: candidate.key,
            state: "used before",
            times: runs
                .of(candidate.key, 1)
                .filter_map(|run| timings(run).first().copied())
                .collect(),
        }
    }));
    prepared.extend(cold::measure(engine, &candidates, rounds)?);
    Ok((
        entry(&candidates, ranks, &runs),
        prepare(&candidates, &prepared),
    ))
}

fn pairs<'a>(
    candidates: &'a [Candidate],
    ranks: &'a [usize],
) -> impl Iterator<Item = (&'a Candidate, usize)> {
    candidates
        .iter()
        .flat_map(|candidate| ranks.iter().map(move |&count| (candidate, count)))
}

fn entry(candidates: &[Candidate], ranks: &[usize], runs: &Runs) -> Section {
    let mut table = Table::new([
        "",
        "ranks",
        "measured",
        "median",
        "90 %",
        "99 %",
        "processor, median",
        "processor, 99 %",
        "privileged, median",
    ]);
    let mut targets = Vec::new();
    for (candidate, count) in pairs(candidates, ranks) {
        let times: Vec<Timing> = runs.of(candidate.key, count).flat_map(timings).collect();
        let of = |part: fn(&Timing) -> f64| Spread::of(&times.iter().map(part).collect::<Vec<_>>());
        let spread = of(|timing| timing.entry);
        if let (Some(spread), Some(processor), Some(privileged)) = (
            spread,
            of(|timing| timing.processor),
            of(|timing| timing.privileged),
        ) {
            table.row([
                candidate.name.clone(),
                count.to_string(),
                spread.count.to_string(),
                number(spread.median),
                number(spread.high),
                number(spread.tail),
                number(processor.median),
                number(processor.tail),
                number(privileged.median),
            ]);
        }
        if candidate.key == KERNEL {
            targets.push(Target::at_most(
                &format!("entry, {count} a node, 99th percentile: ≤ 50 µs"),
                ENTRY_LIMIT,
                spread.map(|spread| spread.tail),
                " µs",
            ));
        }
    }
    Section {
        title: "A rank's entry",
        method: ENTRY.into(),
        tables: vec![("Microseconds", table)],
        targets,
    }
}

/// What a kernel mount's preparation is promised to take in a state, in
/// milliseconds.
fn limit(state: &str) -> Option<f64> {
    match state {
        held::STATE => Some(HELD_LIMIT),
        cold::IMAGE | cold::ALL => Some(COLD_LIMIT),
        _ => None,
    }
}

fn prepare(candidates: &[Candidate], prepared: &[Prepared]) -> Section {
    let mut table = Table::new(["", "the node", "measured", "image", "build", "both"]);
    let mut targets = Vec::new();
    for candidate in candidates {
        for found in prepared.iter().filter(|one| one.key == candidate.key) {
            let spread = |part: fn(&Timing) -> f64| {
                Spread::of(&found.times.iter().map(part).collect::<Vec<_>>())
            };
            let both = spread(|timing| timing.image + timing.build);
            let text = |spread: Option<Spread>| spread.map_or("—".into(), |spread| spread.text());
            table.row([
                candidate.name.clone(),
                found.state.to_owned(),
                found.times.len().to_string(),
                text(spread(|timing| timing.image)),
                text(spread(|timing| timing.build)),
                text(both),
            ]);
            if let (KERNEL, Some(limit)) = (found.key, limit(found.state)) {
                targets.push(Target::at_most(
                    &format!("preparation, kernel mount, {}: ≤ {limit} ms", found.state),
                    limit,
                    both.map(|spread| spread.median),
                    " ms",
                ));
            }
        }
    }
    Section {
        title: "Preparing a node",
        method: PREPARE.into(),
        tables: vec![(
            "Milliseconds, median (10th–90th percentile), one rank",
            table,
        )],
        targets,
    }
}

#[cfg(test)]
mod tests {
    use super::{Prepared, Timing, cold, entry, held, parse, prepare};
    use crate::bench::candidates::{KERNEL, steps};
    use crate::bench::timed::Runs;

    const LINE: &str = "oarlock: node1: timing: image 2870 us, build 5184 us, privileged 61000 ns, entry 40500 ns, processor 39000 ns";
    const READ: Timing = Timing {
        image: 2.87,
        build: 5.184,
        privileged: 61.0,
        entry: 40.5,
        processor: 39.0,
    };

    #[test]
    fn timing_lines_are_read() {
        assert_eq!(parse(LINE), Some(READ));
        for bad in [
            "timing: image 1 us, build 2 us",
            "timing: image 1 us, build 2 us, entry 3 ns",
            "image 1 us, build 2 us, entry 3 ns",
            "",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn every_rank_counts_for_entry_and_every_step_for_preparation() {
        let runs = Runs::read(&format!(
            "sample 1 kernel 1 0 9\nsaid {LINE}\nsample 1 kernel 4 0 9\n{}",
            format!("said {LINE}\n").repeat(4)
        ));
        let candidates = steps("true", |_| false);
        let found = entry(&candidates, &[1, 4], &runs);
        assert!(found.targets.iter().all(|target| target.met));
        assert_eq!(found.targets.len(), 2);
        let prepared = |state| Prepared {
            key: KERNEL,
            state,
            times: vec![READ, READ],
        };
        let states = [held::STATE, "used before", cold::IMAGE].map(prepared);
        let found = prepare(&candidates, &states);
        let targets: Vec<_> = found
            .targets
            .iter()
            .map(|target| (target.goal.as_str(), target.seen.as_str(), target.met))
            .collect();
        assert_eq!(
            targets,
            [
                (
                    "preparation, kernel mount, held by another step: ≤ 1 ms",
                    "8.05 ms",
                    false
                ),
                (
                    "preparation, kernel mount, image cold: ≤ 8 ms",
                    "8.05 ms",
                    false
                ),
            ]
        );
    }
}
