//! Trees of real files.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// Files with these texts, which are root's as far as [`Host`] knows.
pub(crate) fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
    let place = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = place.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    }
    let host = Host::at(place.path()).unwrap();
    (place, host)
}

#[test]
fn only_what_root_wrote_is_read() {
    let (place, host) = tree(&[("etc/a", "text")]);
    assert_eq!(host.read(Path::new("/etc/a"), 4).unwrap(), b"text");
    let long = host.read(Path::new("/etc/a"), 3).unwrap_err();
    assert!(matches!(long, ReadError::TooLong { most: 3, .. }), "{long}");
    let writable = Permissions::from_mode(0o664);
    std::fs::set_permissions(place.path().join("etc/a"), writable).unwrap();
    let refused = host.read(Path::new("/etc/a"), 4).unwrap_err();
    assert!(matches!(refused, ReadError::NotRoots(_)), "{refused}");
    assert_eq!(host.look_into(Path::new("/etc/a"), 4).unwrap(), b"text");
    let another = Host {
        owner: host.owner + 1,
        ..host.clone()
    };
    assert!(another.read(Path::new("/etc/a"), 4).is_err());
    let refused = host.read(Path::new("/etc"), 4).unwrap_err();
    assert!(matches!(refused, ReadError::NoFile(_)), "{refused}");
    assert!(host.read(Path::new("/none"), 4).unwrap_err().is_missing());
}

#[test]
fn a_pipe_is_not_waited_for() {
    let (place, host) = tree(&[]);
    let pipe = place.path().join("pipe");
    rustix::fs::mknodat(
        CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        Mode::RUSR | Mode::WUSR,
        0,
    )
    .unwrap();
    let refused = host.read(Path::new("/pipe"), 4).unwrap_err();
    assert!(matches!(refused, ReadError::NoFile(_)), "{refused}");
}

#[test]
fn links_stay_in_the_tree() {
    let (place, host) = tree(&[("etc/passwd", "ours")]);
    symlink("/etc/passwd", place.path().join("absolute")).unwrap();
    symlink("../../../etc/passwd", place.path().join("upwards")).unwrap();
    for link in ["/absolute", "/upwards", "/../../etc/passwd"] {
        assert_eq!(host.read(Path::new(link), 9).unwrap(), b"ours", "{link}");
    }
}

#[test]
fn patterns_stand_for_files_in_order() {
    let (_place, host) = tree(&[
        ("a/x1.conf", ""),
        ("a/x2.conf", ""),
        ("a/.x3.conf", ""),
        ("b/x1.conf", ""),
        ("b/y", ""),
    ]);
    let shown = |pattern: &str| -> Vec<String> {
        let found = host.glob(Path::new(pattern));
        found.iter().map(|p| p.display().to_string()).collect()
    };
    assert_eq!(shown("/a/*.conf"), ["/a/x1.conf", "/a/x2.conf"]);
    assert_eq!(shown("/*/x1.conf"), ["/a/x1.conf", "/b/x1.conf"]);
    assert_eq!(shown("/[!a]/?"), ["/b/y"]);
    assert_eq!(shown("/a/.*"), ["/a/.x3.conf"]);
    assert_eq!(shown("/b/y"), ["/b/y"]);
    assert!(shown("/b/none").is_empty() && shown("/none/*").is_empty());
}
