//! Namespaces as files, ioctl_nsfs(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `NS_GET_NSTYPE` of the kernel's nsfs.h.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// `CLONE_NEW…` of a namespace.
///
/// # Errors
/// `ENOTTY` for what is no namespace; what the kernel said.
pub fn kind(namespace: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: this request takes no third argument and changes nothing.
    let kind = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE) };
    u32::try_from(kind).map_err(|_| io::Error::last_os_error())
}
