//! The form of slurm.conf, cgroup.conf and gres.conf: lines of `Key=Value`, keys in
//! any case, `#` for comments, a backslash to go on in the next line, `Include`.
//!
//! Text in, lines out; what a key means is not known here. What something is decided by
//! is root's ([`Conf::load`]), and a file that includes itself ends.

use std::path::{Path, PathBuf};

use crate::host::{Host, ReadError};

/// No file is longer, in bytes.
const MAX_BYTES: u64 = 16 << 20;
/// No file is included through more others.
const MAX_DEPTH: usize = 8;
/// No configuration has more files.
const MAX_FILES: usize = 1024;

/// How a file is read.
type Read = fn(&Host, &Path, u64) -> Result<Vec<u8>, ReadError>;

/// Lines of these keys describe one of many: the other keys in them are its own.
const RECORDS: [&str; 7] = [
    "NodeName",
    "PartitionName",
    "NodeSet",
    "DownNodes",
    "FrontendName",
    "SwitchName",
    "Name",
];

/// Why a configuration is not known.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// A file of it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Something that has not the form.
    #[error("{}: line {number}: \"{text}\" is not Key=Value", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        number: usize,
        /// What stands there.
        text: String,
    },
    /// Included too deep, or too many.
    #[error("{}: line {number}: more than {MAX_DEPTH} includes deep, or more than {MAX_FILES} files", file.display())]
    Includes {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        number: usize,
    },
}

/// A line that says something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it stands.
    pub file: PathBuf,
    /// Counted from 1; of several that go on, the first.
    pub number: usize,
    /// Its keys, as they are written, and their values, without quotes. Never empty.
    pub entries: Vec<(String, String)>,
}

impl Line {
    /// The value of a key, in any case; of one that is twice there, the last.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        let found = self
            .entries
            .iter()
            .rfind(|(name, _)| name.eq_ignore_ascii_case(key));
        found.map(|(_, value)| value.as_str())
    }

    fn is_record(&self) -> bool {
        self.entries
            .first()
            .is_some_and(|(key, _)| RECORDS.iter().any(|known| known.eq_ignore_ascii_case(key)))
    }
}

/// A configuration: a file with what it includes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conf {
    /// What it says, in order.
    pub lines: Vec<Line>,
    /// The files, the first first.
    pub files: Vec<PathBuf>,
}

impl Conf {
    /// Reads a file and what it includes; a relative path is beside the first file,
    /// and a pattern may name none.
    ///
    /// # Errors
    /// Any [`ConfError`].
    pub fn load(host: &Host, path: &Path) -> Result<Self, ConfError> {
        Self::begin(host, path, Host::read)
    }

    /// As [`Conf::load`], whoever owns the files. Slurm itself
    /// believes them all, and many sites give theirs to SlurmUser.
    ///
    /// # Errors
    /// Any [`ConfError`] but one of [`ReadError::NotRoots`].
    pub fn look_into(host: &Host, path: &Path) -> Result<Self, ConfError> {
        Self::begin(host, path, Host::look_into)
    }

    fn begin(host: &Host, path: &Path, read: Read) -> Result<Self, ConfError> {
        let mut conf = Self::default();
        let beside = path.parent().unwrap_or(Path::new("/"));
        conf.add(host, path, beside, 0, read)?;
        Ok(conf)
    }

    fn add(
        &mut self,
        host: &Host,
        path: &Path,
        beside: &Path,
        depth: usize,
        read: Read,
    ) -> Result<(), ConfError> {
        let bytes = read(host, path, MAX_BYTES)?;
        self.files.push(path.to_owned());
        for statement in parse(&String::from_utf8_lossy(&bytes), path)? {
            let (number, included) = match statement {
                Statement::Keys(line) => {
                    self.lines.push(line);
                    continue;
                }
                Statement::Include(number, path) => (number, beside.join(path)),
            };
            let is_pattern = included.to_string_lossy().contains(['*', '?', '[']);
            let files = if is_pattern {
                host.glob(&included)
            } else {
                vec![included]
            };
            for file in files {
                if depth == MAX_DEPTH || self.files.len() >= MAX_FILES {
                    return Err(ConfError::Includes {
                        file: path.to_owned(),
                        number,
                    });
                }
                self.add(host, &file, beside, depth + 1, read)?;
            }
        }
        Ok(())
    }

