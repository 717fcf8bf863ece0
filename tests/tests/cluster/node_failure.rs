//! Daemons that are killed, nodes that go away and come back: the next job finds a
//! clean node, and what stays of the old one is what Slurm itself leaves.

use cluster_tests::cluster::IDLE;
use cluster_tests::images::{TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, Restore, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        slurmd_is_killed_while_a_step_runs,
        slurmd_and_slurmstepd_are_killed,
        a_node_that_goes_down_and_comes_back,
        a_node_that_was_reset,
    ]
}

const IMAGES: [&str; 2] = [TINY, TINY_FUSE];

/// A step of two ranks on node1 that runs until `~/ready` is gone; it is ended with
/// the result at the latest.
fn hold<'a>(cluster: &'a Cluster, image: &str) -> Restore<'a> {
    let ended = cluster.change(
        "login",
        "rm -f /home/alice/ready",
        "rm -f /home/alice/ready /home/alice/held; scancel -n held",
    );
    cluster
        .alice(&format!(
            "srun -J held -w node1 -n2 --container-image={image} sh -c \
             'echo ready >~/ready; while [ -e ~/ready ]; do sleep 0.1; done; cat /etc/oarlock-image' >~/held 2>&1 & \
             wait_for ~/ready"
        ))
        .succeeds();
    ended
}

/// Ends it and its job, whatever Slurm knows of them.
const RELEASE: &str = "rm -f ~/ready; for try in $(seq 50); do job=$(squeue -h -n held -o %i); [ -z \"$job\" ] && break; sleep 0.1; done\n\
    [ -z \"$job\" ] || { scancel $job; finish $job; }";

/// What Slurm leaves of a step that it no longer knows: control groups and sockets.
fn slurms_remains(cluster: &Cluster) -> Restore<'_> {
    cluster.change(
        "node1",
        "true",
        "sleep 0.5; find /sys/fs/cgroup/*/slurm*/uid_1000 -depth -type d -exec rmdir {} + 2>/dev/null\n\
         find /var/spool/slurmd \\( -name 'node1_*' -o -name 'hwloc_topo_[0-9]*' \\) -newer /root/before -delete; rm -f /root/before; true",
    )
}

/// Nothing of Oarlock's is left on node1, and a job works there, by the kernel and by
/// FUSE.
fn is_well(cluster: &Cluster) {
    cluster.root("node1", IDLE).succeeds();
    cluster
        .root(
            "node1",
            "for try in $(seq 150); do pgrep -x squashfuse_ll >/dev/null || grep -q /run/oarlock/kept/ /proc/self/mountinfo || break; sleep 0.1; done\n\
             pgrep -x squashfuse_ll; pgrep -x oarlock-prepare; grep /run/oarlock/kept/ /proc/self/mountinfo; ls -A /run/oarlock/kept 2>/dev/null; true",
        )
        .succeeds()
        .says("");
    for image in IMAGES {
        cluster
            .alice(&format!(
                "srun -w node1 -n2 --container-image={image} cat /etc/oarlock-image"
            ))
            .succeeds()
            .says("tiny\ntiny\n");
    }
}

/// The step does not notice. A slurmd that starts takes away what is kept for any
/// job, and the step keeps what it has.
fn slurmd_is_killed_while_a_step_runs(cluster: &Cluster) {
    for image in IMAGES {
        let _held = hold(cluster, image);
        cluster
            .root(
                "node1",
                "slurm-node kill; sleep 0.3; slurm-node start\n\
                 for try in $(seq 100); do sinfo -h -n node1 -o %T | grep -E 'mixed|allocated' >/dev/null && echo busy && exit; sleep 0.1; done; exit 1",
            )
            .succeeds()
            .says("busy\n");
        cluster
            .alice(
                "rm ~/ready; until [ -z \"$(squeue -h -n held)\" ]; do sleep 0.1; done; cat ~/held",
            )
            .says("tiny\ntiny\n");
        is_well(cluster);
    }
}

/// Slurm leaves the ranks to init, with a container and without; they end when their
/// program does, and the container with them.
fn slurmd_and_slurmstepd_are_killed(cluster: &Cluster) {
    for image in IMAGES {
        let _remains = slurms_remains(cluster);
        cluster.root("node1", "touch /root/before").succeeds();
        let _held = hold(cluster, image);
        cluster
            .root("node1", "slurm-node kill; pkill -KILL -x slurmstepd; sleep 0.5; pgrep -x -u alice -P 1 sh | wc -l")
            .says("2\n");
        cluster.root("node1", "slurm-node start").succeeds();
        cluster.alice(RELEASE).succeeds();
        is_well(cluster);
    }
}

/// Slurm ends the job of a node that is down; the image goes with it.
fn a_node_that_goes_down_and_comes_back(cluster: &Cluster) {
    for image in IMAGES {
        let _held = hold(cluster, image);
        // A node that answers is taken up again within a second (ReturnToService=2).
        cluster
            .root("login", "job=$(squeue -h -n held -o %i); scontrol update nodename=node1 state=down reason=test; finish $job; ended $job | cut -d' ' -f1")
            .succeeds()
            .says("NODE_FAIL\n");
        cluster
            .root("node1", "for try in $(seq 100); do pgrep -u alice >/dev/null || break; sleep 0.1; done; pgrep -u alice -l")
            .stdout_and_code("", 1);
        let output = cluster.alice("rm -f ~/ready; for try in $(seq 100); do pgrep -u alice -x srun >/dev/null || break; sleep 0.1; done; cat ~/held");
        assert!(!output.stdout.contains("tiny"), "{output}");
        is_well(cluster);
    }
}

/// As after a reset: every process of the job is gone at once, and so is /run.
fn a_node_that_was_reset(cluster: &Cluster) {
    for image in IMAGES {
        let _remains = slurms_remains(cluster);
        cluster.root("node1", "touch /root/before").succeeds();
        let _held = hold(cluster, image);
        cluster
            .root(
                "node1",
                "slurm-node kill; pkill -KILL -x slurmstepd; pkill -KILL -u alice; pkill -KILL -x squashfuse_ll; sleep 0.3\n\
                 for at in $(awk '$5 ~ /^\\/run\\/oarlock\\// { print $5 }' /proc/self/mountinfo); do umount $at; done\n\
                 rm -rf --one-file-system /run/oarlock; slurm-node start; sleep 0.5; ls -A /run/oarlock",
            )
            .succeeds()
            .says("epilog\n");
        cluster.alice(RELEASE).succeeds();
        is_well(cluster);
    }
}
