//! Files inside an image, read with the user's rights: links stay inside, only
//! regular files are opened, and no more is read than a bound.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// A passwd or group file longer than this is not one, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Opens a regular file of the image for reading; links stay inside.
pub(crate) fn open_in(root: BorrowedFd<'_>, path: impl AsRef<Path>) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(rustix::fs::openat2(
        root,
        path.as_ref(),
        flags,
        Mode::empty(),
        inside,
    )?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// A file's content; nothing where there is none or it is too long to be meant.
pub(crate) fn read_in(root: BorrowedFd<'_>, path: &str) -> Vec<u8> {
    let mut text = Vec::new();
    let read = open_in(root, path).and_then(|f| f.take(MAX_FILE + 1).read_to_end(&mut text));
    if read.is_err() || text.len() as u64 > MAX_FILE {
        text.clear();
    }
    text
}

/// Whether the image's C library can load a locale: a directory of its own, or
/// an entry in glibc's archive, whose names stand in one table (locarchive.h:
/// offset and length of the string table are the 7th and 8th words).
pub(super) fn has_locale(image: BorrowedFd<'_>, name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    if name.contains('/') {
        return false;
    }
    // glibc looks for UTF-8 as utf8.
    let normal = match name.split_once('.') {
        Some((language, codeset)) => {
            let codeset: String = codeset
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .collect::<String>()
                .to_lowercase();
            format!("{language}.{codeset}")
        }
        None => name.to_owned(),
    };
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let there = |n: &str| {
        let path = format!("usr/lib/locale/{n}");
        rustix::fs::openat2(
            image,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            inside,
        )
        .is_ok()
    };
    there(&normal) || there(name) || in_archive(image, &normal).unwrap_or(false)
}

fn in_archive(image: BorrowedFd<'_>, name: &str) -> io::Result<bool> {
    let archive = open_in(image, "usr/lib/locale/locale-archive")?;
    let mut word = [0; 4];
    let mut number = |place: u64| -> io::Result<u64> {
        archive.read_exact_at(&mut word, place * 4)?;
        Ok(u64::from(u32::from_ne_bytes(word)))
    };
    let (offset, used) = (number(6)?, number(7)?);
    let mut table = vec![0; usize::try_from(used.min(1 << 20)).unwrap_or(0)];
    archive.read_exact_at(&mut table, offset)?;
    Ok(table
        .split(|b| *b == 0)
        .any(|entry| entry == name.as_bytes()))
}
