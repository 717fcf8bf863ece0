//! Which parts of the host are shown where, and in which order.

use std::os::unix::ffi::OsStrExt;

use super::NodeFacts;
use crate::config::SiteConfig;
use crate::entry::Entry;
use crate::path::{ContainerPath, HostPath};
use crate::request::{Access, Create, MountSource, Propagation, Request, UserMount};
use crate::sys::mount::Attributes;

/// What happens where a bind cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The user asked for it: the step fails.
    Asked,
    /// A default: it is left out.
    IfPossible,
}

/// What is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file or directory of the host; opened with the user's rights.
    Host(HostPath),
    /// An empty file system in memory, which belongs to the user.
    Tmpfs {
        /// In the words of tmpfs(5).
        size: Option<String>,
        /// Octal digits.
        mode: Option<String>,
    },
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(path) => path.fmt(f),
            Self::Tmpfs { .. } => f.write_str("tmpfs"),
        }
    }
}

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
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
            Source::Host(path) => Some(path),
            Source::Tmpfs { .. } => None,
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
    for wanted in &request.options.mounts {
        take(&mut list, wanted, facts);
    }
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
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::request::{Identity, ImageName, Options, Scope};

    fn request(mounts: &str) -> Request {
        Request {
            options: Options {
                image: ImageName::parse(OsStr::new("/x.sif")).ok(),
                mounts: if mounts.is_empty() {
                    Vec::new()
                } else {
                    UserMount::parse_list(OsStr::new(mounts)).unwrap()
                },
                ..Options::default()
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
            scope: Scope::Global,
            execute_entrypoint: false,
            ranks: 1,
            job: 0,
            label: String::new(),
            entry: Entry::Hook,
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
    fn root_inside_has_a_word_for_the_pmix_server() {
        let facts = NodeFacts {
            mpi: vec![host("/spool/pmix.1.0").unwrap()],
            ..NodeFacts::default()
        };
        let mut request = request("");
        assert!(!targets(&request, &facts).contains(&MUNGE.to_owned()));
        request.options.remap_root = Some(true);
        assert!(targets(&request, &facts).contains(&MUNGE.to_owned()));
        assert!(!targets(&request, &NodeFacts::default()).contains(&MUNGE.to_owned()));
    }

    /// Another instance than the host's: its process ids are the container's.
    #[test]
    fn process_ids_of_its_own_mean_no_proc_of_the_hosts() {
        let mut request = request("");
        assert!(targets(&request, &NodeFacts::default()).contains(&"/proc".to_owned()));
        request.options.unshare.pid = true;
        let list = targets(&request, &NodeFacts::default());
        assert!(!list.contains(&"/proc".to_owned()));
        assert!(list.contains(&"/sys".to_owned()));
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
        assert_eq!(tmp[0].source.to_string(), "/scratch/tmp");
        assert!(tmp[0].attributes.read_only);
        assert_eq!(tmp[0].need, Need::Asked);
    }

    #[test]
    fn umount_leaves_out_what_is_there_and_below() {
        let facts = NodeFacts {
            home: host("/home/a"),
            cwd: host("/home/a/run"),
            ..NodeFacts::default()
        };
        let list = targets(&request("umount:/home,umount:/tmp,/x:/tmp/y"), &facts);
        for gone in ["/home/a", "/tmp"] {
            assert!(!list.contains(&gone.to_owned()), "{gone}");
        }
        for there in ["/tmp/y", "/var/tmp", "/proc"] {
            assert!(list.contains(&there.to_owned()), "{there}");
        }
    }

    #[test]
    fn a_relative_source_begins_at_the_working_directory() {
        let facts = NodeFacts {
            cwd: host("/data/run"),
            ..NodeFacts::default()
        };
        let list = plan(&request("./in:/in,../x:/x"), &SiteConfig::default(), &facts);
        let source = |target: &str| {
            let mount = list.iter().find(|m| m.target.to_string() == target);
            mount.map(|m| m.source.to_string())
        };
        assert_eq!(source("/in").as_deref(), Some("/data/run/in"));
        assert_eq!(source("/x").as_deref(), Some("/data/x"));
    }

    #[test]
    fn the_users_word_on_the_home_directory_counts() {
        let facts = NodeFacts {
            home: host("/home/a"),
            ..NodeFacts::default()
        };
        let mut config = SiteConfig::default();
        for site in [true, false] {
            config.mounts.home = site;
            for (user, shown) in [(None, site), (Some(true), true), (Some(false), false)] {
                let mut request = request("");
                request.options.mount_home = user;
                let list = plan(&request, &config, &facts);
                let there = list.iter().any(|m| m.target.as_bytes() == b"/home/a");
                assert_eq!(there, shown, "{site} {user:?}");
            }
        }
    }

    #[test]
    fn a_home_that_is_hidden_is_no_working_directory() {
        for (cwd, shown) in [
            ("/users/a", false),
            ("/users", false),
            ("/users/a/run", true),
            ("/users/ab", true),
        ] {
            let facts = NodeFacts {
                home: host("/users/a"),
                cwd: host(cwd),
                ..NodeFacts::default()
            };
            let mut request = request("");
            request.options.mount_home = Some(false);
            let list = targets(&request, &facts);
            assert_eq!(list.contains(&cwd.to_owned()), shown, "{cwd}");
        }
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

    /// Slurm will look for them in the container, after they have run.
    #[test]
    fn prologs_that_have_run_are_covered_last() {
        let prolog = HostPath::new("/data/prolog.sh").unwrap();
        let request = Request {
            entry: Entry::HookAfter {
                nothing: HostPath::new("/usr/nothing").unwrap(),
                prologs: vec![prolog],
            },
            ..request("/x:/data,/y:/data/prolog.sh")
        };
        let list = plan(&request, &SiteConfig::default(), &NodeFacts::default());
        let at: Vec<_> = list
            .iter()
            .filter(|m| m.target.as_bytes().starts_with(b"/data"))
            .map(|m| m.source.to_string())
            .collect();
        assert_eq!(at, ["/x", "/y", "/usr/nothing"]);
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
