//! Whether an image may meet the kernel's own squashfs driver.
//!
//! A file-system driver that parses bytes a user wrote is a way to root
//! (CVE-2023-30549 was one). So the kernel mounts only what nobody but root can
//! have written: a file of root, in a path whose every component only root can
//! change. Only owners and modes are looked at here, never content.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Mode, OFlags, Stat};

use crate::config::{Images, KernelMount};
use crate::image::layout::FileLayout;
use crate::sys;

/// How an image is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By the kernel's driver.
    Kernel,
    /// By an unprivileged server.
    Fuse,
}

/// Why a file is not trusted; for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// Not a regular file.
    NoFile,
    /// The file or a directory above it does not belong to root.
    Owner,
    /// The file or a directory above it can be written by others.
    Writable,
    /// The file or a directory above it is on a file system whose server may be a
    /// user: what it says of owners means nothing.
    Served,
    /// The path does not lead to the opened file (any more).
    Moved,
    /// The path could not be looked at.
    Unseen(String),
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoFile => "it is no regular file",
            Self::Owner => "it or a directory above it does not belong to root",
            Self::Writable => "others than root can write it or a directory above it",
            Self::Served => "it is on a file system that a user may serve",
            Self::Moved => "its path leads to another file by now",
            Self::Unseen(why) => return write!(f, "its path cannot be looked at: {why}"),
        })
    }
}

/// Chooses by the site's policy, and by whether only root can have written the
/// file.
#[must_use]
pub fn method(images: &Images, layout: &FileLayout, trusted: bool) -> Method {
    let known = layout
        .partitions()
        .all(|part| images.kernel_filesystems.contains(&part.kind));
    match images.kernel_mount {
        KernelMount::Always if known => Method::Kernel,
        KernelMount::Trusted if known && trusted => Method::Kernel,
        KernelMount::Always | KernelMount::Trusted | KernelMount::Never => Method::Fuse,
    }
}

/// What speaks against the image: `None` where nothing does.
#[must_use]
pub fn doubt(image: BorrowedFd<'_>) -> Option<Doubt> {
    match examine(image) {
        Ok(found) => found,
        Err(error) => Some(Doubt::Unseen(error.to_string())),
    }
}

fn examine(image: BorrowedFd<'_>) -> io::Result<Option<Doubt>> {
    let file = rustix::fs::fstat(image)?;
    if FileType::from_raw_mode(file.st_mode) != FileType::RegularFile {
        return Ok(Some(Doubt::NoFile));
    }
    let path = rustix::fs::readlink(sys::mount::descriptor_path(image).as_str(), Vec::new())?;
    let mut place = open_component(rustix::fs::CWD, OsStr::new("/"))?;
    let mut here = rustix::fs::fstat(&place)?;
    if is_fuse(image)? {
        return Ok(Some(Doubt::Served));
    }
    for name in path
        .to_bytes()
        .split(|b| *b == b'/')
        .filter(|n| !n.is_empty())
    {
        if let Some(found) = owner_or_mode(&here) {
            return Ok(Some(found));
        }
        if is_fuse(place.as_fd())? {
            return Ok(Some(Doubt::Served));
        }
        place = match open_component(place.as_fd(), OsStr::from_bytes(name)) {
            Ok(next) => next,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Doubt::Moved)),
            Err(error) => return Err(error),
        };
        here = rustix::fs::fstat(&place)?;
    }
    if (here.st_dev, here.st_ino) != (file.st_dev, file.st_ino) {
        return Ok(Some(Doubt::Moved));
    }
    Ok(owner_or_mode(&file))
}

/// Whether a file lies on a FUSE file system that others than root mounted, or that
/// is no longer mounted anywhere.
///
/// # Errors
/// What the kernel said.
pub fn is_users_own_mount(file: BorrowedFd<'_>) -> io::Result<bool> {
    if !is_fuse(file)? {
        return Ok(false);
    }
    let about = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    let about = std::fs::read_to_string(about)?;
    let id = about.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    let id = id.map(str::trim).unwrap_or_default();
    // proc(5): the mount's number is the first field, the file system's own options
    // are the last.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let of_root = mounts.lines().any(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        fields.first() == Some(&id)
            && fields
                .last()
                .is_some_and(|options| options.split(',').any(|option| option == "user_id=0"))
    });
    Ok(!of_root)
}

/// FUSE may be mounted by users (fusermount3), who then make up owners and modes.
fn is_fuse(place: BorrowedFd<'_>) -> io::Result<bool> {
    // linux/magic.h
    const FUSE_SUPER_MAGIC: i64 = 0x6573_5546;
    #[allow(clippy::useless_conversion)] // the field's width differs by architecture
    let kind = i64::from(rustix::fs::fstatfs(place)?.f_type);
    Ok(kind == FUSE_SUPER_MAGIC)
}

/// A POSIX access list that lets others write shows in the group bits, so the
/// mode is enough.
fn owner_or_mode(stat: &Stat) -> Option<Doubt> {
    if stat.st_uid != 0 {
        Some(Doubt::Owner)
    } else if stat.st_mode & 0o022 != 0 {
        Some(Doubt::Writable)
    } else {
        None
    }
}

fn open_component(at: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_of_the_system_is_trusted_and_a_file_under_tmp_is_not() {
        let system = File::open("/etc/passwd").unwrap();
        assert_eq!(doubt(system.as_fd()), None);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sif");
        std::fs::write(&path, b"x").unwrap();
        // /tmp itself is writable by all.
        let own = File::open(&path).unwrap();
        assert!(matches!(
            doubt(own.as_fd()),
            Some(Doubt::Writable | Doubt::Owner)
        ));
        set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert!(doubt(own.as_fd()).is_some());
        assert_eq!(doubt(File::open("/").unwrap().as_fd()), Some(Doubt::NoFile));
    }

    #[test]
    fn a_removed_file_is_not_trusted() {
        let dir = tempfile::tempdir_in("/root")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let path = dir.path().join("gone");
        std::fs::write(&path, b"x").unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(doubt(file.as_fd()).is_some());
    }

    #[test]
    fn policy_comes_first() {
        use crate::image::layout::{FilesystemKind, Partition};
        let of = |kind| FileLayout {
            root: Partition {
                kind,
                offset: 0,
                size: 1,
            },
            overlays: Vec::new(),
        };
        let images = |kernel_mount| Images {
            kernel_mount,
            kernel_filesystems: vec![FilesystemKind::Squashfs],
            ..Images::default()
        };
        let squashfs = of(FilesystemKind::Squashfs);
        for (policy, trusted, wanted) in [
            (KernelMount::Never, true, Method::Fuse),
            (KernelMount::Trusted, true, Method::Kernel),
            (KernelMount::Trusted, false, Method::Fuse),
            (KernelMount::Always, false, Method::Kernel),
        ] {
            assert_eq!(method(&images(policy), &squashfs, trusted), wanted);
        }
        let erofs = of(FilesystemKind::Erofs);
        let always = images(KernelMount::Always);
        assert_eq!(method(&always, &erofs, true), Method::Fuse);
    }
}
