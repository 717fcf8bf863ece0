//! Opening an image and finding the file system in it.
//!
//! This is the unprivileged half's work: it runs with the user's own rights, in
//! a process that cannot get root back, and hands on a descriptor and two
//! numbers. The path is opened once; whatever happens to it later, the
//! descriptor is the image.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};

use super::oci;
use super::sif::{self, Arch, DataType, Sif, SifError};
use super::squashfs::{self, SquashfsError, Superblock};
use crate::request::ImageName;
use crate::sys;

/// Why an image cannot be used. Every message is complete: it names the image,
/// what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No such path.
    #[error("image {image}: no such file or directory; check the path, and that this node has it")]
    Missing {
        /// As typed.
        image: ImageName,
    },
    /// The user may not read it, or not reach it.
    #[error(
        "image {image}: permission denied for uid {uid}; the file must be readable, and each directory above it searchable, by you"
    )]
    Denied {
        /// As typed.
        image: ImageName,
        /// Who tried.
        uid: u32,
    },
    /// The path has a loop of links, or leads through a link of /proc into a
    /// process.
    #[error(
        "image {image}: too many levels of symbolic links, or a magic link of /proc; name the file itself"
    )]
    Links {
        /// As typed.
        image: ImageName,
    },
    /// The kernel said something else.
    #[error("image {image}: {source}")]
    Open {
        /// As typed.
        image: ImageName,
        /// What the kernel said.
        source: io::Error,
    },
    /// A device, a pipe or a socket.
    #[error("image {image}: is {what}; give a SIF file, a squashfs file or a directory")]
    NoFile {
        /// As typed.
        image: ImageName,
        /// What it is.
        what: &'static str,
    },
    /// Zero bytes.
    #[error("image {image}: the file is empty; copy it again")]
    Empty {
        /// As typed.
        image: ImageName,
    },
    /// Neither SIF nor squashfs.
    #[error("image {image}: neither a SIF nor a squashfs file; give one of those or a directory")]
    Unknown {
        /// As typed.
        image: ImageName,
    },
    /// Something is wrong inside the SIF.
    #[error("image {image}: {source}")]
    Sif {
        /// As typed.
        image: ImageName,
        /// What.
        source: SifError,
    },
    /// Something is wrong with the squashfs.
    #[error("image {image}: {source}")]
    Squashfs {
        /// As typed.
        image: ImageName,
        /// What.
        source: SquashfsError,
    },
    /// This machine has no code in SIF.
    #[error("image {image}: SIF knows no name for this machine's architecture")]
    NoArch {
        /// As typed.
        image: ImageName,
    },
}

/// What was found behind an image's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A squashfs in a file: the whole of it, or a SIF's primary partition.
    Squashfs {
        /// Where it starts in the file, in bytes.
        offset: u64,
        /// Its length, in bytes.
        size: u64,
    },
    /// An unpacked root file system.
    Directory,
}

/// An opened image.
#[derive(Debug)]
pub struct Source {
    /// Open for reading (a file) or as a place (a directory).
    pub fd: OwnedFd,
    /// What is behind it.
    pub layout: Layout,
}

/// An opened image, and what it says of itself.
#[derive(Debug)]
pub struct Found {
    /// The image.
    pub source: Source,
    /// What its OCI configuration sets, `NAME=value`.
    pub environment: Vec<OsString>,
}

