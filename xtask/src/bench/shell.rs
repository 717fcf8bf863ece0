//! One command from a shell, without Slurm: `oarlock exec` and its peers.

use anyhow::Result;

use super::candidates::{self, BARE, Candidate, FUSE};
use super::report::{Section, Target};
use super::script::Plan;
use super::stats::number;
use super::table::Table;
use super::timed::{self, Place, Runs};
use crate::engine::Engine;

/// What `oarlock exec` may take, in milliseconds.
const LIMIT: f64 = 10.0;

/// These commands are short: so many times more rounds than of steps.
const MORE: usize = 5;

/// Measures `true`, run from bash on the login machine.
pub(crate) fn measure(
    engine: &Engine,
    rounds: usize,
    has: &impl Fn(&str) -> bool,
) -> Result<Section> {
    let candidates = candidates::shell(has);
    let plan = Plan {
        rounds: rounds * MORE,
        pause: "0.03",
        keep_words: false,
    };
    let runs = timed::run(engine, Place::Login, &candidates, &[1], plan)?;
    Ok(section(&candidates, &runs))
}

fn section(candidates: &[Candidate], runs: &Runs) -> Section {
    let mut table = Table::new(["", "median", "10 %", "90 %", "failed"]);
    for candidate in candidates {
        let mut cells = vec![candidate.name.clone()];
        if let Some(spread) = runs.spread(candidate.key, 1) {
            cells.extend([spread.median, spread.low, spread.high].map(number));
        } else {
            cells.extend(["—", "—", "—"].map(String::from));
        }
        cells.push(runs.failures(candidate.key, 1).unwrap_or_default());
        table.row(cells);
    }
    let spread = runs.spread(FUSE, 1);
    let count = runs.spread(BARE, 1).map_or(0, |spread| spread.count);
    Section {
        title: "A command from the shell",
        method: format!(
            "`oarlock exec IMAGE true`, as an ordinary user on the login machine, from bash's fork to its wait; {count} times \
             each. Without Slurm there is no privilege: Oarlock uses a user namespace, and a FUSE server for a SIF."
        ),
        tables: vec![("Milliseconds", table)],
        targets: vec![Target::at_most(
            "oarlock exec of a SIF: ≤ 10 ms",
            LIMIT,
            spread.map(|spread| spread.median),
            " ms",
        )],
    }
}
