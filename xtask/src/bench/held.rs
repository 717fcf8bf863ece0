//! Preparation where another step on the node has the same image mounted.

use anyhow::{Context, Result};

use super::candidates::Candidate;
use super::script::Plan;
use super::timed::{self, Place};
use super::timing::{self, Prepared};
use crate::engine::Engine;

/// How people read this state.
pub(crate) const STATE: &str = "held by another step";

/// How long the step that holds the image is left alone, in seconds: what it
/// reads ahead is its own business, and over by then.
const SETTLE: &str = "0.4";

/// Runs each candidate, which must say its times, on one rank beside a step
/// that was started with the same options before and still runs.
pub(crate) fn measure(
    engine: &Engine,
    candidates: &[Candidate],
    rounds: usize,
) -> Result<Vec<Prepared>> {
    let held: Vec<Candidate> = candidates.iter().map(beside_another).collect();
    let plan = Plan {
        rounds,
        pause: "0.15",
        keep_words: true,
    };
    let runs = timed::run(engine, Place::Allocation, &held, &[1], plan)?;
    held.iter()
        .map(|candidate| {
            let times: Option<Vec<_>> = runs
                .of(candidate.key, 1)
                .map(|run| run.said.iter().find_map(|line| timing::parse(line)))
                .collect();
            Ok(Prepared {
                key: candidate.key,
                state: STATE,
                times: times.with_context(|| {
                    format!(
                        "bench: {} did not say its times beside a step that holds the image",
                        candidate.name
                    )
                })?,
            })
        })
        .collect()
}

/// The same command, with a step before it that has begun and sleeps until
/// afterwards. Only the command in between is asked for its times.
fn beside_another(candidate: &Candidate) -> Candidate {
    let srun = &candidate.command;
    let holder = srun
        .replacen("srun ", "srun --overlap ", 1)
        .replacen("OARLOCK_TIMING=1 ", "", 1)
        .trim_end()
        .trim_end_matches("true")
        .to_owned();
    Candidate {
        command: format!(
            r#"local up holder held code
    exec {{held}}< <(set -- 1; exec {holder} sh -c "echo up; exec sleep 60" 2>/dev/null)
    holder=$!
    read -r -t 30 -u "$held" up
    sleep {SETTLE}
    {srun}
    code=$?
    kill "$holder"
    wait "$holder"
    exec {{held}}<&-
    [ "$up" = up ] && return "$code""#
        ),
        ..candidate.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::beside_another;
    use crate::bench::candidates::{KERNEL, steps};

    #[test]
    fn only_the_measured_step_says_its_times() {
        let mut kernel = steps("true", |_| false)
            .into_iter()
            .find(|step| step.key == KERNEL)
            .unwrap();
        kernel.command.insert_str(0, "OARLOCK_TIMING=1 ");
        let command = beside_another(&kernel).command;
        let image = "--container-image=/opt/images/demo.sif";
        assert!(
            command.contains(&format!(
                "exec srun --overlap -N1 -w node1 -n\"$1\" --overcommit {image}  sh -c"
            )),
            "{command}"
        );
        assert!(command.contains(&format!("\n    {}\n", kernel.command)));
        assert_eq!(command.matches("OARLOCK_TIMING").count(), 1);
    }
}
