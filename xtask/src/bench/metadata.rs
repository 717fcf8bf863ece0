//! What finding files costs in a container: listing, sizes and imports.
//!
//! Times are taken inside the step, so that its start is in none of them.

use anyhow::{Result, bail};

use super::candidates::{self, APPTAINER, BARE, Candidate, FUSE, KERNEL, MODULES, STAGED};
use super::report::{Section, Target};
use super::script::Plan;
use super::stats::{Spread, number};
use super::table::Table;
use super::timed::{self, Place, Run, Runs};
use super::trees::MODULE_COUNT;
use crate::engine::Engine;

/// The most that a kernel mount may cost, in times of the host's directory.
const KERNEL_LIMIT: f64 = 1.1;

/// The most that Oarlock's FUSE mount may cost, in times of Apptainer's: both
/// run the same program, so what is above 1 is for the noise.
const FUSE_LIMIT: f64 = 1.05;

/// How many steps each candidate has; what is measured is spread over them.
const STEPS: usize = 3;

/// What is measured: the name inside the script, and for people.
const WORK: [(&str, &str); 3] = [("ls", "ls -lR"), ("du", "du -s"), ("import", "import")];

/// Runs each kind of work some times and says how long each took, in
/// microseconds. Where the image is the root, its files are below /; the plain
/// step has them below its first argument. Without a single quote in it.
const INSIDE: &str = r#"
root=$1 loops=$2
[ ! -d /opt/modules ] || root=
export LC_ALL=C.UTF-8
once() {
    local name=$1 begin=$EPOCHREALTIME end
    shift
    "$@" >/dev/null || exit
    end=$EPOCHREALTIME
    [ $loop = 0 ] || echo "inside $name $((${end/./} - ${begin/./}))" >&2
}
for ((loop = 0; loop <= loops; loop++)); do
    once ls ls -lR $root/usr $root/opt
    once du du -s $root/usr $root/opt
    once import python3 -B -I -S -c "import sys; sys.path.insert(0, sys.argv[1]); import load" $root/opt/modules
done
echo "inside entries $(find $root/usr $root/opt | wc -l)" >&2
"#;

fn method(entries: u32, count: usize) -> String {
    format!(
        "\
Inside a step of one rank, warm: each command is run once unmeasured, then timed from bash's fork to its wait, {count} times in
{STEPS} steps of each candidate in turn. `ls -lR` and `du -s` are of the image's /usr and /opt, {entries} entries; *import* is a
Python that imports {MODULE_COUNT} small modules which are compiled already. *Host directory* is the same root file system unpacked
on a local disk, seen from a step without a container. All images are of the same tree; Oarlock's and Apptainer's are the same file."
    )
}

/// What Charliecloud does with a squashfs, where this build of it knows how.
fn charliecloud_squashfs(program: &str) -> Candidate {
    Candidate {
        key: "squashfs",
        name: "Charliecloud, squashfs".into(),
        command: format!(
            r#"srun -N1 -w node1 -n"$1" --overcommit ch-run {} -- {program}"#,
            candidates::squashfs(MODULES)
        ),
    }
}

/// Measures the metadata of an image with many modules, about `runs` times.
pub(crate) fn measure(
    engine: &Engine,
    runs: usize,
    has: &impl Fn(&str) -> bool,
) -> Result<Section> {
    let loops = runs.div_ceil(STEPS);
    let program = format!(
        "bash -c '{INSIDE}' inside {} {loops}",
        candidates::tree(MODULES)
    );
    let mut candidates = candidates::steps_in(MODULES, &program, has);
    if has("ch-run") {
        candidates.push(charliecloud_squashfs(&program));
    }
    for candidate in &mut candidates {
        if candidate.key == BARE {
            candidate.name = "host directory".into();
        }
    }
    let plan = Plan {
        rounds: STEPS,
        pause: "0.15",
        keep_words: true,
    };
    let found = timed::run(engine, Place::Allocation, &candidates, &[1], plan)?;
    let entries = same_entries(&candidates, &found)?;
    Ok(section(
        &candidates,
        &found,
        &method(entries, loops * STEPS),
    ))
}

/// Reads `inside ls 126000`.
fn parse(line: &str) -> Option<(&str, u32)> {
    let (name, value) = line.strip_prefix("inside ")?.split_once(' ')?;
    Some((name, value.parse().ok()?))
}

