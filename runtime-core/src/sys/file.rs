//! Writing a file's pages to its disk bit by bit, sync_file_range(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Writes what was written before this part, and waits for it; begins to write
/// this part. Lengths in bytes.
///
/// # Errors
/// What the kernel said of the disk.
pub fn write_out(file: BorrowedFd<'_>, from: u64, length: u64) -> io::Result<()> {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let call = |offset: u64, length: u64, flags: libc::c_uint| {
        // SAFETY: sync_file_range takes numbers.
        let done = unsafe {
            libc::sync_file_range(file.as_raw_fd(), number(offset), number(length), flags)
        };
        match done {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    call(from, length, libc::SYNC_FILE_RANGE_WRITE)?;
    let before = from.saturating_sub(length);
    if before == from {
        return Ok(());
    }
    call(
        before,
        from - before,
        libc::SYNC_FILE_RANGE_WAIT_BEFORE
            | libc::SYNC_FILE_RANGE_WRITE
            | libc::SYNC_FILE_RANGE_WAIT_AFTER,
    )
}
