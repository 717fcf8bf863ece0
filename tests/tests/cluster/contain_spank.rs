//! `SlurmdParameters=contain_spank` (Slurm 24.05 and newer): slurmstepd calls
//! `user_init`, `task_post_fork` and `task_exit` in a process that shares its memory,
//! but not its descriptors.

use cluster_tests::images::{TINY, TINY_DIRECTORY, TINY_FUSE};
use cluster_tests::{Case, Cluster, Restore, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        containers_are_as_ever,
        failures_are_told,
        the_working_directory_is_the_jobs,
        a_batch_job_and_its_steps,
    ]
}

fn contained(cluster: &Cluster) -> [Restore<'_>; 3] {
    cluster.needs_slurm((24, 5), "contain_spank");
    cluster.reconfigured(
        "sed -i 's/^SlurmdParameters=.*/&,contain_spank/' $conf && grep -q contain_spank $conf",
    )
}

fn containers_are_as_ever(cluster: &Cluster) {
    let _contained = contained(cluster);
    for image in [TINY, TINY_FUSE, TINY_DIRECTORY] {
        cluster
            .alice(&format!(
                "srun -w node1 -n4 --container-image={image} cat /etc/oarlock-image; \
                 srun -w node1 -n2 --container-image={image} sh -c 'exit 7'; echo $?"
            ))
            .tells([""; 0])
            .says("tiny\ntiny\ntiny\ntiny\n7\n");
        cluster
            .root("node1", "for try in $(seq 20); do pgrep -x squashfuse_ll >/dev/null || exit 0; sleep 0.1; done; exit 1")
            .succeeds();
    }
}

fn failures_are_told(cluster: &Cluster) {
    let _contained = contained(cluster);
    cluster
        .alice("srun -w node1 -n4 --container-image=/nowhere.sif echo ran")
        .is_refused([
            "oarlock: node1: image /nowhere.sif: no such file or directory; check the path, and that this node has it",
        ]);
    cluster
        .alice(&format!(
            "srun -w node1 -n4 --container-image={TINY} --container-mounts=/nowhere:/mnt echo ran"
        ))
        .is_refused(["oarlock: node1: *"]);
    cluster
        .alice(&format!(
            "srun -w node1 -n4 --container-image={TINY} cat /etc/oarlock-image"
        ))
        .succeeds()
        .says("tiny\ntiny\ntiny\ntiny\n");
}

/// What `user_init` saw is memory, and memory is shared: no container is built twice.
fn the_working_directory_is_the_jobs(cluster: &Cluster) {
    let _contained = contained(cluster);
    cluster
        .alice(&format!(
            "mkdir -p ~/here; echo mine >~/here/file; cd ~/here; srun -w node1 -n2 --container-image={TINY} sh -c 'pwd; cat file'; cd; rm -r ~/here"
        ))
        .succeeds()
        .lines(["/home/alice/here", "/home/alice/here", "mine", "mine"]);
}

fn a_batch_job_and_its_steps(cluster: &Cluster) {
    let _contained = contained(cluster);
    cluster
        .alice(&format!(
            "job=$(sbatch --parsable -w node1 -n2 -o ~/out --container-image={TINY} --wrap 'cat /etc/oarlock-image; exit 3'); finish $job; cat ~/out; rm ~/out; ended $job\n\
             salloc -Q -w node1 -n2 --container-image={TINY_FUSE} srun cat /etc/oarlock-image"
        ))
        .succeeds()
        .says("tiny\nFAILED 3:0\ntiny\ntiny\n");
}
