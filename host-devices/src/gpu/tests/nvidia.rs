//! NVIDIA's GPUs and their parts, and what a grant brings along.

use super::*;

fn nvidia(root: &Root, bus: &str, minor: u32, more: &str) {
    root.file(
        &format!("proc/driver/nvidia/gpus/{bus}/information"),
        &format!(
            "Model: \t\t NVIDIA A100-SXM4-80GB\nIRQ:   \t\t 18\nGPU UUID: \t GPU-0000000{minor}-aaaa\n\
             Bus Type: \t PCIe\nBus Location: \t {bus}\nDevice Minor: \t {minor}\n{more}"
        ),
    );
}

fn capability(root: &Root, place: &str, minor: u32) {
    let place = format!("proc/driver/nvidia/capabilities/{place}/access");
    let text = format!("DeviceFileMinor: {minor}\nDeviceFileMode: 292\nDeviceFileModify: 1\n");
    root.file(&place, &text);
    root.device(&format!("dev/nvidia-caps/nvidia-cap{minor}"));
}

#[test]
fn nvidias_gpus_are_in_the_order_of_the_bus() {
    let root = Root::new();
    nvidia(&root, "0000:c1:00.0", 0, "");
    nvidia(&root, "0000:17:00.0", 1, "GPU Excluded:\t No\n");
    nvidia(&root, "0001:01:00.0", 2, "");
    nvidia(&root, "0000:01:00.0", 3, "GPU Excluded:\t Yes\n");
    for name in [
        "nvidia0",
        "nvidia1",
        "nvidia2",
        "nvidia3",
        "nvidiactl",
        "nvidia-uvm",
        "nvidia-modeset",
    ] {
        root.device(&format!("dev/{name}"));
    }
    root.file("dev/nvidia-uvm-tools/not-a-device", "");
    root.device("dev/nvidia-nvswitchctl");
    card(&root, "0000:17:00.0", "0x10de", 1, Some(129));
    card(&root, "0000:05:00.0", "0x1a03", 0, None);
    let gpus = Gpus::find(&root.host());
    let found: Vec<_> = gpus
        .all
        .iter()
        .map(|gpu| {
            (
                gpu.index,
                gpu.bus.as_deref(),
                gpu.uuid.as_deref(),
                gpu.nodes.clone(),
            )
        })
        .collect();
    let dri = &["/dev/nvidia1", "/dev/dri/renderD129", "/dev/dri/card1"];
    assert_eq!(
        found,
        [
            (
                0,
                Some("0000:17:00.0"),
                Some("GPU-00000001-aaaa"),
                paths(dri)
            ),
            (
                1,
                Some("0000:c1:00.0"),
                Some("GPU-00000000-aaaa"),
                paths(&["/dev/nvidia0"])
            ),
            (
                2,
                Some("0001:01:00.0"),
                Some("GPU-00000002-aaaa"),
                paths(&["/dev/nvidia2"])
            ),
        ]
    );
    let control = paths(&["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-modeset"]);
    assert!(
        gpus.all
            .iter()
            .all(|gpu| gpu.shared == control && gpu.vendor == Vendor::Nvidia)
    );
    assert_eq!(gpus.all[0].model.as_deref(), Some("NVIDIA A100-SXM4-80GB"));
    assert_eq!(problems(&gpus), [""; 0]);
}

#[test]
fn devices_without_a_driver_are_gpus() {
    let root = Root::new();
    for name in ["nvidia10", "nvidia2", "nvidia-fs0", "nvidia"] {
        root.device(&format!("dev/{name}"));
    }
    root.directory("dev/nvidia3");
    let gpus = Gpus::find(&root.host());
    let found: Vec<_> = gpus.all.iter().map(|gpu| (gpu.index, &gpu.nodes)).collect();
    assert_eq!(
        found,
        [
            (0, &paths(&["/dev/nvidia2"])),
            (1, &paths(&["/dev/nvidia10"]))
        ]
    );
    assert!(gpus.problems.is_empty() && gpus.all[0].shared.is_empty());
}

#[test]
fn what_driver_and_devices_disagree_in_is_told() {
    let root = Root::new();
    nvidia(&root, "0000:01:00.0", 0, "");
    nvidia(&root, "0000:02:00.0", 1, "");
    root.file(
        "proc/driver/nvidia/gpus/0000:03:00.0/information",
        "GPU UUID: GPU-????????-????\n",
    );
    root.device("dev/nvidia1");
    root.device("dev/nvidia7");
    card(&root, "0000:01:00.0", "0x10de", 0, Some(128));
    let gpus = Gpus::find(&root.host());
    let nodes: Vec<_> = gpus.all.iter().map(|gpu| gpu.nodes.clone()).collect();
    assert_eq!(
        nodes,
        [
            vec![],
            paths(&["/dev/nvidia1"]),
            vec![],
            paths(&["/dev/nvidia7"])
        ]
    );
    assert_eq!(gpus.all[2].uuid, None);
    assert_eq!(
        problems(&gpus),
        [
            "GPU 0000:03:00.0: /proc/driver/nvidia/gpus/0000:03:00.0/information names no Device Minor; \
             look at the driver's version",
            "GPU 0000:01:00.0 has no /dev/nvidia0; run nvidia-modprobe, or nvidia-persistenced at boot",
            "NVIDIA's driver is loaded without /dev/nvidiactl and /dev/nvidia-uvm, and no program can use a GPU in a \
             container; run nvidia-modprobe -c 0 -u at boot",
            "/dev/nvidia7 is there, but the driver has no such GPU; remove what is left of another boot or card",
        ]
    );
}

