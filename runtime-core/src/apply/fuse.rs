//! The FUSE server for an image that the kernel must not parse.
//!
//! The descriptor of /dev/fuse is opened and mounted here; an unprivileged child
//! runs the server on it (libfuse 3 takes `/dev/fd/N` for a mount point that is
//! mounted already). Nobody waits for the server: the first look-up blocks until
//! it answers. It ends by itself when the last reference to the mount goes.
//!
//! By default it is an account that serves nothing else, so that the job's user
//! cannot stop or trace what root's walk through the image relies on. The image is
//! a descriptor that was opened as that user; a library in the server hands it out
//! where the program opens its path (see the crate `fuse-open`).

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::User;
use rustix::fs::{Access, Mode, OFlags};

use super::filesystem::Filesystem;
use super::image::Owner;
use super::{ApplyError, FileAccess, step};
use crate::config;
use crate::image::layout::{FilesystemKind, Partition};
use crate::request::Identity;
use crate::sys;
use crate::sys::mount::Attributes;
use crate::sys::sandbox::{self, Profile};

/// Numbers of the two descriptors in the server.
const IMAGE_FD: i32 = 3;
const FUSE_FD: i32 = 4;

/// Lies beside `oarlock-prepare`.
const LIBRARY: &str = "liboarlock_fuse_open.so";

/// A connection to /dev/fuse without a server yet.
#[derive(Debug)]
pub struct Connection {
    fuse: OwnedFd,
}

/// Whether the mount that is to be served is attached in this namespace already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached<'a> {
    /// Not yet.
    No,
    /// Here.
    At(&'a Path),
}

impl Connection {
    /// Opens /dev/fuse.
    ///
    /// # Errors
    /// [`ApplyError::NoFuse`].
    pub fn open() -> Result<Self, ApplyError> {
        let fuse = rustix::fs::open(c"/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| ApplyError::NoFuse(e.into()))?;
        Ok(Self { fuse })
    }

    /// The mount that goes with this connection; it must be made before the
    /// server is started.
    #[must_use]
    pub fn filesystem(&self, uid: u32, gid: u32) -> Filesystem {
        let value = |text: String| Some(text);
        Filesystem {
            what: "the image through FUSE",
            kind: "fuse",
            source: "oarlock".to_owned(),
            options: vec![
                ("fd", value(self.fuse.as_raw_fd().to_string())),
                ("rootmode", value("40000".to_owned())),
                ("user_id", value(uid.to_string())),
                ("group_id", value(gid.to_string())),
                // Root walks this mount too, and the kernel checks permissions.
                ("allow_other", None),
                ("default_permissions", None),
            ],
            attributes: Attributes {
                read_only: true,
                nosuid: true,
                nodev: true,
                noexec: false,
            },
        }
    }

    /// Starts the server and closes this side of the connection, so that a
    /// server that dies is noticed as such. Returns the server's process id.
    ///
    /// # Errors
    /// [`ApplyError::NoServer`] where it cannot be run, [`ApplyError::ServerAccount`]
    /// and [`ApplyError::NoLibrary`] where it cannot be the site's account; what the
    /// kernel said.
    pub fn serve(
        self,
        fuse: &config::Fuse,
        image: BorrowedFd<'_>,
        part: Partition,
        owner: Option<Owner>,
        access: &FileAccess,
        attached: Attached<'_>,
    ) -> Result<u32, ApplyError> {
        let (server, options) = server(fuse, part.kind).ok_or(ApplyError::KernelOnly(part.kind))?;
        rustix::fs::access(server, Access::EXEC_OK).map_err(|e| ApplyError::NoServer {
            server: server.to_owned(),
            error: e.into(),
        })?;
        let account = Account::choose(fuse, access)?;
        let text = |s: &OsStr| CString::new(s.as_bytes()).unwrap_or_default();
        let program = text(server.as_os_str());
        let arguments = [
            program.clone(),
            text(OsStr::new("-f")),
            text(OsStr::new("-o")),
            text(OsStr::new(&format!(
                "{options}{}offset={}",
                owner_option(part.kind, owner),
                part.offset
            ))),
            text(OsStr::new(&format!("/proc/self/fd/{IMAGE_FD}"))),
            text(OsStr::new(&format!("/dev/fd/{FUSE_FD}"))),
        ];
        let mut environment = vec![text(OsStr::new("PATH=/usr/bin:/bin"))];
        if let Some(library) = account.library() {
            let mut preload = b"LD_PRELOAD=".to_vec();
            preload.extend_from_slice(library.as_os_str().as_bytes());
            environment.push(CString::new(preload).unwrap_or_default());
        }
        sys::process::fork_orphan(
            || leave_the_mount(attached),
            || match become_server(&self.fuse, image, server, &account) {
                Ok(()) => {
                    let _ = sys::process::execute(&program, &arguments, &environment);
                    127
                }
                Err(_) => 126,
            },
        )
        .map_err(step("starting the FUSE server"))
    }
}

/// The program that serves a file system, and the options that it is told.
fn server(fuse: &config::Fuse, kind: FilesystemKind) -> Option<(&Path, &'static str)> {
    match kind {
        FilesystemKind::Squashfs => Some((&fuse.server, "")),
        // Without its journal's last words, which would have to be written.
        FilesystemKind::Ext3 => Some((&fuse.ext_server, "ro,norecovery,no_default_opts,")),
        FilesystemKind::Erofs => None,
    }
}

/// How the server is told whose the files are: all of them, there is no map.
fn owner_option(kind: FilesystemKind, owner: Option<Owner>) -> String {
    match (kind, owner) {
        (FilesystemKind::Squashfs, Some(Owner { uid, gid })) => format!("uid={uid},gid={gid},"),
        _ => String::new(),
    }
}

/// The file systems that can be served on this node. That of squashfs is expected
/// everywhere, and its absence is an error that says so.
#[must_use]
pub fn served(fuse: &config::Fuse) -> Vec<FilesystemKind> {
    let mut kinds = vec![FilesystemKind::Squashfs];
    if rustix::fs::access(&fuse.ext_server, Access::EXEC_OK).is_ok() {
        kinds.push(FilesystemKind::Ext3);
    }
    kinds
}

/// Who the server is.
#[derive(Debug)]
enum Account {
    /// Whoever asks: there is no privilege to choose with.
    Own,
    /// The job's user.
    Job(Identity),
    /// An account of its own, and the library with which that opens the image.
    System {
        uid: u32,
        gid: u32,
        library: PathBuf,
    },
}

impl Account {
    /// The name is the site's, and is looked up in the node's user database.
    fn choose(fuse: &config::Fuse, access: &FileAccess) -> Result<Self, ApplyError> {
        let who = match access {
            FileAccess::Own => return Ok(Self::Own),
            FileAccess::As(who) => who,
        };
        let user = fuse.user.as_str();
        if user == config::Fuse::JOB {
            return Ok(Self::Job(who.clone()));
        }
        let wrong = |problem| ApplyError::ServerAccount {
            user: user.to_owned(),
            problem,
        };
        let found = User::from_name(user).ok().flatten();
        let found = found.ok_or_else(|| wrong("there is no account"))?;
        if found.uid.is_root() {
            return Err(wrong("root's uid belongs to account"));
        }
        let own = std::env::current_exe().map_err(step("looking for oarlock-prepare"))?;
        let library = own.with_file_name(LIBRARY);
        // The loader only warns of a missing one, and where nobody reads it.
        rustix::fs::access(&library, Access::READ_OK).map_err(|e| ApplyError::NoLibrary {
            library: library.clone(),
            error: e.into(),
        })?;
        Ok(Self::System {
            uid: found.uid.as_raw(),
            gid: found.gid.as_raw(),
            library,
        })
    }

