//! Mount points: found in the image, or made beside it.
//!
//! An image is never written. What it lacks is made in a small tmpfs, the
//! *skeleton*, which is laid over the image by overlayfs. Every path is resolved
//! with the image as root (`RESOLVE_IN_ROOT`), so that a link in the image leads
//! nowhere else; what the resolution found is what is used.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};

use crate::path::ContainerPath;
use crate::sys;

/// What a mount point must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// For a directory.
    Directory,
    /// For anything else.
    File,
}

impl Kind {
    /// The kind of mount point that the file behind `fd` needs.
    ///
    /// # Errors
    /// What fstat(2) said.
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let mode = rustix::fs::fstat(fd)?.st_mode;
        Ok(match FileType::from_raw_mode(mode) {
            FileType::Directory => Self::Directory,
            _ => Self::File,
        })
    }

    /// For messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File => "file",
        }
    }
}

/// What is done where the mount point itself is a link in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLink {
    /// What it leads to is the mount point.
    Follow,
    /// A mount point in its place: what the link leads to is another file's
    /// content, as where /etc/localtime leads into the time zones.
    Cover,
}

/// Opens a path as the container will see it.
///
/// # Errors
/// `ENOENT`, `ELOOP` and whatever else the kernel says.
pub fn resolve(root: BorrowedFd<'_>, path: &ContainerPath) -> io::Result<OwnedFd> {
    resolve_to(root, path, LastLink::Follow)
}

/// The same; a link that is covered is opened itself, and mounted on.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_to(
    root: BorrowedFd<'_>,
    path: &ContainerPath,
    last: LastLink,
) -> io::Result<OwnedFd> {
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, last == LastLink::Cover);
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(
        root,
        path.relative(),
        flags,
        Mode::empty(),
        inside,
    )?)
}

/// Where in the image a missing mount point belongs.
#[derive(Debug)]
struct Gap {
    /// The directories of the image that lead there, resolved, each open.
    above: Vec<(Vec<u8>, OwnedFd)>,
    /// The components that are missing.
    missing: Vec<Vec<u8>>,
}

