//! What this kernel has, asked in ways that change nothing: each call is made so that
//! it must fail, and how it fails tells whether it is there.
//!
//! Nothing is mounted, attached, confined or left open, and no module is loaded.

use std::io;

use rustix::fs::{CWD, Mode, OFlags};

/// Whether the kernel has something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Has {
    /// It has.
    Yes,
    /// It has not.
    No,
    /// This process may not ask, or the answer says nothing.
    Unknown,
}

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// openat2(2), Linux 5.6.
    pub openat2: Has,
    /// open_tree(2), Linux 5.2.
    pub open_tree: Has,
    /// move_mount(2), Linux 5.2.
    pub move_mount: Has,
    /// fsopen(2), Linux 5.2.
    pub fsopen: Has,
    /// mount_setattr(2), Linux 5.12, which shows files of a mount as other users'.
    pub mount_setattr: Has,
    /// pidfd_open(2), Linux 5.3.
    pub pidfd: Has,
    /// Filters of seccomp(2) that make a call fail.
    pub seccomp: Has,
    /// The version of landlock(7)'s interface; `None` where it is off or not there.
    pub landlock: Option<u32>,
}

/// Asks for all of them.
#[must_use]
pub fn calls() -> Calls {
    let nowhere: libc::c_long = -1;
    let empty = c"".as_ptr();
    // SAFETY: no descriptor is -1, and an empty path without AT_EMPTY_PATH names nothing:
    // the calls end before they look at any mount.
    let move_mount =
        unsafe { libc::syscall(libc::SYS_move_mount, nowhere, empty, nowhere, empty, 0) };
    let move_mount = heard(move_mount);
    let none = std::ptr::null::<u8>();
    // SAFETY: a struct of no bytes is refused before it is read, and before rights are
    // asked for.
    let mount_setattr =
        unsafe { libc::syscall(libc::SYS_mount_setattr, nowhere, empty, 0, none, 0) };
    let mount_setattr = heard(mount_setattr);
    Calls {
        openat2: of(super::mount::require_openat2()),
        open_tree: of(open_tree()),
        move_mount,
        fsopen: of(fsopen()),
        mount_setattr,
        pidfd: of(pidfd()),
        seccomp: seccomp(),
        landlock: landlock(),
    }
}

/// Only `ENOSYS` says that a call is not there; a filter of a container around us may
/// say `EPERM` of one that it hides.
fn of(result: io::Result<()>) -> Has {
    match result.map_err(|error| error.raw_os_error()) {
        Ok(()) => Has::Yes,
        Err(Some(libc::ENOSYS)) => Has::No,
        Err(Some(libc::EPERM)) => Has::Unknown,
        Err(_) => Has::Yes,
    }
}

fn heard(result: libc::c_long) -> Has {
    if result < 0 {
        of(Err(io::Error::last_os_error()))
    } else {
        Has::Yes
    }
}

fn open_tree() -> io::Result<()> {
    use rustix::mount::OpenTreeFlags;
    // Without OPEN_TREE_CLONE it is an open() with O_PATH.
    rustix::mount::open_tree(CWD, c"/", OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    Ok(())
}

fn fsopen() -> io::Result<()> {
    use rustix::mount::FsOpenFlags;
    // A context of a file system that is in every kernel; it is closed unused.
    rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    Ok(())
}

fn pidfd() -> io::Result<()> {
    use rustix::process::{PidfdFlags, getpid, pidfd_open};
    pidfd_open(getpid(), PidfdFlags::empty())?;
    Ok(())
}

fn seccomp() -> Has {
    // linux/seccomp.h: SECCOMP_GET_ACTION_AVAIL, Linux 4.14.
    const GET_ACTION_AVAIL: libc::c_long = 2;
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads one word, which lives through the call.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) };
    if result == 0 {
        return Has::Yes;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::ENOSYS) => Has::No,
        // Older kernels do not know the question, but may know filters.
        _ => Has::Unknown,
    }
}

fn landlock() -> Option<u32> {
    // linux/landlock.h: LANDLOCK_CREATE_RULESET_VERSION makes no ruleset.
    const VERSION: libc::c_long = 1;
    let none = std::ptr::null::<u8>();
    // SAFETY: with this flag the kernel demands a null pointer and the size zero.
    let result = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0, VERSION) };
    u32::try_from(result).ok().filter(|version| *version > 0)
}

/// Whether loop devices can be configured in one call, Linux 5.8: asks a device with a
/// descriptor that nobody has, which is the first thing that the kernel looks at.
#[must_use]
pub fn loop_configure(device: &std::path::Path) -> Has {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Ok(device) = rustix::fs::open(device, flags, Mode::empty()) else {
        return Has::Unknown;
    };
    match super::loopdev::configure_nothing(&device) {
        Some(libc::EBADF) => Has::Yes,
        Some(libc::EINVAL | libc::ENOTTY) => Has::No,
        _ => Has::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_kernel_answers_and_keeps_nothing() {
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        // Other tests open files meanwhile; that none of ours stay shows in the least.
        let before = (0..20).map(|_| open()).min();
        let mounted = mounts();
        for _ in 0..50 {
            let calls = calls();
            assert_ne!(calls.openat2, Has::No);
            assert_ne!(calls.pidfd, Has::No);
        }
        assert!((0..20).map(|_| open()).min() < before.map(|count| count + 50));
        assert_eq!(mounts(), mounted);
    }

    #[test]
    fn answers_mean_what_they_mean() {
        let error = |number| Err(io::Error::from_raw_os_error(number));
        assert_eq!(of(Ok(())), Has::Yes);
        assert_eq!(of(error(libc::EBADF)), Has::Yes);
        assert_eq!(of(error(libc::ENOSYS)), Has::No);
        assert_eq!(of(error(libc::EPERM)), Has::Unknown);
    }

    #[test]
    fn what_is_no_loop_device_is_not_one() {
        let has = loop_configure(std::path::Path::new("/dev/null"));
        assert_eq!(has, Has::No);
        let has = loop_configure(std::path::Path::new("/dev/none"));
        assert_eq!(has, Has::Unknown);
    }
}
