//! Mount calls that rustix lacks: `mount_setattr(2)`, and the choice between
//! the descriptor-based calls (Linux 5.2 to 5.12) and `mount(2)`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use serde::{Deserialize, Serialize};

use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

/// Attributes for every mount of a tree, mount_setattr(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// No writing through this mount.
    pub read_only: bool,
    /// setuid, setgid and file capabilities mean nothing.
    pub nosuid: bool,
    /// Device nodes cannot be opened.
    pub nodev: bool,
    /// Nothing can be executed.
    pub noexec: bool,
}

/// `struct mount_attr` of linux/mount.h.
#[repr(C)]
struct RawMountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

const MOUNT_ATTR_RDONLY: u64 = 0x1;
const MOUNT_ATTR_NOSUID: u64 = 0x2;
const MOUNT_ATTR_NODEV: u64 = 0x4;
const MOUNT_ATTR_NOEXEC: u64 = 0x8;

impl Attributes {
    fn bits(self) -> u64 {
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        bit(self.read_only, MOUNT_ATTR_RDONLY)
            | bit(self.nosuid, MOUNT_ATTR_NOSUID)
            | bit(self.nodev, MOUNT_ATTR_NODEV)
            | bit(self.noexec, MOUNT_ATTR_NOEXEC)
    }

    /// The same as mount(2) flags.
    #[must_use]
    pub fn flags(self) -> MountFlags {
        let mut flags = MountFlags::empty();
        flags.set(MountFlags::RDONLY, self.read_only);
        flags.set(MountFlags::NOSUID, self.nosuid);
        flags.set(MountFlags::NODEV, self.nodev);
        flags.set(MountFlags::NOEXEC, self.noexec);
        flags
    }
}

/// Adds attributes to every mount of the tree behind `tree`, mount_setattr(2),
/// Linux 5.12.
///
/// # Errors
/// `ENOSYS` before 5.12; else what the kernel said.
pub fn add_attributes(tree: BorrowedFd<'_>, attributes: Attributes) -> io::Result<()> {
    set_tree(
        tree,
        RawMountAttr {
            attr_set: attributes.bits(),
            attr_clr: 0,
            propagation: 0,
            userns_fd: 0,
        },
    )
}

/// How mounts and unmounts travel, for [`propagate`]: nowhere.
pub const PRIVATE: u64 = libc::MS_PRIVATE;
/// From the host into the container.
pub const SLAVE: u64 = libc::MS_SLAVE;
/// Between the copies of a mount.
pub const SHARED: u64 = libc::MS_SHARED;

/// Changes how mounts travel, for every mount of the tree behind `tree`,
/// mount_setattr(2), mount_namespaces(7).
///
/// # Errors
/// `ENOSYS` before 5.12; else what the kernel said.
pub fn propagate(tree: BorrowedFd<'_>, how: u64) -> io::Result<()> {
    set_tree(
        tree,
        RawMountAttr {
            attr_set: 0,
            attr_clr: 0,
            propagation: how,
            userns_fd: 0,
        },
    )
}

#[allow(clippy::needless_pass_by_value)]
fn set_tree(tree: BorrowedFd<'_>, raw: RawMountAttr) -> io::Result<()> {
    // SAFETY: the path is an empty C string, the struct lives through the call
    // and its size is passed with it.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
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

/// A detached copy of the mount tree at `source`, open_tree(2), Linux 5.2.
///
/// # Errors
/// `ENOSYS` before 5.2; else what the kernel said.
pub fn clone_tree(source: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(source, c"", flags)?)
}

/// A detached copy of the mount at `source`, without what is mounted below it.
///
/// # Errors
/// As [`clone_tree`].
pub fn clone_one(source: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(rustix::mount::open_tree(source, c"", flags)?)
}

/// Whether a namespace is owned by the user namespace that this process is in,
/// `NS_GET_USERNS` of ioctl_nsfs(2).
///
/// # Errors
/// `EPERM` where its owner cannot be seen from here.
pub fn belongs_to_own_user_namespace(namespace: BorrowedFd<'_>) -> io::Result<bool> {
    use std::os::fd::FromRawFd;
    const NS_GET_USERNS: libc::Ioctl = 0xb701;
    // SAFETY: this ioctl takes no argument and returns a descriptor.
    let owner = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_USERNS) };
    if owner < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made for this process alone.
    let owner = unsafe { OwnedFd::from_raw_fd(owner) };
    let owner = rustix::fs::fstat(&owner)?;
    let own = rustix::fs::stat(c"/proc/self/ns/user")?;
    Ok((owner.st_dev, owner.st_ino) == (own.st_dev, own.st_ino))
}

/// Attaches a detached mount at the directory or file behind `target`,
/// move_mount(2), Linux 5.2.
///
/// # Errors
/// What the kernel said.
pub fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(rustix::mount::move_mount(tree, c"", target, c"", flags)?)
}

