//! Many launches, one after the other: how many fail, and what they leave on
//! the nodes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::candidates::{self, Candidate};
use super::leaks::{self, Count};
use super::report::{Section, Target};
use super::script::Plan;
use super::stats::number;
use super::table::Table;
use super::timed::{self, Place, Runs};
use crate::engine::Engine;
use crate::job::say;

/// How many launches there are unless another number is asked for.
pub(crate) const DEFAULT: usize = 1000;

/// How many ranks each launch has, over both nodes.
const RANKS: usize = 32;

/// The nodes that are looked at.
const NODES: [&str; 2] = ["node1", "node2"];

/// How long the nodes may take to put away what the last job used.
const SETTLE: Duration = Duration::from_secs(40);

/// A launch has failed where srun says so, does not end within a minute, or
/// where not every rank has read the image's name out of the image.
fn checked(candidate: Candidate) -> Candidate {
    Candidate {
        command: format!(
            r#"local said wanted
    said=$(timeout -k 5 60 {}) || return
    printf -v wanted "%*s" "$1" ""
    [ "$said" = "${{wanted// /demo$'\n'}}" ] || [ "$said"$'\n' = "${{wanted// /demo$'\n'}}" ]"#,
            candidate.command
        ),
        ..candidate
    }
}

/// Launches so many times, in turn in each of Oarlock's ways, and counts what
/// is on the nodes before and after.
pub(crate) fn measure(engine: &Engine, launches: usize) -> Result<Section> {
    let candidates: Vec<Candidate> = candidates::wide("cat /etc/oarlock-image")
        .into_iter()
        .map(checked)
        .collect();
    let plan = |rounds| Plan {
        rounds,
        pause: "0",
        keep_words: false,
    };
    let collect = |rounds| {
        timed::collect(
            engine,
            Place::BothNodes,
            &candidates,
            &[RANKS],
            plan(rounds),
        )
    };
    // What the first use makes, such as folders and copies of images, is no
    // leak.
    collect(1)?;
    let before = settled(engine, None)?;
    let runs = collect(launches.div_ceil(candidates.len()))?;
    let after = settled(engine, Some(&before))?;
    show_failures(&candidates, &runs);
    Ok(section(&candidates, &runs, &before, &after))
}

fn show_failures(candidates: &[Candidate], runs: &Runs) {
    let failed = candidates
        .iter()
        .flat_map(|candidate| runs.of(candidate.key, RANKS))
        .filter(|run| run.sample.code != 0);
    for run in failed.take(10) {
        say(&format!(
            "  {} exited with {}: {}",
            run.sample.key,
            run.sample.code,
            run.said.join(" | ")
        ));
    }
}

/// The nodes' counts when nothing changes any more: they are as low as before,
/// or, where there is no before, the same twice.
fn settled(engine: &Engine, before: Option<&[Count]>) -> Result<Vec<Count>> {
    let deadline = Instant::now() + SETTLE;
    let mut last: Option<Vec<Count>> = None;
    loop {
        let mut now = Vec::new();
        for node in NODES {
            now.extend(leaks::count(engine, node)?);
        }
        let quiet = match before {
            Some(before) => leaks::left(before, &now).is_empty(),
            None => last.as_ref() == Some(&now),
        };
        if quiet || (before.is_some() && Instant::now() > deadline) {
            return Ok(now);
        }
        if Instant::now() > deadline {
            bail!(
                "bench: the nodes do not come to rest before the launches; is the cluster in use?"
            );
        }
        last = Some(now);
        std::thread::sleep(Duration::from_secs(3));
    }
}

fn section(candidates: &[Candidate], runs: &Runs, before: &[Count], after: &[Count]) -> Section {
    let mut launched = Table::new(["", "launches", "failed", "median", "90 %", "99 %"]);
    let (mut all, mut all_failed) = (0, 0);
    for candidate in candidates {
        let count = runs.of(candidate.key, RANKS).count();
        let failed = runs
            .of(candidate.key, RANKS)
            .filter(|run| run.sample.code != 0)
            .count();
        (all, all_failed) = (all + count, all_failed + failed);
        let spread = runs.spread(candidate.key, RANKS);
        let cell = |value: Option<f64>| value.map_or("—".into(), number);
        launched.row([
            candidate.name.clone(),
            count.to_string(),
            failed.to_string(),
            cell(spread.map(|spread| spread.median)),
            cell(spread.map(|spread| spread.high)),
            cell(spread.map(|spread| spread.tail)),
        ]);
    }
    let left = leaks::left(before, after);
    Section {
        title: "Many launches",
        method: format!(
            "\
`srun -N2 -n{RANKS}` over both nodes, in one allocation of them, kernel mount and FUSE in turn. A launch has failed where srun
fails or not every rank reads the image's name out of the image. Counted on each node before and after, when the jobs have ended:
processes, mounts, mount namespaces, loop devices of the whole host, descriptors of slurmd, and entries below /run/oarlock,
/var/lib/oarlock, /tmp and /dev/shm."
        ),
        tables: vec![
            ("Milliseconds", launched),
            ("What is there before and after", leaks::table(&NODES, before, after)),
        ],
        targets: vec![
            Target {
                goal: format!("launches of {RANKS} ranks: none fails"),
                seen: format!("{all_failed} of {all}"),
                met: all > 0 && all_failed == 0,
            },
            Target {
                goal: "launches: nothing is left".into(),
                seen: match left.as_slice() {
                    [] => "nothing".into(),
                    left => left.join(", "),
                },
                met: left.is_empty() && !after.is_empty(),
            },
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, checked, section};
    use crate::bench::candidates::wide;
    use crate::bench::timed::Runs;

    fn run_check(said: &str) -> bool {
        let candidate = checked(crate::bench::candidates::Candidate {
            key: "x",
            name: String::new(),
            command: format!("printf %b '{said}'"),
        });
        let script = format!("f() {{ {}; }}; f 2", candidate.command);
        std::process::Command::new("bash")
            .args(["-c", &script])
            .status()
            .unwrap()
            .success()
    }

    #[test]
    fn every_rank_must_have_read_the_image() {
        assert!(run_check("demo\\ndemo\\n"));
        for bad in ["demo\\n", "demo\\ndemo\\ndemo\\n", "demo\\nnode\\n", ""] {
            assert!(!run_check(bad), "{bad}");
        }
    }

    #[test]
    fn a_failure_and_a_leak_are_told() {
        let count = |value| {
            vec![Count {
                node: "node1",
                what: "mounts".into(),
                value,
            }]
        };
        let good = "sample 1 kernel 32 0 300000\nsample 1 fuse 32 0 300000\n";
        let bad = "sample 2 fuse 32 1 300000\nsaid srun: no\n";
        let met = |text: &str, after| -> Vec<(bool, String)> {
            let found = section(&wide("true"), &Runs::read(text), &count(40), &count(after));
            let targets = found.targets.into_iter();
            targets.map(|target| (target.met, target.seen)).collect()
        };
        assert_eq!(
            met(good, 40),
            [(true, "0 of 2".to_owned()), (true, "nothing".to_owned())]
        );
        assert_eq!(
            met(&format!("{good}{bad}"), 42),
            [
                (false, "1 of 3".to_owned()),
                (false, "node1: 2 mounts".to_owned())
            ]
        );
        assert!(!met("", 40)[0].0);
    }
}
