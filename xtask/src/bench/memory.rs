//! What stays in memory beside the ranks while a step runs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};

use super::candidates::{self, Candidate, KERNEL};
use super::report::{Section, Target};
use super::stats::number;
use super::table::Table;
use crate::engine::Engine;
use crate::job::say;
use crate::layout::Layout;

/// How many ranks the step has.
const RANKS: usize = 16;

/// What a rank is: a time that nothing else sleeps.
const PROGRAM: &str = "sleep 8.125";

const METHOD: &str = "\
A step of 16 ranks that sleep, one second after the last of them has started: every process on the node that was not there
before and is neither a rank nor slurmstepd. A page that several share counts in full in *resident* and in parts in
*proportional*. The kernel's own memory, such as the page cache, is not in it.";

/// Lists the processes of a node; told a number of ranks, it first waits for
/// them, so many seconds at most, and one second more. srun makes a program's
/// name a path, the peers do not. Runs nothing while it lists: what it finds of
/// itself is this one shell.
const PROBE: &str = r#"
if [ "$1" -gt 0 ]; then
    for try in $(seq "${3}0"); do
        [ "$(pgrep -fcx "(/.*/)?$2")" -lt "$1" ] || break
        sleep 0.1
    done
    sleep 1
fi
exec 2>/dev/null
for dir in /proc/[0-9]*; do
    name= rss=0 pss=0 line=
    read -r name <"$dir/comm" || continue
    IFS= read -r -d '' line <"$dir/cmdline"
    [ "${dir#/proc/}" != $$ ] || continue
    while read -r key value rest; do
        [ "$key" != VmRSS: ] || rss=$value
    done <"$dir/status"
    while read -r key value rest; do
        [ "$key" != Pss: ] || pss=$value
    done <"$dir/smaps_rollup"
    echo "process ${dir#/proc/} $rss $pss $name"
done
"#;

/// A process, as the probe lists it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Resident, in KiB.
    rss: u32,
    /// The proportional share of it, in KiB.
    pss: u32,
    name: String,
}

fn parse(line: &str) -> Option<Process> {
    let mut words = line.strip_prefix("process ")?.splitn(4, ' ');
    Some(Process {
        pid: words.next()?.parse().ok()?,
        rss: words.next()?.parse().ok()?,
        pss: words.next()?.parse().ok()?,
        name: words.next()?.to_owned(),
    })
}

/// What a step added to a node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Added {
    /// How many ranks sleep.
    pub(crate) ranks: usize,
    /// slurmstepd's proportional memory, in KiB.
    slurmstepd: u32,
    /// How many helpers of each name.
    helpers: BTreeMap<String, usize>,
    /// Their resident memory, in KiB.
    rss: u32,
    /// Their proportional memory, in KiB.
    pub(crate) pss: u32,
}

/// Sorts what is new on the node.
pub(crate) fn added(before: &BTreeSet<u32>, after: &[Process]) -> Added {
    let mut added = Added::default();
    for process in after.iter().filter(|one| !before.contains(&one.pid)) {
        match process.name.as_str() {
            "sleep" => added.ranks += 1,
            "slurmstepd" => added.slurmstepd += process.pss,
            name => {
                *added.helpers.entry(name.to_owned()).or_default() += 1;
                added.rss += process.rss;
                added.pss += process.pss;
            }
        }
    }
    added
}

/// Runs one step of each candidate and looks at the node meanwhile.
pub(crate) fn measure(
    layout: &Layout,
    engine: &Engine,
    has: &impl Fn(&str) -> bool,
) -> Result<Section> {
    let mut found = Vec::new();
    for candidate in candidates::steps(PROGRAM, has) {
        say(&format!("  {}", candidate.name));
        // What the step before left is gone when the next one is compared.
        std::thread::sleep(Duration::from_secs(2));
        let added = step(layout, engine, &candidate)
            .with_context(|| format!("memory of {}", candidate.name))?;
        found.push((candidate, added));
    }
    Ok(section(&found))
}

