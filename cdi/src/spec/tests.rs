//! Which specs are accepted, and what is said of the others.

use std::path::Path;

use crate::edits::{Access, NodeKind, Stage};
use crate::limits;
use crate::spec::{Format, Spec};
use crate::testing::{refused, spec};

/// A spec of one device with these edits.
fn with(version: &str, edits: &str) -> String {
    format!(
        "cdiVersion: {version}\nkind: v.com/c\ndevices:\n- name: a\n  containerEdits: {edits}\n"
    )
}

#[test]
fn every_field_is_read() {
    let text = r#"{"cdiVersion": "1.1.0", "kind": "v.com/c", "annotations": {"a.b/c": "x"},
      "containerEdits": {"env": ["A=b=c", "E="]},
      "devices": [{"name": "0:1", "annotations": null, "containerEdits": {
        "deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/y", "type": "u", "major": 195, "minor": 3,
          "fileMode": 69206448, "permissions": "rw", "uid": 0, "gid": 44}, {"path": "/dev/z", "permissions": "none"}],
        "mounts": [{"hostPath": "/a", "containerPath": "/b/", "options": ["ro", "bind"], "type": "none"}],
        "hooks": [{"hookName": "createContainer", "path": "/h", "args": ["h"], "env": ["X=1"], "timeout": 5}],
        "netDevices": [{"hostInterfaceName": "eth1", "name": "net0"}],
        "additionalGids": [0, 44],
        "intelRdt": {"closID": "c", "l3CacheSchema": "l", "memBwSchema": "m", "schemata": ["s"], "enableMonitoring": true}
      }}]}"#;
    let json = Spec::parse(text.as_bytes(), Format::Json, Path::new("/x")).expect("a spec");
    // JSON is YAML.
    let yaml = Spec::parse(text.as_bytes(), Format::Yaml, Path::new("/x")).expect("a spec");
    assert_eq!(json, yaml);
    assert_eq!(json.kind.to_string(), "v.com/c");
    assert_eq!(json.version.to_string(), "1.1.0");
    assert_eq!(json.edits.env[0].value, "b=c");
    assert_eq!(json.edits.env[1].value, "");
    let edits = &json.devices[0].edits;
    let node = &edits.device_nodes[0];
    assert_eq!(node.kind, Some(NodeKind::Character));
    assert_eq!(node.numbers, Some((195, 3)));
    assert_eq!(
        (node.mode, node.uid, node.gid),
        (Some(0o660), Some(0), Some(44))
    );
    let access = |read, write, mknod| Access { read, write, mknod };
    assert_eq!(node.access, access(true, true, false));
    assert_eq!(edits.device_nodes[1].access, access(false, false, false));
    assert_eq!(edits.device_nodes[1].numbers, None);
    assert_eq!(edits.mounts[0].container_path, Path::new("/b"));
    assert!(edits.mounts[0].is_bind());
    assert_eq!(edits.hooks[0].stage, Stage::CreateContainer);
    assert_eq!(edits.hooks[0].timeout.map(u64::from), Some(5));
    assert_eq!(edits.additional_gids, [44]);
    let rdt = edits.intel_rdt.as_ref().expect("kept");
    assert!(rdt.is_monitored && rdt.clos_id == "c" && rdt.schemata == ["s"]);
}

