//! Directories, their order, conflicts and errors.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

use crate::host::Trust;
use crate::limits;
use crate::registry::Registry;
use crate::{DIRECTORIES, QualifiedName};

fn spec(kind: &str, spec_env: &str, devices: &[(&str, &str)]) -> String {
    let mut text = format!(
        "cdiVersion: 0.6.0\nkind: {kind}\ncontainerEdits: {{env: [{spec_env}]}}\ndevices:\n"
    );
    for (name, env) in devices {
        text.push_str(&format!(
            "- {{name: '{name}', containerEdits: {{env: [{env}]}}}}\n"
        ));
    }
    text
}

fn host(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().expect("a directory");
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(&path, text).expect("a file");
        for place in path.ancestors().take_while(|p| p.starts_with(root.path())) {
            let mode = if place.is_dir() { 0o755 } else { 0o644 };
            fs::set_permissions(place, Permissions::from_mode(mode)).expect("a mode");
        }
    }
    root
}

fn load(root: &TempDir) -> Registry {
    let me = Trust::also(rustix::process::geteuid().as_raw());
    Registry::load(root.path(), &DIRECTORIES, me)
}

fn name(text: &str) -> QualifiedName {
    text.parse().expect("a name")
}

fn env(registry: &Registry, names: &[&str]) -> Vec<String> {
    let names: Vec<_> = names.iter().map(|text| name(text)).collect();
    let edits = registry.resolve(&names).expect("resolved");
    edits
        .env
        .iter()
        .map(|v| format!("{}={}", v.name, v.value))
        .collect()
}

#[test]
fn nothing_is_no_error() {
    let root = tempfile::tempdir().expect("a directory");
    let registry = load(&root);
    assert!(registry.errors().is_empty());
    assert_eq!(registry.devices().count(), 0);
    let said = registry.find(&name("v/c=a")).expect_err("none").to_string();
    assert_eq!(said, "CDI device v/c=a: no spec has a device of this kind");
    assert!(
        !Registry::load(Path::new("/none/such"), &DIRECTORIES, Trust::ROOT)
            .errors()
            .is_empty()
    );
}

#[test]
fn later_directories_win() {
    let root = host(&[
        (
            "etc/cdi/a.yaml",
            &spec("v/c", "S=etc", &[("a", "D=etc"), ("b", "D=b")]),
        ),
        (
            "var/run/cdi/z.json",
            r#"{"cdiVersion": "0.6.0", "kind": "v/c", "devices": [{"name": "a", "containerEdits": {"env": ["D=run"]}}]}"#,
        ),
        ("etc/cdi/other.yml", &spec("w/d", "S=w", &[("x", "X=1")])),
        ("etc/cdi/notes.txt", "no spec"),
    ]);
    let registry = load(&root);
    assert!(registry.errors().is_empty(), "{:?}", registry.errors());
    let names: Vec<String> = registry.devices().map(ToString::to_string).collect();
    assert_eq!(names, ["v/c=a", "v/c=b", "w/d=x"]);
    let kinds: Vec<String> = registry.kinds().iter().map(ToString::to_string).collect();
    assert_eq!(kinds, ["v/c", "w/d"]);
    assert_eq!(env(&registry, &["v/c=a"]), ["D=run"]);
    // A spec's own edits come once, before those of its first device.
    assert_eq!(
        env(&registry, &["v/c=b", "w/d=x", "v/c=b"]),
        ["S=w", "D=b", "X=1"]
    );
    let found = registry.find(&name("v/c=a")).expect("found");
    assert_eq!(found.spec.path, Path::new("/var/run/cdi/z.json"));
    assert_eq!(registry.specs().len(), 3);
    let said = registry.find(&name("v/c=q")).expect_err("none").to_string();
    assert_eq!(said, "CDI device v/c=q: no spec has it");
}

