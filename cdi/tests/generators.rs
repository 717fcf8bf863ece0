//! Specs of the forms that the vendors' generators write: `nvidia-ctk cdi generate`,
//! `amd-ctk cdi generate` and Intel's `intel-cdi-specs-generator`. The files are our
//! own, made after the forms.
#![allow(missing_docs)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cdi_specs::hooks::{Native, Symlink, classify};
use cdi_specs::{DIRECTORIES, Edits, Kind, QualifiedName, Registry, Trust, Wanted};

/// A node with the specs of all three.
fn registry() -> Registry {
    let root = tempfile::tempdir().expect("a directory");
    let place = root.path().join("etc/cdi");
    fs::create_dir_all(&place).expect("directories");
    for directory in [root.path(), &root.path().join("etc"), &place] {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).expect("a mode");
    }
    for (name, text) in [
        ("nvidia.yaml", include_str!("data/nvidia.yaml")),
        ("amd.json", include_str!("data/amd.json")),
        ("intel.yaml", include_str!("data/intel.yaml")),
    ] {
        let file = place.join(name);
        fs::write(&file, text).expect("a file");
        fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("a mode");
    }
    let me = Trust::also(rustix::process::geteuid().as_raw());
    let registry = Registry::load(root.path(), &DIRECTORIES, me);
    assert!(registry.errors().is_empty(), "{:?}", registry.errors());
    assert_eq!(registry.conflicts().count(), 0);
    registry
}

fn name(text: &str) -> QualifiedName {
    text.parse().expect("a name")
}

fn paths(all: &[&str]) -> Vec<PathBuf> {
    all.iter().map(PathBuf::from).collect()
}

fn choose(registry: &Registry, kind: &str, wanted: Wanted<'_>) -> String {
    let kind: Kind = kind.parse().expect("a kind");
    let name = registry
        .choose(&kind, &wanted)
        .unwrap_or_else(|error| panic!("{error}"));
    name.device().to_owned()
}

fn nodes(edits: &Edits) -> Vec<&str> {
    edits
        .device_nodes
        .iter()
        .filter_map(|node| node.path.to_str())
        .collect()
}

#[test]
fn all_devices_are_listed() {
    let names: Vec<String> = registry().devices().map(ToString::to_string).collect();
    let count = |kind: &str| names.iter().filter(|name| name.starts_with(kind)).count();
    assert_eq!(
        (
            count("amd.com/gpu="),
            count("intel.com/gpu="),
            count("nvidia.com/gpu=")
        ),
        (3, 2, 11)
    );
}

#[test]
fn nvidia_gives_what_a_gpu_needs() {
    let edits = registry()
        .resolve(&[name("nvidia.com/gpu=1"), name("nvidia.com/gpu=0:1")])
        .expect("resolved");
    assert_eq!(
        nodes(&edits),
        [
            "/dev/nvidia-modeset",
            "/dev/nvidia-uvm",
            "/dev/nvidia-uvm-tools",
            "/dev/nvidiactl",
            "/dev/nvidia1",
            "/dev/dri/card2",
            "/dev/dri/renderD129",
            "/dev/nvidia0",
            "/dev/nvidia-caps/nvidia-cap39",
            "/dev/nvidia-caps/nvidia-cap40",
        ]
    );
    assert!(
        edits
            .env
            .iter()
            .any(|v| v.name == "NVIDIA_VISIBLE_DEVICES" && v.value == "void")
    );
    let cuda = Path::new("/usr/lib/x86_64-linux-gnu/libcuda.so.570.86.15");
    let mount = edits
        .mounts
        .iter()
        .find(|mount| mount.host_path == cuda)
        .expect("the driver");
    assert!(mount.is_bind() && mount.options.iter().any(|option| option == "ro"));
    let work: Vec<Native> = edits
        .hooks
        .iter()
        .map(|hook| classify(hook).expect("native"))
        .collect();
    let link = |target: &str, link: &str| Symlink {
        target: PathBuf::from(target),
        link: PathBuf::from(link),
    };
    assert_eq!(
        work,
        [
            Native::Symlinks(vec![
                link(
                    "../libnvidia-allocator.so.1",
                    "/usr/lib/x86_64-linux-gnu/gbm/nvidia-drm_gbm.so"
                ),
                link("libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so"),
            ]),
            Native::CudaCompat {
                host_driver: Some(String::from("570.86.15")),
            },
            Native::LdConfig {
                folders: paths(&["/usr/lib/x86_64-linux-gnu"]),
            },
            Native::NotNeeded {
                command: "disable-device-node-modification",
            },
            Native::Symlinks(vec![
                link("../card2", "/dev/dri/by-path/pci-0000:1b:00.0-card"),
                link("../renderD129", "/dev/dri/by-path/pci-0000:1b:00.0-render"),
            ]),
        ]
    );
}

