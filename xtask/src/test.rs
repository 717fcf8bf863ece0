//! All tests: the checks, the unit and integration tests, a short run of the fuzz
//! targets, the cluster tests with those on this machine's own GPU, where it has one, and
//! a few of the cluster tests with the other versions of Slurm.
//!
//! Takes down what it started, also after a failure, and closes with one line
//! that counts the tests.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::artifacts::cargo;
use crate::cluster::{self, Cluster, UserImages};
use crate::engine::Engine;
use crate::job::{Job, require_root, say};
use crate::layout::{Layout, Slurm};
use crate::{artifacts, check, engine, fuzz, packages};

/// How long each fuzz target runs here, in seconds.
const FUZZ_SECONDS: u32 = 5;

/// The cluster tests that are made with every version of Slurm: a module of theirs.
const SMOKE: &str = "smoke::";

/// Tests counted over all of cargo's runs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Count {
    passed: u32,
    failed: u32,
    ignored: u32,
}

/// What is to be run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// Everything, and the machine is as it was afterwards.
    All,
    /// The cluster tests; a cluster that is up stays up.
    Cluster,
    /// A few of them, with each version of Slurm but the one that is named.
    Smoke,
}

/// Runs what was asked for and prints the closing summary.
pub(crate) fn run(layout: &Layout, slurm: Slurm, part: Part, filter: Option<&str>) -> Result<()> {
    require_root()?;
    let start = Instant::now();
    let mut count = Count::default();
    let outcome = stages(layout, slurm, part, filter, &mut count);
    println!();
    say(&format!(
        "{} after {} s",
        if outcome.is_ok() {
            "all is well"
        } else {
            "FAILED"
        },
        start.elapsed().as_secs()
    ));
    println!(
        "{} passed, {} failed, {} skipped",
        count.passed, count.failed, count.ignored
    );
    outcome
}

fn stages(
    layout: &Layout,
    slurm: Slurm,
    part: Part,
    filter: Option<&str>,
    count: &mut Count,
) -> Result<()> {
    if part == Part::Smoke {
        return with_others(layout, slurm, count);
    }
    if part == Part::All {
        packages::ensure(layout, packages::BUILD)?;
        check::run(layout)?;
        say("unit and integration tests");
        let mut tests = cargo(
            layout,
            ["test", "--workspace", "--exclude", "cluster-tests"],
        );
        if let Some(filter) = filter {
            tests = tests.args(["--", filter]);
        }
        counted(&tests, count)?;
        // A filter names tests, and no target is one.
        if filter.is_none() {
            match fuzz::run(layout, FUZZ_SECONDS, None) {
                Ok(targets) => count.passed += targets,
                Err(error) => {
                    count.failed += 1;
                    return Err(error);
                }
            }
        }
    }
    let mut cluster = cluster::up(layout, slurm)?;
    if part == Part::All {
        // A full run leaves nothing behind, whatever it found.
        cluster.started = true;
    }
    say("cluster tests");
    let outcome = on_cluster(layout, &cluster, filter, count);
    if outcome.is_err() {
        cluster::logs(&cluster.engine);
    }
    let down = cluster::take_down(layout, &cluster);
    outcome?;
    down?;
    // A filter names tests, and these have been made.
    if part == Part::All && filter.is_none() {
        with_others(layout, slurm, count)?;
    }
    Ok(())
}

/// A few tests with every other version of Slurm.
fn with_others(layout: &Layout, slurm: Slurm, count: &mut Count) -> Result<()> {
    for other in Slurm::value_variants() {
        if *other != slurm {
            smoke(layout, *other, count)?;
        }
    }
    Ok(())
}

/// A few tests with another version of Slurm, on a cluster of their own, with the
/// users' images that are there.
fn smoke(layout: &Layout, slurm: Slurm, count: &mut Count) -> Result<()> {
    say(&format!(
        "some cluster tests with Slurm {}",
        slurm.version()
    ));
    packages::ensure(layout, packages::BUILD)?;
    let engine = Engine::find_or_start(layout)?;
    let outcome = smoke_on(layout, &engine, slurm, count);
    if engine.started {
        engine::stop(layout)?;
    }
    outcome
}

fn smoke_on(layout: &Layout, engine: &Engine, slurm: Slurm, count: &mut Count) -> Result<()> {
    if cluster::is_up(engine) {
        bail!(
            "a cluster is up, of which these tests need the place; `cargo xtask cluster down` first"
        );
    }
    cluster::make_image(layout, engine, slurm)?;
    if !artifacts::compare_glibc(engine, slurm)? {
        count.ignored += 1;
        say(&format!(
            "SKIPPED: Slurm {} cannot run what is built here; build on an older Debian to test it",
            slurm.version()
        ));
        return Ok(());
    }
    let cluster = cluster::up_with(layout, slurm, UserImages::AsTheyAre)?;
    let outcome = on_cluster(layout, &cluster, Some(SMOKE), count);
    if outcome.is_err() {
        cluster::logs(&cluster.engine);
    }
    let down = cluster::take_down(layout, &cluster);
    outcome?;
    down
}

fn on_cluster(
    layout: &Layout,
    cluster: &Cluster,
    filter: Option<&str>,
    count: &mut Count,
) -> Result<()> {
    let mut tests = cargo(layout, ["test", "-p", "cluster-tests", "--release", "--"]);
    if let Some(filter) = filter {
        tests = tests.args([filter]);
    }
    let tests = tests
        .args(["--test-threads=1"])
        .env("OARLOCK_CLUSTER", "1")
        .env("OARLOCK_COMPOSE", cluster.engine.compose_command())
        .env("OARLOCK_SHARED", layout.shared());
    counted(&tests, count)
}

/// Runs cargo's tests, shows their output, and adds up their results.
fn counted(job: &Job, count: &mut Count) -> Result<()> {
    let mut child = job
        .command()?
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo: the command does not start")?;
    let output = child
        .stdout
        .take()
        .context("cargo: its output is not connected")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("cargo: its output cannot be read")?;
        println!("{line}");
        if let Some(result) = parse_result(&line) {
            count.passed += result.passed;
            count.failed += result.failed;
            count.ignored += result.ignored;
        }
    }
    let status = child.wait().context("cargo: cannot be waited for")?;
    if !status.success() {
        bail!("the tests failed: {status}");
    }
    Ok(())
}

/// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn parse_result(line: &str) -> Option<Count> {
    let rest = line.strip_prefix("test result: ")?;
    let mut count = Count::default();
    for part in rest.split([';', '.']) {
        let mut words = part.split_whitespace();
        let (Some(number), Some(kind)) = (words.next(), words.next()) else {
            continue;
        };
        let Ok(number) = number.parse() else {
            continue;
        };
        match kind {
            "passed" => count.passed = number,
            "failed" => count.failed = number,
            "ignored" => count.ignored = number,
            _ => {}
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::{Count, parse_result};

    #[test]
    fn result_lines_are_counted() {
        let line = "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s";
        let wanted = Count {
            passed: 12,
            failed: 2,
            ignored: 1,
        };
        assert_eq!(parse_result(line), Some(wanted));
        assert_eq!(parse_result("test foo ... ok"), None);
    }
}
