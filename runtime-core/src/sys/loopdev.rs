//! Loop devices, loop(4): a read-only block device over part of a file.
//!
//! The device frees itself with its last user (`LO_FLAGS_AUTOCLEAR`), so that
//! nothing is left behind by a crash. A device that serves the same part of the
//! same file already is found again: the kernel then gives all its mounts one
//! superblock and one page cache, and counts them itself.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

// linux/loop.h
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_SET_FD: libc::c_ulong = 0x4C00;
const LOOP_CLR_FD: libc::c_ulong = 0x4C01;
const LOOP_SET_STATUS64: libc::c_ulong = 0x4C04;
const LOOP_GET_STATUS64: libc::c_ulong = 0x4C05;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// How the name of a shared device begins.
const MARK: &str = "oarlock";

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

impl LoopInfo64 {
    const NONE: Self = Self {
        lo_device: 0,
        lo_inode: 0,
        lo_rdevice: 0,
        lo_offset: 0,
        lo_sizelimit: 0,
        lo_number: 0,
        lo_encrypt_type: 0,
        lo_encrypt_key_size: 0,
        lo_flags: 0,
        lo_file_name: [0; 64],
        lo_crypt_name: [0; 64],
        lo_encrypt_key: [0; 32],
        lo_init: [0; 2],
    };
}

/// What a device serves: a part of a file in the state that it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where the part starts, in bytes.
    pub offset: u64,
    /// Its length, in bytes.
    pub size: u64,
    /// Read past the page cache of the file (`LO_FLAGS_DIRECT_IO`), where the file
    /// system can: what is read is then cached once, decompressed, and not twice.
    pub direct: bool,
}

/// A configured loop device; it lives as long as this descriptor or a mount.
#[derive(Debug)]
pub struct LoopDevice {
    /// Keeps the device until it is mounted.
    pub fd: OwnedFd,
    /// `/dev/loopN`.
    pub path: String,
}

/// A device over this part of `file`: one that is there already, or a new one.
/// The caller holds a lock against others that look for the same.
///
/// # Errors
/// As [`attach`].
pub fn share(file: BorrowedFd<'_>, part: Part) -> io::Result<LoopDevice> {
    let about = rustix::fs::fstat(file)?;
    let name = mark(&about);
    match find(&about, &name, part) {
        Some(device) => Ok(device),
        None => configure_free(file, part, name),
    }
}

/// Makes a part of `file` a read-only block device that nobody shares.
///
/// # Errors
/// What the kernel said: `ENOENT` without /dev/loop-control, `EBUSY` where no
/// device could be had in many tries.
pub fn attach(file: BorrowedFd<'_>, part: Part) -> io::Result<LoopDevice> {
    configure_free(file, part, [0; 64])
}

fn configure_free(file: BorrowedFd<'_>, part: Part, name: [u8; 64]) -> io::Result<LoopDevice> {
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
        match configure(device.as_fd(), file, part, name) {
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

/// The name that a shared device carries, as `losetup` does not show it: whose it
/// is, and when its file was changed last. The same file with another content is
/// another image.
fn mark(about: &rustix::fs::Stat) -> [u8; 64] {
    let text = format!(
        "{MARK} {:x}.{:x} {:x}.{:x}",
        about.st_mtime, about.st_mtime_nsec, about.st_ctime, about.st_ctime_nsec
    );
    let mut name = [0; 64];
    for (to, from) in name.iter_mut().take(63).zip(text.bytes()) {
        *to = from;
    }
    name
}

/// A device that serves just this. The kernel says which file it holds, so a
/// number that was given to another file meanwhile cannot deceive; while the
/// descriptor is open, the device cannot be cleared.
fn find(about: &rustix::fs::Stat, name: &[u8; 64], part: Part) -> Option<LoopDevice> {
    bound(Some(part)).find_map(|(fd, path, info)| {
        let same = info.lo_file_name == *name
            && (info.lo_device, info.lo_inode) == (about.st_dev, about.st_ino)
            && (info.lo_offset, info.lo_sizelimit) == (part.offset, part.size)
            && info.lo_flags & (LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR)
                == LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR
            // Where it is wanted, the file system may not have it.
            && (part.direct || info.lo_flags & LO_FLAGS_DIRECT_IO == 0);
        same.then_some(LoopDevice { fd, path })
    })
}

/// The files that loop devices of this kernel hold: device and inode.
#[must_use]
pub fn held_files() -> Vec<(u64, u64)> {
    bound(None)
        .map(|(_, _, info)| (info.lo_device, info.lo_inode))
        .collect()
}

/// The numbers of the devices that carry Oarlock's mark; only root sees it.
#[must_use]
pub fn marked() -> Vec<u32> {
    bound(None)
        .filter(|(_, _, info)| info.lo_file_name.starts_with(MARK.as_bytes()))
        .filter_map(|(_, path, _)| path.strip_prefix("/dev/loop")?.parse().ok())
        .collect()
}

/// Asks a device to serve a file that cannot be: the number of the kernel's error.
/// Nothing is changed.
#[cfg(feature = "construct")]
pub(super) fn configure_nothing(device: &OwnedFd) -> Option<i32> {
    let config = LoopConfig {
        // No process has such a descriptor.
        fd: u32::MAX,
        block_size: 0,
        info: LoopInfo64::NONE,
        reserved: [0; 8],
    };
    // SAFETY: the struct has the kernel's layout and lives through the call.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    (done != 0).then(io::Error::last_os_error)?.raw_os_error()
}

/// Whether sysfs shows this part for a device: asking the device itself has the
/// kernel ask the file system of its file, which may be another's and slow.
fn shows(device: &std::path::Path, part: Part) -> bool {
    let number = |name: &str| {
        let text = std::fs::read_to_string(device.join("loop").join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    number("offset") == Some(part.offset) && number("sizelimit") == Some(part.size)
}

/// All devices that serve a file, or this part of one, opened for reading.
fn bound(part: Option<Part>) -> impl Iterator<Item = (OwnedFd, String, LoopInfo64)> {
    std::fs::read_dir("/sys/block")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(move |entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_prefix("loop")?.parse::<u32>().ok()?;
            // Only a device in use has this folder: the others need no opening.
            entry.path().join("loop/offset").exists().then_some(())?;
            part.is_none_or(|part| shows(&entry.path(), part))
                .then_some(())?;
            let path = format!("/dev/{name}");
            let fd = rustix::fs::open(
                path.as_str(),
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .ok()?;
            let mut info = LoopInfo64::NONE;
            // SAFETY: the kernel fills the struct, whose layout is its own.
            let done = unsafe { libc::ioctl(fd.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) };
            (done == 0).then_some((fd, path, info))
        })
}

fn configure(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    part: Part,
    name: [u8; 64],
) -> io::Result<()> {
    let direct = if part.direct { LO_FLAGS_DIRECT_IO } else { 0 };
    let info = LoopInfo64 {
        lo_offset: part.offset,
        lo_sizelimit: part.size,
        lo_flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR | direct,
        lo_file_name: name,
        ..LoopInfo64::NONE
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
