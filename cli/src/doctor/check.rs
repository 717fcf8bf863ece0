//! What a look finds: the form of it, for text and for JSON alike.

use std::sync::mpsc::Sender;

use runtime_core::message::for_people;
use serde::Serialize;

/// What is thought of one thing, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// In order.
    Ok,
    /// It is not on this machine, and need not be.
    NotHere,
    /// It could not be seen: root could.
    Unknown,
    /// It works, but not as it should.
    Warning,
    /// Something does not work.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) section: &'static str,
    pub(super) name: String,
    pub(super) verdict: Verdict,
    /// What was found, one line.
    pub(super) found: String,
    /// What to do, one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

/// What a section found, in order.
#[derive(Debug)]
pub(super) struct Findings {
    section: &'static str,
    pub(super) checks: Vec<Check>,
    /// Who is told of each at once.
    told: Option<Sender<Check>>,
}

impl Findings {
    pub(super) fn new(section: &'static str) -> Self {
        Self {
            section,
            checks: Vec::new(),
            told: None,
        }
    }

    /// Each is sent as soon as it is found, and not kept.
    pub(super) fn telling(section: &'static str, told: Sender<Check>) -> Self {
        Self {
            told: Some(told),
            ..Self::new(section)
        }
    }

    /// Adds what was found; texts may hold what others wrote.
    pub(super) fn add(&mut self, name: &str, verdict: Verdict, found: &str, advice: Option<&str>) {
        let check = Check {
            section: self.section,
            name: for_people(name),
            verdict,
            found: for_people(found),
            advice: advice.map(for_people),
        };
        match &self.told {
            // Nobody may be there any more.
            Some(told) => drop(told.send(check)),
            None => self.checks.push(check),
        }
    }

    pub(super) fn ok(&mut self, name: &str, found: impl AsRef<str>) {
        self.add(name, Verdict::Ok, found.as_ref(), None);
    }

    pub(super) fn not_here(&mut self, name: &str, found: impl AsRef<str>) {
        self.add(name, Verdict::NotHere, found.as_ref(), None);
    }

    pub(super) fn unknown(&mut self, name: &str, found: impl AsRef<str>, advice: impl AsRef<str>) {
        self.add(
            name,
            Verdict::Unknown,
            found.as_ref(),
            Some(advice.as_ref()),
        );
    }

    pub(super) fn warning(&mut self, name: &str, found: impl AsRef<str>, advice: impl AsRef<str>) {
        self.add(
            name,
            Verdict::Warning,
            found.as_ref(),
            Some(advice.as_ref()),
        );
    }

    pub(super) fn failed(&mut self, name: &str, found: impl AsRef<str>, advice: impl AsRef<str>) {
        self.add(name, Verdict::Failed, found.as_ref(), Some(advice.as_ref()));
    }
}

/// All that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Of the program.
    pub(super) version: &'static str,
    /// The node's name.
    pub(super) node: String,
    /// Of all together: ok, warning or failed.
    pub(super) verdict: Verdict,
    pub(super) checks: Vec<Check>,
}

impl Report {
    pub(super) fn new(node: String, checks: Vec<Check>) -> Self {
        let verdicts = checks.iter().map(|check| check.verdict);
        let worst = verdicts
            .filter(|verdict| *verdict >= Verdict::Warning)
            .max();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            node,
            verdict: worst.unwrap_or(Verdict::Ok),
            checks,
        }
    }

    /// How many have a verdict.
    pub(super) fn count(&self, verdict: Verdict) -> usize {
        let same = |check: &&Check| check.verdict == verdict;
        self.checks.iter().filter(same).count()
    }
}
