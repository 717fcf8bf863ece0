//! Why a file cannot be used, in one line that a terminal shows as it is.
//!
//! Never a word of a file in a message without [`quoted`], or a path without
//! [`shown`].

use std::io;
use std::path::{Path, PathBuf};

use crate::limits;
use crate::name::NameError;
use crate::version::Version;

/// A file, or a directory of specs, that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", shown(path))]
pub struct FileError {
    /// Which, as seen from the host's root.
    pub path: PathBuf,
    /// Why.
    pub problem: Problem,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The system does not let it be read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// A link leads to nothing.
    #[error("the link leads to nothing")]
    Dangling,
    /// Neither a file nor a link to one.
    #[error("no regular file")]
    NotRegular,
    /// Something on the way is no directory.
    #[error("{} is no directory", shown(.0))]
    NotDirectory(PathBuf),
    /// A file, a link or a directory of somebody else's.
    #[error("{} does not belong to root; chown it", shown(.0))]
    Owner(PathBuf),
    /// Others can write it.
    #[error("others than its owner can write {}; chmod go-w it", shown(.0))]
    Writable(PathBuf),
    /// Too many links, or a circle of them.
    #[error("more than {} links on the way to it", limits::LINKS)]
    Links,
    /// Longer than [`limits::FILE`].
    #[error("longer than {} MiB", limits::FILE >> 20)]
    TooLong,
    /// More than [`limits::FILES`] or [`limits::ENTRIES`].
    #[error("more than {limit} {what}; the rest is not read")]
    TooManyFiles {
        /// The bound.
        limit: usize,
        /// Of what.
        what: &'static str,
    },
    /// More than [`limits::DEVICES`], with those of the files before it.
    #[error("more than {} devices with those of other files", limits::DEVICES)]
    TooManyDevices,
    /// Not a text.
    #[error("not UTF-8")]
    NotText,
    /// Not JSON or YAML, an unknown field, or a value of the wrong kind.
    #[error("{}{message}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
    Syntax {
        /// Counted from 1, where it is not in the message.
        line: Option<usize>,
        /// What is wrong there.
        message: String,
    },
    /// No version of the specification that is known.
    #[error("cdiVersion {0}: known are 0.3.0 to {newest}", newest = Version::NEWEST)]
    Version(String),
    /// The file declares an older version than it uses.
    #[error("{feature} needs cdiVersion {needs} or later, the file has {declared}")]
    Newer {
        /// What is newer.
        feature: &'static str,
        /// Since when there is such a thing.
        needs: Version,
        /// What the file says.
        declared: Version,
    },
    /// A vendor, a class or a device's name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An annotation that cannot be.
    #[error("annotation {0}: keys are [PREFIX/]NAME of letters, digits, '-', '_' and '.'")]
    Annotation(String),
    /// More than [`limits::ANNOTATIONS`].
    #[error("annotations of more than {} KiB", limits::ANNOTATIONS >> 10)]
    Annotations,
    /// A spec without a device.
    #[error("it has no devices")]
    NoDevices,
    /// A device that changes nothing.
    #[error("device {0}: its containerEdits are empty")]
    EmptyDevice(String),
    /// Two devices with one name.
    #[error("device {0} is there twice")]
    Twice(String),
    /// A change that cannot be made.
    #[error("{}{field}: {problem}", device.as_ref().map(|name| format!("device {name}: ")).unwrap_or_default())]
    Edit {
        /// The device that has it; none for those of the whole spec.
        device: Option<String>,
        /// The field in `containerEdits`.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// Words of a file for a message: quoted, on one line, and not too many.
pub(crate) fn quoted(text: &str) -> String {
    if text.chars().count() <= limits::QUOTED {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(limits::QUOTED).collect();
    format!("{start:?} and so on")
}

/// Somebody else's message, on one line, and not too long.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(2 * limits::QUOTED)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    if line.len() < text.len() && text.chars().count() > 2 * limits::QUOTED {
        line.push_str(" and so on");
    }
    line
}

/// A path for a message. What is not text or would move the cursor is replaced.
pub(crate) fn shown(path: &Path) -> String {
    one_line(&path.to_string_lossy())
}
