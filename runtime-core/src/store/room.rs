//! Keeping the store within its bound: what was used longest ago goes first.
//!
//! A copy that some mount holds is passed over, its removal would free nothing.

use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use std::os::unix::fs::MetadataExt;

use super::{Digest, OBJECTS, PARTIAL, RECORDS, Store, StoreError};
use crate::config::Size;
use crate::runtime_directory;
use crate::sys;

/// A copy that nobody went on with for so long is not wanted.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// What is known of a refused image is small, and kept this long.
const STALE_RECORD: Duration = Duration::from_secs(30 * 24 * 3600);

/// A file of the store.
struct Entry {
    path: PathBuf,
    name: OsString,
    used: SystemTime,
    bytes: u64,
    id: (u64, u64),
}

impl Store {
    /// Removes old copies until `needed` bytes fit.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`], [`StoreError::Step`].
    pub fn make_room(&self, needed: u64) -> Result<(), StoreError> {
        let failed = self.failed("looking what it holds");
        self.remove_stale().map_err(&failed)?;
        let (bound, mut free) = self.bound().map_err(&failed)?;
        let mut objects = self.entries(OBJECTS).map_err(&failed)?;
        let partial: u64 = self
            .entries(PARTIAL)
            .map_err(&failed)?
            .iter()
            .map(|entry| entry.bytes)
            .sum();
        let mut held = objects.iter().map(|entry| entry.bytes).sum::<u64>() + partial;
        let fits = |held: u64, free: u64| held.saturating_add(needed) <= bound && needed <= free;
        if fits(held, free) {
            return Ok(());
        }
        let in_use: HashSet<_> = sys::loopdev::held_files().into_iter().collect();
        objects.retain(|entry| !in_use.contains(&entry.id));
        objects.sort_by_key(|entry| entry.used);
        // What cannot fit anyway must not cost others their copies.
        let unused: u64 = objects.iter().map(|entry| entry.bytes).sum();
        if !fits(held.saturating_sub(unused), free.saturating_add(unused)) {
            return Err(self.no_room(needed));
        }
        for entry in objects {
            match std::fs::remove_file(&entry.path) {
                Ok(()) => {
                    tracing::info!(copy = %entry.name.to_string_lossy(), bytes = entry.bytes, "removed from the store to make room");
                    held = held.saturating_sub(entry.bytes);
                    free = free.saturating_add(entry.bytes);
                }
                Err(error) => {
                    tracing::warn!(%error, path = %entry.path.display(), "removing a copy")
                }
            }
            if fits(held, free) {
                return Ok(());
            }
        }
        Err(self.no_room(needed))
    }

    /// Removes what nobody uses: all copies that no mount holds with `everything`,
    /// else only what was left unfinished long ago. How many bytes went.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn clean(&self, everything: bool) -> io::Result<u64> {
        let mut gone = self.remove_stale()?;
        if everything {
            let in_use: HashSet<_> = sys::loopdev::held_files().into_iter().collect();
            for entry in self.entries(OBJECTS)? {
                if !in_use.contains(&entry.id) {
                    std::fs::remove_file(&entry.path)?;
                    gone += entry.bytes;
                }
            }
            // What was known of files goes too; it is found out again.
            match std::fs::remove_dir_all(runtime_directory::path("index")) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(gone)
    }

    fn remove_stale(&self) -> io::Result<u64> {
        let mut gone = 0;
        let is_older = |entry: &Entry, age: Duration| {
            SystemTime::now()
                .duration_since(entry.used)
                .is_ok_and(|passed| passed > age)
        };
        for entry in self.entries(PARTIAL)? {
            // Who still copies holds a lock.
            let idle = std::fs::File::open(&entry.path)
                .and_then(|file| sys::lock::exclusive(&file, Duration::ZERO));
            if is_older(&entry, STALE) && matches!(idle, Ok(true)) {
                std::fs::remove_file(&entry.path)?;
                gone += entry.bytes;
            }
        }
        for entry in self.entries(RECORDS)? {
            let object = entry
                .path
                .file_stem()
                .and_then(|stem| Digest::parse(stem.to_str()?))
                .is_some_and(|digest| self.object_path(&digest).exists());
            if !object && is_older(&entry, STALE_RECORD) {
                std::fs::remove_file(&entry.path)?;
            }
        }
        Ok(gone)
    }

    pub(super) fn no_room(&self, needed: u64) -> StoreError {
        let (bound, free) = self.bound().unwrap_or_default();
        StoreError::NoRoom {
            path: self.path.clone(),
            needed,
            bound,
            free,
        }
    }

    /// What the store may hold, and what its file system has left, in bytes.
    fn bound(&self) -> io::Result<(u64, u64)> {
        let about = rustix::fs::statvfs(&self.path)?;
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        let bound = match self.size {
            Size::Bytes(bytes) => bytes,
            Size::Percent(percent) => {
                let whole = u128::from(about.f_blocks) * u128::from(about.f_frsize);
                u64::try_from(whole * u128::from(percent) / 100).unwrap_or(u64::MAX)
            }
        };
        Ok((bound, free))
    }

    fn entries(&self, directory: &str) -> io::Result<Vec<Entry>> {
        let mut list = Vec::new();
        for entry in std::fs::read_dir(self.path.join(directory))? {
            let entry = entry?;
            // Gone meanwhile: another step's doing.
            let Ok(about) = entry.metadata() else {
                continue;
            };
            list.push(Entry {
                path: entry.path(),
                name: entry.file_name(),
                used: about.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                bytes: about.blocks() * 512,
                id: (about.dev(), about.ino()),
            });
        }
        Ok(list)
    }
}