/// Opens an image with the caller's rights; a relative name starts at `cwd`.
///
/// # Errors
/// Any [`SourceError`].
pub fn open(image: &ImageName, cwd: BorrowedFd<'_>) -> Result<Found, SourceError> {
    let named = || image.clone();
    // First as a place only: opening a device or a pipe for reading has effects.
    let place = open_place(image, cwd)?;
    let about = rustix::fs::fstat(&place).map_err(|e| SourceError::Open {
        image: named(),
        source: e.into(),
    })?;
    let what = match FileType::from_raw_mode(about.st_mode) {
        FileType::Directory => {
            check_searchable(image, &place)?;
            let source = Source {
                fd: place,
                layout: Layout::Directory,
            };
            return Ok(Found {
                source,
                environment: Vec::new(),
            });
        }
        FileType::RegularFile => None,
        FileType::Fifo => Some("a pipe"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        _ => Some("no regular file"),
    };
    if let Some(what) = what {
        return Err(SourceError::NoFile {
            image: named(),
            what,
        });
    }
    // The same file through its descriptor; the kernel checks its permissions.
    let file = rustix::fs::open(
        sys::mount::descriptor_path(place.as_fd()).as_str(),
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| refusal(image, e))?;
    let file = File::from(file);
    let (layout, environment) = read_layout(image, &file)?;
    let source = Source {
        fd: file.into(),
        layout,
    };
    Ok(Found {
        source,
        environment,
    })
}

fn open_place(image: &ImageName, cwd: BorrowedFd<'_>) -> Result<OwnedFd, SourceError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let name = image.as_os_str();
    match rustix::fs::openat2(cwd, name, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
        // Linux before 5.6: this process has the user's rights and no others, so
        // a magic link gives nothing that the user does not have.
        Err(rustix::io::Errno::NOSYS) => {
            rustix::fs::openat(cwd, name, flags, Mode::empty()).map_err(|e| refusal(image, e))
        }
        other => other.map_err(|e| refusal(image, e)),
    }
}

fn refusal(image: &ImageName, error: rustix::io::Errno) -> SourceError {
    let image = image.clone();
    match error {
        rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => SourceError::Missing { image },
        rustix::io::Errno::ACCESS | rustix::io::Errno::PERM => SourceError::Denied {
            image,
            uid: rustix::process::geteuid().as_raw(),
        },
        rustix::io::Errno::LOOP => SourceError::Links { image },
        other => SourceError::Open {
            image,
            source: other.into(),
        },
    }
}

/// A directory that the user cannot search cannot be a root file system.
fn check_searchable(image: &ImageName, place: &OwnedFd) -> Result<(), SourceError> {
    rustix::fs::accessat(
        place,
        c".",
        rustix::fs::Access::EXEC_OK,
        rustix::fs::AtFlags::EACCESS,
    )
    .map_err(|e| refusal(image, e))
}

fn read_layout(image: &ImageName, file: &File) -> Result<(Layout, Vec<OsString>), SourceError> {
    let named = || image.clone();
    let length = file
        .metadata()
        .map_err(|source| SourceError::Open {
            image: named(),
            source,
        })?
        .len();
    if length == 0 {
        return Err(SourceError::Empty { image: named() });
    }
    let mut start = [0; 64];
    let mut have = 0;
    while let Some(rest) = start.get_mut(have..).filter(|r| !r.is_empty()) {
        match file.read_at(rest, have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(SourceError::Open {
                    image: named(),
                    source,
                });
            }
        }
    }
    let start = start.get(..have).unwrap_or_default();
    let mut environment = Vec::new();
    let (offset, size) = if sif::is_sif(start) {
        let wrong = |source| SourceError::Sif {
            image: named(),
            source,
        };
        let parsed = Sif::read(file).map_err(wrong)?;
        let primary = parsed.primary_partition().map_err(wrong)?;
        let host = Arch::host().ok_or_else(|| SourceError::NoArch { image: named() })?;
        primary.check_arch(host).map_err(wrong)?;
        if let Some(object) = parsed.object_named(DataType::GenericJson, oci::OBJECT_NAME) {
            let json = parsed
                .read_object(file, object, oci::MAX_BYTES)
                .map_err(wrong)?;
            environment = oci::environment(&json);
        }
        (primary.descriptor.offset, primary.descriptor.size)
    } else if squashfs::is_squashfs(start) {
        (0, length)
    } else {
        return Err(SourceError::Unknown { image: named() });
    };
    Superblock::read(file, offset, size).map_err(|source| SourceError::Squashfs {
        image: named(),
        source,
    })?;
    Ok((Layout::Squashfs { offset, size }, environment))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn open_at(dir: &std::path::Path, name: &str) -> Result<Layout, String> {
        let cwd = File::open(dir).unwrap();
        open(&ImageName::parse(OsStr::new(name)).unwrap(), cwd.as_fd())
            .map(|found| found.source.layout)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn every_kind_of_wrong_file_has_its_message() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("empty"), b"").unwrap();
        std::fs::write(path("text"), b"#!/bin/sh\n").unwrap();
        std::fs::write(path("short"), b"hsqs").unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        for (name, part) in [
            ("none", "image none: no such file or directory"),
            ("empty", "image empty: the file is empty"),
            ("text", "image text: neither a SIF nor a squashfs"),
            ("short", "image short: truncated"),
            ("pipe", "image pipe: is a pipe"),
            ("/proc/self/cwd/x", "a magic link of /proc"),
        ] {
            let error = open_at(dir.path(), name).unwrap_err();
            assert!(error.contains(part), "{name}: {error}");
        }
        assert_eq!(open_at(dir.path(), "."), Ok(Layout::Directory));
    }
}