/// Makes the mount point in the skeleton where the image has none of its kind.
/// Returns whether anything was made.
///
/// # Errors
/// What the kernel said; [`io::ErrorKind::AlreadyExists`] where the image has
/// something of the other kind there.
pub fn ensure(
    image: BorrowedFd<'_>,
    image_place: &[u8],
    skeleton: BorrowedFd<'_>,
    path: &ContainerPath,
    kind: Kind,
    last: LastLink,
) -> io::Result<bool> {
    if last == LastLink::Cover && is_link(image, path) {
        fill(skeleton, &find_gap(image, image_place, path)?, kind)?;
        return Ok(true);
    }
    match resolve(image, path) {
        Ok(found) => {
            if Kind::of(found.as_fd())? == kind {
                Ok(false)
            } else {
                Err(io::ErrorKind::AlreadyExists.into())
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let gap = find_gap(image, image_place, path)?;
            fill(skeleton, &gap, kind)?;
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

/// As [`ensure`], in a root file system that may be written: what is missing is made
/// in it, and a link that is covered stays as it is.
///
/// Its user may change it meanwhile: nothing is made outside of it, and no link is
/// followed in what is made.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_in(
    root: BorrowedFd<'_>,
    path: &ContainerPath,
    kind: Kind,
    last: LastLink,
) -> io::Result<bool> {
    match resolve_to(root, path, last) {
        Ok(found) if Kind::of(found.as_fd())? == kind => Ok(false),
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let (above, missing) = longest(root, path)?;
            make_below(above.as_fd(), &missing, kind)?;
            Ok(true)
        }
        Err(error) => Err(error),
    }
}

fn is_link(image: BorrowedFd<'_>, path: &ContainerPath) -> bool {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(image, path.relative(), flags, Mode::empty(), inside)
        .and_then(rustix::fs::fstat)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

/// Walks down as far as the image goes: the last directory that is there, and the
/// components that are missing.
fn longest(image: BorrowedFd<'_>, path: &ContainerPath) -> io::Result<(OwnedFd, Vec<Vec<u8>>)> {
    let components: Vec<&[u8]> = path
        .as_bytes()
        .split(|b| *b == b'/')
        .filter(|c| !c.is_empty())
        .collect();
    // The longest prefix that exists as a directory; the root always does.
    for have in (0..components.len()).rev() {
        let mut prefix = vec![b'/'];
        prefix.extend(components.get(..have).unwrap_or_default().join(&b'/'));
        let prefix = ContainerPath::new(OsStr::from_bytes(&prefix))
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let found = match resolve(image, &prefix) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if Kind::of(found.as_fd())? != Kind::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let missing = components.get(have..).unwrap_or_default();
        return Ok((found, missing.iter().map(|c| c.to_vec()).collect()));
    }
    Err(io::ErrorKind::NotFound.into())
}

fn find_gap(image: BorrowedFd<'_>, image_place: &[u8], path: &ContainerPath) -> io::Result<Gap> {
    let (found, missing) = longest(image, path)?;
    let place = sys::mount::descriptor_path(found.as_fd());
    let place = rustix::fs::readlink(place.as_str(), Vec::new())?.into_bytes();
    let resolved = place
        .strip_prefix(image_place)
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(Gap {
        above: directories(image, resolved)?,
        missing,
    })
}

/// Opens each directory on a resolved path (it has no links).
fn directories(image: BorrowedFd<'_>, resolved: &[u8]) -> io::Result<Vec<(Vec<u8>, OwnedFd)>> {
    let mut list: Vec<(Vec<u8>, OwnedFd)> = Vec::new();
    for name in resolved.split(|b| *b == b'/').filter(|c| !c.is_empty()) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let at = list.last().map_or(image, |(_, fd)| fd.as_fd());
        let next = rustix::fs::openat(at, OsStr::from_bytes(name), flags, Mode::empty())?;
        list.push((name.to_vec(), next));
    }
    Ok(list)
}

/// Repeats the image's directories in the skeleton, with their owners and modes
/// (overlayfs shows those of the upper layer), and adds what is missing.
fn fill(skeleton: BorrowedFd<'_>, gap: &Gap, kind: Kind) -> io::Result<()> {
    let mut at = skeleton.try_clone_to_owned()?;
    for (name, original) in &gap.above {
        let stat = rustix::fs::fstat(original)?;
        let made = make_directory(at.as_fd(), name)?;
        if made.1 {
            let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
            // An owner that a user namespace does not know stays ours.
            let _ = rustix::fs::chownat(&made.0, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH);
            let mode = Mode::from_raw_mode(stat.st_mode & 0o1777);
            rustix::fs::chmodat(&at, OsStr::from_bytes(name), mode, AtFlags::empty())?;
        }
        at = made.0;
    }
    make_below(at.as_fd(), &gap.missing, kind)
}

/// Makes directories, and a mount point as the last of them, in a tree that
/// nobody else can change.
pub(super) fn make_below(at: BorrowedFd<'_>, names: &[Vec<u8>], kind: Kind) -> io::Result<()> {
    let mut at = at.try_clone_to_owned()?;
    let Some((last, directories)) = names.split_last() else {
        return Ok(());
    };
    for name in directories {
        at = make_directory(at.as_fd(), name)?.0;
    }
    match kind {
        Kind::Directory => make_directory(at.as_fd(), last).map(drop),
        Kind::File => {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(
                &at,
                OsStr::from_bytes(last),
                flags,
                Mode::from_raw_mode(0o644),
            ) {
                Ok(_) | Err(rustix::io::Errno::EXIST) => Ok(()),
                Err(error) => Err(error.into()),
            }
        }
    }
}

/// Makes a directory or opens the one that is there; whether it was made.
fn make_directory(at: BorrowedFd<'_>, name: &[u8]) -> io::Result<(OwnedFd, bool)> {
    let name = OsStr::from_bytes(name);
    let made = match rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        Err(rustix::io::Errno::EXIST) => false,
        Err(error) => return Err(error.into()),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok((rustix::fs::openat(at, name, flags, Mode::empty())?, made))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    fn place(path: &Path) -> OwnedFd {
        sys::mount::open_place(path).unwrap()
    }

    fn ensured(image: &Path, skeleton: &Path, path: &str, kind: Kind) -> io::Result<bool> {
        ensure(
            place(image).as_fd(),
            image.canonicalize().unwrap().as_os_str().as_bytes(),
            place(skeleton).as_fd(),
            &ContainerPath::new(path).unwrap(),
            kind,
            LastLink::Follow,
        )
    }

    #[test]
    fn what_is_missing_is_made_in_the_skeleton_and_nowhere_else() {
        let (image, skeleton) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (i, s) = (image.path(), skeleton.path());
        std::fs::create_dir_all(i.join("var/tmp")).unwrap();
        std::fs::set_permissions(i.join("var/tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
        assert!(!ensured(i, s, "/var/tmp", Kind::Directory).unwrap());
        assert!(ensured(i, s, "/var/tmp/a/b", Kind::Directory).unwrap());
        assert!(ensured(i, s, "/etc/hosts", Kind::File).unwrap());
        assert!(s.join("var/tmp/a/b").is_dir());
        assert!(s.join("etc/hosts").is_file());
        let mode = s.join("var/tmp").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o1777);
        assert_eq!(std::fs::read_dir(i.join("var/tmp")).unwrap().count(), 0);
        assert!(!i.join("etc").exists());
    }

    #[test]
    fn links_are_followed_inside_the_image_only() {
        let (image, skeleton) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (i, s) = (image.path(), skeleton.path());
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(i.join("run")).unwrap();
        std::os::unix::fs::symlink("/run", i.join("var")).unwrap();
        std::os::unix::fs::symlink(outside.path(), i.join("out")).unwrap();
        std::os::unix::fs::symlink("../../../../../..", i.join("up")).unwrap();
        assert!(ensured(i, s, "/var/x", Kind::Directory).unwrap());
        assert!(s.join("run/x").is_dir());
        // A dangling link is covered by a directory of its name.
        assert!(ensured(i, s, "/out/x", Kind::Directory).unwrap());
        assert!(s.join("out/x").is_dir());
        assert!(ensured(i, s, "/up/y", Kind::Directory).unwrap());
        assert!(s.join("y").is_dir());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_can_be_covered_instead_of_followed() {
        let (image, skeleton) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(image.path().join("etc")).unwrap();
        std::fs::write(image.path().join("UTC"), b"zone").unwrap();
        std::os::unix::fs::symlink("/UTC", image.path().join("etc/localtime")).unwrap();
        let made = ensure(
            place(image.path()).as_fd(),
            image.path().canonicalize().unwrap().as_os_str().as_bytes(),
            place(skeleton.path()).as_fd(),
            &ContainerPath::new("/etc/localtime").unwrap(),
            Kind::File,
            LastLink::Cover,
        );
        assert!(made.unwrap());
        assert!(
            skeleton
                .path()
                .join("etc/localtime")
                .symlink_metadata()
                .unwrap()
                .is_file()
        );
        assert!(!skeleton.path().join("UTC").exists());
    }

    #[test]
    fn a_file_is_no_place_for_a_directory() {
        let (image, skeleton) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(image.path().join("f"), b"").unwrap();
        let error = ensured(image.path(), skeleton.path(), "/f", Kind::Directory).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(ensured(image.path(), skeleton.path(), "/f/g", Kind::File).is_err());
    }

    #[test]
    fn a_loop_of_links_is_an_error() {
        let (image, skeleton) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink("b", image.path().join("a")).unwrap();
        std::os::unix::fs::symlink("a", image.path().join("b")).unwrap();
        assert!(ensured(image.path(), skeleton.path(), "/a/x", Kind::Directory).is_err());
    }
}
