//! Mounts that show other owners than the files have: `MOUNT_ATTR_IDMAP` of
//! mount_setattr(2), and the user namespace that holds the map.
//!
//! The namespace is made for its map; ranks live in it only where they are root.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use crate::plan::identity::Extent;
use crate::sys;

const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;

/// Nobody writes two lines for longer.
const SECONDS: u32 = 60;

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
struct RawMountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// A user namespace with these maps, user_namespaces(7): `inside` is what a file
/// has on its file system, `outside` whom it is shown to belong to.
///
/// /proc must be the host's.
///
/// # Errors
/// What the kernel said; `EINVAL` where the extents overlap or are none.
pub fn namespace(users: &[Extent], groups: &[Extent]) -> io::Result<OwnedFd> {
    let (ready, say_ready) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // Killed where it is dropped: the descriptor alone holds the namespace then.
    let mut child = sys::process::fork(|| {
        let _ = sys::process::die_with_parent();
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER) {
            return u8::try_from(error as i32).unwrap_or(255);
        }
        let _ = rustix::io::write(&say_ready, b"+");
        sys::process::end_after(SECONDS);
        loop {
            sys::process::sleep_until_signalled();
        }
    })?;
    drop(say_ready);
    let mut word = [0];
    if rustix::io::retry_on_intr(|| rustix::io::read(&ready, &mut word)) != Ok(1) {
        let errno = child.wait()?;
        return Err(io::Error::from_raw_os_error(errno));
    }
    let about = format!("/proc/{}", child.id());
    // A group can be there to deny its members something: nobody drops it.
    std::fs::write(format!("{about}/setgroups"), "deny")?;
    std::fs::write(format!("{about}/uid_map"), text(users))?;
    std::fs::write(format!("{about}/gid_map"), text(groups))?;
    let place = format!("{about}/ns/user");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::open(place.as_str(), flags, Mode::empty())?)
}

/// The kernel takes a map in one write.
fn text(extents: &[Extent]) -> String {
    extents
        .iter()
        .map(|extent| format!("{} {} {}\n", extent.inside, extent.outside, extent.count))
        .collect()
}

/// Shows the files of a mount that is attached nowhere with the owners that the
/// namespace's maps say; of a tree only its top.
///
/// # Errors
/// `EINVAL` where the file system cannot (squashfs before Linux 6.2, overlayfs
/// and FUSE still), `ENOSYS` before 5.12; else what the kernel said.
pub fn show_as(mount: BorrowedFd<'_>, namespace: &OwnedFd) -> io::Result<()> {
    let fd = namespace.as_fd().as_raw_fd();
    let raw = RawMountAttr {
        attr_set: MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(fd).unwrap_or(u64::MAX),
    };
    // SAFETY: the path is an empty C string, the struct lives through the call
    // and its size is passed with it.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const raw,
            size_of::<RawMountAttr>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
