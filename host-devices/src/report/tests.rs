//! Whole nodes and what is told of them.

use super::*;
use crate::testing::Root;

#[test]
fn a_node_without_hardware_says_so() {
    let root = Root::new();
    // Its cache of libraries is nobody's business here.
    root.file("etc/ld.so.cache", "odd");
    let report = Report::of(&root.host());
    assert_eq!(report.lines(), ["no GPU", "no RDMA device"]);
    assert_eq!(
        serde_json::to_value(&report).expect("JSON"),
        serde_json::json!({
            "gpus": [], "nvidia": null, "problems": [],
            "rdma": {"adapters": [], "nodes": [], "providers": []},
        })
    );
}

fn node() -> Root {
    let root = Root::new();
    root.file("sys/module/nvidia/version", "550.54.15\n");
    root.file(
        "proc/driver/nvidia/gpus/0000:17:00.0/information",
        "Model: NVIDIA H200\nGPU UUID: GPU-1\nBus Location: 0000:17:00.0\nDevice Minor: 0\n",
    );
    let caps = "proc/driver/nvidia/capabilities/gpu0/mig/gi9";
    root.file(&format!("{caps}/access"), "DeviceFileMinor: 21\n");
    root.file(&format!("{caps}/ci0/access"), "DeviceFileMinor: 22\n");
    for name in [
        "nvidia0",
        "nvidiactl",
        "nvidia-uvm",
        "nvidia-caps/nvidia-cap21",
        "nvidia-caps/nvidia-cap22",
        "infiniband/uverbs0",
        "infiniband/rdma_cm",
    ] {
        root.device(&format!("dev/{name}"));
    }
    root.file(
        "sys/class/infiniband/mlx5_0/ports/1/link_layer",
        "InfiniBand\n",
    );
    root.directory("sys/class/infiniband/mlx5_1");
    root.file("sys/class/infiniband_verbs/uverbs0/ibdev", "mlx5_0\n");
    root.file("etc/libibverbs.d/mlx5.driver", "driver mlx5\n");
    root.library(
        "usr/lib64/libnvidia-ml.so.550.54.15",
        "libnvidia-ml.so.1",
        "int a;",
        &[],
    );
    root.link("usr/lib64/libnvidia-ml.so.1", "libnvidia-ml.so.550.54.15");
    root.file("usr/bin/nvidia-smi", "");
    root
}

#[test]
fn all_that_a_node_has_is_told_and_what_it_lacks() {
    let root = node();
    root.ldconfig("new", &["/usr/lib64"]);
    let report = Report::of(&root.host());
    assert_eq!(
        report.lines(),
        [
            "NVIDIA GPU 0 (NVIDIA H200, 0000:17:00.0, GPU-1): /dev/nvidia0",
            "  GPU instance 9, compute instance 0: /dev/nvidia-caps/nvidia-cap21 /dev/nvidia-caps/nvidia-cap22",
            "NVIDIA GPUs share /dev/nvidiactl /dev/nvidia-uvm",
            "NVIDIA driver 550.54.15",
            "  /usr/lib64/libnvidia-ml.so.1 -> libnvidia-ml.so.1 (utility)",
            "  /usr/bin/nvidia-smi (utility)",
            "RDMA adapter mlx5_0 (InfiniBand): /dev/infiniband/uverbs0",
            "RDMA adapter mlx5_1: no device",
            "RDMA devices /dev/infiniband/uverbs0 /dev/infiniband/rdma_cm",
            "  /etc/libibverbs.d/mlx5.driver -> mlx5: not found",
            "problem: /dev/nvidia0 is there, but the node has no libcuda.so.1; install the driver's libraries and \
             run ldconfig",
        ]
    );
    // Again, and the same.
    assert_eq!(Report::of(&root.host()), report);
}

#[test]
fn programs_are_told_the_same() {
    let root = node();
    root.ldconfig("new", &["/usr/lib64"]);
    let value = serde_json::to_value(Report::of(&root.host())).expect("JSON");
    assert_eq!(
        value["gpus"],
        serde_json::json!([{
            "vendor": "nvidia", "index": 0, "nodes": ["/dev/nvidia0"], "uuid": "GPU-1", "bus": "0000:17:00.0",
            "model": "NVIDIA H200", "shared": ["/dev/nvidiactl", "/dev/nvidia-uvm"],
            "mig": [{
                "gpu_instance": 9, "compute_instance": 0,
                "gpu_node": "/dev/nvidia-caps/nvidia-cap21", "compute_node": "/dev/nvidia-caps/nvidia-cap22",
            }],
        }])
    );
    assert_eq!(
        value["nvidia"],
        serde_json::json!({
            "version": "550.54.15",
            "libraries": [{
                "soname": "libnvidia-ml.so.1", "path": "/usr/lib64/libnvidia-ml.so.1", "links": [],
                "capabilities": ["utility"],
            }],
            "files": [{"path": "/usr/bin/nvidia-smi", "kind": "program", "capabilities": ["utility"]}],
        })
    );
    assert_eq!(
        value["rdma"]["nodes"][1],
        serde_json::json!({"path": "/dev/infiniband/rdma_cm", "kind": "connections"})
    );
    assert_eq!(value["problems"].as_array().expect("a list").len(), 1);
}

#[test]
fn a_damaged_cache_is_told_where_there_are_gpus() {
    let root = Root::new();
    root.device("dev/nvidia0");
    root.file("etc/ld.so.cache", "odd");
    let lines = Report::of(&root.host()).lines();
    assert_eq!(
        lines,
        [
            "NVIDIA GPU 0: /dev/nvidia0",
            "no RDMA device",
            "problem: /dev/nvidia0 is there, but the node has no libcuda.so.1; install the driver's libraries and \
             run ldconfig",
            "problem: /etc/ld.so.cache: no cache of ldconfig's that is known; run ldconfig",
        ]
    );
}
