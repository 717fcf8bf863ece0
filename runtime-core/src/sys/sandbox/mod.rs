//! Giving up what a process will not need, for good: seccomp(2) and landlock(7).
//!
//! For children that have become somebody without privilege and are about to meet
//! bytes that somebody else wrote. Nothing here can be taken back, and all of it is
//! inherited by what the process starts.
//!
//! The two halves complete each other. Seccomp decides by the number of a call and
//! its plain arguments; without it nothing is confined, and [`confine`] fails.
//! Landlock decides by the file; a kernel without it (before 5.13, or switched off)
//! goes on with seccomp alone, and so with the rights of whoever the process is.

mod files;
mod filter;
#[cfg(test)]
mod tests;
mod tree;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::process::{Resource, Rlimit};

/// What a process goes on to do.
#[derive(Debug, Clone, Copy)]
pub enum Profile<'a> {
    /// Opens an image by its name and parses it: may open any file that its user
    /// may, for reading.
    ReadImage,
    /// Reads below this directory, and nowhere else.
    ReadTree(BorrowedFd<'a>),
    /// Opens nothing: works on the descriptors that it has.
    Compute,
    /// Executes the FUSE server, which loads its libraries and reads an image.
    Server {
        /// The program.
        program: &'a Path,
        /// The library that is loaded into it, if any.
        library: Option<&'a Path>,
        /// The image.
        image: BorrowedFd<'a>,
    },
}

/// Confines the calling thread, which must be the process' only one, and have
/// become the user that it stays.
///
/// In the first three profiles a call that is not listed fails with `ENOSYS`, as on
/// a kernel that lacks it: C libraries from 2.31 on then take the older call that
/// they know, while `EPERM` would be told to the user as the file's own refusal,
/// and a kill as nothing at all. In the server, whose program is not ours, the calls
/// that it has no use for fail with `EPERM` (clone3 with `ENOSYS`, so that clone is
/// taken), and all others are allowed.
///
/// # Errors
/// What the kernel said; the caller must then end.
pub fn confine(profile: Profile<'_>) -> io::Result<()> {
    // What it holds in memory may be another's, and is not for a file.
    limit(Resource::Core, Some(0))?;
    match profile {
        Profile::ReadImage => files::read_only(None)?,
        Profile::ReadTree(root) => files::read_only(Some(root))?,
        Profile::Compute => files::nothing()?,
        Profile::Server {
            program,
            library,
            image,
        } => files::program(program, library, image)?,
    }
    filter::install(profile)
}

/// As many processes as the node allows, for a process that is about to become an
/// account which serves many jobs: the kernel counts them all together, and what
/// slurmd was started with is no measure for that. Done while it is still root.
///
/// # Errors
/// What the kernel said.
pub fn lift_process_limit() -> io::Result<()> {
    limit(Resource::Nproc, None).or_else(|_| {
        // Only CAP_SYS_RESOURCE goes beyond the hard limit.
        let most = rustix::process::getrlimit(Resource::Nproc).maximum;
        limit(Resource::Nproc, most)
    })
}

/// setrlimit(2); `None` is no limit.
fn limit(what: Resource, most: Option<u64>) -> io::Result<()> {
    let both = Rlimit {
        current: most,
        maximum: most,
    };
    Ok(rustix::process::setrlimit(what, both)?)
}
