//! Loop devices, loop(4): a read-only block device over part of a file.
//!
//! The device frees itself with its last user (`LO_FLAGS_AUTOCLEAR`), so that
//! nothing is left behind by a crash.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

// linux/loop.h
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_SET_FD: libc::c_ulong = 0x4C00;
const LOOP_CLR_FD: libc::c_ulong = 0x4C01;
const LOOP_SET_STATUS64: libc::c_ulong = 0x4C04;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// Others may take the free device between the asking and the taking.
const TRIES: u32 = 64;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo64 {
    lo_device: u64,
    lo_inode: u64,
    lo_rdevice: u64,
    lo_offset: u64,
    lo_sizelimit: u64,
    lo_number: u32,
    lo_encrypt_type: u32,
    lo_encrypt_key_size: u32,
    lo_flags: u32,
    lo_file_name: [u8; 64],
    lo_crypt_name: [u8; 64],
    lo_encrypt_key: [u8; 32],
    lo_init: [u64; 2],
}

/// `struct loop_config`, Linux 5.8.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

/// A configured loop device; it lives as long as this descriptor or a mount.
#[derive(Debug)]
pub struct LoopDevice {
    /// Keeps the device until it is mounted.
    pub fd: OwnedFd,
    /// `/dev/loopN`.
    pub path: String,
}

/// Makes `size` bytes from `offset` of `file` a read-only block device.
///
/// # Errors
/// What the kernel said: `ENOENT` without /dev/loop-control, `EBUSY` where no
/// device could be had in many tries.
pub fn attach(file: BorrowedFd<'_>, offset: u64, size: u64) -> io::Result<LoopDevice> {
    let control = rustix::fs::open(
        c"/dev/loop-control",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut last = io::Error::from_raw_os_error(libc::EBUSY);
    for attempt in 0..TRIES {
        // SAFETY: LOOP_CTL_GET_FREE takes no argument and returns a number.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        let path = format!("/dev/loop{number}");
        let device =
            rustix::fs::open(path.as_str(), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        match configure(device.as_fd(), file, offset, size) {
            Ok(()) => return Ok(LoopDevice { fd: device, path }),
            // Taken by somebody else meanwhile, or just being cleared.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => {
                last = error;
                std::thread::sleep(std::time::Duration::from_micros(u64::from(attempt) * 200));
            }
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn configure(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: u64,
    size: u64,
) -> io::Result<()> {
    let info = LoopInfo64 {
        lo_device: 0,
        lo_inode: 0,
        lo_rdevice: 0,
        lo_offset: offset,
        lo_sizelimit: size,
        lo_number: 0,
        lo_encrypt_type: 0,
        lo_encrypt_key_size: 0,
        lo_flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
        lo_file_name: [0; 64],
        lo_crypt_name: [0; 64],
        lo_encrypt_key: [0; 32],
        lo_init: [0; 2],
    };
    let config = LoopConfig {
        fd: u32::try_from(file.as_raw_fd()).unwrap_or(u32::MAX),
        block_size: 0,
        info,
        reserved: [0; 8],
    };
    // SAFETY: the struct has the kernel's layout and lives through the call.
    if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // Before 5.8 the call is unknown: EINVAL or ENOTTY, by version.
    if !matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY)) {
        return Err(error);
    }
    configure_in_two_steps(device, file, &info)
}

/// `LOOP_SET_FD` and `LOOP_SET_STATUS64`, as before Linux 5.8.
fn configure_in_two_steps(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    info: &LoopInfo64,
) -> io::Result<()> {
    // SAFETY: LOOP_SET_FD takes a descriptor number.
    if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_FD, file.as_raw_fd()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the struct has the kernel's layout and lives through the call.
    if unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            LOOP_SET_STATUS64,
            std::ptr::from_ref(info),
        )
    } == 0
    {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // SAFETY: LOOP_CLR_FD takes a number that it ignores.
    unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD, 0) };
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_the_kernels() {
        assert_eq!(size_of::<LoopInfo64>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }
}
