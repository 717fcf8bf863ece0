//! The one thing that a new network namespace lacks: its loopback device is down.

use std::io;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

/// Switches `lo` on, netdevice(7); the kernel then gives it its addresses.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`; what the kernel said.
pub fn bring_up_loopback() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: an ifreq of zeros is a valid one.
    let mut device: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in device.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    // The field's type differs by architecture.
    #[allow(clippy::cast_possible_truncation)]
    let up = libc::IFF_UP as i16;
    device.ifr_ifru.ifru_flags = up;
    // SAFETY: the request takes an ifreq, which lives through the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const device) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
