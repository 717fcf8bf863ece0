//! Copying an image into the store, so that it can be gone on with later.
//!
//! The copy is root's from its first byte: no user ever has a descriptor to write
//! it with. Who copies holds a lock on the file, which the kernel gives back
//! however he ends; what he has copied stays for the next one.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};

use super::{Digest, Key, PARTIAL, Store, StoreError};
use crate::sys;

/// So much is copied between two reports, in bytes.
const CHUNK: usize = 8 << 20;

/// Looking for room takes no longer.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);

/// So much is given to the disk at a time, so that the end is not one long wait
/// that nothing can interrupt, in bytes.
const WRITE_OUT: u64 = 64 << 20;

/// A copy that is being made.
#[derive(Debug)]
pub struct Copying<'a> {
    store: &'a Store,
    key: Key,
    path: PathBuf,
    file: File,
}

/// A finished copy that is not in its place yet; nobody can write it.
#[derive(Debug)]
pub struct Copied {
    pub(super) path: PathBuf,
    /// Opened for reading.
    pub file: OwnedFd,
    /// Holds the lock.
    _lock: OwnedFd,
}

impl Store {
    /// Begins a copy, or goes on with one that was left. Waits for another step's
    /// no longer than `patience`.
    ///
    /// # Errors
    /// [`StoreError::Busy`], [`StoreError::NoRoom`], [`StoreError::Step`].
    pub fn begin(&self, key: &Key, patience: Duration) -> Result<Copying<'_>, StoreError> {
        // While somebody looks for room, nobody else begins.
        let room = self.room_lock()?;
        let path = self.path.join(PARTIAL).join(key.file_name());
        let failed = self.failed("making a file for the copy");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| failed(e.into()))?;
        if !sys::lock::exclusive(&file, Duration::ZERO).map_err(&failed)? {
            drop(room);
            // Whoever has it is waited for, so that the caller may look again.
            let _ = sys::lock::exclusive(&file, patience);
            return Err(StoreError::Busy);
        }
        // Whoever had the lock before may have finished, and moved the file away.
        let same = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        let here = rustix::fs::fstat(&file).map_err(|e| failed(e.into()))?;
        if rustix::fs::lstat(&path).map(same) != Ok(same(here)) {
            return Err(StoreError::Busy);
        }
        let copying = Copying {
            store: self,
            key: key.clone(),
            path,
            file: file.into(),
        };
        match self.make_room(key, &copying.path) {
            Ok(()) => Ok(copying),
            Err(error) => {
                copying.give_up();
                Err(error)
            }
        }
    }
}

impl Store {
    fn room_lock(&self) -> Result<OwnedFd, StoreError> {
        let failed = self.failed("taking its lock");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(self.path.join("lock"), flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| failed(e.into()))?;
        if sys::lock::exclusive(&file, ROOM_PATIENCE).map_err(&failed)? {
            Ok(file)
        } else {
            Err(failed(io::ErrorKind::TimedOut.into()))
        }
    }
}

impl<'a> Copying<'a> {
    /// Copies the rest of `source`; `report` is told how many bytes are there.
    ///
    /// # Errors
    /// [`StoreError::Changed`], [`StoreError::NoRoom`], [`StoreError::Step`]; then
    /// nothing is left of the copy.
    pub fn copy(
        mut self,
        source: BorrowedFd<'_>,
        report: &mut dyn FnMut(u64),
    ) -> Result<Copied, StoreError> {
        match self.fill(source, report) {
            Ok(()) => self.finish(source),
            Err(error) => {
                let failure = self.explain(error);
                self.give_up();
                Err(failure)
            }
        }
    }

    /// A full disk is no different from a full store.
    fn explain(&self, error: io::Error) -> StoreError {
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => self.store.no_room(self.key.size),
            _ => self.store.failed("copying the image")(error),
        }
    }

    fn fill(&mut self, source: BorrowedFd<'_>, report: &mut dyn FnMut(u64)) -> io::Result<()> {
        let size = self.key.size;
        let mut have = self.file.metadata()?.len();
        if have > size {
            self.file.set_len(0)?;
            have = 0;
        }
        if have == 0 && rustix::fs::ioctl_ficlone(&self.file, source).is_ok() {
            have = self.file.metadata()?.len();
        }
        let mut by_kernel = true;
        let mut written = have;
        while have < size {
            report(have);
            if have - written >= WRITE_OUT {
                sys::file::write_out(self.file.as_fd(), written, have - written)?;
                written = have;
            }
            let want = usize::try_from(size - have).map_or(CHUNK, |rest| rest.min(CHUNK));
            let (mut from, mut to) = (have, have);
            let copied = if by_kernel {
                rustix::fs::copy_file_range(
                    source,
                    Some(&mut from),
                    &self.file,
                    Some(&mut to),
                    want,
                )
                .map_err(io::Error::from)
            } else {
                copy_by_hand(source, &self.file, have, want)
            };
            match copied {
                // Some file systems have nothing for this call, copy_file_range(2).
                Ok(0) if by_kernel => by_kernel = false,
                // The file is shorter than it was: it was changed.
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => have += n as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Other file systems, older kernels: copy_file_range(2), ERRORS.
                Err(error) if by_kernel && error.raw_os_error() != Some(libc::ENOSPC) => {
                    by_kernel = false;
                }
                Err(error) => return Err(error),
            }
        }
        report(have);
        self.file.sync_data()
    }

    fn finish(self, source: BorrowedFd<'_>) -> Result<Copied, StoreError> {
        let failed = self.store.failed("finishing the copy");
        let now = Key::of(source, self.key.uid()).map_err(&failed)?;
        if now != self.key {
            self.give_up();
            return Err(StoreError::Changed);
        }
        let Self { path, file, .. } = self;
        rustix::fs::fchmod(&file, Mode::RUSR).map_err(|e| failed(e.into()))?;
        let again = rustix::fs::open(
            sys::mount::descriptor_path(file.as_fd()).as_str(),
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| failed(e.into()))?;
        drop(file);
        // The lock went with the writing descriptor: taken again on the other.
        if !sys::lock::exclusive(&again, Duration::from_secs(1)).map_err(&failed)? {
            return Err(StoreError::Busy);
        }
        let lock = again.try_clone().map_err(&failed)?;
        Ok(Copied {
            path,
            file: again,
            _lock: lock,
        })
    }

    /// Leaves nothing behind.
    fn give_up(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "removing an unfinished copy");
        }
    }
}

fn copy_by_hand(source: BorrowedFd<'_>, to: &File, at: u64, want: usize) -> io::Result<usize> {
    let mut buffer = vec![0; want.min(1 << 20)];
    let have = rustix::io::pread(source, &mut buffer, at)?;
    to.write_all_at(buffer.get(..have).unwrap_or_default(), at)?;
    Ok(have)
}

impl Copied {
    /// The content's name. Reads the copy, and not what it was copied from.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn digest(&self) -> io::Result<Digest> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            match rustix::io::pread(&self.file, &mut buffer, at) {
                Ok(0) => return Ok(Digest::of(hash)),
                Ok(n) => {
                    hash.update(buffer.get(..n).unwrap_or_default());
                    at += n as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
