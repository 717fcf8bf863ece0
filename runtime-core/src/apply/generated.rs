//! The passwd and group that know the user, where the image's own do not.
//!
//! Root copies their bytes and reads none: they were written by the survey, as the
//! user.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::binds::open_source;
use super::filesystem::{Calls, Detached};
use super::rootfs::{SCRATCH, TMPFS, new_file};
use super::survey::Surveyed;
use super::{ApplyError, step};
use crate::sys::mount::Attributes;

/// No generated file is longer, in bytes.
const MAX_GENERATED: u64 = 8 << 20;

/// The files that are to be bound, from copies in the scratch tmpfs. Those that
/// `write` could put into the image's own place are done.
///
/// # Errors
/// [`ApplyError::Step`].
pub(super) fn show(
    scratch: &OwnedFd,
    surveyed: &Surveyed,
    write: impl Fn(&'static str, &mut File) -> bool,
    calls: Calls,
) -> Result<Vec<(&'static str, Detached)>, ApplyError> {
    let files = [
        (&surveyed.passwd, "passwd", "/etc/passwd"),
        (&surveyed.group, "group", "/etc/group"),
    ];
    let mut list = Vec::new();
    for (file, name, target) in files {
        let Some(file) = file.as_ref() else {
            continue;
        };
        let mut from = file.try_clone().map_err(step("copying a descriptor"))?;
        if write(target, &mut from) {
            continue;
        }
        let mut to = new_file(scratch, name)?;
        from.rewind()
            .and_then(|()| io::copy(&mut from.take(MAX_GENERATED), &mut to))
            .map_err(step("copying a generated file"))?;
        let place = open_source(&Path::new(SCRATCH).join(name));
        let attributes = Attributes {
            read_only: true,
            noexec: true,
            ..TMPFS
        };
        let tree = place.and_then(|place| Detached::bind(place, attributes, calls));
        list.push((target, tree.map_err(step("binding a generated file"))?));
    }
    Ok(list)
}

/// Writes a file into the root file system at `root`, with the caller's rights: no
/// link leads out of it, and nothing but a regular file is written to.
///
/// # Errors
/// What the kernel said.
pub(super) fn write_in(root: &OwnedFd, target: &str, from: &mut File) -> io::Result<()> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let target = target.trim_start_matches('/');
    let to = rustix::fs::openat2(root, target, flags, Mode::empty(), inside)?;
    let about = rustix::fs::fstat(&to)?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::fs::ftruncate(&to, 0)?;
    from.rewind()?;
    io::copy(&mut from.take(MAX_GENERATED), &mut File::from(to)).map(drop)
}
