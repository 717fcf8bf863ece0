//! How a rank enters: in the plugin's hook, or after Slurm's prologs through
//! `oarlock-enter`; and what that program is told.
//!
//! The hook comes before the prologs, and these belong on the host. Which way a step
//! takes is the plugin's choice (`spank-plugin/src/prologs.rs`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use oarlock_enter::order::Kind;
use oarlock_enter::ticket::{self, Namespace, Ticket};
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};

use crate::environment::{self, Change};
use crate::path::{ContainerPath, HostPath};
use crate::sys::{self, ipc};

/// The way of a step's ranks into the container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Entry {
    /// In the plugin's hook: the shortest.
    #[default]
    Hook,
    /// Through `oarlock-enter`, which Slurm starts after the prologs.
    Program,
    /// In the hook, which has run the prologs itself: where Slurm runs them once more,
    /// in the container, lies a program that does nothing.
    HookAfter {
        /// That program, on the host.
        nothing: HostPath,
        /// The prologs.
        prologs: Vec<HostPath>,
    },
}

/// What `oarlock-enter` needs: entering takes the first two, emptying the bounding set
/// the third. Its file has them as inheritable and effective, and a rank that goes
/// through it as inheritable.
#[must_use]
pub fn needed() -> CapabilitySet {
    CapabilitySet::SYS_ADMIN | CapabilitySet::SYS_CHROOT | CapabilitySet::SETPCAP
}

/// Root's word that this user may enter these namespaces, in this order.
///
/// # Errors
/// What the kernel said; `EINVAL` for none or more than there are kinds.
pub fn ticket(uid: u32, namespaces: &[BorrowedFd<'_>]) -> io::Result<OwnedFd> {
    let list = namespaces
        .iter()
        .map(|namespace| {
            let state = rustix::fs::fstat(namespace)?;
            Ok(Namespace {
                kind: sys::namespace::kind(*namespace)?,
                device: state.st_dev,
                inode: state.st_ino,
            })
        })
        .collect::<io::Result<Vec<_>>>()?;
    let ticket = Ticket::new(uid, &list).ok_or(io::ErrorKind::InvalidInput)?;
    let (bytes, length) = ticket.encode();
    let bytes = bytes.get(..length).unwrap_or_default();
    ipc::sealed_file("oarlock-ticket", bytes, ticket::MODE)
}

/// What is done in the container before the program starts.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    /// The working directory that the user asked for.
    pub asked: Option<&'a ContainerPath>,
    /// Else where the task was.
    pub was: Option<&'a HostPath>,
    /// Else the home directory; else `/`.
    pub home: Option<&'a Path>,
    /// What `srun --bcast` calls a program in a directory.
    pub broadcast: &'a OsStr,
    /// The environment's changes.
    pub changes: &'a [Change],
    /// The task's environment as it is before the prologs, `NAME=value`.
    pub environment: &'a [OsString],
}

impl Order<'_> {
    /// As a memory file.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn write(&self) -> io::Result<OwnedFd> {
        ipc::memory_file("oarlock-order", &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |kind: Kind, parts: &[&OsStr]| {
            // A NUL would end the record; no variable and no path holds one.
            if parts.iter().any(|part| part.as_bytes().contains(&0)) {
                return;
            }
            out.push(kind as u8);
            for part in parts {
                out.extend_from_slice(part.as_bytes());
            }
            out.push(0);
        };
        match self.asked {
            Some(asked) => put(Kind::Asked, &[asked.as_path().as_os_str()]),
            None => {
                let candidates = [self.was.map(HostPath::as_path), self.home];
                for path in candidates.into_iter().flatten() {
                    put(Kind::Directory, &[path.as_os_str()]);
                }
                put(Kind::Directory, &[OsStr::new("/")]);
            }
        }
        put(Kind::Suffix, &[self.broadcast]);
        let was = |name: &OsStr| {
            self.environment
                .iter()
                .find(|entry| environment::split(entry).is_some_and(|(n, _)| n == name.as_bytes()))
        };
        let mut change = |name: &OsStr, kind: Kind, parts: &[&OsStr]| {
            match was(name) {
                Some(entry) => put(Kind::Was, &[entry]),
                None => put(Kind::WasAbsent, &[name]),
            }
            put(kind, parts);
        };
        let equals = OsStr::new("=");
        for (place, one) in self.changes.iter().enumerate() {
            let later = self.changes.get(place + 1..).unwrap_or_default();
            if later.iter().any(|other| other.name() == one.name()) {
                continue;
            }
            match one {
                Change::Set(name, value) => change(name, Kind::Set, &[name, equals, value]),
                Change::Unset(name) => change(name, Kind::Unset, &[name]),
            }
        }
        let pwd = OsStr::new("PWD");
        change(pwd, Kind::SetToHere, &[pwd]);
        out
    }
}