#[test]
fn a_field_needs_its_version() {
    let cases = [
        (
            "0.3.0",
            "0.4.0",
            "{mounts: [{hostPath: /a, containerPath: /b, type: tmpfs}]}",
        ),
        (
            "0.4.0",
            "0.5.0",
            "{deviceNodes: [{path: /a, hostPath: /b}]}",
        ),
        ("0.6.0", "0.7.0", "{intelRdt: {}}"),
        ("0.6.0", "0.7.0", "{additionalGids: [1]}"),
        (
            "1.0.0",
            "1.1.0",
            "{netDevices: [{hostInterfaceName: a, name: b}]}",
        ),
        ("1.0.0", "1.1.0", "{intelRdt: {schemata: []}}"),
        ("1.0.0", "1.1.0", "{intelRdt: {enableMonitoring: true}}"),
    ];
    for (before, since, edits) in cases {
        spec(&with(since, edits));
        let said = refused(&with(before, edits));
        let wanted = format!("needs cdiVersion {since} or later, the file has {before}");
        assert!(said.contains(&wanted), "{said}");
        // The same of the whole spec.
        let whole = |version| {
            let device = "devices: [{name: a, containerEdits: {env: [A=1]}}]";
            format!("cdiVersion: {version}\nkind: v/c\ncontainerEdits: {edits}\n{device}\n")
        };
        spec(&whole(since));
        assert!(refused(&whole(before)).contains(&wanted));
    }
    let named = |version: &str, kind: &str, device: &str| {
        format!(
            "cdiVersion: {version}\nkind: {kind}\ndevices: [{{{device}, containerEdits: {{env: [A=1]}}}}]\n"
        )
    };
    let cases = [
        ("0.4.0", "0.5.0", "v/c", "name: 0a"),
        ("0.5.0", "0.6.0", "v/c.d", "name: a"),
        ("0.5.0", "0.6.0", "v/c", "name: a, annotations: {k: v}"),
    ];
    for (before, since, kind, device) in cases {
        spec(&named(since, kind, device));
        let said = refused(&named(before, kind, device));
        assert!(
            said.contains(&format!("needs cdiVersion {since}")),
            "{said}"
        );
    }
    // Dropped with 1.1.0.
    let old = "{intelRdt: {enableCMT: true, enableMBM: false}}";
    assert!(
        spec(&with("1.0.0", old)).devices[0]
            .edits
            .intel_rdt
            .as_ref()
            .is_some_and(|r| r.is_monitored)
    );
    assert!(refused(&with("1.1.0", old)).contains("no more since 1.1.0"));
}

#[test]
fn versions_are_the_known_ones() {
    let edits = "{env: [A=1]}";
    for good in ["0.3.0", "0.8.0", "1.0.0", "1.1.0", "v0.6.0"] {
        spec(&with(good, edits));
    }
    for bad in [
        "0.1.0",
        "0.2.0",
        "1.2.0",
        "1.0",
        "1",
        "''",
        "vv1.0.0",
        "\"0.5.0\\n\"",
    ] {
        let said = refused(&with(bad, edits));
        assert!(said.contains("known are 0.3.0 to 1.1.0"), "{said}");
    }
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let cases = [
        (
            "{env: [A]}",
            "device \"a\": env: \"A\" is not of the form NAME=VALUE",
        ),
        ("{env: [=A]}", "is not of the form"),
        (
            "{deviceNodes: [{path: dev/x}]}",
            "deviceNodes: path \"dev/x\" must be absolute",
        ),
        ("{deviceNodes: [{}]}", "the path is empty"),
        (
            "{deviceNodes: [{path: /dev/x, hostPath: /dev/../x}]}",
            "must not have ..",
        ),
        (
            "{deviceNodes: [{path: /dev/x, type: d}]}",
            "type \"d\" is none of",
        ),
        (
            "{deviceNodes: [{path: /dev/x, major: -1}]}",
            "-1 is no device's number",
        ),
        (
            "{deviceNodes: [{path: /dev/x, minor: 4294967296}]}",
            "4294967296 is no device's number",
        ),
        (
            "{deviceNodes: [{path: /dev/x, permissions: rwx}]}",
            "permissions \"rwx\"",
        ),
        (
            "{mounts: [{hostPath: a, containerPath: /b}]}",
            "mounts: host: path \"a\" must be absolute",
        ),
        (
            "{mounts: [{hostPath: /a, containerPath: ../b}]}",
            "container: path \"../b\" must be absolute",
        ),
        (
            "{mounts: [{hostPath: /a, containerPath: /}]}",
            "the whole container cannot be covered",
        ),
        ("{mounts: [{hostPath: /a}]}", "container: the path is empty"),
        (
            "{hooks: [{hookName: create, path: /h}]}",
            "hooks: hookName \"create\" is none",
        ),
        ("{hooks: [{hookName: poststop}]}", "the path is empty"),
        (
            "{hooks: [{hookName: poststop, path: h}]}",
            "must be absolute",
        ),
        (
            "{hooks: [{hookName: poststop, path: /h, timeout: 0}]}",
            "timeout 0 must be",
        ),
        (
            "{hooks: [{hookName: poststop, path: /h, env: [x]}]}",
            "not of the form NAME=VALUE",
        ),
        ("{intelRdt: {closID: a/b}}", "closID \"a/b\""),
        (
            "{netDevices: [{hostInterfaceName: '', name: a}]}",
            "\"\" is no interface's name",
        ),
        (
            "{netDevices: [{hostInterfaceName: a, name: b}, {hostInterfaceName: a, name: c}]}",
            "netDevices: \"a\" is there twice",
        ),
        ("{}", "device \"a\": its containerEdits are empty"),
        ("{additionalGids: [0]}", "its containerEdits are empty"),
        ("{ENV: [A=1]}", "line 5: unknown field `ENV`"),
        ("{env: A=1}", "line 5: invalid type: string"),
        ("{additionalGids: [-1]}", "line 5: invalid value"),
        (
            "[[A=1]]",
            "line 5: invalid type: sequence, expected a mapping",
        ),
        (
            "{deviceNodes: [[/dev/x]]}",
            "invalid type: sequence, expected a mapping",
        ),
        ("{env: [A=1], env: [B=1]}", "line 5: duplicate field `env`"),
    ];
    for (edits, part) in cases {
        let said = refused(&with("1.1.0", edits));
        assert!(said.contains(part), "{edits}: {said}");
    }
}

