//! A node's own copies of images, on a disk of its own.
//!
//! ```text
//! objects/DIGEST          the copies, root's, never changed once they are here
//! records/DIGEST.toml     what was found out about each
//! partial/UID-KEY         copies that are being made, or wait to be gone on with
//! ```
//!
//! A copy is named by its content. Which copy belongs to a user's file is told by
//! an index in `/run/oarlock`, by the file's device, inode, size and times and for
//! each user apart: nobody gets a copy of a file that he did not open himself, and
//! no number outlives a boot. Files appear by rename only, so that a crash leaves
//! no half of one.

mod copy;
mod key;
mod look;
mod record;
mod room;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FileType, Mode, OFlags};

use crate::config;
use crate::runtime_directory::{self, make_private};
use crate::sys;

pub use copy::{Copied, Copying};
pub use key::{Digest, Key};
pub use look::{Contents, contents};
pub use record::{Check, RULES, Record};

/// What is wrong with the store. Every message says which store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A step of the work failed.
    #[error("store {}: {what}: {error}", path.display())]
    Step {
        /// The store.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// The image is larger than the store may be.
    #[error(
        "store {}: no room for {needed} bytes: {bound} are allowed and {free} are free on its disk", path.display()
    )]
    NoRoom {
        /// The store.
        path: PathBuf,
        /// The image's length, in bytes.
        needed: u64,
        /// What the store may hold, in bytes.
        bound: u64,
        /// What its file system has left, in bytes.
        free: u64,
    },
    /// The image was changed while it was copied.
    #[error("the image was changed while it was copied")]
    Changed,
    /// Another step is copying the same image.
    #[error("another step is copying the same image")]
    Busy,
}

/// An opened store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    size: config::Size,
}

/// A copy in the store.
#[derive(Debug)]
pub struct Object {
    /// Opened for reading.
    pub file: OwnedFd,
    /// Its content's name.
    pub digest: Digest,
    /// What is known of it.
    pub record: Record,
}

const OBJECTS: &str = "objects";
const RECORDS: &str = "records";
const PARTIAL: &str = "partial";

impl Store {
    /// Opens the site's store, and makes it where it is missing.
    ///
    /// # Errors
    /// [`StoreError::Step`]; `EPERM` where others than root may write to it.
    pub fn open(config: &config::Store) -> Result<Self, StoreError> {
        let store = Self {
            path: config.path.clone(),
            size: config.size,
        };
        store
            .make_directories()
            .map_err(store.failed("making its directories"))?;
        Ok(store)
    }

    fn make_directories(&self) -> io::Result<()> {
        if let Some(above) = self.path.parent() {
            std::fs::create_dir_all(above)?;
        }
        runtime_directory::make_owned(&self.path)?;
        for name in [OBJECTS, RECORDS, PARTIAL] {
            make_private(&self.path.join(name))?;
        }
        Ok(())
    }

    fn failed(&self, what: &'static str) -> impl Fn(io::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |error| StoreError::Step {
            path: path.clone(),
            what,
            error,
        }
    }

    fn object_path(&self, digest: &Digest) -> PathBuf {
        self.path.join(OBJECTS).join(digest.as_str())
    }

    fn record_path(&self, digest: &Digest) -> PathBuf {
        let name = format!("{}.toml", digest.as_str());
        self.path.join(RECORDS).join(name)
    }

    /// The copy of a user's file, where there is one.
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<Object> {
        self.object(&key.look_up()?)
    }

    /// What was found out about a user's file, also where its copy is gone.
    #[must_use]
    pub fn known(&self, key: &Key) -> Option<Record> {
        self.record(&key.look_up()?)
    }

    /// A copy by its name. Its use is noted, so that it is not the next to go.
    #[must_use]
    pub fn object(&self, digest: &Digest) -> Option<Object> {
        let record = self.record(digest)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(self.object_path(digest), flags, Mode::empty()).ok()?;
        let about = rustix::fs::fstat(&file).ok()?;
        let whole = FileType::from_raw_mode(about.st_mode) == FileType::RegularFile
            && about.st_uid == rustix::process::geteuid().as_raw()
            && about.st_mode & 0o222 == 0
            && u64::try_from(about.st_size) == Ok(record.size);
        whole.then_some(())?;
        // At the record, and not at the copy: by its times its mounts are found
        // again.
        let used = std::fs::File::open(self.record_path(digest));
        let _ = used.and_then(|record| record.set_modified(SystemTime::now()));
        Some(Object {
            file,
            digest: digest.clone(),
            record,
        })
    }

    /// What was found out about a content.
    #[must_use]
    pub fn record(&self, digest: &Digest) -> Option<Record> {
        Record::read(&self.record_path(digest))
    }

    /// Notes what was found out about a copy.
    ///
    /// # Errors
    /// [`StoreError::Step`].
    pub fn note(&self, digest: &Digest, record: &Record) -> Result<(), StoreError> {
        record
            .write(&self.record_path(digest))
            .map_err(self.failed("writing a record"))
    }

    /// Puts a finished copy in its place; the record must be there already.
    ///
    /// # Errors
    /// [`StoreError::Step`].
    pub fn publish(&self, copied: &copy::Copied, digest: &Digest) -> Result<(), StoreError> {
        let place = self.object_path(digest);
        if place.exists() {
            return self.discard(copied);
        }
        // Where the file system can, the kernel itself refuses changes from now on.
        match sys::verity::enable(copied.file.as_fd()) {
            Ok(()) => tracing::debug!(%digest, "fs-verity"),
            Err(error) => tracing::debug!(%digest, %error, "no fs-verity"),
        }
        std::fs::rename(&copied.path, place).map_err(self.failed("publishing a copy"))?;
        // The name must survive a power cut as the content does.
        std::fs::File::open(self.path.join(OBJECTS))
            .and_then(|directory| directory.sync_all())
            .map_err(self.failed("publishing a copy"))
    }

    /// Removes a finished copy that is not wanted.
    ///
    /// # Errors
    /// [`StoreError::Step`].
    pub fn discard(&self, copied: &copy::Copied) -> Result<(), StoreError> {
        std::fs::remove_file(&copied.path).map_err(self.failed("removing a copy"))
    }

    /// Where this store lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests;
