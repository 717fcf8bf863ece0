//! Exit codes and signals pass through.

use cluster_tests::images::{TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_ranks_exit_code,
        a_ranks_death_by_a_signal,
        scancel_sends_sigterm_to_the_ranks,
        scancel_sends_sigterm_to_the_batch_script,
        scancel_of_a_rank_that_ignores_sigterm,
        a_signal_of_the_users_choice,
        srun_killed_ends_the_step,
    ]
}

fn a_ranks_exit_code(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        let output = cluster
            .alice(&format!(
                "srun -w node1 -n4 --container-image={image} sh -c '[ $SLURM_PROCID = 2 ] && exit 42; exit 0'"
            ))
            .exits_with(42);
        assert!(
            output
                .stderr
                .contains("srun: error: node1: task 2: Exited with exit code 42"),
            "{output}"
        );
    }
}

fn a_ranks_death_by_a_signal(cluster: &Cluster) {
    for (signal, code, words) in [("TERM", 143, "Terminated"), ("KILL", 137, "Killed")] {
        let output = cluster
            .alice(&format!(
                "srun -w node1 --container-image={TINY} sh -c 'kill -{signal} $$'"
            ))
            .exits_with(code);
        assert!(
            output
                .stderr
                .contains(&format!("srun: error: node1: task 0: {words}")),
            "{output}"
        );
    }
}

/// A rank that says when it is ready, and leaves a word when it is told to end.
const PATIENT: &str = "trap \"echo \\$SLURM_PROCID got it >>ended; exit 0\" TERM; \
     echo ready >>ready; while :; do sleep 0.1; done";

fn scancel_sends_sigterm_to_the_ranks(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        cluster
            .alice(&format!(
                "rm -rf ~/sig; mkdir ~/sig && cd ~/sig\n\
                 srun -J patient -N2 -n2 --container-image={image} sh -c '{PATIENT}' 2>err &\n\
                 until [ \"$(grep -c ready ready 2>/dev/null)\" = 2 ]; do sleep 0.1; done\n\
                 job=$(squeue -h -n patient -o %i); scancel $job\n\
                 wait; finish $job\n\
                 sort ended; ended $job | cut -d' ' -f1; grep -c '^oarlock' err; rm -rf ~/sig"
            ))
            .lines(["0 got it", "1 got it", "CANCELLED", "0"]);
    }
}

fn scancel_sends_sigterm_to_the_batch_script(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -rf ~/sig; mkdir ~/sig && cd ~/sig\n\
             cat >job.sh <<'END'\n#!/bin/sh\n{PATIENT}\nEND\n\
             job=$(sbatch --parsable -o out --container-image={TINY} job.sh)\n\
             wait_for ready; scancel $job; finish $job\n\
             cat ended; ended $job | cut -d' ' -f1; rm -rf ~/sig"
        ))
        .says("0 got it\nCANCELLED\n");
}

fn scancel_of_a_rank_that_ignores_sigterm(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -rf ~/sig; mkdir ~/sig && cd ~/sig\n\
             srun -J deaf -n2 --container-image={TINY_FUSE} sh -c 'trap \"\" TERM; echo ready >ready; while :; do sleep 0.1; done' 2>err &\n\
             wait_for ready; job=$(squeue -h -n deaf -o %i); scancel $job; wait; finish $job\n\
             ended $job | cut -d' ' -f1; rm -rf ~/sig"
        ))
        .says("CANCELLED\n");
}

fn a_signal_of_the_users_choice(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -rf ~/sig; mkdir ~/sig && cd ~/sig\n\
             srun -J chosen --container-image={TINY} sh -c 'trap \"echo USR1; exit 6\" USR1; echo ready >ready; while :; do sleep 0.1; done' >out 2>err &\n\
             wait_for ready; scancel -s USR1 $(squeue -h -n chosen -o %i); wait $!\n\
             echo $?; cat out; rm -rf ~/sig"
        ))
        .says("6\nUSR1\n");
}

/// Nobody tells the ranks but Slurm, which sees its client go.
fn srun_killed_ends_the_step(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -rf ~/sig; mkdir ~/sig && cd ~/sig\n\
             srun -J orphan -n2 --container-image={TINY_FUSE} sh -c 'echo ready >ready; sleep 80' 2>err &\n\
             wait_for ready; job=$(squeue -h -n orphan -o %i)\n\
             kill -TERM $!; wait $! 2>/dev/null; finish $job; squeue -h -n orphan; rm -rf ~/sig"
        ))
        .says("");
}
