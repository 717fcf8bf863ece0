//! The site's keyring as root sees it: which files, in which state. Keys are read
//! by the checking process only.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Why a keyring counts for nothing.
#[derive(Debug, thiserror::Error)]
pub enum KeyringProblem {
    /// Somebody else than root could add a key.
    #[error("{}: only root may be able to write it; chown root and chmod go-w it", .0.display())]
    Writable(PathBuf),
    /// It cannot be looked at.
    #[error("{}: {error}", path.display())]
    Look {
        /// The directory or a file in it.
        path: PathBuf,
        /// What the kernel said.
        error: std::io::Error,
    },
}

/// A text that is another one after any key was added, changed or removed, and
/// never empty.
///
/// # Errors
/// [`KeyringProblem`]: no signature counts then.
pub fn state(directory: &Path) -> Result<String, KeyringProblem> {
    let look = |path: &Path| {
        let failed = |error| KeyringProblem::Look {
            path: path.to_owned(),
            error,
        };
        let about = std::fs::metadata(path).map_err(failed)?;
        let own = rustix::process::geteuid().as_raw();
        if about.uid() != own || about.mode() & 0o022 != 0 {
            return Err(KeyringProblem::Writable(path.to_owned()));
        }
        Ok(about)
    };
    look(directory)?;
    let failed = |error| KeyringProblem::Look {
        path: directory.to_owned(),
        error,
    };
    let mut files: Vec<String> = std::fs::read_dir(directory)
        .map_err(failed)?
        .map(|entry| {
            let entry = entry.map_err(failed)?;
            let about = look(&entry.path())?;
            Ok(format!(
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
        .collect::<Result<_, KeyringProblem>>()?;
    files.sort_unstable();
    Ok(Sha256::digest(files.join("\n"))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::state;

    #[test]
    fn every_change_of_a_key_shows() {
        let dir = tempfile::tempdir().unwrap();
        assert!(state(&dir.path().join("none")).is_err());
        let state = |path| state(path).unwrap();
        let empty = state(dir.path());
        std::fs::write(dir.path().join("a.asc"), b"1").unwrap();
        let one = state(dir.path());
        std::fs::write(dir.path().join("a.asc"), b"22").unwrap();
        let two = state(dir.path());
        assert!(empty != one && one != two && empty != two);
    }

    #[test]
    fn a_key_that_others_can_write_voids_the_keyring() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("a.asc");
        std::fs::write(&key, b"1").unwrap();
        std::fs::set_permissions(&key, PermissionsExt::from_mode(0o666)).unwrap();
        let problem = state(dir.path()).unwrap_err().to_string();
        assert!(problem.contains("a.asc: only root"), "{problem}");
    }
}