fn inside<'a>(run: &'a Run, name: &'a str) -> impl Iterator<Item = u32> + 'a {
    run.said
        .iter()
        .filter_map(|line| parse(line))
        .filter(move |(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// How many entries all candidates have seen; who sees others measures
/// something else.
fn same_entries(candidates: &[Candidate], runs: &Runs) -> Result<u32> {
    let seen: Vec<(&str, u32)> = candidates
        .iter()
        .flat_map(|candidate| {
            runs.of(candidate.key, 1)
                .flat_map(|run| inside(run, "entries"))
                .map(|entries| (candidate.key, entries))
        })
        .collect();
    match seen.first() {
        Some(&(_, first)) if seen.iter().all(|&(_, entries)| entries == first) => Ok(first),
        _ => bail!("bench: the candidates see different trees: {seen:?}"),
    }
}

/// How long a kind of work took, in milliseconds.
fn spread(runs: &Runs, key: &str, work: &str) -> Option<Spread> {
    let times: Vec<f64> = runs
        .of(key, 1)
        .filter(|run| run.sample.code == 0)
        .flat_map(|run| inside(run, work))
        .map(|micros| f64::from(micros) / 1000.0)
        .collect();
    Spread::of(&times)
}

fn ratio(runs: &Runs, key: &str, base: &str, work: &str) -> Option<f64> {
    spread(runs, key, work)?.ratio(&spread(runs, base, work)?)
}

fn section(candidates: &[Candidate], runs: &Runs, method: &str) -> Section {
    let head = || std::iter::once("").chain(WORK.iter().map(|(_, name)| *name));
    let (mut medians, mut spreads) = (Table::new(head()), Table::new(head()));
    for candidate in candidates {
        let row = |cell: &dyn Fn(&str) -> String| -> Vec<String> {
            std::iter::once(candidate.name.clone())
                .chain(WORK.iter().map(|(work, _)| cell(work)))
                .collect()
        };
        medians.row(row(&|work| median(runs, candidate.key, work)));
        spreads.row(row(&|work| {
            spread(runs, candidate.key, work).map_or("—".into(), |spread| {
                format!("{}–{}", number(spread.low), number(spread.high))
            })
        }));
    }
    let mut targets = Vec::new();
    for (key, base, limit, goal) in [
        (
            KERNEL,
            BARE,
            KERNEL_LIMIT,
            "kernel mount: ≤ 1.10 × host directory",
        ),
        (
            STAGED,
            BARE,
            KERNEL_LIMIT,
            "staged copy: ≤ 1.10 × host directory",
        ),
        (FUSE, APPTAINER, FUSE_LIMIT, "FUSE: ≤ 1.05 × Apptainer's"),
    ] {
        // Where a peer is not installed, nothing is promised about it.
        if candidates.iter().any(|candidate| candidate.key == base) {
            targets.extend(WORK.iter().map(|(work, name)| {
                let goal = format!("{name}, {goal}");
                Target::at_most(&goal, limit, ratio(runs, key, base, work), " ×")
            }));
        }
    }
    Section {
        title: "Finding files",
        method: method.into(),
        tables: vec![
            (
                "Milliseconds, median, and how many times the host's directory",
                medians,
            ),
            ("Milliseconds, 10th to 90th percentile", spreads),
        ],
        targets,
    }
}

fn median(runs: &Runs, key: &str, work: &str) -> String {
    let time = spread(runs, key, work).map(|spread| match ratio(runs, key, BARE, work) {
        Some(ratio) if key != BARE => format!("{} ×{ratio:.2}", number(spread.median)),
        _ => number(spread.median),
    });
    [time, runs.failures(key, 1)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::{INSIDE, MODULES, candidates, charliecloud_squashfs, same_entries, section};
    use crate::bench::timed::Runs;

    fn output(key: &str, micros: u32, entries: u32) -> String {
        format!(
            "sample 1 {key} 1 0 900000\nsaid inside ls {micros}\nsaid inside du {micros}\n\
             said inside import {micros}\nsaid inside entries {entries}\n"
        )
    }

    #[test]
    fn the_script_can_be_quoted() {
        assert!(!INSIDE.contains('\''));
    }

    #[test]
    fn each_work_has_its_target() {
        let runs = Runs::read(
            &[
                output("bare", 100_000, 7),
                output("kernel", 109_000, 7),
                output("staged", 108_000, 7),
                output("fuse", 500_000, 7),
                output("apptainer", 400_000, 7),
                "sample 1 squashfs 1 1 900\nsaid ch-run: no\n".to_owned(),
            ]
            .concat(),
        );
        let mut all = candidates::steps_in(MODULES, "true", |_| true);
        all.push(charliecloud_squashfs("true"));
        assert_eq!(same_entries(&all, &runs).unwrap(), 7);
        let found = section(&all, &runs, "");
        let met: Vec<bool> = found.targets.iter().map(|target| target.met).collect();
        assert_eq!(met, [[true; 3], [true; 3], [false; 3]].concat());
        assert_eq!(found.targets.last().unwrap().seen, "1.25 ×");
        let table = found.tables.first().unwrap().1.to_string();
        assert!(table.contains("109 ×1.09"), "{table}");
        assert!(table.contains("1 of 1 failed"), "{table}");
    }

    #[test]
    fn without_apptainer_nothing_is_compared_with_it() {
        let all = candidates::steps_in(MODULES, "true", |_| false);
        let found = section(&all, &Runs::default(), "");
        assert_eq!(found.targets.len(), 6);
        assert!(found.targets.iter().all(|target| !target.met));
    }

    #[test]
    fn another_tree_is_noticed() {
        let all = candidates::steps_in(MODULES, "true", |_| true);
        let runs = Runs::read(&[output("bare", 1, 7), output("kernel", 1, 0)].concat());
        assert!(same_entries(&all, &runs).is_err());
        assert!(same_entries(&all, &Runs::default()).is_err());
    }
}
