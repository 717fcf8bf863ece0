//! Namespaces that the container does not share with the host: one of each kind for
//! all ranks of a node and step.
//!
//! They belong to the host's user namespace, also where the ranks are root in one of
//! their own: nobody inside can configure them.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};

use super::filesystem::{Calls, Detached, Filesystem};
use super::survey::become_user;
use super::{ApplyError, FileAccess, step};
use crate::cgroup::Groups;
use crate::request::Unshare;
use crate::sys;
use crate::sys::mount::Attributes;
use crate::sys::namespaces::{Kind, Namespace};

/// Leaves the host's network, IPC, UTS and control group namespaces for new ones, as
/// asked, for good: this process builds one container and ends. Without `groups` those that
/// it is in become the roots of a control group namespace.
///
/// # Errors
/// [`ApplyError::Step`].
pub(super) fn leave(
    unshare: Unshare,
    groups: Option<Namespace>,
) -> Result<Vec<Namespace>, ApplyError> {
    let wanted = [
        (
            unshare.net,
            Kind::Net,
            CloneFlags::CLONE_NEWNET,
            "making a network namespace",
        ),
        (
            unshare.ipc,
            Kind::Ipc,
            CloneFlags::CLONE_NEWIPC,
            "making an IPC namespace",
        ),
        (
            unshare.uts,
            Kind::Uts,
            CloneFlags::CLONE_NEWUTS,
            "making a UTS namespace",
        ),
        (
            unshare.cgroup && groups.is_none(),
            Kind::Cgroup,
            CloneFlags::CLONE_NEWCGROUP,
            "making a control group namespace",
        ),
    ];
    let mut made = Vec::new();
    for (_, kind, flag, what) in wanted.into_iter().filter(|(wanted, ..)| *wanted) {
        nix::sched::unshare(flag).map_err(|e| step(what)(e.into()))?;
        made.push(Namespace::own(kind).map_err(step(what))?);
    }
    made.extend(groups);
    if unshare.net {
        sys::network::bring_up_loopback().map_err(step("bringing up the loopback device"))?;
    }
    Ok(made)
}

/// A control group namespace with `groups` for its roots. Another process goes there for
/// it: this one may have to mount a block device yet, which a step's group closes.
///
/// # Errors
/// What the kernel said.
pub fn of_groups(groups: &Groups) -> io::Result<Namespace> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let ((is_there, said), (end, life)) = (pipe()?, pipe()?);
    let mut child = sys::process::fork(|| {
        sys::process::close_all_but_the_log_and(&[said.as_fd(), end.as_fd()]);
        let done = groups
            .join(std::process::id())
            .and_then(|()| Ok(nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP)?))
            .and_then(|()| Ok(rustix::io::write(&said, &[0])?))
            .and_then(|_| Ok(rustix::io::read(&end, &mut [0])?));
        done.map_or_else(
            |error| u8::try_from(error.raw_os_error().unwrap_or(0)).unwrap_or(u8::MAX),
            |_| 0,
        )
    })?;
    drop(said);
    let namespace = match rustix::io::read(&is_there, &mut [0])? {
        // Not reaped yet: its number is nobody else's.
        1 => Namespace::of(Kind::Cgroup, child.id()),
        _ => return Err(ended(child.wait()?)),
    };
    drop(life);
    child.wait()?;
    namespace
}

/// What a child's exit code says that is an error's number, unless it panicked or was
/// killed.
fn ended(code: i32) -> io::Error {
    match code {
        0 | 101 | 128.. => io::Error::other("the process that makes it ended unexpectedly"),
        number => io::Error::from_raw_os_error(number),
    }
}

/// A namespace of process ids, and its first process, which adopts and reaps what
/// others leave behind.
#[derive(Debug)]
pub struct First {
    /// The namespace.
    pub(super) namespace: Namespace,
    /// The first process lives as long as a copy of this; with it go all others.
    pub(super) life: OwnedFd,
    /// Its number on the host.
    pub process: u32,
}

