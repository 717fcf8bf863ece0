//! What the benchmark found, and how a terminal shows it.
//!
//! Pure: it only lays text out.

use std::fmt::Write;

use super::part::Part;
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

/// All that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// What it was measured on: names and values.
    pub(crate) machine: Vec<(&'static str, String)>,
    /// How often each was measured.
    pub(crate) runs: usize,
    /// The subjects, by the part that they belong to.
    pub(crate) parts: Vec<(Part, Vec<Section>)>,
}

/// The table of targets.
pub(crate) fn table(targets: &[(Part, &Target)]) -> Table {
    let mut table = Table::new(["target", "measured", "met", "part"]);
    for (part, target) in targets {
        let met = if target.met { "yes" } else { "NO" };
        table.row([target.goal.as_str(), &target.seen, met, part.name()]);
    }
    table
}

/// How many targets were met, of how many.
pub(crate) fn score(targets: &[(Part, &Target)]) -> String {
    format!(
        "{} of {} targets were met",
        targets.iter().filter(|(_, target)| target.met).count(),
        targets.len()
    )
}

impl Report {
    /// The machine, as a list.
    pub(crate) fn machine(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.machine {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "- {name}: {value}");
        }
        text
    }

    /// When this was measured, and of what.
    pub(crate) fn when(&self) -> String {
        let of = |name: &str| {
            let found = self.machine.iter().find(|(found, _)| *found == name);
            found.map_or("unknown", |(_, value)| value.as_str())
        };
        format!("{}, Oarlock {}", of("date"), of("Oarlock"))
    }

    /// What a person reads at the end of a run.
    pub(crate) fn terminal(&self) -> String {
        let mut text = String::new();
        let mut targets = Vec::new();
        let _ = writeln!(text, "\n{}", self.machine());
        for (part, sections) in &self.parts {
            for section in sections {
                let _ = writeln!(text, "## {}\n", section.title);
                for (about, table) in &section.tables {
                    let _ = writeln!(text, "{about}:\n\n{table}");
                }
                targets.extend(section.targets.iter().map(|target| (*part, target)));
            }
        }
        let _ = writeln!(text, "## {}\n\n{}", score(&targets), table(&targets));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{Part, Report, Section, Target};

    #[test]
    fn a_target_is_met_at_its_limit_and_not_without_a_number() {
        let at = Target::at_most("entry", 50.0, Some(50.0), " µs");
        assert_eq!((at.met, at.seen.as_str()), (true, "50 µs"));
        assert!(!Target::at_most("entry", 50.0, Some(50.1), " µs").met);
        let none = Target::at_most("entry", 50.0, None, " µs");
        assert_eq!((none.met, none.seen.as_str()), (false, "not measured"));
    }

    #[test]
    fn a_person_reads_the_machine_and_the_score() {
        let section = Section {
            title: "A step",
            method: "Measured so.".into(),
            tables: Vec::new(),
            targets: vec![
                Target::at_most("a", 1.1, Some(1.05), "×"),
                Target::at_most("b", 1.1, Some(1.2), "×"),
            ],
        };
        let report = Report {
            machine: vec![("kernel", "6.1".into())],
            runs: 11,
            parts: vec![(Part::Shell, vec![section])],
        };
        let text = report.terminal();
        assert!(text.contains("- kernel: 6.1\n"), "{text}");
        assert!(text.contains("## 1 of 2 targets were met\n"), "{text}");
        assert!(
            text.contains("| b      |    1.20× |  NO | shell |\n"),
            "{text}"
        );
        assert_eq!(report.when(), "unknown, Oarlock unknown");
    }
}
