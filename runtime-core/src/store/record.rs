//! What was found out about a copy, once, by a process without rights.
//!
//! Written and read by root; nothing of it is text that a user wrote, but for the
//! reason of a refusal, which is shown and never acted on.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::Images;
use crate::image::layout::FileLayout;

/// No record is longer, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// The version of the rules by which a squashfs is found well-formed. A copy that
/// was found so by older rules is looked at again.
pub const RULES: u32 = 1;

/// What the checking process finds out about a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Check {
    /// Where its file systems lie; `None` where it is no image.
    pub layout: Option<FileLayout>,
    /// The rules by which its file systems were looked at; 0 where they were not.
    pub rules: u32,
    /// Why they are not well-formed by those rules; `None` where they are.
    pub invalid: Option<String>,
    /// The keys of the site's keyring that signed it.
    pub signed_by: Vec<String>,
    /// Why no signature counts.
    pub unsigned: Option<String>,
}

/// What is known of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its length, in bytes.
    pub size: u64,
    /// Whether it was copied from a file that only root can have written.
    pub trusted: bool,
    /// The state of the keyring that signatures were verified against.
    pub keyring: String,
    /// What the checking process found.
    pub check: Check,
}

impl Record {
    /// Whether the kernel may mount the copy, by the site's rules of today.
    #[must_use]
    pub fn may_be_mounted(&self, images: &Images, keyring: &str) -> bool {
        self.has_known_file_systems(images)
            && (self.trusted || self.is_signed(keyring) || (images.validate && self.is_valid()))
    }

    /// Whether the site lets the kernel mount file systems of these kinds at all.
    #[must_use]
    pub fn has_known_file_systems(&self, images: &Images) -> bool {
        self.check.layout.as_ref().is_some_and(|layout| {
            layout
                .partitions()
                .all(|part| images.kernel_filesystems.contains(&part.kind))
        })
    }

    /// Whether a key of the keyring, as it is today, signed the copy. An empty state
    /// stands for a keyring that does not count.
    #[must_use]
    pub fn is_signed(&self, keyring: &str) -> bool {
        !keyring.is_empty() && !self.check.signed_by.is_empty() && self.keyring == keyring
    }

    fn is_valid(&self) -> bool {
        self.check.rules == RULES && self.check.invalid.is_none()
    }

    /// Whether what was found out still counts: neither the rules nor the keyring
    /// were changed.
    #[must_use]
    pub fn is_current(&self, images: &Images, keyring: &str) -> bool {
        (!images.validate || self.check.rules == RULES) && self.keyring == keyring
    }

    pub(super) fn read(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        if about.len() > MAX_BYTES {
            return None;
        }
        toml::from_str(&std::fs::read_to_string(path).ok()?).ok()
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(|e| io::Error::other(e.to_string()))?;
        let new = path.with_extension(format!("new{}", std::process::id()));
        std::fs::write(&new, text)?;
        std::fs::File::open(&new)?.sync_all()?;
        std::fs::rename(&new, path)
    }
}
