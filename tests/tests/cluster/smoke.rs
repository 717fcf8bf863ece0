//! The few tests that are made with every version of Slurm, each of a whole way
//! through Oarlock. What they find broken, the others tell more exactly.

use cluster_tests::images::{MPICH, TINIES, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        every_form_of_image_on_two_nodes,
        a_batch_job_and_its_inner_steps,
        an_allocation,
        failures_are_told_and_drain_nothing,
        exit_codes,
        options_by_variables_and_without_an_environment,
        one_world_of_mpi_ranks,
        an_image_is_kept_for_its_job,
        a_rank_has_no_rights,
        a_cancelled_step_leaves_nothing,
    ]
}

fn every_form_of_image_on_two_nodes(cluster: &Cluster) {
    for (form, image) in TINIES {
        let output = cluster.alice(&format!(
            "srun -N2 -n4 --container-image={image} sh -c 'echo $SLURM_PROCID $(cat /etc/oarlock-image)'"
        ));
        assert_eq!(output.code, 0, "{form}: {output}");
        output
            .succeeds()
            .lines(["0 tiny", "1 tiny", "2 tiny", "3 tiny"]);
    }
    cluster
        .alice("srun -w node1 sh -c 'test -e /etc/oarlock-image || echo uncontained'")
        .succeeds()
        .says("uncontained\n");
}

fn a_batch_job_and_its_inner_steps(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "job=$(sbatch --parsable -w node1 -n2 -o ~/out --container-image={TINY} --wrap 'cat /etc/oarlock-image; pwd; exit 5'); finish $job; cat ~/out; ended $job\n\
             job=$(sbatch --parsable -w node1 -n2 -o ~/out --wrap 'test -e /etc/oarlock-image || echo outside; srun --container-image={TINY_FUSE} cat /etc/oarlock-image'); finish $job; cat ~/out; rm ~/out; ended $job"
        ))
        .succeeds()
        .says("tiny\n/home/alice\nFAILED 5:0\noutside\ntiny\ntiny\nCOMPLETED 0:0\n");
}

fn an_allocation(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "salloc -N2 --container-image={TINY} bash -c 'srun cat /etc/oarlock-image; srun --container-image={TINY_FUSE} --container-workdir=/usr sh -c pwd'"
        ))
        .succeeds()
        .says("tiny\ntiny\n/usr\n/usr\n");
}

fn failures_are_told_and_drain_nothing(cluster: &Cluster) {
    let missing =
        "image /nowhere.sif: no such file or directory; check the path, and that this node has it";
    cluster
        .alice("srun -N2 -n4 --container-image=/nowhere.sif echo ran")
        .is_refused([
            format!("oarlock: node1: {missing}"),
            format!("oarlock: node2: {missing}"),
        ]);
    cluster
        .alice("job=$(sbatch --parsable -w node1 -o ~/out --container-image=/nowhere.sif --wrap 'echo ran'); finish $job; cat ~/out; rm ~/out; ended $job; sinfo -h -o %T")
        .says(&format!("oarlock: node1: {missing}\nFAILED 1:0\nidle\n"));
    let before = cluster.next_job();
    for client in ["srun true", "sbatch --wrap true", "salloc true"] {
        let output = cluster.alice(&client.replacen(' ', " --container-mounts=here:/there ", 1));
        assert_ne!(output.code, 0, "{output}");
        assert!(
            output.stderr.contains("oarlock: mount \"here:/there\""),
            "{output}"
        );
    }
    assert_eq!(cluster.next_job(), before, "nothing may be queued");
}

fn exit_codes(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 -n2 --container-image={TINY} sh -c 'exit 7'; echo $?; srun -w node1 --container-image={TINY_FUSE} sh -c 'kill -KILL $$'; echo $?"
        ))
        .tells([""; 0])
        .says("7\n137\n");
}

fn options_by_variables_and_without_an_environment(cluster: &Cluster) {
    for form in [
        format!("OARLOCK_CONTAINER_IMAGE={TINY} sbatch"),
        format!("OARLOCK_CONTAINER_IMAGE={TINY} sbatch --export=NONE"),
        format!("sbatch --export=NONE --container-image={TINY}"),
        format!("sbatch --export=MINE=1 --container-image={TINY}"),
    ] {
        let output = cluster.alice(&format!(
            "job=$({form} --parsable -w node1 -o ~/out --wrap 'cat /etc/oarlock-image; ulimit -v') || exit\n\
             finish $job; cat ~/out; rm ~/out; ended $job"
        ));
        assert_eq!(
            output.stdout, "tiny\nunlimited\nCOMPLETED 0:0\n",
            "{form}: {output}"
        );
    }
    cluster
        .alice(&format!(
            "srun -w node1 --export=NONE --container-image={TINY} sh -c 'cat /etc/oarlock-image; ulimit -v'"
        ))
        .succeeds()
        .says("tiny\nunlimited\n");
}

/// By PMI-2, which every version has.
fn one_world_of_mpi_ranks(cluster: &Cluster) {
    cluster
        .mpi(&format!(
            "srun -N2 -n4 --ntasks-per-node=2 --mpi=pmi2 --container-image={MPICH} mpi-hello"
        ))
        .succeeds()
        .lines([
            "hello rank 0 of 4 on node1 sum 10",
            "hello rank 1 of 4 on node1 sum 10",
            "hello rank 2 of 4 on node2 sum 10",
            "hello rank 3 of 4 on node2 sum 10",
        ]);
}

/// The look at what a test leaves sees its end.
fn an_image_is_kept_for_its_job(cluster: &Cluster) {
    let look = "srun -w node1 grep -c /run/oarlock/kept/ /proc/1/mountinfo";
    cluster
        .alice(&format!(
            "salloc -Q -w node1 bash -c '{look}; srun --container-image={TINY} true; {look}'"
        ))
        .stdout_and_code("0\n1\n", 0);
}

fn a_rank_has_no_rights(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} sh -c 'while read -r name value; do case $name in Uid:|Cap*|NoNewPrivs:) echo $name $value;; esac; done </proc/self/status' | tr '\\t' ' '"
        ))
        .succeeds()
        .says("Uid: 1000 1000 1000 1000\nCapInh: 0000000000000000\nCapPrm: 0000000000000000\nCapEff: 0000000000000000\nCapBnd: 0000000000000000\nCapAmb: 0000000000000000\nNoNewPrivs: 1\n");
}

fn a_cancelled_step_leaves_nothing(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -f ~/ready; srun -J held -w node1 -n2 --container-image={TINY_FUSE} sh -c 'echo ready >~/ready; while [ -e ~/ready ]; do sleep 0.1; done' >/dev/null 2>&1 & wait_for ~/ready\n\
             job=$(squeue -h -n held -o %i); scancel $job; finish $job; rm -f ~/ready; sinfo -h -n node1 -o %T"
        ))
        .says("idle\n");
}
