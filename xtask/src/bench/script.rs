//! The script that runs candidates in turn inside the cluster, and what it
//! prints.
//!
//! Times are taken by bash itself from its microsecond clock: no process is
//! started for a measurement's sake. The script is written and its output read
//! here; it is run elsewhere.

use super::candidates::Candidate;

/// How a script goes about its measurements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// How often everything is run and counted; one round more is run first and
    /// thrown away.
    pub(crate) rounds: usize,
    /// What lies between two measurements, in seconds, so that the end of one
    /// command does not slow the start of the next.
    pub(crate) pause: &'static str,
    /// Whether what the commands say on stderr is kept also where they succeed.
    pub(crate) keep_words: bool,
}

/// What the script says of one command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Line {
    /// A command ended.
    Sample(Sample),
    /// The command before said this on stderr.
    Said(String),
}

/// One command's run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sample {
    /// Which round it was of; round 0 does not count.
    pub(crate) round: usize,
    /// The candidate's key.
    pub(crate) key: String,
    /// How many ranks it had.
    pub(crate) ranks: usize,
    /// The command's exit code.
    pub(crate) code: u8,
    /// How long it took, in microseconds.
    pub(crate) micros: u32,
}

/// Reads one line of the script's output; anything else is none.
pub(crate) fn parse(line: &str) -> Option<Line> {
    if let Some(words) = line.strip_prefix("said ") {
        return Some(Line::Said(words.to_owned()));
    }
    let mut words = line.strip_prefix("sample ")?.split(' ');
    let sample = Sample {
        round: words.next()?.parse().ok()?,
        key: words.next()?.to_owned(),
        ranks: words.next()?.parse().ok()?,
        code: words.next()?.parse().ok()?,
        micros: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(Line::Sample(sample))
}

/// Every candidate once a round and number of ranks, in an order that is
/// another one each round, so that no candidate always runs behind the same
/// other, and drift hits all alike.
pub(crate) fn schedule<'a>(
    keys: &[&'a str],
    ranks: &[usize],
    rounds: usize,
) -> Vec<(usize, &'a str, usize)> {
    let mut order = Vec::new();
    // The same order each time that the program runs. Constants: Marsaglia's
    // xorshift generator for 32 bits.
    let mut state: u32 = 2_463_534_242;
    for round in 0..=rounds {
        for &count in ranks {
            let mut left = keys.to_vec();
            while !left.is_empty() {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                let place = usize::try_from(state).unwrap_or(0) % left.len();
                order.push((round, left.swap_remove(place), count));
            }
        }
    }
    order
}

/// Writes the script. Its only argument of a command, `$1`, is the number of
/// ranks.
pub(crate) fn write(candidates: &[Candidate], ranks: &[usize], plan: Plan) -> String {
    let mut functions = String::new();
    for candidate in candidates {
        functions += &format!("run_{}() {{ {}; }}\n", candidate.key, candidate.command);
    }
    let keys: Vec<&str> = candidates.iter().map(|candidate| candidate.key).collect();
    let mut lines = String::new();
    for (round, key, count) in schedule(&keys, ranks, plan.rounds) {
        lines += &format!("{round} {key} {count}\n");
    }
    let keep = u8::from(plan.keep_words);
    let pause = plan.pause;
    // Charliecloud wants USER, which the engine's exec does not set.
    format!(
        r#"cd || exit
export USER=$(id -un) LC_ALL=C.UTF-8
words=$(mktemp) || exit
trap 'rm -f "$words"' EXIT
{functions}while read -r round key ranks; do
    sleep {pause}
    begin=$EPOCHREALTIME
    "run_$key" "$ranks" </dev/null >/dev/null 2>"$words"
    code=$?
    end=$EPOCHREALTIME
    echo "sample $round $key $ranks $code $((${{end/./}} - ${{begin/./}}))"
    if [ $code -ne 0 ] || [ {keep} = 1 ]; then sed 's/^/said /' "$words"; fi
done <<'END'
{lines}END
"#
    )
}

#[cfg(test)]
mod tests {
    use super::{Line, Plan, Sample, parse, schedule, write};
    use crate::bench::candidates::Candidate;

    #[test]
    fn lines_are_read_strictly() {
        let sample = Sample {
            round: 3,
            key: "bare".into(),
            ranks: 16,
            code: 1,
            micros: 80123,
        };
        assert_eq!(
            parse("sample 3 bare 16 1 80123"),
            Some(Line::Sample(sample))
        );
        assert_eq!(parse("said srun: no"), Some(Line::Said("srun: no".into())));
        for bad in ["sample 3 bare 16 1", "sample 3 bare 16 1 -5", "", "x"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse("sample 3 bare 16 1 5 6"), None);
    }

    #[test]
    fn every_round_has_every_candidate_in_another_order() {
        let order = schedule(&["a", "b", "c", "d"], &[1, 4], 11);
        assert_eq!(order.len(), 4 * 2 * 12);
        let mut firsts: Vec<&str> = order.iter().step_by(4).map(|(_, key, _)| *key).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts, ["a", "b", "c", "d"]);
        for part in order.chunks(4) {
            let mut keys: Vec<&str> = part.iter().map(|(_, key, _)| *key).collect();
            keys.sort_unstable();
            assert_eq!(keys, ["a", "b", "c", "d"]);
        }
    }

    #[test]
    fn the_script_calls_what_it_defines() {
        let candidate = Candidate {
            key: "bare",
            name: "no container".into(),
            command: "srun -n\"$1\" true".into(),
        };
        let plan = Plan {
            rounds: 0,
            pause: "0.1",
            keep_words: false,
        };
        let script = write(&[candidate], &[4], plan);
        assert!(script.contains("run_bare() { srun -n\"$1\" true; }\n"));
        assert!(script.ends_with("<<'END'\n0 bare 4\nEND\n"), "{script}");
    }
}