impl First {
    /// Makes both. Nobody has to reap the process.
    ///
    /// # Errors
    /// [`ApplyError::Step`].
    pub(super) fn start(access: &FileAccess) -> Result<Self, ApplyError> {
        let failed = step("making a process id namespace");
        let (end, life) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|e| failed(e.into()))?;
        let process = sys::process::fork_orphan(
            || Ok(nix::sched::unshare(CloneFlags::CLONE_NEWPID)?),
            || u8::from(be_first(&end, access).is_err()),
        )
        .map_err(&failed)?;
        Ok(Self {
            namespace: Namespace::of(Kind::Pid, process).map_err(failed)?,
            life,
            process,
        })
    }

    /// Mounts the namespace's own /proc at the directory behind `target`: what is seen
    /// in it is decided by who mounts it, so that this is a process of the namespace.
    ///
    /// # Errors
    /// [`ApplyError::Step`].
    pub(super) fn mount_proc(
        &self,
        target: BorrowedFd<'_>,
        calls: Calls,
    ) -> Result<(), ApplyError> {
        let failed = step("mounting /proc of the container's process ids");
        let mut outside = sys::process::fork(|| {
            let done = self.namespace.join().and_then(|()| {
                sys::process::fork(|| match proc_at(target, calls) {
                    Ok(()) => 0,
                    Err(error) => number_of(&error),
                })?
                .wait()
            });
            done.map_or_else(
                |error| u8::try_from(error.raw_os_error().unwrap_or(0)).unwrap_or(u8::MAX),
                |code| u8::try_from(code).unwrap_or(u8::MAX),
            )
        })
        .map_err(&failed)?;
        match outside.wait().map_err(&failed)? {
            0 => Ok(()),
            number => Err(failed(io::Error::from_raw_os_error(number))),
        }
    }
}

fn proc_at(target: BorrowedFd<'_>, calls: Calls) -> Result<(), ApplyError> {
    let filesystem = Filesystem {
        what: "/proc",
        kind: "proc",
        source: "proc".to_owned(),
        options: Vec::new(),
        attributes: Attributes {
            read_only: false,
            nosuid: true,
            nodev: true,
            noexec: true,
        },
    };
    Detached::new(filesystem, calls)?.attach(target)
}

fn number_of(error: &ApplyError) -> u8 {
    let number = match error {
        ApplyError::Mount { error, .. } | ApplyError::Step { error, .. } => error.raw_os_error(),
        _ => None,
    };
    number
        .and_then(|number| u8::try_from(number).ok())
        .unwrap_or(u8::MAX)
}

/// The first process: the user, without any right, until nobody needs it. The kernel
/// reaps for whom ignores the death of children, and lets no signal of the namespace
/// or of a user's reach a first process that has no handler for it.
fn be_first(end: &OwnedFd, access: &FileAccess) -> io::Result<()> {
    sys::process::reset_signals();
    sys::process::leave_children_to_the_kernel();
    sys::process::close_all_but(&[end.as_fd()]);
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for number in 0..3 {
        sys::process::place_descriptor(null.as_fd(), number)?;
    }
    rustix::process::setsid()?;
    rustix::thread::set_name(c"oarlock-init")?;
    become_user(access)?;
    // Its memory is a copy of its maker's, which was root.
    sys::process::be_private()?;
    let mut nothing = [0];
    loop {
        match rustix::io::read(end, &mut nothing) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A tmpfs of the container's own at /dev/shm, as everybody's directory. Its size is
/// the kernel's default, half of the memory; what is in it counts for the job.
pub(super) fn shared_memory(calls: Calls) -> Result<Detached, ApplyError> {
    let filesystem = Filesystem {
        what: "the container's /dev/shm",
        kind: "tmpfs",
        source: "oarlock".to_owned(),
        options: vec![("mode", Some("1777".to_owned()))],
        attributes: OWN,
    };
    Detached::new(filesystem, calls)
}

/// The queues of the IPC namespace that this process is in.
pub(super) fn message_queues(calls: Calls) -> Result<Detached, ApplyError> {
    let filesystem = Filesystem {
        what: "the container's /dev/mqueue",
        kind: "mqueue",
        source: "oarlock".to_owned(),
        options: Vec::new(),
        attributes: OWN,
    };
    Detached::new(filesystem, calls)
}

const OWN: Attributes = Attributes {
    read_only: false,
    nosuid: true,
    nodev: true,
    noexec: true,
};

#[cfg(test)]
mod tests {
    use super::ended;

    #[test]
    fn what_a_child_says_is_an_errors_number_or_none() {
        assert_eq!(ended(libc::EACCES).raw_os_error(), Some(libc::EACCES));
        for code in [0, 101, 137] {
            assert_eq!(ended(code).raw_os_error(), None, "{code}");
        }
    }
}
