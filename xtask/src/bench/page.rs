//! docs/benchmarks.md: what was measured now, and of the other parts what the
//! page said before.
//!
//! Pure: it reads and writes text. The page is its own memory: a section names
//! its part, and a target's row does.

use std::fmt::Write;

use super::part::Part;
use super::report::{Report, Section, Target, score, table};

const HEAD: &str = "\
<!-- Written by `cargo xtask bench --write`: run that instead of editing. -->

# Benchmarks

A step in a container should cost what a step costs. This page shows what it does cost, beside the same step without a
container and beside two other ways that users have to run an image.

What one section compares was measured in one run, inside the two-node test cluster of this repository, whose machines are
containers on one host: ratios carry over to other machines, times do not. Candidates ran in turn, in another order each round,
so that whatever slows the host slows all alike. One round before the first was thrown away.
";

const REPRODUCE: &str = "\
## How to reproduce

    cargo xtask bench --full

builds everything, brings the test cluster up (and down again where it was not up), measures and prints these tables; without
`--full` it leaves the many launches out. `--only PART,…` measures some parts, `--runs N` sets the number of rounds, `--launches
N` that of launches. `--write` writes this page, where parts that were not measured stay as they were. Nothing else should run on
the host meanwhile: the row *no container, once more* is the bare step under another name, and what it differs by is noise.
";

/// What begins the line of a section that names its part.
const PART: &str = "*Part `";

/// A part of the page.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Block {
    part: Part,
    targets: Vec<Target>,
    /// Its sections, each from its heading on.
    text: String,
}

/// The page, from what was measured and from the page before it.
pub(crate) fn page(report: &Report, before: &str) -> String {
    let mut blocks: Vec<Block> = report
        .parts
        .iter()
        .map(|(part, sections)| measured(report, *part, sections))
        .collect();
    for old in kept(before) {
        if blocks.iter().all(|block| block.part != old.part) {
            blocks.push(old);
        }
    }
    blocks.sort_by_key(|block| block.part);
    let rows: Vec<(Part, &Target)> = blocks
        .iter()
        .flat_map(|block| block.targets.iter().map(|target| (block.part, target)))
        .collect();
    let mut text = String::from(HEAD);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n## Targets: {}\n\n{}", score(&rows), table(&rows));
    for block in &blocks {
        text += &block.text;
    }
    let _ = writeln!(
        text,
        "## The machine\n\nOf the last run; a section's date is its own.\n\n{}\n{REPRODUCE}",
        report.machine()
    );
    format!("{}\n", text.trim_end())
}

fn measured(report: &Report, part: Part, sections: &[Section]) -> Block {
    let mut text = String::new();
    for section in sections {
        let _ = writeln!(
            text,
            "## {}\n\n{}\n\n{PART}{}`, {}; {} rounds where nothing else is said.*\n",
            section.title,
            section.method,
            part.name(),
            report.when(),
            report.runs
        );
        for (about, table) in &section.tables {
            let _ = writeln!(text, "{about}:\n\n{table}");
        }
    }
    Block {
        part,
        targets: sections
            .iter()
            .flat_map(|section| section.targets.clone())
            .collect(),
        text,
    }
}

/// The parts that a page has; a page of another form has none.
fn kept(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for section in page.split("\n## ").skip(1) {
        let part = section
            .lines()
            .find_map(|line| Part::of(line.strip_prefix(PART)?.split('`').next()?));
        let Some(part) = part else { continue };
        let text = format!("## {}\n\n", section.trim_end());
        match blocks.iter_mut().find(|block| block.part == part) {
            Some(block) => block.text += &text,
            None => blocks.push(Block {
                part,
                targets: Vec::new(),
                text,
            }),
        }
    }
    for line in page.lines() {
        if let Some((part, target)) = row(line)
            && let Some(block) = blocks.iter_mut().find(|block| block.part == part)
        {
            block.targets.push(target);
        }
    }
    blocks
}

/// Reads a row of the targets' table.
fn row(line: &str) -> Option<(Part, Target)> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    let (goal, seen, met, part) = (cells.next()?, cells.next()?, cells.next()?, cells.next()?);
    let target = Target {
        goal: goal.into(),
        seen: seen.into(),
        met: match met {
            "yes" => true,
            "NO" => false,
            _ => return None,
        },
    };
    Some((Part::of(part)?, target))
}

#[cfg(test)]
mod tests {
    use super::{kept, page};
    use crate::bench::part::Part;
    use crate::bench::report::{Report, Section, Target};
    use crate::bench::table::Table;

    fn report(parts: &[(Part, &[&'static str])], value: f64, date: &str) -> Report {
        let section = |title: &&'static str| {
            let mut table = Table::new(["", "1"]);
            table.row(["bare", "80"]);
            Section {
                title,
                method: "Measured so.".into(),
                tables: vec![("Milliseconds", table)],
                targets: vec![Target::at_most(title, 1.1, Some(value), " ×")],
            }
        };
        Report {
            machine: vec![("date", date.into()), ("Oarlock", "0.1.0, abc".into())],
            runs: 11,
            parts: parts
                .iter()
                .map(|(part, titles)| (*part, titles.iter().map(section).collect()))
                .collect(),
        }
    }

    #[test]
    fn the_page_says_what_was_missed() {
        let report = report(&[(Part::Steps, &["A step", "Another"])], 1.2, "2026-01-02");
        let page = page(&report, "");
        assert!(
            page.contains("## Targets: 0 of 2 targets were met"),
            "{page}"
        );
        assert!(
            page.contains("| A step  |   1.20 × |  NO | steps |"),
            "{page}"
        );
        assert!(page.contains("Milliseconds:\n\n|"), "{page}");
        assert!(page.contains("*Part `steps`, 2026-01-02, Oarlock 0.1.0, abc; 11 rounds"));
    }

    #[test]
    fn what_is_not_measured_again_stays() {
        let first = report(
            &[
                (Part::Prepare, &["Entry", "Preparation"]),
                (Part::Memory, &["Memory"]),
            ],
            1.0,
            "2026-01-02",
        );
        let old = page(&first, "# Benchmarks\n\n## A page of another form\n");
        assert!(!old.contains("another form"));
        let second = report(
            &[(Part::Cache, &["Cache"]), (Part::Memory, &["Memory"])],
            2.0,
            "2026-03-04",
        );
        let new = page(&second, &old);
        assert!(new.contains("## Targets: 2 of 4 targets were met"), "{new}");
        let titles: Vec<&str> = new.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(
            titles[1..6],
            [
                "## Entry",
                "## Preparation",
                "## Cache",
                "## Memory",
                "## The machine"
            ]
        );
        assert_eq!(new.matches("2026-01-02").count(), 2);
        // Written again, it is the same.
        assert_eq!(page(&second, &new), new);
        assert_eq!(kept(&new).len(), 3);
    }
}