/// The name of a descriptor for calls that take paths, proc(5). The link is
/// followed by the kernel to the very file that the descriptor holds.
#[must_use]
pub fn descriptor_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Binds `source` (with everything mounted below it) over `target` by mount(2),
/// for kernels without the calls above. Attributes are set on the top mount and
/// then on each one below it, as mount(2) has no recursive change.
///
/// The copy is made now, not when `source` was opened: what has been mounted on
/// `without` since, a path in this namespace, is not to be part of it.
///
/// # Errors
/// What the kernel said.
pub fn bind_old(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    attributes: Attributes,
    without: &str,
) -> io::Result<()> {
    let (from, to) = (descriptor_path(source), descriptor_path(target));
    let origin = rustix::fs::readlink(from.as_str(), Vec::new())?.into_bytes();
    let holds_it = without
        .as_bytes()
        .strip_prefix(origin.as_slice())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || origin == b"/");
    if holds_it {
        rustix::mount::mount_bind(from.as_str(), to.as_str())?;
    } else {
        rustix::mount::mount_bind_recursive(from.as_str(), to.as_str())?;
    }
    // `target` still names what lies under the new mount: its place in the tree
    // is found through the path that the kernel gives for it.
    let place = rustix::fs::readlink(to.as_str(), Vec::new())?.into_bytes();
    for mount_point in mounts_at_or_below(&place)? {
        let flags = attributes.flags() | mount_point.flags;
        rustix::mount::mount_remount(mount_point.path.as_slice(), MountFlags::BIND | flags, c"")?;
    }
    Ok(())
}

struct MountPoint {
    path: Vec<u8>,
    flags: MountFlags,
}

/// The mounts at a path and below it, from /proc/self/mountinfo, proc(5).
fn mounts_at_or_below(place: &[u8]) -> io::Result<Vec<MountPoint>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    let mut found = Vec::new();
    for line in table.split(|b| *b == b'\n') {
        let mut fields = line.split(|b| *b == b' ').skip(4);
        let (Some(path), Some(options)) = (fields.next(), fields.next()) else {
            continue;
        };
        let path = unescape(path);
        let below = path
            .strip_prefix(place)
            .is_some_and(|r| r.is_empty() || r.starts_with(b"/"));
        if !below {
            continue;
        }
        let mut flags = MountFlags::empty();
        for option in options.split(|b| *b == b',') {
            match option {
                b"ro" => flags |= MountFlags::RDONLY,
                b"nosuid" => flags |= MountFlags::NOSUID,
                b"nodev" => flags |= MountFlags::NODEV,
                b"noexec" => flags |= MountFlags::NOEXEC,
                b"noatime" => flags |= MountFlags::NOATIME,
                b"nodiratime" => flags |= MountFlags::NODIRATIME,
                b"relatime" => flags |= MountFlags::RELATIME,
                _ => {}
            }
        }
        found.push(MountPoint { path, flags });
    }
    Ok(found)
}

/// Undoes the octal escapes of mountinfo (`\040` for a space).
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| {
            std::str::from_utf8(digits)
                .ok()
                .and_then(|d| u8::from_str_radix(d, 8).ok())
        });
        match (first, octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// Mounts of the host appear here, mounts made here do not appear on the host,
/// mount_namespaces(7).
///
/// # Errors
/// What the kernel said.
pub fn receive_only_from_host() -> io::Result<()> {
    Ok(rustix::mount::mount_change(
        c"/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )?)
}

/// Replaces the root of this mount namespace by the mount at `new_root`; the old
/// root is gone afterwards for every process in the namespace.
///
/// The new root is put on top of the old one and the old one is then lifted out
/// from under it, pivot_root(2), "pivot_root(".", ".")".
///
/// # Errors
/// What the kernel said.
pub fn pivot_into(new_root: BorrowedFd<'_>) -> io::Result<()> {
    let old_root = rustix::fs::open(
        c"/",
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    rustix::process::fchdir(new_root)?;
    rustix::process::pivot_root(c".", c".")?;
    rustix::process::fchdir(old_root.as_fd())?;
    // The old tree must not pass this unmounting on to the host.
    rustix::mount::mount_change(
        c".",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    )?;
    rustix::mount::unmount(c".", rustix::mount::UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")?;
    Ok(())
}

/// Opens a path without any right to its content, for the calls above; the last
/// component is followed where it is a link.
///
/// # Errors
/// What the kernel said.
pub fn open_place(path: &std::path::Path) -> io::Result<OwnedFd> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::openat(
        CWD,
        path,
        flags,
        rustix::fs::Mode::empty(),
    )?)
}

/// The mount namespace of this process; the descriptor keeps it alive. /proc must
/// still be the host's.
///
/// # Errors
/// What the kernel said; `EINVAL` where something else than a namespace is there.
pub fn open_own_namespace() -> io::Result<OwnedFd> {
    // linux/magic.h
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    let flags =
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
    let fd = rustix::fs::open(c"/proc/self/ns/mnt", flags, rustix::fs::Mode::empty())?;
    #[allow(clippy::useless_conversion)] // the field's width differs by architecture
    let kind = i64::from(rustix::fs::fstatfs(&fd)?.f_type);
    if kind == NSFS_MAGIC {
        Ok(fd)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// Whether the kernel has openat2(2), Linux 5.6.
///
/// # Errors
/// `ENOSYS` where it has not.
pub fn require_openat2() -> io::Result<()> {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let none = rustix::fs::ResolveFlags::empty();
    rustix::fs::openat2(CWD, c"/", flags, rustix::fs::Mode::empty(), none)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_escapes() {
        assert_eq!(unescape(b"/a\\040b\\134c"), b"/a b\\c");
        assert_eq!(unescape(b"/a\\9"), b"/a\\9");
        assert_eq!(unescape(b"/a\\"), b"/a\\");
    }

    #[test]
    fn the_root_is_in_the_mount_table() {
        let found = mounts_at_or_below(b"/proc").unwrap();
        assert!(found.iter().any(|m| m.path == b"/proc"));
        assert!(found.iter().all(|m| m.path.starts_with(b"/proc")));
    }
}
