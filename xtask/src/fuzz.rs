//! Fuzzing: builds the targets of fuzz/ and lets each run for some seconds.
//!
//! Needs the stable compiler and a C++ compiler only: the coverage that
//! libFuzzer steers by is an LLVM pass, turned on by the same options as
//! cargo-fuzz gives; without a sanitizer, for what is fuzzed has no unsafe code.
//! Inputs that found something new are kept in target/fuzz/corpus for the next
//! time. Nothing is ever written into fuzz/.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use crate::artifacts::cargo;
use crate::job::{Job, say, tail};
use crate::layout::{Layout, make_dir};
use crate::packages;

/// The coverage that libFuzzer needs, and code that does not hide it.
const FLAGS: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
];

/// No input that is worth finding is longer, in bytes.
const MAX_LEN: u32 = 8192;
/// An input that takes longer is a finding, in seconds.
const INPUT_LIMIT: u32 = 5;
/// So is one that takes more memory, in MiB.
const MEMORY: u32 = 512;

/// Builds every target and runs `only` or all of them, two or more at a time
/// where there are processors for it. Returns how many ran without a finding.
pub(crate) fn run(layout: &Layout, seconds: u32, only: Option<&str>) -> Result<u32> {
    packages::ensure(layout, packages::FUZZ)?;
    let mut targets = targets(layout)?;
    if let Some(only) = only {
        if !targets.iter().any(|target| target == only) {
            bail!(
                "fuzz target {only}: there is none of that name; known are {}",
                targets.join(", ")
            );
        }
        targets.retain(|target| target == only);
    }
    let host = host()?;
    say("building the fuzz targets");
    build(layout, &host, &targets)?;
    say(&format!("fuzzing {}, {seconds} s each", targets.join(", ")));

    let queue = Mutex::new(targets.iter());
    let findings = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers.min(targets.len()) {
            scope.spawn(|| {
                // The lock is held for the look at the queue only.
                while let Some(target) = next(&queue) {
                    match one(layout, &host, target, seconds) {
                        Ok(line) => say(&format!("  {target}: {line}")),
                        Err(error) => {
                            if let Ok(mut list) = findings.lock() {
                                list.push(error);
                            }
                        }
                    }
                }
            });
        }
    });
    let findings = findings
        .into_inner()
        .map_err(|_| anyhow!("fuzzing: a worker panicked"))?;
    if findings.is_empty() {
        return Ok(u32::try_from(targets.len()).unwrap_or(u32::MAX));
    }
    let findings: Vec<String> = findings.iter().map(|error| format!("{error:#}")).collect();
    bail!("{}", findings.join("\n"))
}

fn next<'a>(queue: &Mutex<std::slice::Iter<'a, String>>) -> Option<&'a String> {
    queue.lock().ok()?.next()
}

/// The targets' names: the files of fuzz/fuzz_targets.
fn targets(layout: &Layout) -> Result<Vec<String>> {
    let dir = layout.root.join("fuzz/fuzz_targets");
    let entries =
        std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(".rs").map(str::to_owned)
        })
        .collect();
    names.sort();
    Ok(names)
}

/// The triple that this compiler builds for. Naming it makes cargo keep the
/// flags away from build scripts, which have no libFuzzer to link with.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let about = Job::new("ask rustc for its host", [rustc])
        .args(["-vV"])
        .capture()?;
    about
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc -vV names no host")
}

fn place(layout: &Layout) -> PathBuf {
    layout.cargo_target().join("fuzz")
}

fn build(layout: &Layout, host: &str, targets: &[String]) -> Result<()> {
    let mut flags = FLAGS.join(" ");
    flags.push_str(" --cfg fuzzing");
    let bins = targets.iter().flat_map(|target| ["--bin", target]);
    cargo(
        layout,
        ["build", "--release", "--manifest-path", "fuzz/Cargo.toml"],
    )
    .args(["--target", host, "--target-dir"])
    .args([place(layout)])
    .args(bins)
    .env("RUSTFLAGS", flags)
    .log_to(&layout.log("cargo-build-fuzz")?)
}

