//! Names: of a content, and of a user's file in the state that it has now.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use crate::runtime_directory;

/// A file that was changed less than this ago may be changed once more within the
/// same tick of its file system's clock, and look the same.
const TICK: Duration = Duration::from_secs(2);

/// SHA-256 of a content, 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Digest(String);

impl Digest {
    /// Takes the text of one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let good = text.len() == 64
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        good.then(|| Self(text.to_owned()))
    }

    pub(super) fn of(hash: Sha256) -> Self {
        Self(
            hash.finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// A name of this boot: device numbers mean nothing in another one.
pub(super) fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = id
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(12)
        .collect();
    format!("boot{digits}")
}

/// The whole length of a copy that is being made, from its file's name.
pub(super) fn size_in_name(name: &str) -> Option<u64> {
    // boot, uid, device, inode, size …
    u64::from_str_radix(name.split('-').nth(4)?, 16).ok()
}

/// A file, as one user opened it, in one state: the same key means the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    uid: u32,
    state: String,
    /// Its length, in bytes.
    pub size: u64,
    changed: SystemTime,
}

impl Key {
    /// The key of an open file.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn of(file: BorrowedFd<'_>, uid: u32) -> io::Result<Self> {
        let about = rustix::fs::fstat(file)?;
        let size = u64::try_from(about.st_size).unwrap_or_default();
        let state = format!(
            "{:x}-{:x}-{size:x}-{:x}.{:x}-{:x}.{:x}",
            about.st_dev,
            about.st_ino,
            about.st_mtime,
            about.st_mtime_nsec,
            about.st_ctime,
            about.st_ctime_nsec
        );
        let seconds = u64::try_from(about.st_ctime).unwrap_or_default();
        Ok(Self {
            uid,
            state,
            size,
            changed: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        })
    }

    /// How long to wait until a further change would show in the key.
    #[must_use]
    pub fn unsettled(&self) -> Duration {
        let age = SystemTime::now()
            .duration_since(self.changed)
            .unwrap_or_default();
        TICK.saturating_sub(age)
    }

    /// The user who opened it.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// A file name for a copy that is being made.
    pub(super) fn file_name(&self) -> String {
        format!("{}-{}-{}", boot(), self.uid, self.state)
    }

    fn index(&self) -> PathBuf {
        let mut path = runtime_directory::path("index");
        path.push(self.uid.to_string());
        path.push(&self.state);
        path
    }

    /// The content that a copy of this file had.
    pub(super) fn look_up(&self) -> Option<Digest> {
        let target = std::fs::read_link(self.index()).ok()?;
        Digest::parse(target.to_str()?)
    }

    /// Notes which content this file has: a link, which the kernel makes in one.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn point_to(&self, digest: &Digest) -> io::Result<()> {
        let index = self.index();
        let below = std::path::Path::new("index").join(self.uid.to_string());
        runtime_directory::make(&below)?;
        match std::os::unix::fs::symlink(digest.as_str(), &index) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if self.look_up().as_ref() == Some(digest) {
                    return Ok(());
                }
                std::fs::remove_file(&index)?;
                std::os::unix::fs::symlink(digest.as_str(), &index)
            }
            other => other,
        }
    }
}
