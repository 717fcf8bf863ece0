//! Finding the container that a name's processes run in.
//!
//! The kernel is asked: a process of the user's whose root is the container's
//! overlay, in a mount namespace that root made. Its namespace is taken by
//! descriptor, and the process must still be the same one afterwards.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::{Key, release};
use crate::sys;

/// The mount namespace of a running container; `None` where none runs.
///
/// # Errors
/// Where /proc cannot be read.
pub fn namespace(key: &Key) -> io::Result<Option<OwnedFd>> {
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        if !release::belongs_to(&entry.path(), key.uid) {
            continue;
        }
        let Ok(process) = sys::process::pidfd_of(pid) else {
            continue;
        };
        let table = std::fs::read(entry.path().join("mountinfo")).unwrap_or_default();
        if !release::has(&table, key.to_string().as_bytes(), Some(b"/")) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let Ok(found) = rustix::fs::open(entry.path().join("ns/mnt"), flags, Mode::empty()) else {
            continue;
        };
        // A user's own namespace, in which he has shown himself this and that, is
        // none of ours.
        let ours = sys::mount::belongs_to_own_user_namespace(found.as_fd()).unwrap_or(false);
        let alive = sys::ipc::wait_readable(&[process.as_fd()], Some(std::time::Instant::now()))?;
        if ours && alive.is_none() {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
