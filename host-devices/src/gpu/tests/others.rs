//! AMD's and Intel's GPUs.

use super::*;

fn kfd(root: &Root, number: u32, simds: u32, render: u32, more: &str) {
    let text = format!("cpu_cores_count 0\nsimd_count {simds}\ndrm_render_minor {render}\n{more}");
    root.file(
        &format!("sys/class/kfd/kfd/topology/nodes/{number}/properties"),
        &text,
    );
}

#[test]
fn amds_gpus_are_in_the_compute_drivers_order() {
    let root = Root::new();
    root.device("dev/kfd");
    kfd(&root, 0, 0, 0, "");
    kfd(
        &root,
        1,
        304,
        129,
        "unique_id 10823470374618\nlocation_id 49408\ndomain 0\n",
    );
    kfd(&root, 10, 304, 130, "unique_id 0\n");
    kfd(&root, 2, 304, 128, "unique_id 255\n");
    card(&root, "0000:41:00.0", "0x1002", 0, Some(128));
    card(&root, "0000:c1:00.0", "0x1002", 1, Some(129));
    // One that only draws.
    card(&root, "0000:e1:00.0", "0x1002", 3, Some(140));
    let gpus = Gpus::find(&root.host());
    let found: Vec<_> = gpus
        .of(Vendor::Amd)
        .map(|gpu| {
            (
                gpu.index,
                gpu.uuid.as_deref(),
                gpu.bus.as_deref(),
                gpu.nodes.clone(),
            )
        })
        .collect();
    let dri = |render: u32, card: u32| {
        paths(&[
            &format!("/dev/dri/renderD{render}"),
            &format!("/dev/dri/card{card}"),
        ])
    };
    assert_eq!(
        found,
        [
            (
                0,
                Some("GPU-000009d8091b5eda"),
                Some("0000:c1:00.0"),
                dri(129, 1)
            ),
            (
                1,
                Some("GPU-00000000000000ff"),
                Some("0000:41:00.0"),
                dri(128, 0)
            ),
            (2, None, None, vec![]),
            (3, None, Some("0000:e1:00.0"), dri(140, 3)),
        ]
    );
    assert!(
        gpus.all
            .iter()
            .all(|gpu| gpu.shared == paths(&["/dev/kfd"]))
    );
    assert_eq!(
        problems(&gpus),
        [
            "GPU 10 has no /dev/dri/renderD130; load the module amdgpu again, and look at udev's rules"
        ]
    );
}

#[test]
fn a_part_of_an_amd_gpu_is_a_gpu() {
    let root = Root::new();
    card(&root, "0000:41:00.0", "0x1002", 0, Some(128));
    // Of a part, KFD tells the bus and the kernel does not.
    let device = "sys/devices/platform/amdgpu_xcp_0";
    for name in ["card1", "renderD129"] {
        root.directory(&format!("{device}/drm/{name}"));
        root.link(&format!("{device}/drm/{name}/device"), "../..");
        root.link(
            &format!("sys/class/drm/{name}"),
            &format!("../../../{device}/drm/{name}"),
        );
        root.device(&format!("dev/dri/{name}"));
    }
    kfd(&root, 1, 76, 128, "unique_id 1\nlocation_id 16640\n");
    kfd(&root, 2, 76, 129, "unique_id 2\nlocation_id 16641\n");
    let gpus = Gpus::find(&root.host());
    let found: Vec<_> = gpus
        .all
        .iter()
        .map(|gpu| (gpu.bus.as_deref(), gpu.nodes.clone()))
        .collect();
    assert_eq!(
        found,
        [
            (
                Some("0000:41:00.0"),
                paths(&["/dev/dri/renderD128", "/dev/dri/card0"])
            ),
            (
                Some("0000:41:00.1"),
                paths(&["/dev/dri/renderD129", "/dev/dri/card1"])
            ),
        ]
    );
}

#[test]
fn an_amd_gpu_of_which_nothing_is_told_keeps_its_place() {
    let root = Root::new();
    card(&root, "0000:41:00.0", "0x1002", 0, Some(128));
    card(&root, "0000:c1:00.0", "0x1002", 1, Some(129));
    // What cannot be read: longer than any, which root is refused as well.
    let long = "x".repeat(70 << 10);
    root.file("sys/class/kfd/kfd/topology/nodes/1/properties", &long);
    kfd(&root, 2, 304, 129, "unique_id 2\n");
    let gpus = Gpus::find(&root.host());
    let found: Vec<_> = gpus
        .all
        .iter()
        .map(|gpu| (gpu.index, gpu.bus.as_deref()))
        .collect();
    assert_eq!(
        found,
        [(0, Some("0000:41:00.0")), (1, Some("0000:c1:00.0"))]
    );
}

#[test]
fn intels_gpus_have_a_render_node() {
    let root = Root::new();
    card(&root, "0000:9a:00.0", "0x8086", 2, Some(129));
    card(&root, "0000:3a:00.0", "0x8086", 1, Some(128));
    card(&root, "0000:00:02.0", "0x8086", 0, None);
    root.device("dev/kfd");
    let gpus = Gpus::find(&root.host());
    let found: Vec<_> = gpus
        .of(Vendor::Intel)
        .map(|gpu| (gpu.index, gpu.nodes.clone()))
        .collect();
    assert_eq!(
        found,
        [
            (0, paths(&["/dev/dri/renderD128", "/dev/dri/card1"])),
            (1, paths(&["/dev/dri/renderD129", "/dev/dri/card2"])),
        ]
    );
    assert_eq!(gpus.all.len(), 2);
    assert!(gpus.all.iter().all(|gpu| gpu.shared.is_empty()));
    assert_eq!(
        gpus.named(Path::new("/dev/dri/card2")),
        Named::Gpu(&gpus.all[1])
    );
    assert_eq!(gpus.named(Path::new("/dev/dri/card0")), Named::Unknown);
}