#[test]
fn a_conflict_takes_the_device_and_no_other() {
    let one = spec("v/c", "S=1", &[("a", "D=1"), ("b", "D=1")]);
    let two = spec("v/c", "S=2", &[("a", "D=2"), ("c", "D=2")]);
    let root = host(&[
        ("etc/cdi/1.yaml", &one),
        ("etc/cdi/2.yaml", &two),
        ("etc/cdi/3.yaml", &two),
    ]);
    let registry = load(&root);
    let names: Vec<String> = registry.devices().map(ToString::to_string).collect();
    assert_eq!(names, ["v/c=b"]);
    let said: Vec<String> = registry.conflicts().map(|c| c.to_string()).collect();
    assert_eq!(
        said,
        [
            "CDI device v/c=a: both /etc/cdi/1.yaml and /etc/cdi/2.yaml have it; remove one of them",
            "CDI device v/c=c: both /etc/cdi/2.yaml and /etc/cdi/3.yaml have it; remove one of them",
        ]
    );
    let resolved = registry.resolve(&[name("v/c=b"), name("v/c=a")]);
    assert_eq!(resolved.expect_err("a conflict").to_string(), said[0]);
    // A more important directory settles it.
    let winner = spec("v/c", "S=3", &[("a", "D=3")]);
    let root = host(&[
        ("etc/cdi/1.yaml", &one),
        ("etc/cdi/2.yaml", &two),
        ("var/run/cdi/a.yaml", &winner),
    ]);
    assert_eq!(env(&load(&root), &["v/c=a"]), ["S=3", "D=3"]);
}

#[test]
fn a_wrong_file_takes_no_other_with_it() {
    let root = host(&[
        ("etc/cdi/1.yaml", "cdiVersion: 9\n"),
        ("etc/cdi/2.yaml", &spec("v/c", "S=1", &[("a", "D=1")])),
        ("etc/cdi/3.json", "{"),
    ]);
    let open = root.path().join("var/run/cdi");
    fs::create_dir_all(&open).expect("directories");
    fs::set_permissions(root.path().join("var"), Permissions::from_mode(0o755)).expect("a mode");
    fs::set_permissions(root.path().join("var/run"), Permissions::from_mode(0o755))
        .expect("a mode");
    fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("a mode");
    let registry = load(&root);
    let said: Vec<String> = registry.errors().iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].starts_with("/etc/cdi/1.yaml: line "), "{said:?}");
    assert!(said[1].starts_with("/etc/cdi/3.json: "), "{said:?}");
    assert!(
        said[2].starts_with("/var/run/cdi: others than its owner can write"),
        "{said:?}"
    );
    assert_eq!(env(&registry, &["v/c=a"]), ["S=1", "D=1"]);
    // Who asks for what might be in them hears of them.
    let missing = registry.find(&name("v/c=b")).expect_err("none").to_string();
    assert!(
        missing.starts_with(
            "CDI device v/c=b: no spec has it; 3 cannot be used, the first: /etc/cdi/1.yaml: "
        ),
        "{missing}"
    );
    assert!(!missing.contains('\n'));
}

#[test]
fn there_are_bounds() {
    let files: Vec<(String, String)> = (0..limits::FILES + 5)
        .map(|n| {
            (
                format!("etc/cdi/{n:04}.yaml"),
                spec(&format!("v/c{n}"), "", &[("a", "A=1")]),
            )
        })
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let registry = load(&host(&files));
    assert_eq!(registry.devices().count(), limits::FILES);
    assert_eq!(registry.errors().len(), 1);
    assert!(
        registry.errors()[0]
            .to_string()
            .contains("more than 128 spec files")
    );

    let names: Vec<String> = (0..limits::DEVICES).map(|n| format!("d{n}")).collect();
    let devices: Vec<(&str, &str)> = names.iter().map(|n| (n.as_str(), "A=1")).collect();
    let root = host(&[
        ("etc/cdi/1.yaml", &spec("v/c", "", &devices)),
        ("etc/cdi/2.yaml", &spec("w/c", "", &[("a", "A=1")])),
    ]);
    let registry = load(&root);
    assert_eq!(registry.devices().count(), limits::DEVICES);
    assert!(
        registry.errors()[0]
            .to_string()
            .starts_with("/etc/cdi/2.yaml: more than 4096 devices")
    );
}