/// Lists the first node's processes, after it has waited for so many ranks
/// that have become `program`, at most so many seconds.
pub(crate) fn probe(
    engine: &Engine,
    ranks: usize,
    program: &str,
    seconds: u32,
) -> Result<Vec<Process>> {
    let text = engine
        .exec(
            "node1",
            "root",
            "list a node's processes",
            [
                "bash",
                "-c",
                PROBE,
                "probe",
                &ranks.to_string(),
                program,
                &seconds.to_string(),
            ],
        )
        .limit(u64::from(seconds) * 2 + 30)
        .capture()?;
    Ok(text.lines().filter_map(parse).collect())
}

fn step(layout: &Layout, engine: &Engine, candidate: &Candidate) -> Result<Added> {
    let before = probe(engine, 0, PROGRAM, 0)?
        .iter()
        .map(|one| one.pid)
        .collect();
    let line = format!(
        "cd && export USER=alice && set -- {RANKS} && {}",
        candidate.command
    );
    let mut child = engine
        .exec("login", "alice", "run a step", ["bash", "-c", &line])
        .start(&layout.log("bench-memory")?)?;
    let after = probe(engine, RANKS, PROGRAM, 15);
    child.wait().context("the step cannot be waited for")?;
    Ok(added(&before, &after?))
}

fn section(found: &[(Candidate, Added)]) -> Section {
    let mut table = Table::new([
        "",
        "ranks",
        "helpers",
        "resident",
        "proportional",
        "slurmstepd",
        "which",
    ]);
    let mib = |kib: u32| number(f64::from(kib) / 1024.0);
    for (candidate, added) in found {
        let which: Vec<String> = added
            .helpers
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        table.row([
            candidate.name.clone(),
            added.ranks.to_string(),
            added.helpers.values().sum::<usize>().to_string(),
            mib(added.rss),
            mib(added.pss),
            mib(added.slurmstepd),
            which.join(", "),
        ]);
    }
    let kernel = found
        .iter()
        .find(|(candidate, added)| candidate.key == KERNEL && added.ranks == RANKS)
        .map(|(_, added)| added.helpers.values().sum::<usize>());
    Section {
        title: "Memory of helpers",
        method: METHOD.into(),
        tables: vec![("MiB; slurmstepd's is its proportional memory", table)],
        targets: vec![Target {
            goal: "helpers of a kernel mount: none".into(),
            seen: kernel.map_or("not measured".into(), |count| format!("{count} processes")),
            met: kernel == Some(0),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::{Added, Process, added, parse, section};
    use crate::bench::candidates::{FUSE, KERNEL, steps};

    #[test]
    fn processes_are_read() {
        let process = parse("process 7 2048 512 Apptainer runti").unwrap();
        assert_eq!(
            (process.pid, process.rss, process.pss, process.name.as_str()),
            (7, 2048, 512, "Apptainer runti")
        );
        assert_eq!(parse("process 7 2048 512"), None);
    }

    #[test]
    fn only_what_is_new_and_no_rank_is_a_helper() {
        let process = |pid, name: &str| Process {
            pid,
            rss: 2048,
            pss: 1024,
            name: name.into(),
        };
        let after = [
            process(1, "tini"),
            process(5, "slurmstepd"),
            process(6, "sleep"),
            process(7, "squashfuse_ll"),
        ];
        let added = added(&[1].into(), &after);
        assert_eq!((added.ranks, added.slurmstepd, added.rss), (1, 1024, 2048));
        assert_eq!(added.helpers, [("squashfuse_ll".to_owned(), 1)].into());
    }

    #[test]
    fn a_step_whose_ranks_are_missing_meets_nothing() {
        let found = |ranks, key| {
            let steps = steps("sleep", |_| false);
            let step = steps.into_iter().find(|step| step.key == key).unwrap();
            let added = Added {
                ranks,
                ..Added::default()
            };
            section(&[(step, added)]).targets.remove(0).met
        };
        assert!(found(16, KERNEL));
        assert!(!found(3, KERNEL));
        assert!(!found(16, FUSE));
    }
}
