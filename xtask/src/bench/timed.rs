//! Runs the measuring script in the cluster and keeps what it printed.
//!
//! A peer that fails is reported as failed; Oarlock or a plain step that fails
//! ends the benchmark, because what would follow measures nothing.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::candidates::{BARE, Candidate, FUSE, KERNEL};
use super::script::{self, Line, Plan, Sample};
use super::stats::{Spread, number};
use crate::engine::Engine;
use crate::job::say;

/// Where the script runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    /// On the login machine, with all of node1 allocated to it.
    Allocation,
    /// On the login machine, with all of both nodes allocated to it.
    BothNodes,
    /// On the login machine, without Slurm.
    Login,
}

/// One command's run and what it said.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// What was measured.
    pub(crate) sample: Sample,
    /// Its lines on stderr, as far as the script keeps them.
    pub(crate) said: Vec<String>,
}

/// All runs of a script.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(Vec<Run>);

impl Runs {
    /// Takes in one line that the script printed.
    fn take(&mut self, line: &str) -> Option<&Sample> {
        match script::parse(line)? {
            Line::Sample(sample) => {
                self.0.push(Run {
                    sample,
                    said: Vec::new(),
                });
                self.0.last().map(|run| &run.sample)
            }
            Line::Said(words) => {
                if let Some(run) = self.0.last_mut() {
                    run.said.push(words);
                }
                None
            }
        }
    }

    /// The counted runs of a candidate with this many ranks, failed or not.
    pub(crate) fn of<'a>(&'a self, key: &'a str, ranks: usize) -> impl Iterator<Item = &'a Run> {
        self.0.iter().filter(move |run| {
            run.sample.round > 0 && run.sample.key == key && run.sample.ranks == ranks
        })
    }

    /// How long a candidate's runs took, in milliseconds; none where all failed.
    pub(crate) fn spread(&self, key: &str, ranks: usize) -> Option<Spread> {
        let times: Vec<f64> = self
            .of(key, ranks)
            .filter(|run| run.sample.code == 0)
            .map(|run| f64::from(run.sample.micros) / 1000.0)
            .collect();
        Spread::of(&times)
    }

    /// How many times the bare step a candidate's took.
    pub(crate) fn ratio(&self, key: &str, ranks: usize) -> Option<f64> {
        self.spread(key, ranks)?.ratio(&self.spread(BARE, ranks)?)
    }

    /// A candidate's median in milliseconds, how many times the bare step it is, and its
    /// failures.
    pub(crate) fn against_bare(&self, key: &str, ranks: usize) -> String {
        let time = self.spread(key, ranks).map(|spread| {
            let median = number(spread.median);
            match self.ratio(key, ranks) {
                Some(ratio) if key != BARE => format!("{median} ×{ratio:.2}"),
                _ => median,
            }
        });
        let cells: Vec<String> = time.into_iter().chain(self.failures(key, ranks)).collect();
        cells.join(", ")
    }

    /// What a table says of a candidate's failures: nothing, or how many.
    pub(crate) fn failures(&self, key: &str, ranks: usize) -> Option<String> {
        let all = self.of(key, ranks).count();
        let failed = self
            .of(key, ranks)
            .filter(|run| run.sample.code != 0)
            .count();
        (failed > 0 || all == 0).then(|| format!("{failed} of {all} failed"))
    }

    /// An error where a run failed that all else is compared with or about.
    fn demand_success(&self) -> Result<()> {
        let failed = self.0.iter().find(|run| {
            run.sample.code != 0 && [BARE, KERNEL, FUSE].contains(&run.sample.key.as_str())
        });
        if let Some(Run { sample, said }) = failed {
            bail!(
                "bench: {} with {} ranks exited with {}: {}",
                sample.key,
                sample.ranks,
                sample.code,
                said.last().map_or("it said nothing", String::as_str)
            );
        }
        Ok(())
    }
}

