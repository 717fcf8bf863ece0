//! What the benchmark found, for a terminal and for docs/benchmarks.md.
//!
//! Pure: it only lays text out.

use std::fmt::Write;

use super::table::Table;

/// A promise and what was measured of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    /// What is promised.
    pub(crate) goal: String,
    /// What was measured.
    pub(crate) seen: String,
    /// Whether it was kept.
    pub(crate) met: bool,
}

impl Target {
    /// A target that a number must not exceed; one that was not measured is
    /// not met.
    pub(crate) fn at_most(goal: &str, limit: f64, value: Option<f64>, unit: &str) -> Self {
        Self {
            goal: goal.into(),
            seen: value.map_or("not measured".into(), |value| {
                format!("{value:.2}{unit}").replace(".00", "")
            }),
            met: value.is_some_and(|value| value <= limit),
        }
    }
}

/// One subject of the benchmark.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    /// Its heading.
    pub(crate) title: &'static str,
    /// How it was measured, as Markdown.
    pub(crate) method: String,
    /// What was measured, each table with a line about its cells.
    pub(crate) tables: Vec<(&'static str, Table)>,
    /// What was promised of it.
    pub(crate) targets: Vec<Target>,
}

/// All that is written down.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// What it was measured on: names and values.
    pub(crate) machine: Vec<(&'static str, String)>,
    /// How often each was measured.
    pub(crate) runs: usize,
    /// The subjects.
    pub(crate) sections: Vec<Section>,
}

const HEAD: &str = "\
<!-- Written by `cargo xtask bench --write`: run that instead of editing. -->

# Benchmarks

A step in a container should cost what a step costs. This page shows what it does cost, beside the same step without a
container and beside two other ways that users have to run an image.

Everything was measured in one run, inside the two-node test cluster of this repository, whose machines are containers on
one host: ratios carry over to other machines, times do not. Candidates ran in turn, in another order each round, so that
whatever slows the host slows all alike. One round before the first was thrown away.
";

const REPRODUCE: &str = "\
## How to reproduce

    cargo xtask bench

builds everything, brings the test cluster up (and down again where it was not up), measures and prints these tables.
`--runs N` sets the number of rounds, `--write` writes this page. Nothing else should run on the host meanwhile: the row
*no container, once more* is the bare step under another name, and what it differs by is noise.
";

impl Report {
    fn targets(&self) -> Table {
        let mut table = Table::new(["target", "measured", "met"]);
        for target in self.sections.iter().flat_map(|section| &section.targets) {
            let met = if target.met { "yes" } else { "NO" };
            table.row([target.goal.as_str(), &target.seen, met]);
        }
        table
    }

    /// How many targets were met, of how many.
    fn score(&self) -> String {
        let all = || self.sections.iter().flat_map(|section| &section.targets);
        format!(
            "{} of {} targets were met",
            all().filter(|target| target.met).count(),
            all().count()
        )
    }

    fn machine(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.machine {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "- {name}: {value}");
        }
        text
    }

    /// What a person reads at the end of a run.
    pub(crate) fn terminal(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "\n{}", self.machine());
        for section in &self.sections {
            let _ = writeln!(text, "## {}\n", section.title);
            for (about, table) in &section.tables {
                let _ = writeln!(text, "{about}:\n\n{table}");
            }
        }
        let _ = writeln!(text, "## {}\n\n{}", self.score(), self.targets());
        text
    }

    /// The page.
    pub(crate) fn page(&self) -> String {
        let mut text = String::from(HEAD);
        let _ = writeln!(text, "\n## Targets: {}\n\n{}", self.score(), self.targets());
        for section in &self.sections {
            let _ = writeln!(text, "## {}\n\n{}\n", section.title, section.method);
            for (about, table) in &section.tables {
                let _ = writeln!(text, "{about}:\n\n{table}");
            }
        }
        let _ = writeln!(
            text,
            "## The machine\n\nEach was measured {} times unless said otherwise.\n\n{}\n{REPRODUCE}",
            self.runs,
            self.machine()
        );
        format!("{}\n", text.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, Section, Target};
    use crate::bench::table::Table;

    #[test]
    fn a_target_is_met_at_its_limit_and_not_without_a_number() {
        let at = Target::at_most("entry", 50.0, Some(50.0), " µs");
        assert_eq!((at.met, at.seen.as_str()), (true, "50 µs"));
        assert!(!Target::at_most("entry", 50.0, Some(50.1), " µs").met);
        let none = Target::at_most("entry", 50.0, None, " µs");
        assert_eq!((none.met, none.seen.as_str()), (false, "not measured"));
    }

    #[test]
    fn the_page_says_what_was_missed() {
        let mut table = Table::new(["", "1"]);
        table.row(["bare", "80"]);
        let report = Report {
            machine: vec![("kernel", "6.1".into())],
            runs: 11,
            sections: vec![Section {
                title: "A step",
                method: "Measured so.".into(),
                tables: vec![("Milliseconds", table)],
                targets: vec![
                    Target::at_most("a", 1.1, Some(1.05), "×"),
                    Target::at_most("b", 1.1, Some(1.2), "×"),
                ],
            }],
        };
        let page = report.page();
        assert!(page.contains("## Targets: 1 of 2 targets were met"));
        assert!(page.contains("| b      |    1.20× |  NO |"), "{page}");
        assert!(page.contains("Milliseconds:\n\n|"), "{page}");
        assert!(report.terminal().contains("- kernel: 6.1\n"));
    }
}
