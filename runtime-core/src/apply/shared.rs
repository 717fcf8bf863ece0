//! One superblock for all mounts of an image on a node.
//!
//! Concurrent steps and jobs that mount the same part of the same unchanged file
//! get the same loop device and so the same superblock and page cache. The kernel
//! counts the mounts; nothing here has to be undone after a crash.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use super::filesystem::{Calls, Detached, Filesystem};
use super::image::IMAGE;
use super::{ApplyError, step};
use crate::image::layout::{FilesystemKind, Partition};
use crate::kept;
use crate::runtime_directory;
use crate::sys;
use crate::sys::loopdev::{LoopDevice, Part};

/// Finding and configuring a device takes microseconds. Who holds the lock longer
/// hangs, and a mount of one's own is better than waiting for him.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes.
const SECTOR: u64 = 512;

/// A mount of the kernel's, and what holds its device until it is attached.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) made: Detached,
    pub(super) kind: FilesystemKind,
    device: LoopDevice,
    filesystem: Filesystem,
}

/// A mount that the node may keep for the job's next step.
#[derive(Debug)]
pub struct Keepable {
    /// Holds the device, so that its name stays its own.
    _device: OwnedFd,
    filesystem: Filesystem,
}

/// Mounts a part of a file by the kernel.
///
/// # Errors
/// [`ApplyError::Loop`], [`ApplyError::Mount`].
pub(super) fn mount(
    file: BorrowedFd<'_>,
    part: Partition,
    direct: bool,
    calls: Calls,
) -> Result<Shared, ApplyError> {
    // A device has whole sectors: the last one would be cut off.
    let length = rustix::fs::fstat(file).map_or(0, |about| about.st_size);
    let sectors = part.size.next_multiple_of(SECTOR);
    let fits = u64::try_from(length).is_ok_and(|length| part.offset + sectors <= length);
    let place = Part {
        offset: part.offset,
        size: if fits { sectors } else { part.size },
        direct,
    };
    let lock = lock();
    let device = match &lock {
        Some(_) => sys::loopdev::share(file, place),
        None => sys::loopdev::attach(file, place),
    }
    .map_err(ApplyError::Loop)?;
    let (what, options) = match part.kind {
        FilesystemKind::Squashfs => ("the image by the kernel's squashfs", Vec::new()),
        FilesystemKind::Erofs => ("the image by the kernel's EROFS", Vec::new()),
        FilesystemKind::Ext3 => ("the image's ext3 overlay", ext3_options()),
    };
    let filesystem = Filesystem {
        what,
        kind: part.kind.name(),
        source: device.path.clone(),
        options,
        attributes: IMAGE,
    };
    let made = Detached::new(filesystem.clone(), calls)?;
    Ok(Shared {
        made,
        kind: part.kind,
        device,
        filesystem,
    })
}

/// Read only, and so without its journal's last words; and what the image says of
/// errors (a panic, perhaps) is not asked.
fn ext3_options() -> Vec<(&'static str, Option<String>)> {
    vec![("noload", None), ("errors", Some("continue".to_owned()))]
}

/// The node's lock on finding devices; `None`, with a word in the journal, where it
/// cannot be had: the image is then mounted for this step alone.
fn lock() -> Option<OwnedFd> {
    let file = match runtime_directory::open_file("loop.lock") {
        Ok(file) => file,
        Err(error) => {
            tracing::warn!(%error, "{}/loop.lock; the image is not shared with other steps", runtime_directory::PATH);
            return None;
        }
    };
    match sys::lock::exclusive(&file, PATIENCE) {
        Ok(true) => Some(file),
        Ok(false) => {
            tracing::warn!(
                "somebody holds {}/loop.lock for more than {} s; the image is not shared with other steps",
                runtime_directory::PATH,
                PATIENCE.as_secs()
            );
            None
        }
        Err(error) => {
            tracing::warn!(%error, "locking {}/loop.lock; the image is not shared with other steps", runtime_directory::PATH);
            None
        }
    }
}

impl Shared {
    /// Shows this mount's files, and no other mount's of the same image, with other
    /// owners.
    ///
    /// # Errors
    /// [`ApplyError::Owners`] where the kernel cannot.
    pub(super) fn show_as(&self, map: &OwnedFd) -> Result<(), ApplyError> {
        let cannot = |error| ApplyError::Owners {
            kind: self.kind,
            error,
        };
        match &self.made {
            Detached::Made(mount) => sys::idmap::show_as(mount.as_fd(), map).map_err(cannot),
            Detached::ToMake(_) | Detached::Bind(..) => {
                Err(cannot(std::io::ErrorKind::Unsupported.into()))
            }
        }
    }

    pub(super) fn keepable(&self) -> std::io::Result<Keepable> {
        Ok(Keepable {
            _device: self.device.fd.try_clone()?,
            filesystem: self.filesystem.clone(),
        })
    }
}

impl Keepable {
    /// Mounts it once more, where the host keeps it until the job's epilog.
    ///
    /// # Errors
    /// Any [`ApplyError`] of mounting.
    pub fn keep(&self, job: u32, calls: Calls) -> Result<(), ApplyError> {
        let name = self.filesystem.source.trim_start_matches("/dev/");
        let place = kept::place(job, name);
        let failed = step("making a directory for a kept mount");
        if place.exists() {
            return Ok(());
        }
        let parent = place.parent().unwrap_or(&place);
        let below = parent
            .strip_prefix(runtime_directory::PATH)
            .unwrap_or(parent);
        runtime_directory::make(below).map_err(&failed)?;
        match std::fs::create_dir(&place) {
            Ok(()) => {}
            // Another step of the job is just keeping it.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
            Err(error) => return Err(failed(error)),
        }
        let target = sys::mount::open_place(&place).map_err(&failed)?;
        let made = Detached::new(self.filesystem.clone(), calls)
            .and_then(|made| made.attach(target.as_fd()));
        if made.is_err() {
            let _ = std::fs::remove_dir(&place);
        }
        made
    }
}
