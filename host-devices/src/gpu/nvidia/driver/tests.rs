//! Drivers made of real libraries, in directories that stand for a node.

use std::os::unix::net::UnixListener;

use super::*;
use crate::gpu::nvidia::capabilities::Capability;
use crate::testing::Root;

const LIB: &str = "usr/lib64";

/// A library of the driver's with its links, as the driver's installer makes them.
fn install(root: &Root, name: &str, soname_end: &str, version: &str, plain: bool) {
    let soname = format!("{name}.so.{soname_end}");
    let file = format!("{name}.so.{version}");
    root.library(&format!("{LIB}/{file}"), &soname, "int a;", &[]);
    if soname != file {
        root.link(&format!("{LIB}/{soname}"), &file);
    }
    if plain {
        root.link(&format!("{LIB}/{name}.so"), &soname);
    }
}

fn module(root: &Root, version: &str) {
    root.file("sys/module/nvidia/version", &format!("{version}\n"));
}

fn find(root: &Root, node: Option<&Path>) -> Driver {
    root.ldconfig("new", &["/usr/lib64"]);
    let host = root.host();
    Driver::find(&host, &Libraries::find(&host), node)
}

fn names(driver: &Driver, capabilities: &[Capability]) -> Vec<String> {
    let all = driver.libraries_for(Capabilities::of(capabilities));
    all.map(|library| library.soname.clone()).collect()
}

#[test]
fn libraries_are_found_by_their_names_and_what_they_are_for() {
    let root = Root::new();
    let version = "550.54.15";
    module(&root, version);
    install(&root, "libcuda", "1", version, true);
    install(&root, "libnvidia-ml", "1", version, false);
    install(&root, "libnvidia-glcore", version, version, false);
    install(&root, "libnvidia-egl-gbm", "1", "1.1.1", false);
    install(&root, "libnvidia-encode", "1", version, false);
    // Not the driver's, or not for programs.
    install(&root, "libcudart", "12", "12.4.1", true);
    install(&root, "libGL", "1", "1.7.0", true);
    root.library(
        &format!("{LIB}/libcuda.so.1-old"),
        "libcuda.so.1-old",
        "int a;",
        &[],
    );
    let driver = find(&root, Some(Path::new("/dev/nvidia0")));
    assert_eq!(driver.problems, []);
    assert_eq!(driver.version.as_deref(), Some(version));
    assert_eq!(names(&driver, &[Capability::Compute]), ["libcuda.so.1"]);
    assert_eq!(
        names(&driver, &[Capability::Utility]),
        ["libnvidia-ml.so.1"]
    );
    assert_eq!(
        names(&driver, &[Capability::Video]),
        ["libcuda.so.1", "libnvidia-encode.so.1"]
    );
    assert_eq!(
        names(&driver, &[Capability::Graphics]),
        ["libnvidia-egl-gbm.so.1", "libnvidia-glcore.so.550.54.15"]
    );
    assert_eq!(driver.libraries.len(), 5);
    let cuda = &driver.libraries[0];
    assert_eq!(cuda.path, Path::new("/usr/lib64/libcuda.so.1"));
    assert_eq!(cuda.links, ["libcuda.so"]);
    assert_eq!(cuda.demands.soname, "libcuda.so.1");
}

#[test]
fn the_modules_version_counts() {
    let root = Root::new();
    module(&root, "550.54.15");
    install(&root, "libnvidia-glcore", "550.54.15", "550.54.15", false);
    install(&root, "libnvidia-glcore", "535.104.05", "535.104.05", false);
    install(&root, "libcuda", "1", "535.104.05", false);
    install(&root, "libnvidia-tls", "535.104.05", "535.104.05", false);
    let driver = find(&root, Some(Path::new("/dev/nvidia0")));
    assert_eq!(
        names(&driver, &[Capability::Graphics]),
        ["libnvidia-glcore.so.550.54.15"]
    );
    let told: Vec<String> = driver.problems.iter().map(ToString::to_string).collect();
    let other =
        "is of version 535.104.05, the kernel's module of 550.54.15; finish the driver's update";
    assert_eq!(
        told,
        [
            format!("/usr/lib64/libcuda.so.1 {other}"),
            format!("/usr/lib64/libnvidia-tls.so.535.104.05 {other}"),
            String::from(
                "/dev/nvidia0 is there, but the node has no libcuda.so.1; install the driver's libraries and run ldconfig"
            ),
        ]
    );
    // Without a module no version is wrong.
    std::fs::remove_file(root.path("sys/module/nvidia/version")).expect("the file goes");
    let driver = find(&root, None);
    assert_eq!((driver.libraries.len(), driver.problems), (4, Vec::new()));
}

#[test]
fn a_stub_for_linking_is_not_the_library() {
    let root = Root::new();
    module(&root, "550.54.15");
    // Without a cache the order is that of the directories, and this is before the driver's.
    root.library("lib64/libcuda.so.1", "libcuda.so.1", "int a;", &[]);
    let found = |root: &Root| {
        let host = root.host();
        let driver = Driver::find(&host, &Libraries::find(&host), None);
        assert_eq!(driver.problems, []);
        let library = driver.libraries.into_iter().next();
        library.map(|library| library.path)
    };
    assert_eq!(
        found(&root).as_deref(),
        Some(Path::new("/lib64/libcuda.so.1"))
    );
    install(&root, "libcuda", "1", "550.54.15", false);
    assert_eq!(
        found(&root).as_deref(),
        Some(Path::new("/usr/lib64/libcuda.so.1"))
    );
}