    fn library(&self) -> Option<&Path> {
        match self {
            Self::System { library, .. } => Some(library),
            Self::Own | Self::Job(_) => None,
        }
    }

    /// For good.
    fn become_it(&self) -> std::io::Result<()> {
        match self {
            Self::Own => sys::credentials::drop_all(),
            Self::Job(who) => sys::credentials::become_user(who.uid, who.gid, &who.groups),
            Self::System { uid, gid, .. } => {
                sandbox::lift_process_limit()?;
                sys::credentials::become_user(*uid, *gid, &[])
            }
        }
    }
}

/// A server inside the namespace of its own mount would keep both alive for
/// ever: it gets a copy of the namespace, without that mount. This is done
/// before the namespace goes on to become a container.
fn leave_the_mount(attached: Attached<'_>) -> std::io::Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
    sys::mount::receive_only_from_host()?;
    match attached {
        Attached::No => Ok(()),
        Attached::At(place) => Ok(rustix::mount::unmount(
            place,
            rustix::mount::UnmountFlags::DETACH,
        )?),
    }
}

/// In the child: a session of its own (a terminal's Ctrl-C is not for it), the
/// two descriptors, nothing else, its account's rights, and of those what a server
/// needs.
fn become_server(
    fuse: &OwnedFd,
    image: BorrowedFd<'_>,
    program: &Path,
    account: &Account,
) -> std::io::Result<()> {
    sys::process::reset_signals();
    rustix::process::setsid()?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    // Out of the way of the numbers that are about to be taken.
    let image = rustix::io::fcntl_dupfd_cloexec(image, 16)?;
    let fuse = rustix::io::fcntl_dupfd_cloexec(fuse, 16)?;
    for number in 0..3 {
        sys::process::place_descriptor(null.as_fd(), number)?;
    }
    sys::process::place_descriptor(image.as_fd(), IMAGE_FD)?;
    sys::process::place_descriptor(fuse.as_fd(), FUSE_FD)?;
    sys::process::close_from(FUSE_FD.unsigned_abs() + 1);
    account.become_it()?;
    rustix::process::chdir(c"/")?;
    sandbox::confine(Profile::Server {
        program,
        library: account.library(),
        image: sys::process::standing(IMAGE_FD),
    })?;
    // close_from() closed these behind their owners' backs.
    std::mem::forget((null, image, fuse));
    Ok(())
}
