//! Whether a user's process may join a group by the descriptor that root has opened.
//!
//! Linux before 5.16, without a later correction, asks whether the one who writes could
//! have opened it. A child that has become the user tries it, and its user may stop or
//! kill it: it is waited for with a bound, and nothing but the kernel's own refusal counts
//! as one, or he would choose that his steps are not held.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::request::Identity;
use crate::sys;

/// A move waits for the kernel's other moves, for milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the kernel lets the user; `processes` is the group's `cgroup.procs`.
///
/// # Errors
/// Where it is not known.
pub(super) fn may_join(processes: BorrowedFd<'_>, who: &Identity) -> io::Result<bool> {
    let errno = answer(processes, PATIENCE, || {
        sys::credentials::become_user(who.uid, who.gid, &who.groups)?;
        sys::process::die_with_parent()?;
        Ok(rustix::io::write(processes, b"0").map_or_else(Errno::raw_os_error, |_| 0))
    })?;
    match errno {
        0 => Ok(true),
        libc::EACCES | libc::EPERM => Ok(false),
        other => Err(io::Error::from_raw_os_error(other)),
    }
}

/// The number that a child finds, which has this descriptor and no other.
fn answer(
    fd: BorrowedFd<'_>,
    patience: Duration,
    find: impl FnOnce() -> io::Result<i32>,
) -> io::Result<i32> {
    let deadline = Instant::now() + patience;
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let child = sys::process::fork(|| {
        sys::process::close_all_but(&[fd, writer.as_fd()]);
        let said = find().map(|number| rustix::io::write(&writer, &number.to_ne_bytes()));
        u8::from(!matches!(said, Ok(Ok(4))))
    })?;
    drop(writer);
    let waited = sys::ipc::wait_readable(&[reader.as_fd()], Some(deadline));
    // Whatever it said, it may be stopped, and is not waited for.
    let mut number = [0; 4];
    let said = waited.and_then(|ready| match ready {
        Some(_) => Ok(rustix::io::read(&reader, &mut number)?),
        None => Err(io::Error::other(format!(
            "the process that tries it as the user did not answer within {} s; did somebody stop it?",
            patience.as_secs()
        ))),
    });
    child.abandon();
    match said? {
        4 => Ok(i32::from_ne_bytes(number)),
        _ => Err(io::Error::other(
            "the process that tries it as the user ended unexpectedly; did somebody kill it?",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    fn open(path: &str) -> File {
        File::options().read(true).write(true).open(path).unwrap()
    }

    #[test]
    fn a_child_that_its_user_ends_or_stops_is_no_refusal() {
        let null = open("/dev/null");
        let told = |signal: Option<Signal>, found: io::Result<i32>| {
            let patience = Duration::from_millis(300);
            let answer = answer(null.as_fd(), patience, || {
                if let Some(signal) = signal {
                    kill_process(getpid(), signal)?;
                }
                found
            });
            answer.map_err(|error| error.to_string())
        };
        assert_eq!(told(None, Ok(7)), Ok(7));
        for (signal, found, words) in [
            (Some(Signal::KILL), Ok(0), "ended unexpectedly"),
            (Some(Signal::TERM), Ok(0), "ended unexpectedly"),
            (Some(Signal::STOP), Ok(0), "did not answer within 0 s"),
            (None, Err(Errno::PERM.into()), "ended unexpectedly"),
        ] {
            let error = told(signal, found).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn only_a_refusal_is_one() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("not root: nothing is tested");
            return;
        }
        let who = Identity {
            uid: 65534,
            gid: 65534,
            ..Identity::default()
        };
        assert!(may_join(open("/dev/null").as_fd(), &who).unwrap());
        // As those kernels do, it asks who writes.
        if let Ok(asks) = File::options().write(true).open("/proc/sys/kernel/panic") {
            assert!(!may_join(asks.as_fd(), &who).unwrap());
        }
        let error = may_join(open("/dev/full").as_fd(), &who).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
    }
}