/// The first argument of `oarlock-enter`.
#[must_use]
pub fn argument(
    ticket: BorrowedFd<'_>,
    order: BorrowedFd<'_>,
    namespaces: &[BorrowedFd<'_>],
) -> String {
    use std::os::fd::AsRawFd;
    let numbers: Vec<String> = [ticket, order]
        .into_iter()
        .chain(namespaces.iter().copied())
        .map(|fd| fd.as_raw_fd().to_string())
        .collect();
    numbers.join(",")
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use oarlock_enter::order::Records;

    use super::*;

    fn shown(order: &Order<'_>) -> Vec<String> {
        Records::of(&order.encode())
            .map(|r| format!("{:?} {}", r.kind, r.text.to_string_lossy()))
            .collect()
    }

    #[test]
    fn a_change_has_before_it_what_the_variable_was() {
        let set = |name: &str, value: &str| Change::Set(name.into(), value.into());
        let order = Order {
            asked: None,
            was: None,
            home: Some(Path::new("/home/a")),
            broadcast: OsStr::new("b"),
            changes: &[
                set("PATH", "/early"),
                set("NEW", "n"),
                Change::Unset("GONE".into()),
                set("PATH", "/bin"),
            ],
            environment: &["PATH=/host".into(), "GONE=x=y".into(), "PWD=/a".into()],
        };
        assert_eq!(
            shown(&order),
            [
                "Directory /home/a",
                "Directory /",
                "Suffix b",
                "WasAbsent NEW",
                "Set NEW=n",
                "Was GONE=x=y",
                "Unset GONE",
                "Was PATH=/host",
                "Set PATH=/bin",
                "Was PWD=/a",
                "SetToHere PWD",
            ]
        );
    }

    #[test]
    fn the_directory_that_was_asked_for_is_the_only_one() {
        let asked = ContainerPath::new("/work").unwrap();
        let order = Order {
            asked: Some(&asked),
            was: Some(&HostPath::new("/was").unwrap()),
            home: None,
            broadcast: OsStr::new(""),
            changes: &[],
            environment: &[],
        };
        assert_eq!(shown(&order)[0], "Asked /work");
        assert!(!shown(&order).iter().any(|line| line.contains("Directory")));
    }

    #[test]
    fn a_ticket_names_the_namespace_and_cannot_be_changed() {
        let own = sys::mount::open_own_namespace().unwrap();
        let file = ticket(1000, &[own.as_fd()]).unwrap();
        let mut bytes = [0; ticket::LONGEST];
        let have = rustix::io::pread(&file, &mut bytes, 0).unwrap();
        let read = Ticket::decode(&bytes[..have]).unwrap();
        assert_eq!(read.uid, 1000);
        assert_eq!(read.namespaces()[0].kind, 0x2_0000);
        let state = rustix::fs::fstat(&file).unwrap();
        assert_eq!(state.st_mode, 0o100_400);
        assert!(rustix::io::pwrite(&file, b"x", 0).is_err());
        assert!(rustix::fs::ftruncate(&file, 0).is_err());
        assert!(ticket(1000, &[file.as_fd()]).is_err());
    }
}
