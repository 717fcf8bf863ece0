//! Containers with a name, and jobs that come again, are many, or are joined.

use cluster_tests::images::TINY;
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_requeued_job_finds_its_container,
        what_a_task_of_an_array_makes_is_its_own,
        a_shell_joins_the_container_of_a_job,
        a_site_that_has_none,
    ]
}

/// A global one is there again when the job is.
fn a_requeued_job_finds_its_container(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "cat >~/job.sh <<'END'\n\
             #!/bin/sh\n\
             echo run ${{SLURM_RESTART_COUNT:-0}} >>/runs; cat /runs >/home/alice/runs\n\
             [ -n \"$SLURM_RESTART_COUNT\" ] || {{ echo in >/home/alice/in; sleep 80; }}\n\
             END\n\
             rm -f ~/in ~/runs; job=$(sbatch --parsable --requeue -w node1 -o /dev/null --container-image={TINY} --container-name=again --container-writable ~/job.sh)\n\
             wait_for ~/in; scontrol requeue $job\n\
             until scontrol -o show job $job | grep -q 'JobState=PENDING'; do sleep 0.1; done\n\
             sleep 2.1; scontrol update JobId=$job StartTime=now; finish $job; cat ~/runs; ended $job; rm ~/job.sh ~/in ~/runs\n\
             srun -Q -w node1 --container-name=again:remove true"
        ))
        .succeeds()
        .says("run 0\nrun 1\nCOMPLETED 0:0\n");
}

/// But for one that was there before them.
fn what_a_task_of_an_array_makes_is_its_own(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "run() {{ job=$(sbatch --parsable --array=1-3 -w node1 -o ~/out.%a --container-image={TINY} --container-name=arr --container-writable \
             --wrap 'echo $SLURM_ARRAY_TASK_ID >>/mine; sleep 1; sort /mine'); finish $job; sort ~/out.1 ~/out.2 ~/out.3 | uniq -c; rm ~/out.*; }}\n\
             run\n\
             srun -Q -w node1 --container-image={TINY} --container-name=arr --container-writable sh -c 'echo 0 >/mine'\n\
             run | grep -c ' 3 0'\n\
             srun -Q -w node1 --container-name=arr:remove true"
        ))
        .succeeds()
        .says("      1 1\n      1 2\n      1 3\n1\n");
}

fn a_shell_joins_the_container_of_a_job(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -f ~/in ~/go-on; job=$(sbatch --parsable -w node1 -o /dev/null --container-image={TINY} --container-name=sh --container-writable --wrap \
             'echo from the job >/in-it; echo >/home/alice/in; until [ -e /home/alice/go-on ]; do sleep 0.1; done')\n\
             wait_for ~/in; srun -Q --jobid=$job --overlap --container-name=sh:exec sh -c 'cat /in-it'\n\
             touch ~/go-on; finish $job; rm ~/in ~/go-on; srun -Q -w node1 --container-name=sh:remove true"
        ))
        .succeeds()
        .says("from the job\n");
}

fn a_site_that_has_none(cluster: &Cluster) {
    const FILE: &str = "/etc/oarlock/oarlock.toml";
    let named = format!("--container-name=a --container-image={TINY}");
    cluster
        .alice(&format!("srun -w node1 {named} true"))
        .succeeds();
    let _strict = cluster.change(
        "node1",
        &format!("cp -p {FILE} /root/kept && sed -i 's/^named = .*/named = false/' {FILE}"),
        format!("cp -p /root/kept {FILE} && rm /root/kept"),
    );
    cluster
        .alice(&format!("srun -w node1 -n2 {named} echo ran"))
        .is_refused([
            "oarlock: node1: container a: containers with names are not allowed here (writable.named in oarlock.toml)",
        ]);
    // What there is can be removed, and looks whether it is: the harness.
    cluster
        .alice("oarlock container rm --node node1 a")
        .stdout_and_code("", 0)
        .tells([""; 0]);
}
