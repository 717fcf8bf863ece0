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
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use serde::{Deserialize, Serialize};

use super::layout::{self, FileLayout, LayoutError, Role};
use crate::request::ImageName;
use crate::sys;

/// Why an image cannot be used. Every message is complete: it names the image,
/// what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No such path.
    #[error("image {image}: no such file or directory{}; {}", within(.tried), advice(.image))]
    Missing {
        /// As typed.
        image: ImageName,
        /// Where a relative name was looked for.
        tried: Option<PathBuf>,
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
    /// The file is no image.
    #[error("image {image}: {source}")]
    Layout {
        /// As typed.
        image: ImageName,
        /// What is wrong with it.
        source: LayoutError,
    },
}

fn within(tried: &Option<PathBuf>) -> String {
    tried
        .as_ref()
        .map_or_else(String::new, |path| format!(" in {}", path.display()))
}

fn advice(image: &ImageName) -> String {
    if image.looks_like_registry() {
        return format!(
            "if an image in a registry is meant, registries are not supported yet: make a file of it first (as with: apptainer pull app.sif docker://{image}) and give its path"
        );
    }
    String::from("check the path, and that this node has it")
}

/// What was found behind an image's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// File systems in a file.
    File(FileLayout),
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
    /// Where it lay when it was opened, as the kernel named it: for the site's
    /// rules and for directories, which are opened once more.
    pub path: PathBuf,
}

impl Source {
    /// Takes an opened file or directory.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn new(fd: OwnedFd, layout: Layout) -> io::Result<Self> {
        let link = sys::mount::descriptor_path(fd.as_fd());
        let path = rustix::fs::readlink(link.as_str(), Vec::new())?;
        let path = OsString::from_vec(path.into_bytes()).into();
        Ok(Self { fd, layout, path })
    }
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
pub fn open(image: &ImageName, role: Role, cwd: BorrowedFd<'_>) -> Result<Found, SourceError> {
    let named = || image.clone();
    let failed = |source| SourceError::Open {
        image: named(),
        source,
    };
    // First as a place only: opening a device or a pipe for reading has effects.
    let place = open_place(image, cwd).map_err(|error| with_place(error, cwd))?;
    let about = rustix::fs::fstat(&place).map_err(|e| failed(e.into()))?;
    let what = match FileType::from_raw_mode(about.st_mode) {
        FileType::Directory => {
            check_searchable(image, &place)?;
            return Ok(Found {
                source: Source::new(place, Layout::Directory).map_err(failed)?,
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
    let (layout, environment) =
        layout::read(&file, role).map_err(|source| SourceError::Layout {
            image: named(),
            source,
        })?;
    Ok(Found {
        source: Source::new(file.into(), Layout::File(layout)).map_err(failed)?,
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

/// Says where a relative name was looked for.
fn with_place(error: SourceError, cwd: BorrowedFd<'_>) -> SourceError {
    match error {
        SourceError::Missing { image, tried: None } if !image.is_absolute() => {
            let link = sys::mount::descriptor_path(cwd);
            let tried = rustix::fs::readlink(link.as_str(), Vec::new()).ok();
            let tried = tried.map(|path| OsString::from_vec(path.into_bytes()).into());
            SourceError::Missing { image, tried }
        }
        other => other,
    }
}

fn refusal(image: &ImageName, error: rustix::io::Errno) -> SourceError {
    let image = image.clone();
    match error {
        rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => {
            SourceError::Missing { image, tried: None }
        }
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

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    fn open_at(dir: &std::path::Path, name: &str) -> Result<Layout, String> {
        let cwd = File::open(dir).unwrap();
        open(
            &ImageName::parse(OsStr::new(name)).unwrap(),
            Role::Image,
            cwd.as_fd(),
        )
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
            ("none", "image none: no such file or directory in /"),
            ("/none", "image /none: no such file or directory; check"),
            (
                "debian:12",
                "if an image in a registry is meant, registries are not supported yet: make a file of it first (as with: apptainer pull app.sif docker://debian:12)",
            ),
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
