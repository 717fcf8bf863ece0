//! MPI: one world of all ranks, never as many singletons.

use cluster_tests::images::{DEMO, DEMO_FUSE, MPICH, MPICH_FUSE};
use cluster_tests::{Case, Cluster, cases, skip};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        open_mpi_by_pmix_across_two_nodes,
        open_mpi_by_pmix_on_one_node,
        mpich_by_pmi2_across_two_nodes,
        mpich_by_pmi2_on_one_node,
        a_world_in_a_batch_job,
    ]
}

fn needs(cluster: &Cluster, mpi: &str) {
    if !cluster.has_mpi(mpi) {
        skip(&format!("this Slurm has no --mpi={mpi}"));
    }
}

/// Runs the program and checks that all four are one world, two on each node.
fn across(cluster: &Cluster, image: &str, mpi: &str) {
    needs(cluster, mpi);
    cluster
        .mpi(&format!(
            "srun -N2 -n4 --ntasks-per-node=2 --mpi={mpi} --container-image={image} mpi-hello"
        ))
        .succeeds()
        .lines([
            "hello rank 0 of 4 on node1 sum 10",
            "hello rank 1 of 4 on node1 sum 10",
            "hello rank 2 of 4 on node2 sum 10",
            "hello rank 3 of 4 on node2 sum 10",
        ]);
}

fn on_one_node(cluster: &Cluster, image: &str, mpi: &str) {
    needs(cluster, mpi);
    cluster
        .mpi(&format!(
            "srun -w node2 -n4 --mpi={mpi} --container-image={image} mpi-hello"
        ))
        .succeeds()
        .lines((0..4).map(|rank| format!("hello rank {rank} of 4 on node2 sum 10")));
}

fn open_mpi_by_pmix_across_two_nodes(cluster: &Cluster) {
    across(cluster, DEMO, "pmix");
    across(cluster, DEMO_FUSE, "pmix");
}

fn open_mpi_by_pmix_on_one_node(cluster: &Cluster) {
    on_one_node(cluster, DEMO, "pmix");
}

fn mpich_by_pmi2_across_two_nodes(cluster: &Cluster) {
    across(cluster, MPICH, "pmi2");
    across(cluster, MPICH_FUSE, "pmi2");
}

fn mpich_by_pmi2_on_one_node(cluster: &Cluster) {
    on_one_node(cluster, MPICH, "pmi2");
}

/// The script is uncontained, its MPI step is not.
fn a_world_in_a_batch_job(cluster: &Cluster) {
    needs(cluster, "pmix");
    cluster
        .alice(&format!(
            "job=$(sbatch --parsable -N2 --ntasks-per-node=2 -o ~/out --wrap \
             'srun --mpi=pmix --container-image={DEMO} mpi-hello'); finish $job; sort ~/out; rm ~/out; ended $job"
        ))
        .succeeds()
        .lines([
            "COMPLETED 0:0",
            "hello rank 0 of 4 on node1 sum 10",
            "hello rank 1 of 4 on node1 sum 10",
            "hello rank 2 of 4 on node2 sum 10",
            "hello rank 3 of 4 on node2 sum 10",
        ]);
}
