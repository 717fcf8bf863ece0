//! Whose files are read. All of it works for any user: he stands for root.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use tempfile::TempDir;

use super::{Host, Trust};
use crate::error::Problem;
use crate::limits;

fn me() -> Trust {
    Trust::also(rustix::process::geteuid().as_raw())
}

fn root() -> TempDir {
    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(root.path().join("etc/cdi")).expect("directories");
    for directory in ["", "etc", "etc/cdi"] {
        mode(&root.path().join(directory), 0o755);
    }
    write(&root.path().join("etc/cdi/a.yaml"), "text");
    root
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    mode(path, 0o644);
}

fn read(root: &TempDir, path: &str) -> Result<Option<String>, Problem> {
    let bytes = Host::at(root.path(), me())?.read(Path::new(path))?;
    Ok(bytes.map(|bytes| String::from_utf8(bytes).expect("text")))
}

fn text(root: &TempDir, path: &str) -> Option<String> {
    read(root, path).unwrap_or_else(|problem| panic!("{path}: {problem}"))
}

#[test]
fn files_and_links_to_them_are_read() {
    let root = root();
    let at = |path: &str| root.path().join(path);
    assert_eq!(text(&root, "/etc/cdi/a.yaml").as_deref(), Some("text"));
    assert_eq!(text(&root, "/etc/cdi/b.yaml"), None);
    assert_eq!(text(&root, "/nowhere/b.yaml"), None);
    fs::create_dir_all(at("var")).expect("a directory");
    mode(&at("var"), 0o755);
    // As /var/run is: absolute, which means from the host's root.
    symlink("/etc", at("var/run")).expect("a link");
    symlink("../../var/run/./cdi/../cdi/a.yaml", at("etc/cdi/link.yaml")).expect("a link");
    // It cannot leave the root.
    symlink("../../../../../../etc/cdi/a.yaml", at("etc/cdi/up.yaml")).expect("a link");
    for path in [
        "/var/run/cdi/a.yaml",
        "/etc/cdi/link.yaml",
        "/etc/cdi/up.yaml",
    ] {
        assert_eq!(text(&root, path).as_deref(), Some("text"), "{path}");
    }
    symlink("nothing", at("etc/cdi/dangling.yaml")).expect("a link");
    symlink("circle.yaml", at("etc/cdi/circle.yaml")).expect("a link");
    symlink("a.yaml/x", at("etc/cdi/through.yaml")).expect("a link");
    assert!(matches!(
        read(&root, "/etc/cdi/dangling.yaml"),
        Err(Problem::Dangling)
    ));
    assert!(matches!(
        read(&root, "/etc/cdi/circle.yaml"),
        Err(Problem::Links)
    ));
    assert!(matches!(
        read(&root, "/etc/cdi/through.yaml"),
        Err(Problem::NotDirectory(_))
    ));
}

/// As with /var/run/cdi: /var/run is a link, and most nodes have no such directory there.
#[test]
fn what_is_missing_behind_a_link_is_missing() {
    let root = root();
    let at = |path: &str| root.path().join(path);
    std::fs::create_dir_all(at("run/there")).expect("directories");
    mode(&at("run"), 0o755);
    mode(&at("run/there"), 0o755);
    symlink("/run", at("etc/run")).expect("a link");
    symlink("/run/gone", at("etc/gone")).expect("a link");
    let host = Host::at(root.path(), me()).expect("a root");
    let list = |path: &str| host.list(Path::new(path), |_| true);
    assert!(matches!(list("/etc/run/cdi"), Ok(None)));
    assert!(matches!(list("/etc/run/cdi/deeper"), Ok(None)));
    assert!(matches!(list("/etc/run/there"), Ok(Some(_))));
    for path in ["/etc/gone", "/etc/gone/cdi"] {
        assert!(matches!(list(path), Err(Problem::Dangling)), "{path}");
    }
}

