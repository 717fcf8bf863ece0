//! The list of `--container-mounts`, and the plan that comes of it: the lines of
//! the input are the list, the home directory, the working directory, and the
//! MPI library's directories.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use runtime_core::config::SiteConfig;
use runtime_core::path::HostPath;
use runtime_core::plan::NodeFacts;
use runtime_core::plan::mounts::{self, Need};
use runtime_core::request::{Access, Identity, ImageName, Options, Request, UserMount};

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
    };
    match UserMount::parse_list(list) {
        Ok(list) => {
            for mount in &list {
                assert_normal(mount.source.as_bytes());
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
        out.extend_from_slice(mount.source.as_bytes());
        out.push(b':');
        out.extend_from_slice(mount.target.as_bytes());
        out.extend_from_slice(match mount.access {
            Access::ReadOnly => b":ro",
            Access::ReadWrite => b":rw",
        });
    }
    OsString::from_vec(out)
}

fn check_plan(list: Vec<UserMount>, facts: &NodeFacts) {
    let request = request(list);
    let plan = mounts::plan(&request, &SiteConfig::default(), facts);
    for wanted in &request.options.mounts {
        let last = plan.iter().rfind(|m| m.target == wanted.target);
        let last = last.expect("what the user asked for is planned");
        assert_eq!(last.need, Need::Asked, "{}", wanted.target);
        assert!(plan.iter().any(|m| m.source == wanted.source
            && m.target == wanted.target
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
            image: ImageName::parse(OsStr::new("/x.sif")).expect("a name"),
            mounts,
            workdir: None,
            stage: None,
        },
        identity: Identity {
            uid: 1,
            gid: 1,
            groups: Vec::new(),
        },
        environment: Vec::new(),
        program: None,
        script: None,
        mpi: None,
        ranks: 1,
        job: 0,
        label: String::new(),
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
