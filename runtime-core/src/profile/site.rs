//! `[profiles]` of the site's file.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// No sensible policy is longer than this, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// `[profiles]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profiles {
    /// The site's directories of profiles, looked through after the user's own.
    pub path: Vec<PathBuf>,
}

impl Default for Profiles {
    fn default() -> Self {
        Self {
            path: vec![PathBuf::from("/etc/oarlock/profiles")],
        }
    }
}

impl Profiles {
    /// This section alone, for clients, which have no use for the rest: where it
    /// cannot be read the node will say so, and the defaults do.
    #[must_use]
    pub fn load(path: &Path) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Site {
            profiles: Profiles,
        }
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text))
            .ok()
            .and_then(|_| toml::from_str::<Site>(&text).ok())
            .unwrap_or_default()
            .profiles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_sections_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("o.toml");
        std::fs::write(&file, "[images]\nx = 1\n[profiles]\npath = [\"/p\"]\n").unwrap();
        assert_eq!(Profiles::load(&file).path, [PathBuf::from("/p")]);
        assert_eq!(
            Profiles::load(&dir.path().join("none")),
            Profiles::default()
        );
    }
}
