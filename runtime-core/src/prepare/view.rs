//! What the task sees of the host: this process goes into its mount namespace for a
//! moment, and comes back.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::thread::LinkNameSpaceType;

use super::failure::{Failure, step};
use crate::sys;

const MOUNT: Option<LinkNameSpaceType> = Some(LinkNameSpaceType::Mount);

fn own_namespace() -> Result<OwnedFd, Failure> {
    sys::mount::open_own_namespace().map_err(step("opening the host's mount namespace"))
}

/// Whether the task is in this process' mount namespace. A namespace is known by
/// its device and inode, namespaces(7).
pub(super) fn is_own_namespace(namespace: &OwnedFd) -> Result<bool, Failure> {
    let id = |fd: BorrowedFd<'_>| {
        rustix::fs::fstat(fd)
            .map(|stat| (stat.st_dev, stat.st_ino))
            .map_err(|e| step("looking at a mount namespace")(e.into()))
    };
    Ok(id(namespace.as_fd())? == id(own_namespace()?.as_fd())?)
}

/// Runs `work` in the task's mount namespace, then comes back to the host's.
pub(super) fn in_task_view<T>(
    namespace: &OwnedFd,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let own = own_namespace()?;
    rustix::thread::move_into_link_name_space(namespace.as_fd(), MOUNT)
        .map_err(|e| step("joining the task's mount namespace")(e.into()))?;
    let result = work();
    rustix::thread::move_into_link_name_space(own.as_fd(), MOUNT)
        .map_err(|e| step("returning to the host's mount namespace")(e.into()))?;
    result
}
