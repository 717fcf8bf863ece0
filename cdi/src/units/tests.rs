//! What lies within an allocation, for each way in which devices share nodes.

use std::path::PathBuf;

use crate::registry::Registry;
use crate::testing::spec;

/// Devices by name with their nodes; all in one spec, which has /dev/shared.
fn registry(devices: &[(&str, &[&str])]) -> Registry {
    let mut text = String::from(
        "cdiVersion: 0.6.0\nkind: v/c\ncontainerEdits: {deviceNodes: [{path: /dev/shared}]}\ndevices:\n",
    );
    for (name, nodes) in devices {
        let nodes: Vec<String> = nodes
            .iter()
            .map(|node| format!("{{path: {node}}}"))
            .collect();
        let env = if nodes.is_empty() {
            "env: [A=1]"
        } else {
            "env: []"
        };
        text.push_str(&format!(
            "- {{name: '{name}', containerEdits: {{{env}, deviceNodes: [{}]}}}}\n",
            nodes.join(", ")
        ));
    }
    let mut registry = Registry::default();
    registry.add(spec(&text), 0);
    registry
}

fn is_within(registry: &Registry, device: &str, granted: &[&str]) -> bool {
    let name = format!("v/c={device}").parse().expect("a name");
    let granted: Vec<PathBuf> = granted.iter().map(PathBuf::from).collect();
    registry.within(&name, &granted).is_ok()
}

fn own(registry: &Registry, device: &str) -> Vec<String> {
    let name = format!("v/c={device}").parse().expect("a name");
    let nodes = registry.nodes_of(&name).expect("a device");
    nodes
        .iter()
        .map(|node| node.display().to_string())
        .collect()
}

const N0: &str = "/dev/nvidia0";
const N1: &str = "/dev/nvidia1";
const CAP: [&str; 4] = [
    "/dev/nvidia-caps/nvidia-cap12",
    "/dev/nvidia-caps/nvidia-cap13",
    "/dev/nvidia-caps/nvidia-cap21",
    "/dev/nvidia-caps/nvidia-cap22",
];

#[test]
fn gpus_with_one_node_each() {
    let two = registry(&[
        ("0", &[N0]),
        ("GPU-a", &[N0]),
        ("1", &[N1, "/dev/shared"]),
        ("all", &[N0, N1]),
    ]);
    assert_eq!(own(&two, "0"), [N0]);
    assert_eq!(own(&two, "1"), [N1]);
    assert_eq!(own(&two, "all"), [N0, N1]);
    assert!(is_within(&two, "0", &[N0]));
    assert!(is_within(&two, "GPU-a", &[N0]));
    assert!(!is_within(&two, "1", &[N0]));
    assert!(!is_within(&two, "all", &[N0]));
    assert!(is_within(&two, "all", &[N1, N0]));
    assert!(!is_within(&two, "0", &[]));
    let one = registry(&[("0", &[N0]), ("all", &[N0])]);
    assert_eq!(own(&one, "0"), [N0]);
    assert!(is_within(&one, "all", &[N0]));
    assert!(!is_within(&one, "all", &[N1]));
}

#[test]
fn the_error_names_what_was_not_granted() {
    let two = registry(&[("0", &[N0]), ("all", &[N0, N1])]);
    let all = "v/c=all".parse().expect("a name");
    let said = two
        .within(&all, &[PathBuf::from(N0)])
        .expect_err("refused")
        .to_string();
    assert_eq!(
        said,
        "CDI device v/c=all is not within the allocation: it has /dev/nvidia1"
    );
    let said = two.within(&all, &[]).expect_err("refused").to_string();
    assert!(
        said.ends_with("it has /dev/nvidia0, /dev/nvidia1"),
        "{said}"
    );
}