#[test]
fn what_others_can_write_is_not_read() {
    let root = root();
    let at = |path: &str| root.path().join(path);
    for (path, bad, good) in [
        ("etc/cdi/a.yaml", 0o664, 0o644),
        ("etc/cdi/a.yaml", 0o646, 0o600),
        ("etc/cdi", 0o775, 0o755),
        ("etc", 0o1777, 0o755),
        ("", 0o777, 0o755),
    ] {
        mode(&at(path), bad);
        let problem = read(&root, "/etc/cdi/a.yaml").expect_err(path);
        let wanted = Path::new("/").join(path);
        assert!(
            matches!(&problem, Problem::Writable(found) if *found == wanted),
            "{problem}"
        );
        mode(&at(path), good);
        assert_eq!(text(&root, "/etc/cdi/a.yaml").as_deref(), Some("text"));
    }
    // Where a link leads counts, not where it lies.
    fs::create_dir_all(at("tmp")).expect("a directory");
    mode(&at("tmp"), 0o1777);
    write(&at("tmp/b.yaml"), "theirs");
    symlink("/tmp/b.yaml", at("etc/cdi/b.yaml")).expect("a link");
    assert!(matches!(
        read(&root, "/etc/cdi/b.yaml"),
        Err(Problem::Writable(_))
    ));
}

#[test]
fn what_others_own_is_not_read() {
    let root = root();
    // Somebody who is not the one who made them, nor root.
    let other = Trust::also(rustix::process::geteuid().as_raw() + 1);
    let host = Host::at(root.path(), other).expect("a host");
    let found = host.read(Path::new("/etc/cdi/a.yaml"));
    if rustix::process::geteuid().is_root() {
        // Root's are believed whoever else is; so the file has to be another's.
        assert!(found.is_ok());
        let theirs = root.path().join("etc/cdi/theirs.yaml");
        write(&theirs, "theirs");
        std::os::unix::fs::chown(&theirs, Some(77), None).expect("chown");
        symlink("a.yaml", root.path().join("etc/cdi/link.yaml")).expect("a link");
        std::os::unix::fs::lchown(root.path().join("etc/cdi/link.yaml"), Some(77), None)
            .expect("chown");
        for path in ["/etc/cdi/theirs.yaml", "/etc/cdi/link.yaml"] {
            let problem = host.read(Path::new(path)).expect_err("refused");
            assert!(matches!(problem, Problem::Owner(_)), "{problem}");
        }
        assert_eq!(Trust::ROOT, Trust::also(0));
    } else {
        assert!(matches!(found, Err(Problem::Owner(path)) if path == Path::new("/")));
    }
}

#[test]
fn only_regular_files_of_a_sensible_length_are_read() {
    let root = root();
    let at = |path: &str| root.path().join(path);
    fs::create_dir(at("etc/cdi/d.yaml")).expect("a directory");
    mode(&at("etc/cdi/d.yaml"), 0o755);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("etc/cdi/pipe.yaml"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a pipe");
    symlink("/etc", at("etc/cdi/e.yaml")).expect("a link");
    for path in ["/etc/cdi/d.yaml", "/etc/cdi/pipe.yaml", "/etc/cdi/e.yaml"] {
        assert!(
            matches!(read(&root, path), Err(Problem::NotRegular)),
            "{path}"
        );
    }
    let long = "x".repeat(usize::try_from(limits::FILE).expect("fits"));
    write(&at("etc/cdi/long.yaml"), &long);
    assert_eq!(
        text(&root, "/etc/cdi/long.yaml").map(|t| t.len()),
        Some(long.len())
    );
    write(&at("etc/cdi/long.yaml"), &format!("{long}x"));
    assert!(matches!(
        read(&root, "/etc/cdi/long.yaml"),
        Err(Problem::TooLong)
    ));
}

#[test]
fn directories_are_listed_by_name() {
    let root = root();
    let at = |path: &str| root.path().join(path);
    for name in ["c.yaml", "b.yaml", "b.json"] {
        write(&at("etc/cdi").join(name), "");
    }
    fs::create_dir(at("etc/cdi/sub.yaml")).expect("a directory");
    let host = Host::at(root.path(), me()).expect("a host");
    let list = |path: &str| {
        host.list(Path::new(path), |name| {
            name.extension().is_some_and(|e| e == "yaml")
        })
    };
    let (names, is_cut) = list("/etc/cdi").expect("a list").expect("a directory");
    assert_eq!(names, ["a.yaml", "b.yaml", "c.yaml"]);
    assert!(!is_cut);
    assert!(list("/none").expect("nothing").is_none());
    assert!(matches!(
        list("/etc/cdi/a.yaml"),
        Err(Problem::NotDirectory(_))
    ));
    for number in 0..limits::ENTRIES {
        fs::write(at("etc/cdi").join(number.to_string()), "").expect("a file");
    }
    let (_, is_cut) = list("/etc/cdi").expect("a list").expect("a directory");
    assert!(is_cut);
}
