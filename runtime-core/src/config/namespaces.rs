//! `[namespaces]`: what a step may have for itself.

use serde::{Deserialize, Serialize};

use crate::request::Unshare;

/// `[namespaces]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Namespaces {
    /// Whether users may be root in a user namespace (`--container-remap-root`).
    pub remap_root: bool,
    /// What users may have apart from the node (`--container-unshare`).
    pub unshare: Vec<Separable>,
}

/// A namespace that `--container-unshare` can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Separable {
    /// Network devices, ports and routes.
    Net,
    /// System V IPC, message queues and shared memory.
    Ipc,
    /// The host's name.
    Uts,
    /// Process ids.
    Pid,
    /// The tree of control groups that is seen.
    Cgroup,
}

impl Separable {
    const ALL: [Self; 5] = [Self::Net, Self::Ipc, Self::Uts, Self::Pid, Self::Cgroup];

    /// As it is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Pid => "pid",
            Self::Cgroup => "cgroup",
        }
    }

    fn is_in(self, asked: Unshare) -> bool {
        match self {
            Self::Net => asked.net,
            Self::Ipc => asked.ipc,
            Self::Uts => asked.uts,
            Self::Pid => asked.pid,
            Self::Cgroup => asked.cgroup,
        }
    }
}

impl Default for Namespaces {
    fn default() -> Self {
        Self {
            remap_root: true,
            unshare: Separable::ALL.to_vec(),
        }
    }
}

/// What the site does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// `--container-remap-root`.
    #[error("--container-remap-root: not allowed here (namespaces.remap_root in oarlock.toml)")]
    RemapRoot,
    /// `--container-unshare`.
    #[error("--container-unshare={}: not allowed here (namespaces.unshare in oarlock.toml)", .0.name())]
    Unshare(Separable),
}

impl Namespaces {
    /// Whether a step may have what it asks for.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn allow(&self, remap_root: bool, unshare: Unshare) -> Result<(), NotAllowed> {
        if remap_root && !self.remap_root {
            return Err(NotAllowed::RemapRoot);
        }
        let denied = Separable::ALL
            .into_iter()
            .find(|kind| kind.is_in(unshare) && !self.unshare.contains(kind));
        denied.map_or(Ok(()), |kind| Err(NotAllowed::Unshare(kind)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_not_allowed() {
        let open = Namespaces::default();
        let all = Unshare {
            net: true,
            ipc: true,
            uts: true,
            pid: true,
            cgroup: true,
        };
        assert_eq!(open.allow(true, all), Ok(()));
        let narrow = Namespaces {
            remap_root: false,
            unshare: vec![Separable::Ipc],
        };
        assert_eq!(narrow.allow(false, Unshare::NONE), Ok(()));
        assert_eq!(
            narrow.allow(true, Unshare::NONE),
            Err(NotAllowed::RemapRoot)
        );
        let pid = Unshare {
            ipc: true,
            pid: true,
            ..Unshare::NONE
        };
        let denied = narrow.allow(false, pid).unwrap_err();
        assert_eq!(
            denied.to_string(),
            "--container-unshare=pid: not allowed here (namespaces.unshare in oarlock.toml)"
        );
    }
}
