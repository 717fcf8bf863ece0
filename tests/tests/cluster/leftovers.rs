//! The check that runs after every test must be able to fail.

use std::time::Duration;

use cluster_tests::leftovers::Snapshot;
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![every_kind_is_noticed]
}

/// Leaves one thing of each kind on a node, as a bug would, and looks.
fn every_kind_is_noticed(cluster: &Cluster) {
    let before = Snapshot::take(cluster);
    let restore = cluster.change(
        "node1",
        "mkdir /tmp/left /dev/shm/left\n\
         mount -t tmpfs left /tmp/left\n\
         losetup --find --read-only /opt/images/demo.sif\n\
         touch /var/spool/slurmd/left\n\
         [ ! -d /sys/fs/cgroup/pids ] || mkdir -p /sys/fs/cgroup/pids/oarlock/job_1/step_0\n\
         cp /bin/sleep /root/squashfuse_ll\n\
         setsid /root/squashfuse_ll 60 >/dev/null 2>&1 </dev/null &\n\
         setsid unshare -m sleep 61 >/dev/null 2>&1 </dev/null &\n\
         sleep 0.2",
        "umount /tmp/left; cd /sys/fs/cgroup/pids && rmdir -p oarlock/job_1/step_0; cd /\n\
         losetup -j /opt/images/demo.sif | cut -d: -f1 | xargs -r losetup -d\n\
         kill $(pgrep -x squashfuse_ll) $(pgrep -fx 'sleep 61')\n\
         rm -rf /tmp/left /dev/shm/left /var/spool/slurmd/left /root/squashfuse_ll",
    );
    let noticed = before.compare_within(cluster, Duration::ZERO);
    let has_groups = cluster.root("node1", "test -d /sys/fs/cgroup/pids").code == 0;
    let groups = has_groups.then_some("+ node1: cgroup /sys/fs/cgroup/pids/oarlock/job_1/step_0");
    for kind in [
        "+ node1: mount ",
        "+ node1: loop loop",
        "+ node1: entry /tmp/left",
        "+ node1: entry /dev/shm/left",
        "+ node1: entry /var/spool/slurmd/left",
        "+ node1: process ",
        "+ node1: namespace mnt:",
    ]
    .into_iter()
    .chain(groups)
    {
        assert!(
            noticed.iter().any(|line| line.starts_with(kind)),
            "{kind} was not noticed: {noticed:#?}"
        );
    }
    drop(restore);

    let restore = cluster.change(
        "login",
        "scontrol update nodename=node2 state=drain reason=test",
        "scontrol update nodename=node2 state=resume",
    );
    let noticed = before.compare_within(cluster, Duration::ZERO);
    assert!(
        noticed.contains(&"! Slurm: node node2 is drained".to_owned()),
        "{noticed:#?}"
    );
    drop(restore);
}
