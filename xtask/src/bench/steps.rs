//! The whole step: `srun true` in a container against `srun true`.

use anyhow::Result;

use super::candidates::{self, Candidate, FUSE, KERNEL};
use super::report::{Section, Target};
use super::script::Plan;
use super::stats::number;
use super::table::Table;
use super::timed::{self, Place, Runs};
use crate::engine::Engine;

/// What a step with a container may cost, in steps without one.
const LIMIT: f64 = 1.10;

const METHOD: &str = "\
`srun -N1 -nN true` in one allocation of a whole node, timed around each `srun`. All use `--overcommit`: 64 ranks do not fit
on 16 CPUs. Apptainer is Debian's, without setuid: a user namespace, and a FUSE server for each rank. Charliecloud runs the
same root file system unpacked on a local disk.";

/// Measures steps of these numbers of ranks.
pub(crate) fn measure(
    engine: &Engine,
    ranks: &[usize],
    rounds: usize,
    has: &impl Fn(&str) -> bool,
) -> Result<Section> {
    let mut candidates = candidates::steps("true", has);
    candidates.extend(candidates::bare_again(&candidates));
    let plan = Plan {
        rounds,
        pause: "0.15",
        keep_words: false,
    };
    let runs = timed::run(engine, Place::Allocation, &candidates, ranks, plan)?;
    Ok(section(&candidates, ranks, &runs))
}

fn section(candidates: &[Candidate], ranks: &[usize], runs: &Runs) -> Section {
    let mut head = vec![String::new()];
    head.extend(ranks.iter().map(|count| match count {
        1 => "1 rank".to_owned(),
        _ => format!("{count} ranks"),
    }));
    let (mut medians, mut spreads) = (Table::new(head.clone()), Table::new(head));
    for candidate in candidates {
        let row = |cell: &dyn Fn(usize) -> String| -> Vec<String> {
            std::iter::once(candidate.name.clone())
                .chain(ranks.iter().map(|&count| cell(count)))
                .collect()
        };
        medians.row(row(&|count| runs.against_bare(candidate.key, count)));
        spreads.row(row(&|count| {
            runs.spread(candidate.key, count)
                .map_or("—".into(), |spread| {
                    format!("{}–{}", number(spread.low), number(spread.high))
                })
        }));
    }
    let targets = [(KERNEL, "kernel mount"), (FUSE, "FUSE")]
        .into_iter()
        .flat_map(|(key, name)| {
            ranks.iter().map(move |&count| {
                let goal = format!("step of {count}, {name}: ≤ {LIMIT:.2} × bare");
                Target::at_most(&goal, LIMIT, runs.ratio(key, count), " ×")
            })
        })
        .collect();
    Section {
        title: "A step that does nothing",
        method: METHOD.into(),
        tables: vec![
            (
                "Milliseconds, median, and how many times the step without a container",
                medians,
            ),
            ("Milliseconds, 10th to 90th percentile", spreads),
        ],
        targets,
    }
}

#[cfg(test)]
mod tests {
    use super::{candidates, section};
    use crate::bench::timed::Runs;

    #[test]
    fn ratios_decide_the_targets() {
        let runs = Runs::read(
            "\
sample 1 bare 1 0 100000
sample 1 kernel 1 0 109000
sample 1 fuse 1 0 111000
sample 1 apptainer 1 0 300000
sample 2 apptainer 1 1 300000
sample 1 charliecloud 1 255 1000
",
        );
        let found = section(&candidates::steps("true", |_| true), &[1], &runs);
        let met: Vec<bool> = found.targets.iter().map(|target| target.met).collect();
        assert_eq!(met, [true, false]);
        let table = found.tables[0].1.to_string();
        for cell in ["| 100 |", "109 ×1.09 |", "300 ×3.00, 1 of 2 failed |"] {
            let squeezed = table.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(squeezed.contains(cell), "{table}");
        }
        assert!(table.contains(" 1 of 1 failed |"), "{table}");
    }
}
