//! Namespaces as descriptors: which kind each is, and joining them, namespaces(7).

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::thread::LinkNameSpaceType;

/// What a namespace separates. In the order in which a process joins them: a user
/// namespace comes last, for in it there is no right to the others, which belong
/// to the host's; and process ids come before the mounts, as they mean a fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Network devices, addresses, ports.
    Net,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// The host's name.
    Uts,
    /// The tree of control groups that is seen.
    Cgroup,
    /// Process ids.
    Pid,
    /// Mounts.
    Mount,
    /// User and group ids, and capabilities.
    User,
}

impl Kind {
    /// Every kind, in the order of joining.
    pub const ALL: [Self; 7] = [
        Self::Net,
        Self::Ipc,
        Self::Uts,
        Self::Cgroup,
        Self::Pid,
        Self::Mount,
        Self::User,
    ];

    /// Its name below /proc/PID/ns.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Pid => "pid",
            Self::Mount => "mnt",
            Self::User => "user",
        }
    }

    /// One byte that stands for it in a message.
    #[must_use]
    pub fn letter(self) -> u8 {
        match self {
            Self::Net => b'n',
            Self::Ipc => b'i',
            Self::Uts => b'u',
            Self::Cgroup => b'c',
            Self::Pid => b'p',
            Self::Mount => b'm',
            Self::User => b'U',
        }
    }

    /// The kind that a byte stands for.
    #[must_use]
    pub fn of_letter(letter: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.letter() == letter)
    }

    fn link(self) -> LinkNameSpaceType {
        match self {
            Self::Net => LinkNameSpaceType::Network,
            Self::Ipc => LinkNameSpaceType::InterProcessCommunication,
            Self::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
            Self::Cgroup => LinkNameSpaceType::ControlGroup,
            Self::Pid => LinkNameSpaceType::ProcessID,
            Self::Mount => LinkNameSpaceType::Mount,
            Self::User => LinkNameSpaceType::User,
        }
    }
}

/// A namespace; the descriptor keeps it alive.
#[derive(Debug)]
pub struct Namespace {
    /// What it separates.
    pub kind: Kind,
    /// Of nsfs.
    pub fd: OwnedFd,
}

impl Namespace {
    /// This process' own. /proc must still be the host's.
    ///
    /// # Errors
    /// What the kernel said; `EINVAL` where something else than a namespace is there.
    pub fn own(kind: Kind) -> io::Result<Self> {
        Self::at(kind, &format!("/proc/self/ns/{}", kind.name()))
    }

    /// That of another process, which must live on until this has returned. /proc
    /// must still be the host's.
    ///
    /// # Errors
    /// As [`Self::own`].
    pub fn of(kind: Kind, process: u32) -> io::Result<Self> {
        Self::at(kind, &format!("/proc/{process}/ns/{}", kind.name()))
    }

    fn at(kind: Kind, path: &str) -> io::Result<Self> {
        // linux/magic.h
        const NSFS_MAGIC: i64 = 0x6e73_6673;
        let flags =
            rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
        let fd = rustix::fs::open(path, flags, rustix::fs::Mode::empty())?;
        #[allow(clippy::useless_conversion)] // the field's width differs by architecture
        let magic = i64::from(rustix::fs::fstatfs(&fd)?.f_type);
        if magic == NSFS_MAGIC {
            Ok(Self { kind, fd })
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }

    /// Another descriptor of the same.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            kind: self.kind,
            fd: self.fd.try_clone()?,
        })
    }

    /// Joins it, setns(2); of process ids, this process' next child does.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN` in the namespace that owns it and in one's
    /// own; what the kernel said.
    pub fn join(&self) -> io::Result<()> {
        Ok(rustix::thread::move_into_link_name_space(
            self.fd.as_fd(),
            Some(self.kind.link()),
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read_back() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_letter(kind.letter()), Some(kind));
        }
        assert_eq!(Kind::of_letter(b'x'), None);
    }

    #[test]
    fn the_order_is_that_of_joining() {
        assert!(Kind::ALL.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn every_process_has_its_own() {
        for kind in Kind::ALL {
            Namespace::own(kind).unwrap().try_clone().unwrap();
        }
    }
}
