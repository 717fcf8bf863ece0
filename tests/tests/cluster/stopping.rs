//! Jobs that Slurm stops, for a while or for good: suspended, preempted, out of
//! time, out of memory. Nothing of the container hinders it or is left.

use std::sync::mpsc;

use cluster_tests::images::{DEMO, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_suspended_job_stands_still_and_goes_on,
        a_suspended_job_can_be_cancelled,
        a_job_of_low_priority_gives_way,
        a_job_of_low_priority_waits,
        out_of_time,
        out_of_memory,
    ]
}

/// A job that counts, as long as nobody makes ~/stop.
fn counting(image: &str) -> String {
    format!(
        "rm -rf ~/stopping; mkdir ~/stopping && cd ~/stopping\n\
         srun -J counting -w node1 -n2 --container-image={image} sh -c \
         'while [ ! -e stop ]; do cat /etc/oarlock-image >>count; sleep 0.05; done; exit 4' >out 2>&1 &\n\
         echo $! >client; wait_for count; squeue -h -n counting -o %i"
    )
}

const STANDS_STILL: &str = "\
    sleep 0.3; before=$(wc -l </home/alice/stopping/count); sleep 0.5\n\
    [ $before = $(wc -l </home/alice/stopping/count) ] && squeue -h -n counting -o %T";

/// The server of an image by FUSE stands still with the ranks that it serves.
fn a_suspended_job_stands_still_and_goes_on(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        let job = cluster.alice(&counting(image)).succeeds().stdout;
        let job = job.trim();
        cluster
            .root("login", &format!("scontrol suspend {job}; {STANDS_STILL}"))
            .succeeds()
            .says("SUSPENDED\n");
        // Another job, on the same node, has the same image meanwhile.
        cluster
            .alice(&format!(
                "srun -w node1 --container-image={image} cat /etc/oarlock-image"
            ))
            .succeeds()
            .says("tiny\n");
        cluster
            .root("login", &format!("scontrol resume {job}"))
            .succeeds();
        cluster
            .alice(&format!(
                "cd ~/stopping; before=$(wc -l <count); until [ $(wc -l <count) -gt $((before + 5)) ]; do sleep 0.1; done\n\
                 touch stop; finish {job}; ended {job}; sort -u count; rm -rf ~/stopping"
            ))
            .succeeds()
            .says("FAILED 4:0\ntiny\n");
    }
}

fn a_suspended_job_can_be_cancelled(cluster: &Cluster) {
    let job = cluster.alice(&counting(TINY_FUSE)).succeeds().stdout;
    let job = job.trim();
    cluster
        .root("login", &format!("scontrol suspend {job}; {STANDS_STILL}"))
        .succeeds()
        .says("SUSPENDED\n");
    cluster
        .alice(&format!(
            "scancel {job}; finish {job}; ended {job} | cut -d' ' -f1; rm -rf ~/stopping"
        ))
        .succeeds()
        .says("CANCELLED\n");
}

/// A job that has all of a node, as a script in the partition.
fn patient(partition: &str) -> String {
    format!(
        "rm -rf ~/stopping; mkdir ~/stopping && cd ~/stopping\n\
         cat >job.sh <<'END'\n#!/bin/sh\n\
         trap 'exit 0' TERM\n\
         echo run ${{SLURM_RESTART_COUNT:-0}} $(cat /etc/oarlock-image) >>runs; echo in >in\n\
         while [ ! -e stop ]; do echo again >>count; sleep 0.05; done; exit 4\nEND\n\
         job=$(sbatch --parsable -J counting -w node1 -n16 --mem=1000 --requeue -p {partition} -o out --container-image={TINY_FUSE} job.sh) || exit\n\
         wait_for in"
    )
}