    /// The value of a key of the whole configuration, the last one; not of those that
    /// are a node's or a partition's.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.lines
            .iter()
            .rev()
            .filter(|line| !line.is_record())
            .find_map(|line| line.get(key))
    }

    /// The lines that begin with a key, as `NodeName`.
    pub fn records<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| {
            let first = line.entries.first();
            first.is_some_and(|(name, _)| name.eq_ignore_ascii_case(key))
        })
    }

    /// Whether a switch is on: `yes`, `true`, `up` or `1` in any case. `None` where it
    /// is not set.
    #[must_use]
    pub fn switch(&self, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        let on = ["yes", "true", "up", "1"];
        Some(on.iter().any(|word| word.eq_ignore_ascii_case(value)))
    }

    /// Whether a value, a list with commas, has a word, in any case.
    #[must_use]
    pub fn lists(&self, key: &str, word: &str) -> bool {
        self.get(key).is_some_and(|value| {
            let mut words = value.split(',').map(str::trim);
            words.any(|one| one.eq_ignore_ascii_case(word))
        })
    }
}

/// What a line of the text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// Keys and values.
    Keys(Line),
    /// The number of the line, and the file or pattern.
    Include(usize, PathBuf),
}

/// Reads a text; `file` is for messages.
///
/// # Errors
/// [`ConfError::Line`].
pub fn parse(text: &str, file: &Path) -> Result<Vec<Statement>, ConfError> {
    let mut statements = Vec::new();
    let mut whole = String::new();
    let mut start = None;
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let number = *start.get_or_insert(at + 1);
        let line = without_comment(line);
        if let Some(before) = continued(line)
            && lines.peek().is_some()
        {
            whole.push_str(before);
            continue;
        }
        whole.push_str(line);
        let complete = unescape(&std::mem::take(&mut whole));
        start = None;
        statements.extend(statement(complete.trim(), file, number)?);
    }
    Ok(statements)
}

/// What stands before a `#` that no backslash precedes.
fn without_comment(line: &str) -> &str {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            '#' if !escaped => return line.get(..at).unwrap_or_default(),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    line
}

/// What stands before the backslash by which a line goes on.
fn continued(line: &str) -> Option<&str> {
    let line = line.trim_end();
    let slashes = line.bytes().rev().take_while(|b| *b == b'\\').count();
    (slashes % 2 == 1).then(|| line.strip_suffix('\\'))?
}

fn unescape(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

fn statement(text: &str, file: &Path, number: usize) -> Result<Option<Statement>, ConfError> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |text: &str| ConfError::Line {
        file: file.to_owned(),
        number,
        text: text.chars().take(80).collect(),
    };
    if let Some((word, rest)) = text.split_once(char::is_whitespace)
        && word.eq_ignore_ascii_case("include")
        && !rest.trim_start().starts_with('=')
    {
        let path = rest.trim().trim_matches('"');
        return Ok(Some(Statement::Include(number, PathBuf::from(path))));
    }
    let mut entries = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (entry, after) = entry(rest).ok_or_else(|| wrong(rest))?;
        entries.push(entry);
        rest = after.trim_start();
    }
    Ok(Some(Statement::Keys(Line {
        file: file.to_owned(),
        number,
        entries,
    })))
}

/// One `Key=Value`, with white space around the sign where there is some, `+=` and the
/// like as `=`; and what comes after.
fn entry(text: &str) -> Option<((String, String), &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))?;
    let (key, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix(['-', '+', '*', '/']).unwrap_or(rest);
    let rest = rest.strip_prefix('=')?.trim_start();
    let (value, after) = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"')?,
        None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
    };
    let whole = !key.is_empty() && (after.is_empty() || after.starts_with(char::is_whitespace));
    whole.then(|| ((key.to_owned(), value.to_owned()), after))
}

#[cfg(test)]
mod tests;
