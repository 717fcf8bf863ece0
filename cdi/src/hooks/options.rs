//! Options of a hook's command, as NVIDIA's programs take them.
//!
//! `--name value`, `--name=value`, and several values with commas between them. No
//! word is skipped: what is not understood makes the hook a foreign one.

use std::path::PathBuf;

use crate::error::quoted;
use crate::path;

/// Options by name, in the order in which they stand.
pub(super) struct Options {
    command: String,
    values: Vec<(String, String)>,
}

impl Options {
    /// Reads all words after a command.
    ///
    /// # Errors
    /// Where one is not known.
    pub(super) fn parse(command: &str, words: &[String], known: &[&str]) -> Result<Self, String> {
        let mut values = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let unknown = || format!("{command}: option {} is not known", quoted(word));
            let option = word.strip_prefix("--").ok_or_else(unknown)?;
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option, None),
            };
            if !known.contains(&name) {
                return Err(unknown());
            }
            let value = value.or_else(|| words.next().map(String::as_str));
            let value = value.ok_or_else(|| format!("{command}: option --{name} has no value"))?;
            for part in value.split(',') {
                values.push((name.to_owned(), part.to_owned()));
            }
        }
        Ok(Self {
            command: command.to_owned(),
            values,
        })
    }

    /// All values of an option.
    pub(super) fn take(&mut self, name: &str) -> Vec<String> {
        self.values
            .extract_if(.., |(other, _)| other == name)
            .map(|(_, value)| value)
            .collect()
    }

    /// All values of an option, which are paths in the container.
    pub(super) fn paths(&mut self, name: &str) -> Result<Vec<PathBuf>, String> {
        self.take(name)
            .iter()
            .map(|value| path::inside(value).map_err(|why| format!("{}: {why}", self.command)))
            .collect()
    }
}
