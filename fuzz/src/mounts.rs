//! The list of `--container-mounts`, and the plan that comes of it: the lines of
//! the input are the list, the home directory, the working directory, and the
//! MPI library's directories.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use runtime_core::config::SiteConfig;
use runtime_core::path::HostPath;
use runtime_core::plan::NodeFacts;
use runtime_core::plan::mounts::{self, Need};
use runtime_core::request::{
    Access, Create, Identity, ImageName, MountSource, Options, Propagation, Request, UserMount,
};

/// Parses the list and holds it and its plan to what they promise.
///
/// # Panics
/// Where a promise is broken.
pub fn check(data: &[u8]) {
    let mut lines = data.split(|b| *b == b'\n');
    let list = OsStr::from_bytes(lines.next().unwrap_or_default());
    let mut path = || HostPath::new(OsStr::from_bytes(lines.next()?)).ok();
    let facts = NodeFacts {
        home: path(),
        cwd: path(),
        mpi: lines
            .filter_map(|line| HostPath::new(OsStr::from_bytes(line)).ok())
            .collect(),
        ..NodeFacts::default()
    };
    match UserMount::parse_list(list) {
        Ok(list) => {
            for mount in &list {
                if let MountSource::Host(source) = &mount.source {
                    assert_normal(source.as_bytes());
                }
                assert_normal(mount.target.as_bytes());
                assert_ne!(mount.target.as_bytes(), b"/");
            }
            assert_eq!(
                UserMount::parse_list(&print(&list)).as_ref(),
                Ok(&list),
                "what is printed is parsed to the same"
            );
            check_plan(list, &facts);
        }
        // What an entry holds is cleaned where messages are put together.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn assert_normal(path: &[u8]) {
    assert_eq!(path.first(), Some(&b'/'));
    assert!(!path.contains(&0));
    if path != b"/" {
        for part in path.split(|b| *b == b'/').skip(1) {
            assert!(!matches!(part, b"" | b"." | b".."), "{path:?}");
        }
    }
}

fn print(list: &[UserMount]) -> OsString {
    let mut out = Vec::new();
    for mount in list {
        if !out.is_empty() {
            out.push(b',');
        }
        match &mount.source {
            MountSource::Host(source) => out.extend_from_slice(source.as_bytes()),
            MountSource::Relative(source) => out.extend_from_slice(source.as_bytes()),
            word => out.extend_from_slice(word.to_string().as_bytes()),
        }
        out.push(b':');
        out.extend_from_slice(mount.target.as_bytes());
        out.push(b':');
        out.extend_from_slice(flags(mount).join("+").as_bytes());
    }
    OsString::from_vec(out)
}

fn flags(mount: &UserMount) -> Vec<String> {
    let mut flags = vec![match mount.access {
        Access::ReadOnly => "ro".to_owned(),
        Access::ReadWrite => "rw".to_owned(),
    }];
    let mut add = |on: bool, flag: &str| flags.extend(on.then(|| flag.to_owned()));
    add(mount.noexec, "noexec");
    add(mount.optional, "nofail");
    add(mount.create == Create::Directory, "x-create=dir");
    add(mount.create == Create::File, "x-create=file");
    add(mount.propagation == Some(Propagation::Private), "private");
    add(mount.propagation == Some(Propagation::Slave), "slave");
    add(mount.propagation == Some(Propagation::Shared), "shared");
    if let MountSource::Tmpfs { size, mode } = &mount.source {
        flags.extend(size.iter().map(|size| format!("size={size}")));
        flags.extend(mode.iter().map(|mode| format!("mode={mode}")));
    }
    flags
}

fn check_plan(list: Vec<UserMount>, facts: &NodeFacts) {
    let request = request(list);
    let plan = mounts::plan(&request, &SiteConfig::default(), facts);
    for (place, wanted) in request.options.mounts.iter().enumerate() {
        let later = request.options.mounts.iter().skip(place + 1);
        let undone = later
            .filter(|later| later.source == MountSource::Umount)
            .any(|umount| wanted.target.below(&umount.target).is_some());
        if wanted.source == MountSource::Umount || wanted.optional || undone {
            continue;
        }
        let last = plan.iter().rfind(|m| m.target == wanted.target);
        assert!(
            last.is_some(),
            "{}: asked for and not planned",
            wanted.target
        );
        assert!(plan.iter().any(|m| m.need == Need::Asked
            && m.target == wanted.target
            && m.attributes.noexec == wanted.noexec
            && m.attributes.read_only == (wanted.access == Access::ReadOnly)));
    }
    for (place, mount) in plan.iter().enumerate() {
        assert!(mount.attributes.nosuid && mount.attributes.nodev);
        assert_ne!(mount.target.as_bytes(), b"/", "nothing covers the image");
        for later in plan.iter().skip(place + 1) {
            let above = mount.target.below(&later.target);
            assert!(
                above.is_none_or(OsStr::is_empty),
                "{} comes after {}",
                later.target,
                mount.target
            );
        }
    }
}

fn request(mounts: Vec<UserMount>) -> Request {
    Request {
        options: Options {
            image: ImageName::parse(OsStr::new("/x.sif")).ok(),
            mounts,
            ..Options::default()
        },
        identity: Identity {
            uid: 1,
            gid: 1,
            groups: Vec::new(),
        },
        ranks: 1,
        ..Request::default()
    }
}

/// Lists in every form, right and wrong, and places of a node.
///
/// # Panics
/// Where a right one is not accepted.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let right = [
        "/a",
        "/a:/b",
        "/a:/b:ro",
        "/a:/b:ro+rw",
        "/data:/tmp,/x:/tmp/y:rw,/etc/hosts:/etc/hosts:ro",
        "//a///b/./c:/proc:ro,/dev/shm",
        "./a:./b,../c:/d:nofail+noexec+shared",
        "tmpfs:/x:size=64m+mode=0700,umount:/tmp,/a:/b:x-create=file+slave",
    ];
    for list in right {
        UserMount::parse_list(OsStr::new(list)).expect("a seed is a list of mounts");
    }
    let wrong = ["", "a:/b", "/a:/", "/a:/b/../c", "/a,,/b", "/a:/b:rx"];
    let mut seeds = Vec::new();
    for list in right.iter().chain(&wrong) {
        for facts in [
            "",
            "\n/home/a\n/home/a/run\n/spool/pmix.1.0",
            "\n/\n/usr/share",
        ] {
            seeds.push(format!("{list}{facts}").into_bytes());
        }
    }
    seeds
}
