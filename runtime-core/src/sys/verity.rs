//! fs-verity: the kernel itself refuses every change of a file and checks what is
//! read, linux/fsverity.h.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

// _IOW('f', 133, struct fsverity_enable_arg)
const FS_IOC_ENABLE_VERITY: libc::c_ulong = 0x4080_6685;
const FS_VERITY_HASH_ALG_SHA256: u32 = 1;

/// `struct fsverity_enable_arg`.
#[repr(C)]
struct EnableArgument {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved1: u32,
    signature: u64,
    reserved2: [u64; 11],
}

/// Makes a file that nobody has open for writing unchangeable for good.
///
/// # Errors
/// `EOPNOTSUPP` or `ENOTTY` where the file system or kernel cannot, `ETXTBSY`
/// where somebody may still write.
pub fn enable(file: BorrowedFd<'_>) -> io::Result<()> {
    let argument = EnableArgument {
        version: 1,
        hash_algorithm: FS_VERITY_HASH_ALG_SHA256,
        block_size: 4096,
        salt_size: 0,
        salt: 0,
        signature_size: 0,
        reserved1: 0,
        signature: 0,
        reserved2: [0; 11],
    };
    // SAFETY: the struct has the kernel's layout and lives through the call.
    if unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_ENABLE_VERITY, &raw const argument) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(size_of::<EnableArgument>(), 128);
    }
}
