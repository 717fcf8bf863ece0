//! What the survey of an image must know of its user: lines of passwd and group.
//!
//! Collected with the user's rights, written to a memory file, and read by the
//! survey, which has the user's rights too: root only carries it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use nix::unistd::{Gid, Group, Uid, User};
use serde::{Deserialize, Serialize};

use crate::environment;
use crate::request::Identity;
use crate::sys;

/// Nothing that is known is longer, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// What the survey needs to know, collected with the user's rights and read by
/// nobody but the survey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The user's line of passwd.
    pub(super) passwd: Vec<u8>,
    /// The user's groups: id and line of group.
    pub(super) groups: Vec<(u32, Vec<u8>)>,
    /// What the image's OCI configuration sets, `NAME=value`.
    environment: Vec<OsString>,
}

impl Known {
    /// Looks the user up in the node's databases; also returns the home
    /// directory. A name service may run code of the site's, and use the network:
    /// not for root, and not for a process that has been confined.
    #[must_use]
    pub fn gather(who: &Identity) -> (Option<OsString>, Self) {
        let user = User::from_uid(Uid::from_raw(who.uid)).ok().flatten();
        let home = user.as_ref().map(|u| u.dir.clone().into_os_string());
        let passwd = match &user {
            Some(u) => [
                u.name.as_bytes().to_vec(),
                b"x".to_vec(),
                u.uid.to_string().into_bytes(),
                u.gid.to_string().into_bytes(),
                u.gecos.as_bytes().to_vec(),
                u.dir.as_os_str().as_bytes().to_vec(),
                u.shell.as_os_str().as_bytes().to_vec(),
            ]
            .join(&b':'),
            None => format!("user{0}:x:{0}:{1}::/:/bin/sh", who.uid, who.gid).into_bytes(),
        };
        let name = user.map(|u| u.name).unwrap_or_default();
        let mut ids: Vec<u32> = std::iter::once(who.gid)
            .chain(who.groups.iter().copied())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let line = |gid: u32| {
            let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
            let group = group.map_or_else(|| format!("group{gid}"), |g| g.name);
            (gid, format!("{group}:x:{gid}:{name}").into_bytes())
        };
        let groups = ids.into_iter().map(line).collect();
        (
            home,
            Self {
                passwd,
                groups,
                environment: Vec::new(),
            },
        )
    }

    /// What the image itself says, `NAME=value`.
    #[must_use]
    pub fn with_environment(self, environment: Vec<OsString>) -> Self {
        Self {
            environment,
            ..self
        }
    }

    /// Whether the image has no configuration, or one that sets nothing.
    #[must_use]
    pub fn says_nothing(&self) -> bool {
        self.environment.is_empty()
    }

    /// As a memory file, for the survey.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn to_memory_file(&self) -> io::Result<OwnedFd> {
        let bytes = postcard::to_stdvec(self).map_err(io::Error::other)?;
        sys::ipc::memory_file("oarlock-known", &bytes)
    }

    pub(crate) fn read(file: &OwnedFd) -> io::Result<Self> {
        let file = File::from(file.try_clone()?);
        let length = usize::try_from(file.metadata()?.len().min(MAX_BYTES)).unwrap_or(0);
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0)?;
        postcard::from_bytes(&bytes).map_err(io::Error::other)
    }

    /// The OCI configuration's variables as pairs.
    pub(crate) fn image_environment(&self) -> Vec<(OsString, OsString)> {
        let own = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        self.environment
            .iter()
            .filter_map(|entry| {
                environment::split(entry).map(|(name, value)| (own(name), own(value)))
            })
            .collect()
    }
}