/// Runs every candidate with every number of ranks, `plan.rounds` times; an
/// error where one fails that all else is compared with or about.
pub(crate) fn run(
    engine: &Engine,
    place: Place,
    candidates: &[Candidate],
    ranks: &[usize],
    plan: Plan,
) -> Result<Runs> {
    let runs = collect(engine, place, candidates, ranks, plan)?;
    runs.demand_success()?;
    Ok(runs)
}

/// The same, for who counts failures.
pub(crate) fn collect(
    engine: &Engine,
    place: Place,
    candidates: &[Candidate],
    ranks: &[usize],
    plan: Plan,
) -> Result<Runs> {
    let script = script::write(candidates, ranks, plan);
    let commands = candidates.len() * ranks.len() * (plan.rounds + 1);
    // Far above what the slowest command takes.
    let minutes = (commands * 10 / 60 + 5).to_string();
    let mut argv: Vec<&str> = Vec::new();
    let nodes = match place {
        Place::Allocation => "node1",
        Place::BothNodes => "node1,node2",
        Place::Login => "",
    };
    if place != Place::Login {
        // The time limit ends what an interrupted benchmark leaves behind.
        argv.extend(["salloc", "-Q", "-w", nodes, "--exclusive"]);
        argv.extend(["--mem=0", "--chdir=/tmp", "-t", &minutes]);
    }
    argv.extend(["bash", "-c", &script]);
    let job = engine
        .exec("login", "alice", "run the measurements", argv)
        .limit(u64::try_from(commands).unwrap_or(u64::MAX / 20) * 10 + 300);
    let mut child = job
        .command()?
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the measurements: the command does not start")?;
    let output = child
        .stdout
        .take()
        .context("the measurements' output is not connected")?;
    let mut runs = Runs::default();
    let mut shown = 0;
    for line in BufReader::new(output).lines() {
        let line = line.context("the measurements' output cannot be read")?;
        let round = runs.take(&line).map(|sample| sample.round);
        if let Some(round) = round.filter(|&round| round >= shown + plan.rounds.div_ceil(4)) {
            shown = round;
            say(&format!("  round {round} of {}", plan.rounds));
        }
    }
    let status = child
        .wait()
        .context("the measurements cannot be waited for")?;
    job.judge(status, "")?;
    if runs.0.len() != commands {
        bail!(
            "bench: {commands} commands should have run, {} did",
            runs.0.len()
        );
    }
    Ok(runs)
}

#[cfg(test)]
impl Runs {
    /// Reads a script's output, for tests.
    pub(crate) fn read(text: &str) -> Self {
        let mut runs = Self::default();
        for line in text.lines() {
            runs.take(line);
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::Runs;

    const OUTPUT: &str = "\
sample 0 bare 1 0 900000
sample 1 bare 1 0 80000
sample 1 apptainer 1 0 190000
sample 2 apptainer 1 255 5000
said FATAL: no
sample 2 bare 1 0 82000
";

    #[test]
    fn the_first_round_and_failures_do_not_count() {
        let runs = Runs::read(OUTPUT);
        assert_eq!(runs.spread("bare", 1).unwrap().median, 81.0);
        assert_eq!(runs.spread("apptainer", 1).unwrap().median, 190.0);
        assert_eq!(runs.spread("bare", 4), None);
        assert_eq!(runs.failures("bare", 1), None);
        assert_eq!(
            runs.failures("apptainer", 1).as_deref(),
            Some("1 of 2 failed")
        );
    }

    #[test]
    fn words_belong_to_the_run_before_them() {
        let runs = Runs::read(OUTPUT);
        let said: Vec<_> = runs.of("apptainer", 1).map(|run| run.said.len()).collect();
        assert_eq!(said, [0, 1]);
    }

    #[test]
    fn only_a_peer_may_fail() {
        assert!(Runs::read(OUTPUT).demand_success().is_ok());
        let broken = Runs::read("sample 1 kernel 4 1 500\nsaid oarlock: image x: no\n");
        let error = broken.demand_success().unwrap_err().to_string();
        assert!(error.ends_with("exited with 1: oarlock: image x: no"));
    }
}
