//! The one way to the node's files: everything is looked up below a root directory, links included.
//!
//! Opens regular files and directories for reading only, and never a device, a pipe or a socket: those are looked
//! at without being opened. Whatever is read has a bound.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::Problem;

/// No directory that is listed has more entries; what comes after them is not seen.
const ENTRIES: usize = 1 << 16;

/// The node's files, as seen from a root directory. Needs openat2(2), Linux 5.6.
#[derive(Debug)]
pub struct Host {
    root: OwnedFd,
}

impl Host {
    /// The files below `root`: "/" but for tests.
    ///
    /// # Errors
    ///
    /// [`Problem::Read`] where it is no directory, or the kernel is too old.
    pub fn at(root: &Path) -> Result<Self, Problem> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(CWD, root, flags, Mode::empty(), ResolveFlags::empty())
            .map(|root| Self { root })
            .map_err(|errno| Problem::read(root, errno))
    }

    /// A descriptor that only names the file.
    fn place(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::PATH | flags)
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat2(
            &self.root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            // An absolute link and `..` stay below the root.
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    fn stat(&self, path: &Path) -> Option<Stat> {
        rustix::fs::fstat(self.place(path, OFlags::empty()).ok()?).ok()
    }

    fn kind(&self, path: &Path) -> Option<FileType> {
        self.stat(path)
            .map(|stat| FileType::from_raw_mode(stat.st_mode))
    }

    /// Whether a regular file is there.
    pub(crate) fn is_file(&self, path: &Path) -> bool {
        self.kind(path) == Some(FileType::RegularFile)
    }

    /// A regular file for reading; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`Problem::Read`] where it is there and cannot be opened.
    pub(crate) fn file(&self, path: &Path) -> Result<Option<File>, Problem> {
        if !self.is_file(path) {
            return Ok(None);
        }
        match self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Problem::read(path, errno)),
        }
    }

    /// A file's bytes; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`Problem::Read`], and [`Problem::TooLong`] for more than `limit` bytes.
    pub(crate) fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Problem> {
        let Some(file) = self.file(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        if let Err(error) = read {
            return Err(Problem::Read {
                path: path.to_owned(),
                why: error.to_string(),
            });
        }
        if bytes.len() as u64 > limit {
            return Err(Problem::TooLong {
                path: path.to_owned(),
                limit,
            });
        }
        Ok(Some(bytes))
    }

    /// The names in a directory, sorted; none where there is no directory. A name that is no text is left out.
    pub(crate) fn list(&self, path: &Path) -> Vec<String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Ok(directory) = self.open(path, flags) else {
            return Vec::new();
        };
        let Ok(entries) = rustix::fs::Dir::read_from(directory.as_fd()) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .take(ENTRIES)
            .filter_map(|entry| entry.ok()?.file_name().to_str().ok().map(str::to_owned))
            .filter(|name| name != "." && name != ".." && !name.chars().any(char::is_control))
            .collect();
        names.sort();
        names
    }
}

/// A decimal number as the kernel writes it: digits only, no leading zero.
pub(crate) fn number(text: &str) -> Option<u32> {
    let plain = text == "0" || !text.starts_with('0');
    (plain && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}
