//! Mounts of images that a node keeps while a job runs, so that its next step
//! finds them warm: the superblock, its directory entries, what was read.
//!
//! A kept mount is a mount of its own in the host's tree, below a directory that
//! only root can enter, and named for its job: the kernel counts the references,
//! and nothing has to be remembered over a crash. It is taken away at the job's
//! epilog, at slurmd's start, and by `oarlock gc`; taking one away that is in use
//! costs its steps nothing, they have mounts of their own.

use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::UnmountFlags;

use crate::runtime_directory;

/// Which mounts are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// One job's.
    Job(u32),
    /// Every job's.
    All,
}

/// Notes that this slurmd has the plugin, and so calls it at each job's epilog. One
/// that was started before the plugin was installed does not, and nothing is kept.
///
/// # Errors
/// What the kernel said.
pub fn announce_epilog() -> io::Result<()> {
    runtime_directory::open_file(EPILOG).map(drop)
}

/// Whether what is kept for a job is taken away at its end.
#[must_use]
pub fn is_released_at_epilog() -> bool {
    epilog_mark().exists()
}

/// The mark that slurmd has the plugin, below the runtime directory.
#[must_use]
pub fn epilog_mark() -> PathBuf {
    runtime_directory::path(EPILOG)
}

const EPILOG: &str = "epilog";

fn directory() -> PathBuf {
    runtime_directory::path("kept")
}

/// The place for a job's mount of an image; `key` tells images apart.
#[must_use]
pub fn place(job: u32, key: &str) -> PathBuf {
    directory().join(job.to_string()).join(key)
}

/// Takes kept mounts away; how many there were. A mount that is in use goes from
/// here at once and from the kernel with its last user.
///
/// # Errors
/// What the kernel said of a mount or directory that could not be taken away;
/// the others are.
pub fn release(whose: Whose) -> io::Result<usize> {
    let mut jobs = Vec::new();
    match whose {
        Whose::Job(job) => jobs.push(directory().join(job.to_string())),
        Whose::All => {
            for entry in entries(&directory())? {
                jobs.push(directory().join(entry));
            }
        }
    }
    let mut released = 0;
    let mut outcome = Ok(());
    for job in jobs {
        for name in entries(&job)? {
            match release_one(&job.join(name)) {
                Ok(count) => released += count,
                Err(error) => outcome = Err(error),
            }
        }
        // Not empty where a mount was refused, or made just now: left for later.
        let _ = rustix::fs::rmdir(&job);
    }
    outcome.map(|()| released)
}

fn release_one(place: &Path) -> io::Result<usize> {
    let mut released = 0;
    // Two steps may have mounted at one place, one upon the other.
    while released < 64 {
        match rustix::mount::unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => released += 1,
            // No mount (any more): EINVAL.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => break,
            Err(error) => return Err(error.into()),
        }
    }
    match rustix::fs::rmdir(place) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(released.min(1)),
        Err(error) => Err(error.into()),
    }
}

fn entries(directory: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.file_name()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
