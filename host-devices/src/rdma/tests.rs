//! Nodes with and without adapters, in directories.

use super::*;
use crate::testing::Root;

fn names(rdma: &Rdma) -> Vec<(&str, Kind)> {
    let all = rdma.nodes.iter();
    all.map(|node| (node.path.to_str().expect("text"), node.kind))
        .collect()
}

#[test]
fn a_node_without_hardware_has_none() {
    let rdma = Rdma::find(&Root::new().host());
    assert_eq!(rdma, Rdma::default());
    assert!(!rdma.has_adapter());
}

#[test]
fn devices_of_each_kind_are_found_and_the_fabrics_management_is_not() {
    let root = Root::new();
    for name in [
        "infiniband/uverbs10",
        "infiniband/uverbs2",
        "infiniband/rdma_cm",
        "infiniband/umad0",
        "infiniband/issm0",
        "cxi0",
        "cxi1",
        "hfi1_0",
        "hfi1_diagpkt0",
        "xpmem",
        "knem",
        "gdrdrv",
        "nvidia-fs0",
        "nvidia0",
    ] {
        root.device(&format!("dev/{name}"));
    }
    root.directory("dev/cxi2");
    assert_eq!(
        names(&Rdma::find(&root.host())),
        [
            ("/dev/infiniband/uverbs2", Kind::Verbs),
            ("/dev/infiniband/uverbs10", Kind::Verbs),
            ("/dev/cxi0", Kind::Slingshot),
            ("/dev/cxi1", Kind::Slingshot),
            ("/dev/hfi1_0", Kind::OmniPath),
            ("/dev/nvidia-fs0", Kind::GpuStorage),
            ("/dev/infiniband/rdma_cm", Kind::Connections),
            ("/dev/xpmem", Kind::SharedMemory),
            ("/dev/knem", Kind::SharedMemory),
            ("/dev/gdrdrv", Kind::GpuMemory),
        ]
    );
}

#[test]
fn adapters_are_told_with_their_devices() {
    let root = Root::new();
    root.file(
        "sys/class/infiniband/mlx5_0/ports/1/link_layer",
        "InfiniBand\n",
    );
    root.file(
        "sys/class/infiniband/mlx5_1/ports/1/link_layer",
        "Ethernet\n",
    );
    root.directory("sys/class/infiniband/mlx5_2");
    for (number, adapter) in [(0, "mlx5_1"), (1, "mlx5_0"), (2, "mlx5_2")] {
        root.file(
            &format!("sys/class/infiniband_verbs/uverbs{number}/ibdev"),
            &format!("{adapter}\n"),
        );
    }
    root.file("sys/class/infiniband_verbs/abi_version", "6\n");
    root.device("dev/infiniband/uverbs0");
    root.device("dev/infiniband/uverbs1");
    let rdma = Rdma::find(&root.host());
    let found: Vec<_> = rdma
        .adapters
        .iter()
        .map(|one| {
            (
                one.name.as_str(),
                one.node.as_deref().and_then(Path::to_str),
                one.link.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (
                "mlx5_0",
                Some("/dev/infiniband/uverbs1"),
                Some("InfiniBand")
            ),
            ("mlx5_1", Some("/dev/infiniband/uverbs0"), Some("Ethernet")),
            ("mlx5_2", None, None),
        ]
    );
}

#[test]
fn drivers_are_found_by_the_files_that_name_them() {
    let root = Root::new();
    root.file("etc/libibverbs.d/mlx5.driver", "driver mlx5\n");
    root.file(
        "etc/libibverbs.d/odd.driver",
        "driver ../x\ndriver \nother\n# driver no\n",
    );
    root.file(
        "etc/libibverbs.d/vendor.driver",
        "driver /opt/ofed/libvendor\ndriver efa\n",
    );
    root.file("etc/libibverbs.d/mlx4.driver.old", "driver mlx4\n");
    for file in [
        "usr/lib64/libibverbs/libmlx5-rdmav9.so",
        "usr/lib64/libibverbs/libmlx5-rdmav34.so",
        "usr/lib64/libibverbs/libmlx5-rdmav40.so.old",
        "opt/ofed/libvendor-rdmav34.so",
    ] {
        root.file(file, "");
    }
    let rdma = Rdma::find(&root.host());
    let found: Vec<_> = rdma
        .providers
        .iter()
        .map(|one| {
            (
                one.name.as_str(),
                one.library.as_deref().and_then(Path::to_str),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("mlx5", Some("/usr/lib64/libibverbs/libmlx5-rdmav34.so")),
            ("../x", None),
            (
                "/opt/ofed/libvendor",
                Some("/opt/ofed/libvendor-rdmav34.so")
            ),
            ("efa", None),
        ]
    );
    assert_eq!(
        rdma.providers[0].config,
        Path::new("/etc/libibverbs.d/mlx5.driver")
    );
}

#[test]
fn little_memory_to_lock_is_told_where_there_is_an_adapter() {
    let kinds = |list: &[Kind]| Rdma {
        nodes: list
            .iter()
            .map(|kind| Node {
                path: "/dev/x".into(),
                kind: *kind,
            })
            .collect(),
        ..Rdma::default()
    };
    let verbs = kinds(&[Kind::Verbs]);
    let none = kinds(&[
        Kind::SharedMemory,
        Kind::GpuMemory,
        Kind::GpuStorage,
        Kind::Connections,
    ]);
    for other in [kinds(&[Kind::Slingshot]), kinds(&[Kind::OmniPath])] {
        assert!(other.memlock_warning(Some(0), Some(0)).is_some());
    }
    assert_eq!(none.memlock_warning(Some(65536), Some(65536)), None);
    assert_eq!(verbs.memlock_warning(None, None), None);
    assert_eq!(
        verbs
            .memlock_warning(Some(8 << 20), Some(8 << 20))
            .expect("a line"),
        "RDMA: only 8 MiB can be locked in memory (memlock): libraries of MPI fail with an adapter, or do without; \
         for admins: LimitMEMLOCK=infinity for slurmd, and PropagateResourceLimitsExcept=MEMLOCK in slurm.conf"
    );
    assert_eq!(
        verbs.memlock_warning(Some(65536), None).expect("a line"),
        "RDMA: only 64 KiB can be locked in memory (memlock): libraries of MPI fail with an adapter, or do without; \
         say ulimit -l unlimited before srun"
    );
    for (bytes, told) in [
        (0, "0 B"),
        (1000, "1000 B"),
        (1 << 30, "1 GiB"),
        (3 << 29, "1536 MiB"),
    ] {
        assert_eq!(size(bytes), told);
    }
}