#[test]
fn a_spec_is_whole() {
    let good = "cdiVersion: 0.6.0\nkind: v/c\ndevices: [{name: a, containerEdits: {env: [A=1]}}]\n";
    spec(good);
    let cases = [
        ("cdiVersion: 0.6.0\n", "", "missing field `cdiVersion`"),
        ("kind: v/c\n", "", "missing field `kind`"),
        ("kind: v/c", "kind: v", "kind \"v\" is not of the form"),
        ("kind: v/c", "kind: v/-c", "must start with a letter"),
        ("kind: v/c", "kind: v/c\nmore: 1", "unknown field `more`"),
        ("name: a", "name: a/b", "must not have '/'"),
        ("name: a", "name: ''", "must start with"),
        ("name: a", "name: a, x: 1", "unknown field `x`"),
        (
            "devices: [",
            "devices: [{name: a, containerEdits: {env: [A=1]}}, ",
            "device \"a\" is there twice",
        ),
        (
            "name: a",
            "name: a, annotations: {-x: y}",
            "annotation \"-x\"",
        ),
        (
            "name: a",
            "name: a, annotations: {a/b/c: y}",
            "annotation \"a/b/c\"",
        ),
        (
            "name: a",
            "name: a, annotations: {a..b/c: y}",
            "annotation \"a..b/c\"",
        ),
        (
            "name: a",
            "name: a, annotations: {a: [1]}",
            "invalid type: sequence",
        ),
    ];
    for (from, to, part) in cases {
        let text = good.replace(from, to);
        assert_ne!(text, good);
        let said = refused(&text);
        assert!(said.contains(part), "{text}: {said}");
    }
    for none in ["devices: []", "devices:", "devices: null"] {
        let said = refused(&format!("cdiVersion: 0.6.0\nkind: v/c\n{none}\n"));
        assert_eq!(said, "it has no devices");
    }
    let long = format!("annotations: {{k: {}}}", "x".repeat(limits::ANNOTATIONS));
    assert!(refused(&format!("{good}{long}\n")).contains("annotations of more than 256 KiB"));
}

#[test]
fn bytes_that_are_no_spec_are_refused() {
    let path = Path::new("/x");
    let huge = vec![b' '; usize::try_from(limits::FILE).expect("fits") + 1];
    let cases: [(&[u8], &str); 4] = [
        (b"\xff", "not UTF-8"),
        (&huge, "longer than 2 MiB"),
        (b"", ""),
        (b"[1]", "invalid type: sequence, expected a mapping"),
    ];
    for format in [Format::Json, Format::Yaml] {
        for (bytes, part) in cases {
            let said = Spec::parse(bytes, format, path)
                .expect_err("refused")
                .to_string();
            assert!(said.contains(part), "{said}");
            assert!(!said.contains('\n'), "{said:?}");
        }
    }
    let deep = "[".repeat(500_000);
    let text = format!("{{\"cdiVersion\": {deep}");
    assert!(Spec::parse(text.as_bytes(), Format::Json, path).is_err());
    assert!(Spec::parse(deep.as_bytes(), Format::Yaml, path).is_err());
    let trailing = r#"{"cdiVersion":"0.6.0","kind":"v/c","devices":[{"name":"a","containerEdits":{"env":["A=1"]}}]} x"#;
    assert!(Spec::parse(trailing.as_bytes(), Format::Json, path).is_err());
}

#[test]
fn a_files_name_tells_its_format() {
    let cases = [
        ("a.json", Some(Format::Json)),
        ("a.b.yaml", Some(Format::Yaml)),
        ("a.yml", Some(Format::Yaml)),
        (".yaml", Some(Format::Yaml)),
        ("a.yaml.swp", None),
        ("a.YAML", None),
        ("json", None),
    ];
    for (name, format) in cases {
        assert_eq!(Format::of(Path::new(name)), format, "{name}");
    }
}
