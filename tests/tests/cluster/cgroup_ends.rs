//! The end of control groups of Oarlock's own: with their step, with their job, and what a
//! crash has left.

use cluster_tests::cluster::IDLE;
use cluster_tests::images::{DEMO, TINY};
use cluster_tests::{Case, Cluster, cases};

use crate::cgroups::{needs_version_1, without_slurms};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        what_escapes_slurm_ends_with_the_step,
        steps_of_a_job_come_and_go,
        what_a_crash_left_is_swept,
        an_epilog_ends_the_ranks_before_it_looks_who_has_a_container,
    ]
}

/// Without control groups of its own Slurm loses whoever gives himself a new parent.
fn what_escapes_slurm_ends_with_the_step(cluster: &Cluster) {
    needs_version_1(cluster);
    const FILE: &str = "/etc/slurm/host.conf";
    let _tracking = cluster.change(
        "node1",
        &format!(
            "cp -p {FILE} /root/host.kept && sed -i -e 's,^ProctrackType=.*,ProctrackType=proctrack/linuxproc,' -e 's,^TaskPlugin=.*,TaskPlugin=task/none,' {FILE} && slurm-node restart"
        ),
        format!("mv /root/host.kept {FILE}; slurm-node restart; pkill -fx 'sleep 987'; true"),
    );
    let daemon = "sh -c '(setsid sleep 987 >/dev/null 2>&1 </dev/null &) ; sleep 0.3; echo ran'";
    cluster
        .alice(&format!("srun -w node1 {daemon}"))
        .succeeds()
        .says("ran\n");
    cluster
        .root(
            "node1",
            "pgrep -fx 'sleep 987' | wc -l; pkill -fx 'sleep 987'",
        )
        .says("1\n");
    for option in ["", "--container-remap-root", "--container-unshare=pid"] {
        cluster
            .alice(&format!(
                "srun -w node1 {option} --container-image={DEMO} {daemon}"
            ))
            .succeeds()
            .says("ran\n");
        cluster
            .root("node1", "for try in $(seq 50); do pgrep -fx 'sleep 987' >/dev/null || break; sleep 0.1; done; pgrep -fx 'sleep 987' | wc -l")
            .says("0\n");
    }
}

fn steps_of_a_job_come_and_go(cluster: &Cluster) {
    needs_version_1(cluster);
    let _off = without_slurms(cluster);
    cluster
        .alice(&format!(
            "salloc -Q -N1 -w node1 -n8 bash -c 'for round in 1 2 3 4 5; do for step in 1 2 3 4; do srun -n2 --exact --mem=100M --container-image={TINY} true & done; wait; done; echo $?'"
        ))
        .succeeds()
        .says("0\n");
    cluster
        .root(
            "node1",
            "ls -d /sys/fs/cgroup/*/oarlock* 2>/dev/null | wc -l",
        )
        .says("0\n");
}

fn what_a_crash_left_is_swept(cluster: &Cluster) {
    needs_version_1(cluster);
    const TREE: &str = "/sys/fs/cgroup/pids/oarlock";
    let _left = cluster.change(
        "node1",
        &format!("mkdir -p {TREE}/job_4000000/step_0 {TREE}/job_4000000/step_1 {TREE}/job_4000001/step_0; \
                  setsid sleep 986 >/dev/null 2>&1 </dev/null & pid=$!; echo $pid >{TREE}/job_4000000/step_1/cgroup.procs; \
                  touch -d '1 hour ago' {TREE}/job_*/step_*; touch {TREE}/job_4000001/step_0"),
        format!("pkill -fx 'sleep 986'; sleep 0.2; rmdir {TREE}/job_*/step_* {TREE}/job_* {TREE} 2>/dev/null; true"),
    );
    // What somebody is in stays, and what may be a step's that begins.
    cluster
        .root(
            "node1",
            &format!("oarlock gc >/dev/null; cd {TREE}; find -mindepth 2 -type d | sort"),
        )
        .says("./job_4000000/step_1\n./job_4000001/step_0\n");
    let doctor = cluster.root("node1", "oarlock doctor leftovers");
    assert!(doctor.stdout.contains("4000000"), "{doctor}");
}

/// Slurm leaves the ranks of a slurmstepd that was killed to init. In groups of ours they
/// end with their job, and a container that is to go with it goes.
fn an_epilog_ends_the_ranks_before_it_looks_who_has_a_container(cluster: &Cluster) {
    needs_version_1(cluster);
    const CONTAINER: &str = "/var/lib/oarlock/containers/1000/global/last";
    let _remains = cluster.change(
        "node1",
        "true",
        // Slurm's own: the groups and files of a step that it no longer knows.
        "pkill -KILL -fx 'sleep 985'; sleep 0.5; find /sys/fs/cgroup/*/slurm*/uid_1000 -depth -type d -exec rmdir {} + 2>/dev/null\n\
         find /var/spool/slurmd \\( -name 'node1_*' -o -name 'hwloc_topo_[0-9]*' \\) -delete\n\
         for m in /run/oarlock/live/*; do [ -e $m ] && { umount -l $m; rmdir $m; }; done; rm -rf /var/lib/oarlock/containers/* /run/oarlock-names/*; true",
    );
    cluster
        .alice(&format!(
            "rm -f ~/in; srun -w node1 --container-name=last --container-image={TINY} true\n\
             srun -w node1 -n2 --container-name=last:remove sh -c 'echo $SLURM_JOB_ID >/home/alice/in; exec sleep 985' >/dev/null 2>&1 & wait_for ~/in"
        ))
        .succeeds();
    cluster
        .root(
            "node1",
            &format!("pkill -KILL -x slurmstepd; sleep 0.3; pgrep -fx 'sleep 985' | wc -l; ls -d {CONTAINER}"),
        )
        .says(&format!("2\n{CONTAINER}\n"));
    cluster
        .alice("job=$(cat ~/in); scancel $job 2>/dev/null; finish $job; rm ~/in")
        .succeeds();
    cluster.root("node1", IDLE).succeeds();
    cluster
        .root(
            "node1",
            &format!(
                "for try in $(seq 100); do [ -e {CONTAINER} ] || break; sleep 0.1; done; ls -d {CONTAINER} 2>/dev/null; \
                 pgrep -fx 'sleep 985' | wc -l; ls -d /sys/fs/cgroup/*/oarlock 2>/dev/null | wc -l"
            ),
        )
        .says("0\n0\n");
}
