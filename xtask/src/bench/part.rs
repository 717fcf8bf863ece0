//! The parts of the benchmark: each can be measured alone.
//!
//! Only names them.

use clap::ValueEnum;

/// A part, in the order of the page.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub(crate) enum Part {
    /// Whole steps that do nothing
    Steps,
    /// A rank's entry and a node's preparation
    Prepare,
    /// A GPU with its driver, and control groups
    Granted,
    /// Commands without Slurm
    Shell,
    /// Listing, sizes and imports within an image
    Metadata,
    /// The page cache after many ranks have read one image
    Cache,
    /// Memory of helpers
    Memory,
    /// Many launches, their failures and leaks; takes minutes
    Launches,
}

impl Part {
    /// All parts, in the order of the page.
    pub(crate) const ALL: [Part; 8] = [
        Part::Steps,
        Part::Prepare,
        Part::Granted,
        Part::Shell,
        Part::Metadata,
        Part::Cache,
        Part::Memory,
        Part::Launches,
    ];

    /// The name that `--only` takes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Part::Steps => "steps",
            Part::Prepare => "prepare",
            Part::Granted => "granted",
            Part::Shell => "shell",
            Part::Metadata => "metadata",
            Part::Cache => "cache",
            Part::Memory => "memory",
            Part::Launches => "launches",
        }
    }

    /// The part with this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::Part;

    #[test]
    fn names_are_those_of_the_command_line() {
        for part in Part::value_variants() {
            let value = part.to_possible_value().unwrap();
            assert_eq!(value.get_name(), part.name());
            assert_eq!(Part::of(part.name()), Some(*part));
        }
        assert_eq!(Part::ALL.as_slice(), Part::value_variants());
        assert_eq!(Part::of("all"), None);
    }
}
