//! An overlay that writes to a directory of the user's.
//!
//! The user reaches that directory by itself, too, and may change it at any time. So
//! overlayfs must have his rights there and no others: what it makes, moves and
//! deletes, it does with the rights of whoever mounted it. But it also makes a
//! directory that nobody may enter, and enters it. Therefore it is mounted by a child
//! that is the user and has every capability in a user namespace in which nobody but
//! he exists: they count for his own files. What is mounted there is handed out, and
//! attached by root.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::{Gid, Uid};

use super::filesystem::{Calls, Detached, Filesystem};
use super::rootfs::TMPFS;
use super::writable::{UPPER, WORK};
use super::{ApplyError, step};
use crate::plan::identity::Extent;
use crate::request::Identity;
use crate::sys;
use crate::sys::ipc;
use crate::sys::namespaces::{Kind, Namespace};

const WHAT: &str = "the overlay to write to (it must be on a disk of the node, as ext4 or XFS)";

/// No message of the child is longer, in bytes.
const MAX_TEXT: usize = 1024;

/// Mounts an overlay of `lower`, directories with a colon between them, and what is
/// in the user's directory at `place`; it is attached nowhere. It is given up after
/// `seconds`: the directory may lie on a file system that does not answer.
///
/// # Errors
/// [`ApplyError::Mount`], and [`ApplyError::Step`] where the kernel has no such
/// calls or makes no user namespaces.
pub(super) fn mount(
    lower: &str,
    place: &str,
    who: &Identity,
    seconds: u32,
    calls: Calls,
) -> Result<Detached, ApplyError> {
    let starting = step("starting the process that mounts the overlay to write to");
    if calls == Calls::Old {
        return Err(starting(io::ErrorKind::Unsupported.into()));
    }
    let alone = |id| Extent {
        inside: id,
        outside: id,
        count: 1,
    };
    let namespace = sys::idmap::namespace(&[alone(who.uid)], &[alone(who.gid)])
        .map_err(step("making a user namespace for the overlay to write to"))?;
    let namespace = Namespace {
        kind: Kind::User,
        fd: namespace,
    };
    let (ours, theirs) = ipc::pair().map_err(&starting)?;
    let child = sys::process::fork(|| {
        sys::process::end_after(seconds);
        sys::process::close_all_but(&[theirs.as_fd(), namespace.fd.as_fd()]);
        let made = become_user_in(&namespace, who)
            .map_err(|error| format!("becoming the user: {error}"))
            .and_then(|()| mount_here(lower, place));
        let sent = match made {
            Ok(mount) => ipc::send(theirs.as_fd(), b"+", &[mount.as_fd()]),
            Err(text) => {
                let text: Vec<u8> = text.bytes().take(MAX_TEXT).collect();
                ipc::send(theirs.as_fd(), &text, &[])
            }
        };
        u8::from(sent.is_err())
    })
    .map_err(&starting)?;
    drop(theirs);
    // Before its own builder is given up: a child that hangs, or that its user has
    // stopped, goes with this.
    let patience = Duration::from_secs(u64::from(seconds)) / 2;
    let heard = ipc::wait_readable(&[ours.as_fd()], Some(Instant::now() + patience));
    let message = match heard.map_err(&starting)? {
        Some(_) => ipc::receive(ours.as_fd()).map_err(&starting)?,
        None => None,
    };
    child.abandon();
    let failed = |text: &[u8]| ApplyError::Mount {
        what: WHAT,
        error: io::Error::other(String::from_utf8_lossy(text).into_owned()),
        kernel: String::new(),
    };
    let Some(message) = message else {
        return Err(failed(
            b"the process that mounts it ended early, or its file system does not answer",
        ));
    };
    match message.fds.into_iter().next() {
        Some(mount) => Ok(Detached::Made(mount)),
        None => Err(failed(&message.bytes)),
    }
}

/// In the child. The ids come last: entering the namespace takes root's rights.
fn become_user_in(namespace: &Namespace, who: &Identity) -> io::Result<()> {
    let groups: Vec<Gid> = who.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    namespace.join()?;
    let (uid, gid) = (Uid::from_raw(who.uid), Gid::from_raw(who.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    // Each change of ids makes the kernel forget whose end this process shares, and
    // whom it is private from.
    sys::process::be_private()?;
    sys::process::die_with_parent()?;
    nix::sched::unshare(CloneFlags::CLONE_NEWNS)?;
    Ok(())
}

/// In the child, as the user.
fn mount_here(lower: &str, place: &str) -> Result<OwnedFd, String> {
    let own = Own::open(place).map_err(|error| format!("its upper and work: {error}"))?;
    let path = |fd: &OwnedFd| Some(sys::mount::descriptor_path(fd.as_fd()));
    let filesystem = Filesystem {
        what: WHAT,
        kind: "overlay",
        source: "oarlock".to_owned(),
        options: vec![
            ("lowerdir", Some(lower.to_owned())),
            ("upperdir", path(&own.upper)),
            ("workdir", path(&own.work)),
            // The attributes in which it keeps what it has to remember are such as a
            // user may set; it forgoes those that lead somewhere.
            ("userxattr", None),
            ("index", Some("off".to_owned())),
        ],
        attributes: TMPFS,
    };
    match Detached::new(filesystem, Calls::Descriptors) {
        Ok(Detached::Made(mount)) => Ok(mount),
        Ok(_) => Err("it cannot be attached later".to_owned()),
        Err(ApplyError::Mount { error, kernel, .. }) if kernel.is_empty() => Err(error.to_string()),
        Err(ApplyError::Mount { error, kernel, .. }) => Err(format!("{error} (kernel: {kernel})")),
        Err(error) => Err(error.to_string()),
    }
}

/// The two directories in a user's own.
struct Own {
    upper: OwnedFd,
    work: OwnedFd,
}

impl Own {
    /// Opens them below `place`, whatever its user makes of them meanwhile: no link
    /// leads out of it, and they are reached by these descriptors from here on.
    fn open(place: &str) -> io::Result<Self> {
        let directory = sys::mount::open_place(Path::new(place))?;
        Ok(Self {
            upper: below(directory.as_fd(), UPPER)?,
            work: below(directory.as_fd(), WORK)?,
        })
    }
}

fn below(directory: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(rustix::fs::openat2(
        directory,
        name,
        flags,
        Mode::empty(),
        beneath,
    )?)
}