/// Slurm counts revoked credentials by the second: a job that begins again within the one
/// in which it was ended has none.
fn a_job_of_low_priority_gives_way(cluster: &Cluster) {
    let urgent = format!(
        "srun -p urgent -w node1 -n16 --mem=1000 --container-image={DEMO} cat /etc/oarlock-image | sort -u"
    );
    cluster
        .alice(&format!(
            "{}; {urgent}; finish $job; ended $job | cut -d' ' -f1; cat runs; rm -rf ~/stopping",
            patient("low-cancel")
        ))
        .succeeds()
        .says("demo\nPREEMPTED\nrun 0 tiny\n");
    cluster
        .alice(&format!(
            "{}; {urgent}; until scontrol -o show job $job | grep -q JobState=PENDING; do sleep 0.1; done\n\
             touch stop; sleep 2.1; scontrol update JobId=$job StartTime=now; finish $job; ended $job; cat runs; rm -rf ~/stopping",
            patient("low-requeue")
        ))
        .succeeds()
        .says("demo\nFAILED 4:0\nrun 0 tiny\nrun 1 tiny\n");
}

fn a_job_of_low_priority_waits(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "{}; srun -p urgent -w node1 -n16 --mem=1000 --container-image={DEMO} sh -c \
             '[ $SLURM_PROCID = 0 ] || exit 0; before=$(wc -l <count); sleep 0.5; [ $before = $(wc -l <count) ] && cat /etc/oarlock-image'\n\
             before=$(wc -l <count); until [ $(wc -l <count) -gt $((before + 5)) ]; do sleep 0.1; done\n\
             touch stop; finish $job; ended $job; cat runs; rm -rf ~/stopping",
            patient("low-suspend")
        ))
        .succeeds()
        .says("demo\nFAILED 4:0\nrun 0 tiny\n");
}

/// Slurm looks at limits every half a minute: a step past its end, and a script
/// that is told before, wait for the same look.
fn out_of_time(cluster: &Cluster) {
    let (started, job) = mpsc::channel();
    std::thread::scope(|threads| {
        threads.spawn(move || {
            let job: String = job.recv().unwrap_or_default();
            cluster
                .root(
                    "login",
                    &format!("scontrol update JobId={job} EndTime=now+1"),
                )
                .succeeds();
        });
        let begun = cluster
            .alice(&format!(
                "rm -rf ~/stopping; mkdir ~/stopping && cd ~/stopping\n\
                 srun -J late -w node1 -t1 -n2 --container-image={TINY_FUSE} sh -c 'echo in >in; sleep 85; sleep 85' >out 2>&1 &\n\
                 cat >job.sh <<'END'\n#!/bin/sh\n\
                 trap 'echo told in $(cat /etc/oarlock-image); exit 9' USR1\n\
                 while :; do sleep 0.1; done\nEND\n\
                 sbatch --parsable -t1 --signal=B:USR1@60 -o told --container-image={TINY} job.sh >job\n\
                 wait_for in; squeue -h -n late -o %i"
            ))
            .succeeds();
        let _ = started.send(begun.stdout.trim().to_owned());
        cluster
            .alice(&format!(
                "cd ~/stopping; job=$(cat job); for late in {} $job; do finish $late; finish $late; ended $late | sed 's,TIMEOUT .*,TIMEOUT,'; done\n\
                 cat told; grep -c ^oarlock out; rm -rf ~/stopping",
                begun.stdout.trim()
            ))
            .stdout_and_code("TIMEOUT\nFAILED 9:0\ntold in tiny\n0\n", 0);
    });
}

/// As without a container: the same words, the same code.
fn out_of_memory(cluster: &Cluster) {
    let step = |option: &str| {
        format!(
            "srun -w node1 --mem=60M {option} bash -c 'a=0123456789abcdef; for n in {{1..24}}; do a=$a$a; done'"
        )
    };
    let outside = cluster.alice(&step(""));
    if outside.code == 0 {
        eprintln!("out_of_memory: memory is not constrained on this host");
        return;
    }
    assert!(outside.stderr.contains("Out Of Memory"), "{outside}");
    for image in [TINY, TINY_FUSE] {
        let inside = cluster
            .alice(&step(&format!("--container-image={image}")))
            .exits_with(outside.code);
        assert!(inside.stderr.contains("Out Of Memory"), "{inside}");
    }
}
