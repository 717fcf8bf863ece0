//! The unprivileged half: a child that became the user, looks him up in the node's
//! databases, opens the image and reads its layout.
//!
//! The databases come first, because a name service may ask over the network: by
//! the time that the image is opened, the process can open files for reading, and
//! little else ([`crate::sys::sandbox`]).
//!
//! It tells its parent numbers and descriptors; the parent, which is root,
//! checks the numbers against the file's length and parses nothing.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

use crate::apply::known::Known;
use crate::image::layout::Role;
use crate::image::source::{self, Found, Layout, Source, SourceError};
use crate::path::HostPath;
use crate::request::{Identity, ImageName};
use crate::sys;
use crate::sys::cgroup::Groups;
use crate::sys::ipc::{self, Waited};
use crate::sys::sandbox::{self, Profile};

/// What the half found.
#[derive(Debug)]
pub struct Opened {
    /// The image.
    pub source: Source,
    /// What the survey will need, a memory file.
    pub known: OwnedFd,
    /// The user's home directory.
    pub home: Option<HostPath>,
}

/// Why there is no image: one line for the user.
#[derive(Debug, thiserror::Error)]
pub enum HalfError {
    /// What the half said.
    #[error("{0}")]
    Said(String),
    /// It did not answer in time.
    #[error("image {image}: no answer within {seconds} s; is the file system it lies on alive?")]
    Timeout {
        /// As typed.
        image: ImageName,
        /// The site's bound.
        seconds: u32,
    },
    /// It ended without a word, or its word was nonsense.
    #[error("image {0}: the process that opens it ended unexpectedly; see the node's journal")]
    Died(ImageName),
    /// Root must not look at the file.
    #[error(
        "the image lies on a file system that a user mounted for himself (FUSE), and root cannot look at it; copy it to another one"
    )]
    Unseen,
    /// The step ended meanwhile.
    #[error("the step ended before its image was opened")]
    Unwanted,
    /// It could not be started.
    #[error("image {image}: starting the process that opens it: {error}")]
    Start {
        /// As typed.
        image: ImageName,
        /// What the kernel said.
        error: std::io::Error,
    },
}

const FOUND: u8 = b'I';
const REFUSED: u8 = b'X';

/// What the half found, besides descriptors.
#[derive(Debug, Serialize, Deserialize)]
struct Words {
    layout: Layout,
    home: Vec<u8>,
}

/// Opens the image as the user, in a process of its own; a relative name starts
/// at `cwd`. It is given up where `asker` hangs up.
///
/// It runs in the control groups of `task`. Before there is one it is where
/// slurmstepd was when it started `oarlock-prepare`: Slurm makes the step's groups
/// only later.
///
/// # Errors
/// Any [`HalfError`].
pub fn open_as_user(
    image: &ImageName,
    role: Role,
    cwd: Option<&HostPath>,
    task: Option<&Groups>,
    who: &Identity,
    asker: BorrowedFd<'_>,
    seconds: u32,
) -> Result<Opened, HalfError> {
    let deadline = Instant::now() + Duration::from_secs(u64::from(seconds));
    let start = |error| HalfError::Start {
        image: image.clone(),
        error,
    };
    let (ours, theirs) = ipc::pair().map_err(start)?;
    let child = sys::process::fork(|| {
        sys::process::close_all_but(&[theirs.as_fd()]);
        let become_user = || {
            sys::credentials::become_user(who.uid, who.gid, &who.groups)?;
            sys::process::die_with_parent()
        };
        match become_user() {
            Ok(()) => u8::from(answer(image, role, cwd, who, theirs.as_fd()).is_err()),
            Err(_) => 2,
        }
    })
    .map_err(start)?;
    drop(theirs);
    if let Some(task) = task
        && let Err(error) = task.join(child.id())
    {
        tracing::warn!(%error, "the image is opened outside the task's control groups");
    }
    match ipc::wait_answer(ours.as_fd(), asker, deadline).map_err(start)? {
        Waited::Ready => {}
        Waited::Deadline => {
            child.abandon();
            return Err(HalfError::Timeout {
                image: image.clone(),
                seconds,
            });
        }
        Waited::Unwanted => {
            child.abandon();
            return Err(HalfError::Unwanted);
        }
    }
    let message = ipc::receive(ours.as_fd()).map_err(start)?;
    message
        .and_then(|message| read(message, role))
        .unwrap_or_else(|| Err(HalfError::Died(image.clone())))
}

/// In the child.
fn answer(
    image: &ImageName,
    role: Role,
    cwd: Option<&HostPath>,
    who: &Identity,
    socket: BorrowedFd<'_>,
) -> std::io::Result<()> {
    let (home, known) = Known::gather(who);
    match open_confined(image, role, cwd) {
        Ok(found) => {
            let known = known.with_environment(found.environment);
            let known = known.to_memory_file()?;
            let words = Words {
                layout: found.source.layout,
                home: home.unwrap_or_default().as_bytes().to_vec(),
            };
            let bytes = postcard::to_extend(&words, vec![FOUND])
                .map_err(|error| std::io::Error::other(error.to_string()))?;
            ipc::send(socket, &bytes, &[found.source.fd.as_fd(), known.as_fd()])
        }
        Err(error) => {
            let mut bytes = vec![REFUSED];
            bytes.extend(error.to_string().bytes().take(2048));
            ipc::send(socket, &bytes, &[])
        }
    }
}

/// What the half itself has to say.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(
        "image {image}: confining the process that opens it: {error}; Oarlock needs a kernel with seccomp filters"
    )]
    Confine {
        image: ImageName,
        error: std::io::Error,
    },
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
fn open_base(cwd: Option<&HostPath>) -> std::io::Result<OwnedFd> {
    sys::mount::open_place(cwd.map_or(Path::new("/"), HostPath::as_path))
}

/// In the parent: numbers are checked against what the kernel says of the file.
fn read(message: ipc::Message, role: Role) -> Option<Result<Opened, HalfError>> {
    let (kind, rest) = message.bytes.split_first()?;
    if *kind == REFUSED {
        let text = OsString::from_vec(rest.to_vec());
        return Some(Err(HalfError::Said(text.to_string_lossy().into_owned())));
    }
    if *kind != FOUND {
        return None;
    }
    let words: Words = postcard::from_bytes(rest).ok()?;
    let home = HostPath::new(OsStr::from_bytes(&words.home)).ok();
    let mut fds = message.fds.into_iter();
    let (fd, known) = (fds.next()?, fds.next()?);
    let Ok(about) = rustix::fs::fstat(&fd) else {
        // A FUSE file system of a user's shows itself to nobody else.
        return Some(Err(HalfError::Unseen));
    };
    let length = u64::try_from(about.st_size).ok()?;
    let is_as_said = match (FileType::from_raw_mode(about.st_mode), &words.layout) {
        (FileType::RegularFile, Layout::File(layout)) => layout.fits(length, role),
        (FileType::Directory, Layout::Directory) => true,
        _ => false,
    };
    if !is_as_said {
        return None;
    }
    let layout = words.layout;
    Some(Ok(Opened {
        source: Source::new(fd, layout).ok()?,
        known,
        home,
    }))
}