/// Runs one target; what it did, or where the input lies that it fails on.
fn one(layout: &Layout, host: &str, target: &str, seconds: u32) -> Result<String> {
    let place = place(layout);
    let program = place.join(host).join("release").join(target);
    let corpus = place.join("corpus").join(target);
    let seeds = place.join("seeds").join(target);
    let findings = place.join("artifacts").join(target);
    for dir in [&corpus, &seeds, &findings] {
        make_dir(dir)?;
    }
    let log = layout.log(&format!("fuzz-{target}"))?;
    let mut prefix = findings.clone().into_os_string();
    prefix.push("/");
    let mut wanted = std::ffi::OsString::from("-artifact_prefix=");
    wanted.push(prefix);
    let done = Job::new(format!("fuzz {target}"), [&program])
        .args([
            format!("-max_total_time={seconds}"),
            format!("-max_len={MAX_LEN}"),
            format!("-timeout={INPUT_LIMIT}"),
            format!("-rss_limit_mb={MEMORY}"),
            String::from("-print_final_stats=1"),
        ])
        .args([wanted])
        .args([&corpus, &seeds])
        .env("OARLOCK_FUZZ_SEEDS", &seeds)
        .limit(u64::from(seconds) + 60)
        .log_in_silence(&log);
    if let Err(error) = done {
        return Err(finding(target, &program, &log, &error));
    }
    let text =
        std::fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
    let runs = number(&text, "stat::number_of_executed_units:");
    let runs = runs.filter(|runs| *runs > 0).with_context(|| {
        format!(
            "fuzz target {target}: it tried nothing; see {}",
            log.display()
        )
    })?;
    let kept = number(&text, "stat::new_units_added:").unwrap_or(0);
    Ok(format!("{runs} inputs, {kept} new ones kept"))
}

/// `NAME value` on a line of its own.
fn number(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .rev()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|value| value.trim().parse().ok())
}

/// What a person needs to see the failure again.
fn finding(target: &str, program: &Path, log: &Path, error: &anyhow::Error) -> anyhow::Error {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    // What is said after the panic's place, or libFuzzer's own words.
    let reason = text
        .lines()
        .skip_while(|line| !line.contains(" panicked at "))
        .take(2)
        .collect::<Vec<_>>()
        .join(" ");
    let Some(input) = text.lines().find_map(|line| {
        line.split_once("Test unit written to ")
            .map(|(_, path)| path.trim())
    }) else {
        return anyhow!("fuzz target {target}: {error:#}\n{}", tail(log, 25));
    };
    anyhow!(
        "fuzz target {target} fails: {reason}\n  input: {input}\n  again: {} {input}\n  all it said: {}",
        program.display(),
        log.display()
    )
}

#[cfg(test)]
mod tests {
    use super::{finding, number};

    #[test]
    fn libfuzzers_numbers_are_read() {
        let text = "stat::number_of_executed_units: 696\nstat::new_units_added:          7\n";
        assert_eq!(number(text, "stat::number_of_executed_units:"), Some(696));
        assert_eq!(number(text, "stat::new_units_added:"), Some(7));
        assert_eq!(number(text, "stat::peak_rss_mb:"), None);
    }

    #[test]
    fn a_finding_says_how_to_see_it_again() {
        let log = std::env::temp_dir().join(format!("oarlock-finding-{}", std::process::id()));
        let text = "thread '<unnamed>' (1) panicked at src/sif.rs:1:2:\nids are unique\n\
                    artifact_prefix='/a/'; Test unit written to /a/crash-00\n";
        std::fs::write(&log, text).expect("a log");
        let error = finding("sif", "/b/sif".as_ref(), &log, &anyhow::anyhow!("exit 77"));
        std::fs::remove_file(&log).expect("the log goes");
        let told = error.to_string();
        assert!(told.starts_with("fuzz target sif fails: "), "{told}");
        for part in [
            "ids are unique",
            "  input: /a/crash-00\n",
            "  again: /b/sif /a/crash-00\n",
        ] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }
}
