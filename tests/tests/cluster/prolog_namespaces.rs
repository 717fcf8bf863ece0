//! Slurm's task prologs where the step has namespaces of its own.

use cluster_tests::images::DEMO;
use cluster_tests::{Case, Cluster, cases};

use crate::prolog::script;

pub(crate) fn cases() -> Vec<Case> {
    cases![process_ids_and_root_of_its_own]
}

/// `oarlock-enter` neither forks nor becomes anybody: here the prologs come first.
fn process_ids_and_root_of_its_own(cluster: &Cluster) {
    let _script = script(
        cluster,
        "echo export FROM_PROLOG=$(id -u)-$(cat /etc/oarlock-image 2>/dev/null)",
    );
    for (option, look, seen) in [
        (
            "--container-unshare=pid",
            "echo $FROM_PROLOG; test -e /proc/1/root || ls /proc/1/comm",
            "1000-\n/proc/1/comm\n",
        ),
        (
            "--container-remap-root",
            "echo $FROM_PROLOG; id -u",
            "1000-\n0\n",
        ),
    ] {
        cluster
            .alice(&format!(
                "srun -w node1 --task-prolog=/shared/prolog.sh --container-image={DEMO} {option} sh -c '{look}'"
            ))
            .succeeds()
            .says(seen);
    }
}