#[test]
fn a_library_that_is_new_comes_along_with_what_needs_it() {
    let root = Root::new();
    let place = |name: &str| format!("{LIB}/{name}");
    let other = root.library(&place("libz.so.1"), "libz.so.1", "int z;", &[]);
    let newest = root.library(
        &place("libnvidia-newest.so.1"),
        "libnvidia-newest.so.1",
        "int a;",
        &[],
    );
    let newer = root.library(
        &place("libnvidia-newer.so.1"),
        "libnvidia-newer.so.1",
        "int b;",
        &["-Wl,--no-as-needed", newest.to_str().expect("text")],
    );
    let needed = [&newer, &other].map(|path| path.to_str().expect("text"));
    root.library(
        &place("libcuda.so.1"),
        "libcuda.so.1",
        "int c;",
        &["-Wl,--no-as-needed", needed[0], needed[1]],
    );
    let driver = find(&root, None);
    assert_eq!(
        names(&driver, &[Capability::Compute]),
        [
            "libcuda.so.1",
            "libnvidia-newer.so.1",
            "libnvidia-newest.so.1"
        ]
    );
    assert_eq!(
        driver.libraries[0].demands.needed,
        ["libnvidia-newer.so.1", "libz.so.1"]
    );
    assert!(names(&driver, &[Capability::Utility]).is_empty());
}

#[test]
fn links_of_a_distributions_own_are_followed_to_the_version() {
    let root = Root::new();
    module(&root, "550.54.15");
    root.library(
        "usr/lib/nvidia/libcuda.so.535.104.05",
        "libcuda.so.1",
        "int a;",
        &[],
    );
    root.link(
        "etc/alternatives/libcuda",
        "/usr/lib/nvidia/libcuda.so.535.104.05",
    );
    root.link(&format!("{LIB}/libcuda.so.1"), "/etc/alternatives/libcuda");
    let host = root.host();
    let driver = Driver::find(&host, &Libraries::find(&host), None);
    assert!(driver.libraries.is_empty());
    assert!(
        matches!(driver.problems[..], [Problem::OtherVersion { .. }]),
        "{:?}",
        driver.problems
    );
}

#[test]
fn the_drivers_other_files_are_found() {
    let root = Root::new();
    module(&root, "550.54.15");
    install(&root, "libcuda", "1", "550.54.15", false);
    let there = [
        ("etc/OpenCL/vendors/nvidia.icd", Kind::Loader),
        ("etc/vulkan/icd.d/nvidia_icd.x86_64.json", Kind::Loader),
        (
            "lib/firmware/nvidia/550.54.15/gsp_ga10x.bin",
            Kind::Firmware,
        ),
        ("run/nvidia-persistenced/socket", Kind::Socket),
        ("usr/bin/nvidia-cuda-mps-control", Kind::Program),
        ("usr/bin/nvidia-smi", Kind::Program),
        ("usr/lib64/gbm/nvidia-drm_gbm.so", Kind::Loader),
        ("usr/lib64/vdpau/libvdpau_nvidia.so.1", Kind::Loader),
        (
            "usr/share/egl/egl_external_platform.d/10_nvidia_wayland.json",
            Kind::Loader,
        ),
        ("usr/share/glvnd/egl_vendor.d/10_nvidia.json", Kind::Loader),
        ("usr/share/nvidia/nvoptix.bin", Kind::Loader),
        (
            "usr/share/vulkan/implicit_layer.d/nvidia_layers.json",
            Kind::Loader,
        ),
    ];
    for (path, kind) in there {
        if kind == Kind::Socket {
            root.directory("run/nvidia-persistenced");
            UnixListener::bind(root.path(path)).expect("a socket");
        } else {
            root.file(path, "");
        }
    }
    // Another version's, another vendor's, a directory, and what only has a socket's name.
    root.file("lib/firmware/nvidia/535.104.05/gsp_ga10x.bin", "");
    root.file("usr/share/vulkan/icd.d/radeon_icd.json", "");
    root.file("usr/share/nvidia/nvidia-directory/file", "");
    root.file("run/nvidia-fabricmanager/socket", "");
    root.file("usr/lib/xorg/modules/drivers/nvidia_drv.so", "");
    let driver = find(&root, None);
    let found: Vec<_> = driver
        .files
        .iter()
        .map(|file| (file.path.to_str().expect("text"), file.kind))
        .collect();
    let wanted: Vec<(String, Kind)> = there
        .iter()
        .map(|(path, kind)| (format!("/{path}"), *kind))
        .collect();
    let wanted: Vec<_> = wanted
        .iter()
        .map(|(path, kind)| (path.as_str(), *kind))
        .collect();
    assert_eq!(found, wanted);
    let compute: Vec<_> = driver
        .files_for(Capabilities::of(&[Capability::Compute]))
        .map(|file| file.kind)
        .collect();
    assert_eq!(compute, [Kind::Loader, Kind::Firmware, Kind::Program]);
}

#[test]
fn the_modules_version_is_read_from_either_place() {
    let cases = [
        (
            "",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\nGCC version:  gcc version 12.2.0\n",
            Some("550.54.15"),
        ),
        (
            "",
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build\n",
            Some("570.86.10"),
        ),
        ("", "GCC version:  gcc version 12.2.0\n", None),
        ("470.1\n", "NVRM version: 550.54.15\n", Some("470.1")),
        ("../../etc\n", "", None),
        ("", "", None),
    ];
    for (module, text, version) in cases {
        let root = Root::new();
        if !module.is_empty() {
            root.file("sys/module/nvidia/version", module);
        }
        root.file("proc/driver/nvidia/version", text);
        assert_eq!(
            super::version(&root.host()).as_deref(),
            version,
            "{module}{text}"
        );
    }
}

#[test]
fn a_node_without_the_driver_has_nothing() {
    let root = Root::new();
    let host = root.host();
    assert_eq!(
        Driver::find(&host, &Libraries::find(&host), None),
        Driver::default()
    );
}
