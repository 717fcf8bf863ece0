//! Containers with a name: file systems that outlive a step.
//!
//! Each is a directory of root's, below one that only root may enter:
//! `PATH/UID/SCOPE/NAME` with overlayfs' `upper` and `work` and a `record` of the
//! image. It is made aside and renamed, so that a crash leaves none that is half.
//! There is no registry of who uses one: the kernel's tables of mounts say so.
//! Users reach what is in one through their containers alone.

pub mod gone;
#[cfg(feature = "construct")]
pub mod live;
pub mod names;
pub mod release;
#[cfg(feature = "construct")]
pub mod store;

use std::path::{Path, PathBuf};

use crate::runtime_directory;

/// A container's name on the node: whose it is, how long it lives, what it is
/// called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The user.
    pub uid: u32,
    /// The job it ends with; `None` for one that stays.
    pub job: Option<u32>,
    /// A file name.
    pub name: String,
}

/// The directory of those that stay.
const GLOBAL: &str = "global";

impl Key {
    /// Its directory below `base`.
    #[must_use]
    pub fn directory(&self, base: &Path) -> PathBuf {
        base.join(self.uid.to_string())
            .join(self.scope())
            .join(&self.name)
    }

    fn scope(&self) -> String {
        self.job
            .map_or_else(|| GLOBAL.to_owned(), |job| job.to_string())
    }

    /// Where the node keeps its overlay mounted.
    #[must_use]
    pub fn mount_point(&self) -> PathBuf {
        runtime_directory::path("live").join(self.to_string())
    }

    /// Reads what [`std::fmt::Display`] wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.splitn(3, '.');
        let uid = fields.next()?.parse().ok()?;
        let job = match fields.next()? {
            GLOBAL => None,
            job => Some(job.parse().ok()?),
        };
        let name = fields.next().filter(|name| !name.contains('/'))?;
        Some(Self {
            uid,
            job,
            name: name.to_owned(),
        })
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.uid, self.scope(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written() {
        for (job, name) in [(None, "a"), (Some(7), "a.b.c"), (None, "global.1")] {
            let key = Key {
                uid: 1000,
                job,
                name: name.to_owned(),
            };
            assert_eq!(Key::parse(&key.to_string()), Some(key));
        }
        for wrong in ["", "1000", "1000.global", "x.global.a", "1.2.a/b", "1.-1.a"] {
            assert_eq!(Key::parse(wrong), None, "{wrong}");
        }
    }
}
