//! Which parts of the host are shown where, and in which order.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::NodeFacts;
use crate::config::SiteConfig;
use crate::entry::Entry;
use crate::path::{ContainerPath, HostPath};
use crate::request::{Access, Create, MountSource, Propagation, Request, UserMount};
use crate::sys::mount::Attributes;

/// What happens where a bind cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Need {
    /// The user asked for it: the step fails.
    Asked,
    /// A default: it is left out.
    IfPossible,
}

/// What is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A file or directory of the host; opened with the user's rights.
    Host(HostPath),
    /// The same, because this CDI spec says so for a device of the step's.
    Spec(HostPath, PathBuf),
    /// The same, for control groups: they take the place of what a tree above has mounted
    /// there, for programs find them in the list of mounts, where one that is covered is
    /// listed, too.
    Groups(HostPath),
    /// An empty file system in memory, which belongs to the user.
    Tmpfs {
        /// In the words of tmpfs(5).
        size: Option<String>,
        /// Octal digits.
        mode: Option<String>,
    },
    /// A directory in memory with nothing but these symbolic links: their names, and
    /// what they say.
    Links(Vec<(OsString, PathBuf)>),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(path) | Self::Spec(path, _) | Self::Groups(path) => path.fmt(f),
            Self::Tmpfs { .. } => f.write_str("tmpfs"),
            Self::Links(_) => f.write_str("links"),
        }
    }
}

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// What is shown.
    pub source: Source,
    /// In the container.
    pub target: ContainerPath,
    /// Set on every mount of the tree.
    pub attributes: Attributes,
    /// Set on every mount of the tree; as the namespace has it where `None`.
    pub propagation: Option<Propagation>,
    /// What the source must be.
    pub create: Create,
    /// Whether it may be left out.
    pub need: Need,
}

impl Mount {
    /// A default: what the host has at this path, at the same path.
    fn same(path: &HostPath, attributes: Attributes) -> Self {
        Self {
            source: Source::Host(path.clone()),
            target: path.same_inside(),
            attributes,
            propagation: None,
            create: Create::Auto,
            need: Need::IfPossible,
        }
    }

    /// Where on the host it comes from.
    #[must_use]
    pub fn host(&self) -> Option<&HostPath> {
        match &self.source {
            Source::Host(path) | Source::Spec(path, _) | Source::Groups(path) => Some(path),
            Source::Tmpfs { .. } | Source::Links(_) => None,
        }
    }
}

/// Trees of the system: what a job merely names (its working directory, its MPI
/// library's directories) is not shown in one of them, as it would cover the
/// image's own.
const SYSTEM: &[&str] = &[
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr",
];

/// Directories that the image has for itself, though what lies in them may be
/// the node's.
const TOP: &[&str] = &["/", "/home", "/opt", "/root", "/run", "/srv", "/var"];

/// Files of the node that every program expects to be the node's.
const HOST_FILES: &[&str] = &["/etc/hosts", "/etc/localtime", "/etc/resolv.conf"];

/// Where control groups are.
const GROUPS: &str = "/sys/fs/cgroup";

/// Where MUNGE's socket is.
const MUNGE: &str = "/run/munge";

const BIND: Attributes = Attributes {
    read_only: false,
    nosuid: true,
    nodev: true,
    noexec: false,
};

/// The binds, parents before children; where two have the same target, the
/// user's comes last and so is the one that is seen.
#[must_use]
pub fn plan(request: &Request, config: &SiteConfig, facts: &NodeFacts) -> Vec<Mount> {
    let mut list = Vec::new();
    let mut same = |path: &HostPath, attributes: Attributes| {
        // The host's root over the image's would be no container at all.
        if path.as_bytes() == b"/" {
            return;
        }
        list.push(Mount::same(path, attributes));
    };
    let known = |path: &str| HostPath::new(path).ok();
    let kernel = Attributes {
        noexec: true,
        ..BIND
    };
    // With process ids of its own the container has its own /proc.
    let own_proc = request.options.unshare.pid;
    let kernels = ["/proc", "/sys"].iter().skip(usize::from(own_proc));
    for path in kernels.filter_map(|p| known(p)) {
        same(&path, kernel);
    }
    if config.mounts.tmp {
        for path in ["/tmp", "/var/tmp"].iter().filter_map(|p| known(p)) {
            same(&path, BIND);
        }
    }
    for path in HOST_FILES.iter().filter_map(|p| known(p)) {
        same(&path, BIND);
    }
    for path in config
        .mounts
        .host
        .iter()
        .filter_map(|p| HostPath::new(p).ok())
    {
        same(&path, BIND);
    }
    let with_home = request.options.mount_home.unwrap_or(config.mounts.home);
    if with_home && let Some(home) = &facts.home {
        same(home, BIND);
    }
    // A home that is not to be shown does not come as the working directory either.
    let is_hidden = |cwd: &HostPath| {
        !with_home
            && facts
                .home
                .as_ref()
                .is_some_and(|home| home.below(cwd).is_some())
    };
    let cwd = facts.cwd.as_ref();
    if let Some(cwd) = cwd.filter(|cwd| is_the_jobs_own(cwd) && !is_hidden(cwd)) {
        same(cwd, BIND);
    }
    for path in facts.mpi.iter().filter(|path| is_the_jobs_own(path)) {
        same(path, BIND);
    }
    // Root inside is nobody whom Slurm's PMIx server knows: MUNGE's word is taken, the
    // rank's own is not.
    if request.options.remap_root == Some(true)
        && !facts.mpi.is_empty()
        && let Some(munge) = known(MUNGE)
    {
        same(&munge, BIND);
    }
    if let Some(script) = &request.script {
        same(
            script,
            Attributes {
                read_only: true,
                ..BIND
            },
        );
    }
    let mut list = without_the_visible(&list);
    list.extend(facts.device_mounts.iter().cloned());
    for wanted in &request.options.mounts {
        take(&mut list, wanted, facts);
    }
    list.extend(groups(request, facts));
    if let Entry::HookAfter { nothing, prologs } = &request.entry {
        list.extend(prologs.iter().map(|prolog| Mount {
            source: Source::Host(nothing.clone()),
            target: prolog.same_inside(),
            attributes: Attributes {
                read_only: true,
                ..BIND
            },
            propagation: None,
            create: Create::Auto,
            need: Need::Asked,
        }));
    }
    list.sort_by_key(|m| depth(&m.target));
    list
}

