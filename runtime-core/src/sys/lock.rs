//! Advisory locks that are waited on for a bounded time, flock(2).
//!
//! A lock belongs to an open file: the kernel gives it back when the last
//! descriptor goes, however its owner ends.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

/// How long to sleep between two tries.
const PAUSE: Duration = Duration::from_millis(1);

/// Takes an exclusive lock, unless somebody else has it for longer than
/// `patience`. Whether it was taken.
///
/// # Errors
/// What the kernel said, as `ENOLCK`.
pub fn exclusive(file: impl AsFd, patience: Duration) -> io::Result<bool> {
    let until = Instant::now() + patience;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => {
                std::thread::sleep(PAUSE);
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_taken_once_and_comes_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, two) = (file.reopen().unwrap(), file.reopen().unwrap());
        assert!(exclusive(&one, Duration::ZERO).unwrap());
        assert!(!exclusive(&two, Duration::from_millis(3)).unwrap());
        drop(one);
        assert!(exclusive(&two, Duration::ZERO).unwrap());
    }
}