#[test]
fn nvidia_devices_are_found_for_an_allocation() {
    let registry = registry();
    let gpu = "nvidia.com/gpu";
    let third = paths(&["/dev/nvidia3"]);
    let wanted = Wanted {
        nodes: &third,
        ..Wanted::default()
    };
    assert_eq!(choose(&registry, gpu, wanted), "3");
    let uuid = "GPU-33333333-aaaa-5bbb-8ccc-dddddddddd03";
    assert_eq!(
        choose(
            &registry,
            gpu,
            Wanted {
                uuid: Some(uuid),
                ..wanted
            }
        ),
        uuid
    );
    assert_eq!(
        choose(
            &registry,
            gpu,
            Wanted {
                index: Some(3),
                ..wanted
            }
        ),
        "3"
    );
    assert_eq!(
        choose(
            &registry,
            gpu,
            Wanted {
                index: Some(2),
                ..Wanted::default()
            }
        ),
        "2"
    );
    let part = paths(&[
        "/dev/nvidia0",
        "/dev/nvidia-caps/nvidia-cap39",
        "/dev/nvidia-caps/nvidia-cap40",
    ]);
    let wanted = Wanted {
        nodes: &part,
        ..Wanted::default()
    };
    assert_eq!(choose(&registry, gpu, wanted), "0:1");
    let uuid = "MIG-2f7c9f52-77a3-5f0d-8f4e-6d1c2b3a4e22";
    assert_eq!(
        choose(
            &registry,
            gpu,
            Wanted {
                mig: Some(uuid),
                ..wanted
            }
        ),
        uuid
    );
    assert_eq!(
        choose(
            &registry,
            gpu,
            Wanted {
                mig: Some("0:0"),
                ..Wanted::default()
            }
        ),
        "0:0"
    );
    let wrong = Wanted {
        mig: Some("0:0"),
        nodes: &third,
        ..Wanted::default()
    };
    // What was granted decides, not what it is called.
    assert_eq!(choose(&registry, gpu, wrong), "3");
}

#[test]
fn what_is_asked_for_lies_within_the_allocation_or_not() {
    let registry = registry();
    let everything = [
        "/dev/nvidia0",
        "/dev/nvidia1",
        "/dev/nvidia2",
        "/dev/nvidia3",
        "/dev/nvidia-caps/nvidia-cap30",
        "/dev/nvidia-caps/nvidia-cap31",
        "/dev/nvidia-caps/nvidia-cap39",
        "/dev/nvidia-caps/nvidia-cap40",
    ];
    let part = &[
        "/dev/nvidia0",
        "/dev/nvidia-caps/nvidia-cap30",
        "/dev/nvidia-caps/nvidia-cap31",
    ];
    let cases: [(&str, &[&str], bool); 13] = [
        ("nvidia.com/gpu=1", &["/dev/nvidia1"], true),
        ("nvidia.com/gpu=2", &["/dev/nvidia1"], false),
        ("nvidia.com/gpu=all", &["/dev/nvidia1"], false),
        ("nvidia.com/gpu=all", &everything, true),
        ("nvidia.com/gpu=all", &everything[..7], false),
        ("nvidia.com/gpu=0:0", part, true),
        ("nvidia.com/gpu=0:1", part, false),
        ("nvidia.com/gpu=0:0", &["/dev/nvidia0"], false),
        ("amd.com/gpu=0", &["/dev/dri/renderD128"], true),
        ("amd.com/gpu=all", &["/dev/dri/renderD128"], false),
        (
            "amd.com/gpu=all",
            &["/dev/dri/renderD128", "/dev/dri/renderD129"],
            true,
        ),
        (
            "intel.com/gpu=0000-9a-00-0-0x0bda",
            &["/dev/dri/renderD129"],
            true,
        ),
        (
            "intel.com/gpu=0000-3a-00-0-0x0bda",
            &["/dev/dri/renderD129"],
            false,
        ),
    ];
    for (device, granted, is_within) in cases {
        let found = registry.within(&name(device), &paths(granted));
        assert_eq!(
            found.is_ok(),
            is_within,
            "{device} of {granted:?}: {found:?}"
        );
    }
}

#[test]
fn amd_and_intel_devices_are_found_by_their_render_nodes() {
    let registry = registry();
    let second = paths(&["/dev/dri/renderD129"]);
    let wanted = Wanted {
        nodes: &second,
        ..Wanted::default()
    };
    assert_eq!(choose(&registry, "amd.com/gpu", wanted), "1");
    assert_eq!(
        choose(&registry, "intel.com/gpu", wanted),
        "0000-9a-00-0-0x0bda"
    );
    let with_kfd = paths(&["/dev/kfd", "/dev/dri/renderD128"]);
    let wanted = Wanted {
        nodes: &with_kfd,
        ..Wanted::default()
    };
    assert_eq!(choose(&registry, "amd.com/gpu", wanted), "0");
    let edits = registry
        .resolve(&[name("amd.com/gpu=1")])
        .expect("resolved");
    assert_eq!(
        nodes(&edits),
        ["/dev/dri/card2", "/dev/dri/renderD129", "/dev/kfd"]
    );
    let node = &edits.device_nodes[1];
    assert_eq!(
        (node.numbers, node.mode, node.gid),
        (Some((226, 129)), Some(0o660), Some(44))
    );
    assert!(node.access.read && node.access.write && !node.access.mknod);
    let own = registry.nodes_of(&name("amd.com/gpu=1")).expect("a device");
    assert_eq!(
        own,
        [
            Path::new("/dev/dri/card2"),
            Path::new("/dev/dri/renderD129")
        ]
    );
}
