//! Root inside: a user namespace of the step, in which the job's user is root.
//!
//! One for all ranks of a node, so that they may read each other's memory. It is
//! root's on the host, not the user's: whoever is the user outside has no right in it.

use std::io;
use std::os::fd::OwnedFd;

use nix::unistd::{Uid, User};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::plan::identity::Extent;
use crate::plan::subordinate;
use crate::request::Identity;
use crate::sys;
use crate::sys::namespaces::{Kind, Namespace};
use crate::way::Ids;

/// Where root has written down who has which ids besides his own.
const SUBORDINATE: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// No such file is longer, in bytes.
const MAX_BYTES: u64 = 16 << 20;

/// Why the user cannot be root inside.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The kernel makes no user namespace.
    #[error(
        "--container-remap-root: making a user namespace: {0}; ask your admin whether this node allows them (sysctl user.max_user_namespaces)"
    )]
    Namespace(io::Error),
    /// The maps of ids.
    #[error(
        "--container-remap-root: the user namespace's ids: {0}; ask your admin to look at /etc/subuid and /etc/subgid"
    )]
    Map(io::Error),
}

/// Who the ranks are inside, and the user namespace in which they are that.
#[derive(Debug)]
pub struct Inside {
    /// The namespace.
    pub namespace: Namespace,
    /// Which ids there are.
    pub ids: Ids,
}

impl Inside {
    /// Makes the namespace. The user's name is looked up by root, for whoever says it
    /// is given ids by it.
    ///
    /// # Errors
    /// Any [`IdentityError`].
    pub fn new(who: &Identity) -> Result<Self, IdentityError> {
        let files = SUBORDINATE.map(read);
        let name = files
            .iter()
            .any(|file| subordinate::has_names(file))
            .then(|| User::from_uid(Uid::from_raw(who.uid)).ok().flatten())
            .flatten()
            .map(|user| user.name.into_bytes());
        let [users, groups] =
            files.map(|file| subordinate::ranges(&file, name.as_deref(), who.uid));
        // To change both or neither is what programs expect of root.
        let (users, groups): (&[_], &[_]) = if users.is_empty() || groups.is_empty() {
            (&[], &[])
        } else {
            (&users, &groups)
        };
        let users = subordinate::map(who.uid, users);
        let groups = subordinate::map(who.gid, groups);
        let ids = match (users.len(), groups.len()) {
            (2.., 2..) => Ids::Root,
            _ => Ids::RootAlone,
        };
        Ok(Self {
            namespace: namespace(&users, &groups)?,
            ids,
        })
    }

    /// Another descriptor of the same.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            namespace: self.namespace.try_clone()?,
            ids: self.ids,
        })
    }
}

/// Gives a directory of a tmpfs, and what is in it, to the user: inside it is root's,
/// as the image's directories around it. For what only root can have changed.
///
/// # Errors
/// What the kernel said.
pub(super) fn give(directory: &OwnedFd, who: &Identity) -> io::Result<()> {
    let owner = Some(rustix::fs::Uid::from_raw(who.uid));
    let group = Some(rustix::fs::Gid::from_raw(who.gid));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, c".", flags, Mode::empty())?;
    for entry in rustix::fs::Dir::read_from(&opened)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        if entry.file_type() == FileType::Directory {
            give(
                &rustix::fs::openat(&opened, name, flags, Mode::empty())?,
                who,
            )?;
        } else {
            rustix::fs::chownat(&opened, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    Ok(rustix::fs::fchown(&opened, owner, group)?)
}

fn namespace(users: &[Extent], groups: &[Extent]) -> Result<Namespace, IdentityError> {
    let fd = sys::idmap::namespace(users, groups).map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL | libc::EPERM) => IdentityError::Map(error),
        _ => IdentityError::Namespace(error),
    })?;
    Ok(Namespace {
        kind: Kind::User,
        fd,
    })
}

/// A file of root's that need not be there.
fn read(path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path);
    let done = file
        .and_then(|file| io::Read::read_to_end(&mut io::Read::take(file, MAX_BYTES), &mut bytes));
    match done {
        Ok(_) => bytes,
        Err(error) => {
            tracing::debug!(%error, "{path}: no subordinate ids");
            Vec::new()
        }
    }
}