/// Control groups, for reading: programs find there how much they may use. In a place of
/// the user's own nothing of it is shown.
fn groups(request: &Request, facts: &NodeFacts) -> Vec<Mount> {
    let all = HostPath::new(GROUPS)
        .ok()
        .map(|path| (path.clone(), path))
        .filter(|(_, place)| !facts.groups.iter().any(|(_, own)| own == place));
    let is_the_users = |target: &ContainerPath| {
        let mounts = request.options.mounts.iter();
        mounts
            .map(|own| &own.target)
            .any(|own| target.below(own).is_some() || own.below(target).is_some())
    };
    all.iter()
        .chain(&facts.groups)
        .map(|(group, place)| Mount {
            source: Source::Groups(group.clone()),
            target: place.same_inside(),
            attributes: Attributes {
                read_only: true,
                noexec: true,
                ..BIND
            },
            propagation: None,
            create: Create::Auto,
            need: Need::IfPossible,
        })
        .filter(|mount| !is_the_users(&mount.target))
        .collect()
}

/// Adds what the user wants to the list, or takes what he does not want from it.
fn take(list: &mut Vec<Mount>, wanted: &UserMount, facts: &NodeFacts) {
    let source = match &wanted.source {
        MountSource::Umount => {
            list.retain(|m| m.target.below(&wanted.target).is_none());
            return;
        }
        MountSource::Tmpfs { size, mode } => Source::Tmpfs {
            size: size.clone(),
            mode: mode.clone(),
        },
        MountSource::Host(path) => Source::Host(path.clone()),
        MountSource::Relative(path) => {
            let base = facts.cwd.clone().unwrap_or_else(HostPath::root);
            Source::Host(base.join_relative(path).unwrap_or(base))
        }
    };
    list.retain(|m| m.target != wanted.target || m.need == Need::Asked);
    list.push(Mount {
        source,
        target: wanted.target.clone(),
        attributes: Attributes {
            read_only: wanted.access == Access::ReadOnly,
            noexec: wanted.noexec,
            ..BIND
        },
        propagation: wanted.propagation,
        create: wanted.create,
        need: if wanted.optional {
            Need::IfPossible
        } else {
            Need::Asked
        },
    });
}

/// Whether a path of the host is shown at its own place.
#[must_use]
pub fn shows(mounts: &[Mount], path: &HostPath) -> bool {
    mounts.iter().any(|m| {
        m.host().is_some_and(|source| {
            source.as_bytes() == m.target.as_bytes() && path.below(source).is_some()
        })
    })
}

fn depth(path: &ContainerPath) -> usize {
    path.as_path().components().count()
}

/// Whether a place that the job's environment names may cover what the image
/// has there.
fn is_the_jobs_own(path: &HostPath) -> bool {
    !TOP.iter().any(|top| top.as_bytes() == path.as_bytes())
        && !SYSTEM
            .iter()
            .filter_map(|p| HostPath::new(p).ok())
            .any(|s| path.below(&s).is_some())
}

/// Leaves out what a bind of a directory above already shows at its own path.
fn without_the_visible(list: &[Mount]) -> Vec<Mount> {
    let visible = |m: &Mount, place: usize| {
        list.iter().enumerate().any(|(other_place, other)| {
            let above = m.host().zip(other.host()).and_then(|(m, o)| m.below(o));
            above.is_some_and(|rest| !rest.as_bytes().is_empty() || other_place < place)
                && m.attributes == other.attributes
        })
    };
    list.iter()
        .enumerate()
        .filter(|(place, m)| !visible(m, *place))
        .map(|(_, m)| m.clone())
        .collect()
}

#[cfg(test)]
mod tests;
