//! Specs of the Container Device Interface, and what becomes of all their devices.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use cdi_specs::{Edits, Format, QualifiedName, Registry, Spec, Wanted, hooks};

use crate::assert_one_line;

/// Files with NUL between them, of one directory each, so that later ones win; what
/// starts with a brace is JSON.
fn registry(data: &[u8]) -> Registry {
    let mut registry = Registry::default();
    for (priority, bytes) in data.split(|byte| *byte == 0).enumerate() {
        let format = match bytes.first() {
            Some(b'{') => Format::Json,
            _ => Format::Yaml,
        };
        // Two of a directory, for conflicts.
        let priority = priority / 2;
        match Spec::parse(bytes, format, Path::new("/etc/cdi/x")) {
            Ok(spec) => registry.add(spec, priority),
            Err(problem) => assert_one_line(&problem),
        }
    }
    registry
}

/// Reads the bytes as specs and asks for every device, alone and with all others.
///
/// # Panics
/// Where a path leads elsewhere, where something is there twice, where a device is not
/// within its own nodes or within nothing, or where a message is more than a line.
pub fn check(data: &[u8]) {
    let registry = registry(data);
    registry
        .conflicts()
        .for_each(|error| assert_one_line(&error));
    let names: Vec<QualifiedName> = registry.devices().cloned().collect();
    check_edits(&registry.resolve(&names).expect("each is usable"));
    // Each device is compared with all others; more of them say nothing new.
    for name in names.iter().take(16) {
        assert_eq!(name.to_string().parse::<QualifiedName>().as_ref(), Ok(name));
        check_edits(
            &registry
                .resolve(std::slice::from_ref(name))
                .expect("usable"),
        );
        check_nodes(&registry, name);
    }
}

fn check_edits(edits: &Edits) {
    let nodes = edits
        .device_nodes
        .iter()
        .flat_map(|node| [&node.path, &node.host_path]);
    let mounts = edits
        .mounts
        .iter()
        .flat_map(|mount| [&mount.host_path, &mount.container_path]);
    for path in nodes.chain(mounts) {
        assert!(path.is_absolute(), "{path:?}");
        assert!(
            !path.components().any(|part| part == Component::ParentDir),
            "{path:?}"
        );
    }
    let mut places = HashSet::new();
    for mount in &edits.mounts {
        assert!(places.insert(&mount.container_path), "{mount:?}");
        // Parents come first: none of the later ones covers this one.
        let is_covered = |place: &&PathBuf| {
            **place != mount.container_path && place.starts_with(&mount.container_path)
        };
        assert!(!places.iter().any(is_covered), "{mount:?}");
    }
    let mut names = HashSet::new();
    assert!(
        edits
            .env
            .iter()
            .all(|variable| names.insert(&variable.name))
    );
    assert!(!edits.additional_gids.contains(&0));
    for hook in &edits.hooks {
        match hooks::classify(hook) {
            Ok(hooks::Native::Symlinks(links)) => {
                assert!(links.iter().all(|link| link.link.is_absolute()));
            }
            Ok(_) => (),
            Err(foreign) => assert_one_line(&foreign),
        }
    }
}

fn check_nodes(registry: &Registry, name: &QualifiedName) {
    let own: Vec<PathBuf> = registry
        .nodes_of(name)
        .expect("usable")
        .into_iter()
        .map(Path::to_owned)
        .collect();
    let nothing = registry.within(name, &[]).expect_err("nothing was granted");
    assert_one_line(&nothing);
    assert_eq!(
        registry.within(name, &own).is_ok(),
        !own.is_empty(),
        "{name} of {own:?}"
    );
    if own.is_empty() {
        return;
    }
    let wanted = Wanted {
        nodes: &own,
        ..Wanted::default()
    };
    let chosen = registry
        .choose(name.kind(), &wanted)
        .expect("at least this one");
    assert!(
        registry.within(chosen, &own).is_ok(),
        "{chosen} for {own:?}"
    );
}

/// The generators' forms, conflicts, and mistakes.
///
/// # Panics
/// Where a good one is not understood.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let good = [
        include_str!("../../cdi/tests/data/nvidia.yaml"),
        include_str!("../../cdi/tests/data/amd.json"),
        include_str!("../../cdi/tests/data/intel.yaml"),
        "cdiVersion: 1.1.0\nkind: v.com/c\ndevices:\n- {name: '0', containerEdits: {env: [A=1], deviceNodes: [{path: /dev/a0, hostPath: /dev/b0, type: c, major: 1, minor: 0660, permissions: rw}], hooks: [{hookName: createContainer, path: /usr/bin/nvidia-ctk, args: [nvidia-ctk, hook, chmod, --mode, '755', --path, /dev/dri], timeout: 3}], intelRdt: {closID: x, schemata: []}, additionalGids: [0, 1], netDevices: [{hostInterfaceName: a, name: b}]}}\n- {name: all, containerEdits: {deviceNodes: [{path: /dev/a0}, {path: /dev/a1}]}}\n",
    ];
    let wrong = [
        "cdiVersion: 0.3.0\nkind: v/c\ndevices: [*a]\n",
        "cdiVersion: 9\n--- |\n x\n",
        "{\"cdiVersion\": \"0.6.0\", \"kind\": \"v/c\", \"devices\": [[]]}",
    ];
    for text in good {
        assert!(
            registry(text.as_bytes()).devices().next().is_some(),
            "{text}"
        );
    }
    let twice = [good[3], good[3], good[3]].join("\0");
    let all = good
        .iter()
        .chain(&wrong)
        .map(|text| text.as_bytes().to_vec());
    all.chain([twice.into_bytes()]).collect()
}
