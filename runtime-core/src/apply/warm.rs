//! Reading ahead: the program and what every program needs first.
//!
//! A file system that has just been mounted has nothing in the page cache, and
//! the first rank would wait while its loader and C library are decompressed.
//! There is time before that rank exists, so the survey's child, which is the
//! user, reads them meanwhile. It may fail at any step, and nobody waits for it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::inside::open_in;
use crate::environment::DEFAULT_PATH;
use crate::sys;

/// No more of one file is read, in bytes: a program may be gigabytes.
const MAX_BYTES: u64 = 4 << 20;

/// Reads; a failure is no matter.
pub(super) fn read_ahead(image: BorrowedFd<'_>, program: Option<&OsStr>) {
    // Ranks without a known program still have a shell or a C library.
    let program = program
        .and_then(|name| find(image, name))
        .unwrap_or_else(|| PathBuf::from("/bin/sh"));
    let mut next = Some(program);
    // A script, its interpreter, that one's loader.
    for _ in 0..3 {
        let Some(path) = next.take() else { break };
        let Ok(file) = open_in(image, &path) else {
            break;
        };
        let mut start = [0; 4096];
        let have = file.read_at(&mut start, 0).unwrap_or(0);
        let start = start.get(..have).unwrap_or_default();
        next = script_interpreter(start).or_else(|| elf_interpreter(&file, start));
        let is_loader = next.is_none();
        read_all(&file);
        if is_loader {
            read_c_library(image, &file);
        }
    }
}

/// A program by its path, or by its name in the usual directories.
fn find(image: BorrowedFd<'_>, name: &OsStr) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Path::new(name).is_absolute().then(|| PathBuf::from(name));
    }
    DEFAULT_PATH
        .split(':')
        .map(|dir| Path::new(dir).join(name))
        .find(|path| open_in(image, path).is_ok())
}

fn read_all(file: &File) {
    let mut scrap = [0; 128 << 10];
    let mut file = file.take(MAX_BYTES);
    while matches!(file.read(&mut scrap), Ok(1..)) {}
}

/// glibc's loader and C library lie side by side; musl's are one file.
fn read_c_library(image: BorrowedFd<'_>, loader: &File) {
    let place = sys::mount::descriptor_path(loader.as_fd());
    let library = rustix::fs::readlink(place.as_str(), Vec::new())
        .ok()
        .map(|place| PathBuf::from(OsString::from_vec(place.into_bytes())))
        .and_then(|place| Some(place.parent()?.join("libc.so.6")));
    if let Some(Ok(library)) = library.map(|path| open_in(image, &path)) {
        read_all(&library);
    }
}

/// The path behind `#!`.
fn script_interpreter(start: &[u8]) -> Option<PathBuf> {
    let line = start.strip_prefix(b"#!")?.split(|b| *b == b'\n').next()?;
    let path = line
        .split(u8::is_ascii_whitespace)
        .find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

/// The path in an ELF file's `PT_INTERP`, elf(5); 64-bit little-endian, which is
/// what clusters are made of.
fn elf_interpreter(file: &File, start: &[u8]) -> Option<PathBuf> {
    const PT_INTERP: u32 = 3;
    if start.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let word = |at: usize| Some(u64::from_le_bytes(start.get(at..at + 8)?.try_into().ok()?));
    let half = |at: usize| Some(u16::from_le_bytes(start.get(at..at + 2)?.try_into().ok()?));
    let table = usize::try_from(word(32)?).ok()?;
    let (entry, count) = (usize::from(half(54)?), usize::from(half(56)?));
    for number in 0..count {
        let at = table.checked_add(entry.checked_mul(number)?)?;
        let kind = u32::from_le_bytes(start.get(at..at.checked_add(4)?)?.try_into().ok()?);
        if kind == PT_INTERP {
            let mut path = vec![0; usize::try_from(word(at + 32)?.min(4096)).ok()?];
            file.read_exact_at(&mut path, word(at + 8)?).ok()?;
            let path = path.split(|b| *b == 0).next()?;
            return Some(PathBuf::from(OsStr::from_bytes(path)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_found() {
        assert_eq!(
            script_interpreter(b"#! /bin/sh -e\n"),
            Some(PathBuf::from("/bin/sh"))
        );
        assert_eq!(
            script_interpreter(b"#!/usr/bin/python3"),
            Some(PathBuf::from("/usr/bin/python3"))
        );
        assert_eq!(script_interpreter(b"#!\n"), None);
        let own = File::open("/proc/self/exe").unwrap();
        let mut start = [0; 4096];
        let have = own.read_at(&mut start, 0).unwrap();
        let found = elf_interpreter(&own, &start[..have]).unwrap();
        assert!(found.to_string_lossy().contains("ld"), "{found:?}");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            let file = File::open("/dev/null").unwrap();
            let mut elf = b"\x7fELF\x02\x01".to_vec();
            elf.extend_from_slice(&bytes);
            let _ = elf_interpreter(&file, &elf);
            let _ = script_interpreter(&bytes);
        }
    }
}