/// One GPU that is divided into three parts, and one that is whole.
fn divided() -> Root {
    let root = Root::new();
    nvidia(&root, "0000:01:00.0", 1, "");
    nvidia(&root, "0000:02:00.0", 0, "");
    for name in ["nvidia0", "nvidia1", "nvidiactl"] {
        root.device(&format!("dev/{name}"));
    }
    card(&root, "0000:01:00.0", "0x10de", 0, Some(128));
    capability(&root, "mig/config", 1);
    capability(&root, "mig/monitor", 2);
    capability(&root, "gpu1/mig/gi9", 21);
    capability(&root, "gpu1/mig/gi9/ci0", 22);
    capability(&root, "gpu1/mig/gi9/ci1", 23);
    capability(&root, "gpu1/mig/gi10", 30);
    capability(&root, "gpu1/mig/gi10/ci0", 31);
    // An instance of which the device is missing, and one without a compute instance.
    root.file(
        "proc/driver/nvidia/capabilities/gpu1/mig/gi11/access",
        "DeviceFileMinor: 99\n",
    );
    capability(&root, "gpu1/mig/gi12", 40);
    root
}

#[test]
fn a_gpus_parts_are_found() {
    let gpus = Gpus::find(&divided().host());
    let gpu = &gpus.all[0];
    let parts: Vec<_> = gpu
        .mig
        .iter()
        .map(|part| {
            (
                part.gpu_instance,
                part.compute_instance,
                part.gpu_node.clone(),
                part.compute_node.clone(),
            )
        })
        .collect();
    let cap = |n: u32| PathBuf::from(format!("/dev/nvidia-caps/nvidia-cap{n}"));
    assert_eq!(
        parts,
        [
            (9, 0, cap(21), cap(22)),
            (9, 1, cap(21), cap(23)),
            (10, 0, cap(30), cap(31))
        ]
    );
    assert!(gpus.all[1].mig.is_empty());
    assert_eq!(gpus.named(&cap(31)), Named::Mig(gpu, &gpu.mig[2]));
    assert_eq!(gpus.named(&cap(21)), Named::Mig(gpu, &gpu.mig[0]));
    assert_eq!(gpus.named(&cap(1)), Named::Unknown);
}

#[test]
fn a_grant_brings_along_what_belongs_to_it() {
    let root = divided();
    card(&root, "0000:41:00.0", "0x1002", 2, Some(130));
    root.device("dev/kfd");
    root.device("dev/other0");
    let gpus = Gpus::find(&root.host());
    let cap = "/dev/nvidia-caps/nvidia-cap";
    let (own, dri) = ("/dev/nvidia1", ["/dev/dri/renderD128", "/dev/dri/card0"]);
    let caps =
        |numbers: &[u32]| -> Vec<String> { numbers.iter().map(|n| format!("{cap}{n}")).collect() };
    let cases: [(&[&str], Vec<&str>); 9] = [
        (&[], vec![]),
        (&["/dev/nvidia0"], vec!["/dev/nvidia0", "/dev/nvidiactl"]),
        (
            &["/dev/other0", "/dev/nvidia5"],
            vec!["/dev/other0", "/dev/nvidia5"],
        ),
        // A whole GPU, by any of its devices.
        (
            &[own],
            vec![
                own,
                dri[0],
                dri[1],
                "21",
                "22",
                "23",
                "30",
                "31",
                "/dev/nvidiactl",
            ],
        ),
        (
            &[dri[1]],
            vec![
                own,
                dri[0],
                dri[1],
                "21",
                "22",
                "23",
                "30",
                "31",
                "/dev/nvidiactl",
            ],
        ),
        // Parts, as Slurm names them and by one device only.
        (&[own, "21", "23"], vec![own, "21", "23", "/dev/nvidiactl"]),
        (&["31"], vec![own, "30", "31", "/dev/nvidiactl"]),
        (
            &["21", "30", "31"],
            vec![own, "21", "22", "23", "30", "31", "/dev/nvidiactl"],
        ),
        // Two vendors.
        (
            &["/dev/dri/renderD130", "/dev/nvidia0"],
            vec![
                "/dev/dri/renderD130",
                "/dev/dri/card2",
                "/dev/nvidia0",
                "/dev/kfd",
                "/dev/nvidiactl",
            ],
        ),
    ];
    let whole = |names: &[&str]| -> Vec<PathBuf> {
        let number = |name: &&str| name.parse::<u32>().ok();
        let path = |name: &&str| number(name).map_or((*name).to_owned(), |n| caps(&[n]).concat());
        names.iter().map(|name| path(name).into()).collect()
    };
    for (granted, brings) in cases {
        assert_eq!(
            gpus.nodes_for(&whole(granted)),
            whole(&brings),
            "{granted:?}"
        );
    }
}
