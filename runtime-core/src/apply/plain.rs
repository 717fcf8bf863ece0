//! The image's large directories as they are.
//!
//! An overlay is laid over an image that lacks mount points, and every look-up in
//! it costs more than one in the image itself. Where nothing was made in one of
//! the image's top directories, as in /usr, it is bound over the overlay: what a
//! program reads there comes straight from the image's file system.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Dir, Mode, OFlags, ResolveFlags};

use super::filesystem::{Calls, Detached};
use super::image::IMAGE;
use super::{ApplyError, FileAccess, step};

/// Directories of every root file system that are small, or are covered anyway.
const LEFT: [&[u8]; 13] = [
    b"boot", b"dev", b"etc", b"home", b"media", b"mnt", b"proc", b"root", b"run", b"srv", b"sys",
    b"tmp", b"var",
];

/// More top directories than this get no special treatment.
const MOST: usize = 24;

/// Binds what can be bound of `image` upon `root`, the overlay of `skeleton` and
/// it. A directory that cannot be is seen through the overlay.
///
/// # Errors
/// [`ApplyError::Step`], [`ApplyError::Mount`].
pub(super) fn bind(
    image: &OwnedFd,
    skeleton: &OwnedFd,
    root: &OwnedFd,
    access: &FileAccess,
    calls: Calls,
) -> Result<(), ApplyError> {
    let opened = access
        .with(|| open_plain(image.as_fd(), skeleton.as_fd()))
        .map_err(step("taking the user's rights to files"))?;
    for (name, directory) in opened {
        let Ok(target) = open_below(root.as_fd(), &name) else {
            continue;
        };
        Detached::bind(directory, IMAGE, calls)
            .map_err(step("binding a directory of the image"))?
            .attach(target.as_fd())?;
    }
    Ok(())
}

/// The names come from the image: they are looked up below it, and links are not
/// followed.
fn open_plain(
    image: BorrowedFd<'_>,
    skeleton: BorrowedFd<'_>,
) -> Vec<(std::ffi::CString, OwnedFd)> {
    let here = rustix::fs::openat(
        image,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let Ok(entries) = here.and_then(Dir::new) else {
        return Vec::new();
    };
    entries
        .take(MOST + LEFT.len())
        .map_while(Result::ok)
        .filter(|entry| {
            let name = entry.file_name().to_bytes();
            !name.starts_with(b".") && !LEFT.contains(&name)
        })
        .filter(|entry| open_below(skeleton, entry.file_name()).is_err())
        .filter_map(|entry| {
            let name = entry.file_name().to_owned();
            let directory = open_below(image, &name).ok()?;
            Some((name, directory))
        })
        .take(MOST)
        .collect()
}

fn open_below(at: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat2(
        at,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_in_which_nothing_was_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["image", "image/usr", "image/opt", "image/etc", "image/app"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        std::os::unix::fs::symlink("usr/bin", path("image/bin")).unwrap();
        std::fs::write(path("image/file"), b"").unwrap();
        std::fs::create_dir_all(path("skeleton/opt/made")).unwrap();
        let open = |name: &str| OwnedFd::from(std::fs::File::open(path(name)).unwrap());
        let (image, skeleton) = (open("image"), open("skeleton"));
        let mut names: Vec<_> = open_plain(image.as_fd(), skeleton.as_fd())
            .into_iter()
            .map(|(name, _)| name.into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["app", "usr"]);
    }
}
