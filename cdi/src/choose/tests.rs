//! Which device stands for what was granted. The generators' specs are tried in
//! `tests/generators.rs`.

use std::path::PathBuf;

use super::Wanted;
use crate::registry::Registry;
use crate::testing::spec;

/// The spec counts the other way round than the driver.
fn swapped() -> Registry {
    let text = "cdiVersion: 0.6.0\nkind: v/c\ndevices:\n\
        - {name: '0', containerEdits: {deviceNodes: [{path: /dev/nvidia1}]}}\n\
        - {name: 'GPU-b', containerEdits: {deviceNodes: [{path: /dev/nvidia1}]}}\n\
        - {name: '1', containerEdits: {deviceNodes: [{path: /dev/nvidia0}]}}\n\
        - {name: 'gpu7', containerEdits: {env: [A=7]}}\n\
        - {name: 'mig0:1', containerEdits: {env: [A=8]}}\n";
    let mut registry = Registry::default();
    registry.add(spec(text), 0);
    registry
}

fn choose(
    registry: &Registry,
    index: Option<u32>,
    uuid: Option<&str>,
    mig: Option<&str>,
    nodes: &[&str],
) -> Result<String, String> {
    let nodes: Vec<PathBuf> = nodes.iter().map(PathBuf::from).collect();
    let wanted = Wanted {
        index,
        uuid,
        mig,
        nodes: &nodes,
    };
    registry
        .choose(&"v/c".parse().expect("a kind"), &wanted)
        .map(|name| name.device().to_owned())
        .map_err(|error| error.to_string())
}

#[test]
fn nodes_come_before_names() {
    let registry = swapped();
    let it = |name: &str| Ok(name.to_owned());
    assert_eq!(
        choose(&registry, Some(0), None, None, &["/dev/nvidia0"]),
        it("1")
    );
    assert_eq!(
        choose(&registry, Some(1), None, None, &["/dev/nvidia1"]),
        it("0")
    );
    assert_eq!(
        choose(
            &registry,
            Some(1),
            Some("GPU-b"),
            None,
            &["/dev/nvidia1", "/dev/nvidiactl"]
        ),
        it("GPU-b")
    );
    // Without nodes there are only names.
    assert_eq!(choose(&registry, Some(0), None, None, &[]), it("0"));
    assert_eq!(
        choose(&registry, Some(0), Some("GPU-b"), None, &[]),
        it("GPU-b")
    );
    // A device that has no nodes is known by its name, whatever was granted.
    assert_eq!(
        choose(&registry, Some(7), None, None, &["/dev/nvidia7"]),
        it("gpu7")
    );
    assert_eq!(
        choose(&registry, Some(0), None, Some("0:1"), &[]),
        it("mig0:1")
    );
}

#[test]
fn nothing_is_taken_for_something_else() {
    let registry = swapped();
    let said = choose(&registry, Some(0), None, None, &["/dev/nvidia5"]).expect_err("another node");
    assert_eq!(
        said,
        "CDI device v/c=0 is not within the allocation: it has /dev/nvidia1; number 0, /dev/nvidia5 was granted: write the spec anew"
    );
    let said =
        choose(&registry, Some(3), Some("GPU-x"), None, &["/dev/nvidia3"]).expect_err("none");
    assert_eq!(
        said,
        "no CDI device of kind v/c stands for GPU-x, number 3, /dev/nvidia3"
    );
    // A part is no whole GPU.
    assert!(choose(&registry, Some(0), None, Some("0:0"), &[]).is_err());
    // Two GPUs are no one device.
    assert!(
        choose(
            &registry,
            None,
            None,
            None,
            &["/dev/nvidia0", "/dev/nvidia1"]
        )
        .is_err()
    );
    assert!(choose(&registry, None, None, None, &[]).is_err());
    assert!(choose(&Registry::default(), Some(0), None, None, &["/dev/nvidia0"]).is_err());
}