#[test]
fn parts_of_a_gpu() {
    let gpu = [N0, CAP[0], CAP[1], CAP[2], CAP[3]];
    let parts = registry(&[
        ("0:0", &[N0, CAP[0], CAP[1]]),
        ("0:1", &[N0, CAP[2], CAP[3]]),
        ("all", &gpu),
    ]);
    // The GPU's node tells no part from another.
    assert_eq!(own(&parts, "0:1"), [CAP[2], CAP[3]]);
    let first = [N0, CAP[0], CAP[1]];
    assert!(is_within(&parts, "0:0", &first));
    assert!(!is_within(&parts, "0:1", &first));
    assert!(!is_within(&parts, "all", &first));
    assert!(!is_within(&parts, "0:0", &[N0]));
    assert!(is_within(&parts, "all", &gpu));
    // With a second GPU it does.
    let mixed = registry(&[
        ("0:0", &[N0, CAP[0], CAP[1]]),
        ("0:1", &[N0, CAP[2], CAP[3]]),
        ("1", &[N1]),
    ]);
    assert_eq!(own(&mixed, "0:0"), [CAP[0], CAP[1], N0]);
    assert!(is_within(&mixed, "0:0", &first));
    assert!(!is_within(&mixed, "0:1", &first));
    assert!(!is_within(&mixed, "1", &first));
    // One part only: all nodes are one unit.
    let single = registry(&[("0:0", &[N0, CAP[0], CAP[1]])]);
    assert!(is_within(&single, "0:0", &first));
    assert!(!is_within(&single, "0:0", &[N0]));
}

#[test]
fn companions_come_with_a_node_and_no_more_of_them() {
    let (c0, c1, r0, r1) = (
        "/dev/dri/card0",
        "/dev/dri/card1",
        "/dev/dri/renderD128",
        "/dev/dri/renderD129",
    );
    let kfd = "/dev/kfd";
    let two = registry(&[
        ("0", &[c0, r0, kfd]),
        ("1", &[c1, r1, kfd]),
        ("all", &[c0, r0, c1, r1, kfd]),
    ]);
    assert_eq!(own(&two, "0"), [c0, r0]);
    assert!(is_within(&two, "0", &[r0]));
    assert!(!is_within(&two, "1", &[r0]));
    assert!(!is_within(&two, "1", &[c0, r0, kfd]));
    assert!(is_within(&two, "all", &[r0, r1]));
    let one = registry(&[("0", &[c0, r0, kfd]), ("all", &[c0, r0, kfd])]);
    assert!(is_within(&one, "all", &[r0]));
    assert!(!is_within(&one, "0", &[kfd]));
    // Nothing but "all": one GPU does not bring the other.
    let all = registry(&[("all", &[c0, c1, r0, r1, kfd])]);
    assert!(!is_within(&all, "all", &[r0]));
    assert!(!is_within(&all, "all", &[r0, c1]));
    assert!(is_within(&all, "all", &[r0, r1]));
}

#[test]
fn unknown_control_nodes_are_found() {
    let two = registry(&[
        ("0", &["/dev/x0", "/dev/xctl"]),
        ("1", &["/dev/x1", "/dev/xctl"]),
    ]);
    assert_eq!(own(&two, "0"), ["/dev/x0"]);
    assert!(is_within(&two, "0", &["/dev/x0"]));
    assert!(!is_within(&two, "1", &["/dev/x0", "/dev/xctl"]));
    // What all have is not for control where it is all that one has.
    let nested = registry(&[("0", &["/dev/x0"]), ("both", &["/dev/x0", "/dev/x1"])]);
    assert_eq!(own(&nested, "0"), ["/dev/x0"]);
    assert!(!is_within(&nested, "0", &["/dev/x1"]));
    assert!(!is_within(&nested, "both", &["/dev/x1"]));
}

#[test]
fn without_a_node_of_its_own_nothing_is_within() {
    let none = registry(&[("a", &[]), ("b", &["/dev/shared"]), ("c", &["/dev/kfd"])]);
    for device in ["a", "b", "c"] {
        assert!(own(&none, device).is_empty());
        assert!(
            !is_within(&none, device, &["/dev/shared", "/dev/kfd", N0]),
            "{device}"
        );
    }
}

#[test]
fn what_is_mounted_of_dev_counts_and_where_it_comes_from() {
    let text = "cdiVersion: 0.6.0\nkind: v/c\ndevices:\n\
        - {name: a, containerEdits: {mounts: [{hostPath: /dev/nvidia1, containerPath: /dev/nvidia0}, {hostPath: /usr/x, containerPath: /usr/x}]}}\n\
        - {name: b, containerEdits: {deviceNodes: [{path: /dev/nvidia0, hostPath: /dev/nvidia2}]}}\n";
    let mut registry = Registry::default();
    registry.add(spec(text), 0);
    assert_eq!(own(&registry, "a"), [N1]);
    assert_eq!(own(&registry, "b"), ["/dev/nvidia2"]);
    assert!(!is_within(&registry, "b", &[N0]));
}
