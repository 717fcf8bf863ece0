//! What is shown where, by tables.

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
        scope: Scope::Global,
        ranks: 1,
        ..Request::default()
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
        ..NodeFacts::default()
    };
    for m in plan(&request("/a:/b"), &SiteConfig::default(), &facts) {
        assert!(m.attributes.nosuid && m.attributes.nodev, "{}", m.target);
    }
}
