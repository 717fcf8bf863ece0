//! The unprivileged half: a child that became the user, looks him up in the node's
//! databases, opens the image and reads its layout.
//!
//! The databases come first, because a name service may ask over the network: by
//! the time that the image is opened, the process can open files for reading, and
//! little else ([`crate::sys::sandbox`]).
//!
//! It tells its parent numbers and descriptors; the parent, which is root,
//! checks the numbers against the file's length and parses nothing.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use super::as_user::{AsUser, Findings, Unanswered};
use crate::apply::known::Known;
use crate::image::layout::Role;
use crate::image::source::{self, Found, Layout, Source, SourceError};
use crate::path::HostPath;
use crate::request::ImageName;
use crate::sys;
use crate::sys::sandbox::{self, Profile};

/// What the half found.
#[derive(Debug)]
pub(super) struct Opened {
    /// The image.
    pub(super) source: Source,
    /// What the survey will need, a memory file.
    pub(super) known: OwnedFd,
    /// The user's home directory.
    pub(super) home: Option<HostPath>,
}

/// A FUSE file system of a user's shows itself to nobody else.
const UNSEEN: &str = "the image lies on a file system that a user mounted for himself (FUSE), and root cannot look at it; copy it to another one";

/// What the half found, besides descriptors.
#[derive(Debug, Serialize, Deserialize)]
struct Words {
    layout: Layout,
    home: Vec<u8>,
}

/// Opens the image as the user, in a process of its own; a relative name starts
/// at `cwd`.
///
/// # Errors
/// [`Unanswered`].
pub(super) fn open(
    image: &ImageName,
    role: Role,
    cwd: Option<&HostPath>,
    user: AsUser<'_>,
) -> Result<Opened, Unanswered> {
    let subject = format!("image {image}");
    let findings = user.ask(&subject, || find(image, role, cwd, user))?;
    checked(findings, role).unwrap_or(Err(Unanswered::Died(subject)))
}

/// In the child.
fn find(
    image: &ImageName,
    role: Role,
    cwd: Option<&HostPath>,
    user: AsUser<'_>,
) -> Result<Findings, Refusal> {
    let (home, known) = Known::gather(user.who);
    let found = open_confined(image, role, cwd)?;
    let words = Words {
        layout: found.source.layout,
        home: home.unwrap_or_default().as_bytes().to_vec(),
    };
    let known = known.with_environment(found.environment);
    let told = |error| Refusal::Tell {
        image: image.clone(),
        error,
    };
    Ok(Findings {
        bytes: postcard::to_stdvec(&words)
            .map_err(|error| told(io::Error::other(error.to_string())))?,
        fds: vec![found.source.fd, known.to_memory_file().map_err(told)?],
    })
}

/// What the half itself has to say.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(
        "image {image}: confining the process that opens it: {error}; Oarlock needs a kernel with seccomp filters"
    )]
    Confine { image: ImageName, error: io::Error },
    #[error("image {image}: telling what was found: {error}")]
    Tell { image: ImageName, error: io::Error },
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// Gives up everything but reading, and then opens what the user has named.
fn open_confined(image: &ImageName, role: Role, cwd: Option<&HostPath>) -> Result<Found, Refusal> {
    sandbox::confine(Profile::ReadImage).map_err(|error| Refusal::Confine {
        image: image.clone(),
        error,
    })?;
    let base = open_base(cwd).map_err(|source| SourceError::Open {
        image: image.clone(),
        source,
    })?;
    Ok(source::open(image, role, base.as_fd())?)
}

/// Where a relative name starts: the task's working directory, reached with the
/// user's rights.
fn open_base(cwd: Option<&HostPath>) -> io::Result<OwnedFd> {
    sys::mount::open_place(cwd.map_or(Path::new("/"), HostPath::as_path))
}

/// In the parent: numbers are checked against what the kernel says of the file.
/// `None` where they are nonsense.
fn checked(findings: Findings, role: Role) -> Option<Result<Opened, Unanswered>> {
    let Words { layout, home } = postcard::from_bytes(&findings.bytes).ok()?;
    let home = HostPath::new(OsStr::from_bytes(&home)).ok();
    let mut fds = findings.fds.into_iter();
    let (fd, known) = (fds.next()?, fds.next()?);
    let Ok(about) = rustix::fs::fstat(&fd) else {
        return Some(Err(Unanswered::Said(UNSEEN.to_owned())));
    };
    let length = u64::try_from(about.st_size).ok()?;
    let is_as_said = match (FileType::from_raw_mode(about.st_mode), &layout) {
        (FileType::RegularFile, Layout::File(layout)) => layout.fits(length, role),
        (FileType::Directory, Layout::Directory) => true,
        _ => false,
    };
    if !is_as_said {
        return None;
    }
    Some(Ok(Opened {
        source: Source::new(fd, layout).ok()?,
        known,
        home,
    }))
}
