//! The site's keyring as root sees it: which files, in which state. Keys are read
//! by the checking process only.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use sha2::{Digest, Sha256};

/// A text that is another one after any key was added, changed or removed; empty
/// where there is no keyring.
#[must_use]
pub fn state(directory: &Path) -> String {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return String::new();
    };
    let mut files: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let about = std::fs::metadata(entry.path()).ok()?;
            Some(format!(
                "{:?} {} {} {}.{} {}.{}",
                entry.file_name(),
                about.ino(),
                about.size(),
                about.mtime(),
                about.mtime_nsec(),
                about.ctime(),
                about.ctime_nsec()
            ))
        })
        .collect();
    files.sort_unstable();
    Sha256::digest(files.join("\n"))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::state;

    #[test]
    fn every_change_of_a_key_shows() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(state(&dir.path().join("none")), "");
        let empty = state(dir.path());
        std::fs::write(dir.path().join("a.asc"), b"1").unwrap();
        let one = state(dir.path());
        std::fs::write(dir.path().join("a.asc"), b"22").unwrap();
        let two = state(dir.path());
        assert!(empty != one && one != two && empty != two);
    }
}
