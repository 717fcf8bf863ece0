//! Which parts of the host are shown where, and in which order.

use std::os::unix::ffi::OsStrExt;

use super::NodeFacts;
use crate::config::SiteConfig;
use crate::path::{ContainerPath, HostPath};
use crate::request::{Access, Request};
use crate::sys::mount::Attributes;

/// What happens where a bind cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The user asked for it: the step fails.
    Asked,
    /// A default: it is left out.
    IfPossible,
}

/// One bind of the host's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// On the host; opened with the user's rights.
    pub source: HostPath,
    /// In the container.
    pub target: ContainerPath,
    /// Set on every mount of the tree.
    pub attributes: Attributes,
    /// Whether it may be left out.
    pub need: Need,
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
        list.push(Mount {
            source: path.clone(),
            target: path.same_inside(),
            attributes,
            need: Need::IfPossible,
        });
    };
    let known = |path: &str| HostPath::new(path).ok();
    let kernel = Attributes {
        noexec: true,
        ..BIND
    };
    for path in ["/proc", "/sys"].iter().filter_map(|p| known(p)) {
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
    if config.mounts.home
        && let Some(home) = &facts.home
    {
        same(home, BIND);
    }
    if let Some(cwd) = facts.cwd.as_ref().filter(|cwd| is_the_jobs_own(cwd)) {
        same(cwd, BIND);
    }
    for path in facts.mpi.iter().filter(|path| is_the_jobs_own(path)) {
        same(path, BIND);
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
    for wanted in &request.options.mounts {
        list.retain(|m| m.target != wanted.target || m.need == Need::Asked);
        list.push(Mount {
            source: wanted.source.clone(),
            target: wanted.target.clone(),
            attributes: Attributes {
                read_only: wanted.access == Access::ReadOnly,
                ..BIND
            },
            need: Need::Asked,
        });
    }
    list.sort_by_key(|m| depth(&m.target));
    list
}

/// Whether a path of the host is shown at its own place.
#[must_use]
pub fn shows(mounts: &[Mount], path: &HostPath) -> bool {
    mounts
        .iter()
        .any(|m| m.source.as_bytes() == m.target.as_bytes() && path.below(&m.source).is_some())
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
            let above = m.source.below(&other.source);
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
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::request::{Identity, ImageName, Options, UserMount};

    fn request(mounts: &str) -> Request {
        Request {
            options: Options {
                image: ImageName::parse(OsStr::new("/x.sif")).unwrap(),
                mounts: if mounts.is_empty() {
                    Vec::new()
                } else {
                    UserMount::parse_list(OsStr::new(mounts)).unwrap()
                },
                workdir: None,
                stage: None,
            },
            identity: Identity {
                uid: 1,
                gid: 1,
                groups: vec![],
            },
            environment: vec![],
            program: None,
            script: None,
            mpi: None,
            ranks: 1,
            job: 0,
            label: String::new(),
        }
    }

    fn targets(request: &Request, facts: &NodeFacts) -> Vec<String> {
        plan(request, &SiteConfig::default(), facts)
            .iter()
            .map(|m| m.target.to_string())
            .collect()
    }

    fn host(path: &str) -> Option<HostPath> {
        Some(HostPath::new(path).unwrap())
    }

    #[test]
    fn a_cwd_below_home_needs_no_bind_of_its_own() {
        let facts = NodeFacts {
            home: host("/home/a"),
            cwd: host("/home/a/run"),
            ..NodeFacts::default()
        };
        let list = targets(&request(""), &facts);
        assert!(list.contains(&"/home/a".to_owned()));
        assert!(!list.contains(&"/home/a/run".to_owned()));
    }

    #[test]
    fn a_cwd_elsewhere_is_shown_but_never_the_systems_own() {
        for (cwd, shown) in [
            ("/data/run", true),
            ("/usr/share", false),
            ("/", false),
            ("/etc", false),
            ("/usrlocal", true),
            ("/opt", false),
            ("/opt/data", true),
        ] {
            let facts = NodeFacts {
                cwd: host(cwd),
                ..NodeFacts::default()
            };
            assert_eq!(
                targets(&request(""), &facts).contains(&cwd.to_owned()),
                shown,
                "{cwd}"
            );
        }
    }

    /// A user's variables name them: `PMIX_SYSTEM_TMPDIR=/` would show the host.
    #[test]
    fn no_directory_of_an_mpi_library_covers_the_image() {
        for (mpi, shown) in [
            ("/", false),
            ("/usr", false),
            ("/etc/x", false),
            ("/var", false),
            ("/var/spool/slurmd/pmix.1.0", true),
        ] {
            let facts = NodeFacts {
                mpi: vec![host(mpi).unwrap()],
                ..NodeFacts::default()
            };
            let list = targets(&request(""), &facts);
            assert_eq!(list.contains(&mpi.to_owned()), shown, "{mpi}");
        }
    }

    #[test]
    fn home_and_cwd_being_the_same_are_bound_once() {
        let facts = NodeFacts {
            home: host("/home/a"),
            cwd: host("/home/a"),
            ..NodeFacts::default()
        };
        let list = targets(&request(""), &facts);
        assert_eq!(list.iter().filter(|t| *t == "/home/a").count(), 1);
    }

    #[test]
    fn parents_come_before_children() {
        let facts = NodeFacts {
            home: host("/home/a"),
            ..NodeFacts::default()
        };
        let list = targets(&request("/x:/home/a/deep/er,/y:/home"), &facts);
        let place = |t: &str| list.iter().position(|x| x == t).unwrap();
        assert!(place("/home") < place("/home/a"));
        assert!(place("/home/a") < place("/home/a/deep/er"));
    }

    #[test]
    fn the_users_mount_replaces_the_default_of_the_same_target() {
        let list = plan(
            &request("/scratch/tmp:/tmp:ro"),
            &SiteConfig::default(),
            &NodeFacts::default(),
        );
        let tmp: Vec<_> = list
            .iter()
            .filter(|m| m.target.as_bytes() == b"/tmp")
            .collect();
        assert_eq!(tmp.len(), 1);
        assert_eq!(tmp[0].source.as_bytes(), b"/scratch/tmp");
        assert!(tmp[0].attributes.read_only);
        assert_eq!(tmp[0].need, Need::Asked);
    }

    #[test]
    fn what_is_shown_is_known() {
        let facts = NodeFacts {
            mpi: vec![host("/spool/pmix.1.0").unwrap()],
            ..NodeFacts::default()
        };
        let list = plan(&request("/data:/elsewhere"), &SiteConfig::default(), &facts);
        for (path, shown) in [
            ("/spool/pmix.1.0", true),
            ("/spool/pmix.1.0/x", true),
            ("/tmp/y", true),
            ("/spool/pmix.1.1", false),
            ("/data", false),
        ] {
            assert_eq!(shows(&list, &host(path).unwrap()), shown, "{path}");
        }
    }

    #[test]
    fn nothing_of_the_host_brings_setuid_or_devices() {
        let facts = NodeFacts {
            home: host("/home/a"),
            cwd: host("/d"),
            mpi: vec![host("/var/p").unwrap()],
        };
        for m in plan(&request("/a:/b"), &SiteConfig::default(), &facts) {
            assert!(m.attributes.nosuid && m.attributes.nodev, "{}", m.target);
        }
    }
}
