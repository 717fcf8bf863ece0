//! Keeping the store within its bound: what was used longest ago goes first.
//!
//! A copy that is being made counts with its whole length, so that several at once
//! cannot take more than there is. One that nobody is at goes before any finished
//! copy. A copy that some mount holds is passed over, its removal would free
//! nothing.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Digest, Key, OBJECTS, PARTIAL, RECORDS, Store, StoreError, key};
use crate::config::Size;
use crate::runtime_directory;
use crate::sys;

/// A copy that nobody went on with for so long is not wanted.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// What is known of a refused image is small, and kept this long.
const STALE_RECORD: Duration = Duration::from_secs(30 * 24 * 3600);

/// A file of the store.
pub(super) struct Entry {
    pub(super) path: PathBuf,
    pub(super) used: SystemTime,
    /// What it takes of the disk, in bytes.
    pub(super) bytes: u64,
    /// Device and inode.
    pub(super) id: (u64, u64),
}

impl Entry {
    fn is_older(&self, age: Duration) -> bool {
        SystemTime::now()
            .duration_since(self.used)
            .is_ok_and(|passed| passed > age)
    }
}

/// What the store holds.
struct Held {
    /// Bytes that count against the bound.
    bytes: u64,
    /// Bytes that copies under way have still to write.
    coming: u64,
    /// What may go, the first to go first.
    removable: Vec<Entry>,
}

impl Store {
    /// Removes what is needed least until the copy of `key`, whose file is there
    /// and locked, fits.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`], before anything is removed; [`StoreError::Step`].
    pub(super) fn make_room(&self, key: &Key, own: &Path) -> Result<(), StoreError> {
        let failed = self.failed("looking what it holds");
        self.remove_stale().map_err(&failed)?;
        let (bound, free) = self.bound().map_err(&failed)?;
        let held = self.held(own).map_err(&failed)?;
        let missing = |freed: u64| {
            held.bytes.saturating_sub(freed) > bound || held.coming > free.saturating_add(freed)
        };
        // What cannot fit anyway must not cost others their copies.
        let all: u64 = held.removable.iter().map(|entry| entry.bytes).sum();
        if missing(all) {
            return Err(self.no_room(key.size));
        }
        let mut freed = 0;
        for entry in &held.removable {
            if !missing(freed) {
                break;
            }
            remove(&entry.path).map_err(&failed)?;
            tracing::info!(path = %entry.path.display(), bytes = entry.bytes, "removed to make room");
            freed += entry.bytes;
        }
        Ok(())
    }

    fn held(&self, own: &Path) -> io::Result<Held> {
        let (mut bytes, mut coming) = (0, 0);
        let mut idle = Vec::new();
        for entry in self.entries(PARTIAL)? {
            if entry.path != own && is_idle(&entry.path) {
                bytes += entry.bytes;
                idle.push(entry);
            } else {
                let name = entry.path.file_name().and_then(|name| name.to_str());
                let whole = name.and_then(key::size_in_name).unwrap_or(entry.bytes);
                bytes += whole.max(entry.bytes);
                coming += whole.saturating_sub(entry.bytes);
            }
        }
        idle.sort_by_key(|entry| entry.used);
        let mut objects = self.entries(OBJECTS)?;
        bytes += objects.iter().map(|entry| entry.bytes).sum::<u64>();
        let in_use: HashSet<_> = sys::loopdev::held_files().into_iter().collect();
        objects.retain(|entry| !in_use.contains(&entry.id));
        objects.sort_by_key(|entry| self.last_use(entry));
        Ok(Held {
            bytes,
            coming,
            removable: idle.into_iter().chain(objects).collect(),
        })
    }

    /// A use is noted at the record: the copy's own times tell its mounts apart.
    fn last_use(&self, object: &Entry) -> SystemTime {
        object
            .path
            .file_name()
            .and_then(|name| Digest::parse(name.to_str()?))
            .and_then(|digest| std::fs::metadata(self.record_path(&digest)).ok())
            .and_then(|about| about.modified().ok())
            .unwrap_or(object.used)
    }

    /// Removes what nobody uses: all copies that no mount holds and all that nobody
    /// is making with `everything`, else only what was left unfinished long ago.
    /// How many bytes went.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn clean(&self, everything: bool) -> io::Result<u64> {
        let mut gone = self.remove_stale()?;
        if everything {
            for entry in self.held(Path::new(""))?.removable {
                remove(&entry.path)?;
                gone += entry.bytes;
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
        for entry in self.entries(PARTIAL)? {
            if is_stale(&entry) && is_idle(&entry.path) {
                remove(&entry.path)?;
                gone += entry.bytes;
            }
        }
        for entry in self.entries(RECORDS)? {
            let object = entry
                .path
                .file_stem()
                .and_then(|stem| Digest::parse(stem.to_str()?))
                .is_some_and(|digest| self.object_path(&digest).exists());
            if !object && entry.is_older(STALE_RECORD) {
                remove(&entry.path)?;
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
    pub(super) fn bound(&self) -> io::Result<(u64, u64)> {
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

    pub(super) fn entries(&self, directory: &str) -> io::Result<Vec<Entry>> {
        let mut list = Vec::new();
        for entry in std::fs::read_dir(self.path.join(directory))? {
            let entry = entry?;
            // Gone meanwhile: another step's doing.
            let Ok(about) = entry.metadata() else {
                continue;
            };
            list.push(Entry {
                path: entry.path(),
                used: about.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                bytes: about.blocks() * 512,
                id: (about.dev(), about.ino()),
            });
        }
        Ok(list)
    }
}

/// Whether a copy that nobody is making would not be gone on with.
pub(super) fn is_stale(partial: &Entry) -> bool {
    let name = partial.path.file_name().unwrap_or_default();
    // After a crash nobody knows which of its bytes reached the disk.
    let of_this_boot = name.to_string_lossy().starts_with(&key::boot());
    !of_this_boot || partial.is_older(STALE)
}

/// Who copies holds a lock.
fn is_idle(path: &Path) -> bool {
    std::fs::File::open(path)
        .and_then(|file| sys::lock::exclusive(&file, Duration::ZERO))
        .unwrap_or(false)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        // Another step was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
