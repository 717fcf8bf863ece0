//! A node mounts an image once: steps, jobs and users share it, the node keeps it
//! for a job, and nothing of that outlives who needs it.

use cluster_tests::images::TINY;
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        concurrent_jobs_share_one_device,
        an_image_is_kept_for_its_job_and_no_longer,
        gc_takes_kept_mounts_and_disturbs_no_step,
        slurmd_takes_what_is_left_when_it_starts,
        a_replaced_image_is_another_image,
        a_held_lock_delays_and_does_not_stop,
        only_root_may_clean_up,
    ]
}

fn concurrent_jobs_share_one_device(cluster: &Cluster) {
    // Both jobs run at once: each waits for the other's word, and then counts the
    // devices that hold the image.
    let script = |own: &str, other: &str| {
        format!(
            "srun -w node1 -n1 --container-image={TINY} sh -c 'echo >/tmp/{own}-is-in; \
             until [ -e /tmp/{other}-is-in ]; do sleep 0.1; done; sleep 0.5; \
             cat /sys/block/loop*/loop/backing_file | grep -c tests/tiny.sif'; \
             code=$?; rm -f /tmp/{other}-is-in; exit $code"
        )
    };
    cluster
        .root("login", "rm -f /tmp/alice-is-in /tmp/bob-is-in")
        .succeeds();
    std::thread::scope(|threads| {
        let bob = threads.spawn(|| cluster.bob(&script("bob", "alice")));
        cluster
            .alice(&script("alice", "bob"))
            .succeeds()
            .says("1\n");
        bob.join().expect("bob's job").succeeds().says("1\n");
    });
    cluster
        .root("login", "rm -f /tmp/alice-is-in /tmp/bob-is-in")
        .succeeds();
}

fn an_image_is_kept_for_its_job_and_no_longer(cluster: &Cluster) {
    let look = "srun -w node1 grep -c /run/oarlock/kept/ /proc/1/mountinfo";
    cluster
        .alice(&format!(
            "salloc -Q -w node1 bash -c '{look}; srun --container-image={TINY} true; srun --container-image={TINY} true; {look}'"
        ))
        .stdout_and_code("0\n1\n", 0);
    // The harness's look at what is left sees its end.
}

fn gc_takes_kept_mounts_and_disturbs_no_step(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -f /home/alice/go-on; srun -w node1 --container-image={TINY} sh -c \
             'touch /home/alice/is-in; until [ -e /home/alice/go-on ]; do sleep 0.1; done; cat /etc/oarlock-image' >~/out 2>&1 &\n\
             until [ -e /home/alice/is-in ]; do sleep 0.1; done; rm /home/alice/is-in"
        ))
        .succeeds();
    cluster
        .root("node1", "sleep 0.5; oarlock gc; oarlock gc")
        .lines([
            "released 1 mount, removed 0 MiB of copies",
            "released 0 mounts, removed 0 MiB of copies",
        ]);
    cluster
        .alice("touch /home/alice/go-on; until [ -s ~/out ]; do sleep 0.1; done; cat ~/out; rm -f ~/out /home/alice/go-on")
        .says("tiny\n");
}

fn slurmd_takes_what_is_left_when_it_starts(cluster: &Cluster) {
    // As a crash would leave it: a mount of a job that is no more.
    cluster
        .root(
            "node1",
            "mkdir -p /run/oarlock/kept/4294967000/loop99 && mount -t tmpfs none /run/oarlock/kept/4294967000/loop99 && \
             slurm-node restart >/dev/null && for i in $(seq 50); do [ -e /run/oarlock/kept/4294967000 ] || break; sleep 0.1; done; \
             ls /run/oarlock/kept; grep -c 4294967000 /proc/self/mountinfo",
        )
        .says("0\n");
}

fn a_replaced_image_is_another_image(cluster: &Cluster) {
    let file = "/shared/images/tests/replaced.sif";
    let run = "srun -w node1 --container-image=/opt/images/tests/replaced.sif";
    let _gone = cluster.change(
        "login",
        &format!("cp /shared/images/tests/tiny.sif {file}"),
        format!("rm -f {file}"),
    );
    cluster
        .alice(&format!(
            "rm -f /home/alice/go-on /home/alice/is-in; {run} sh -c 'touch /home/alice/is-in; until [ -e /home/alice/go-on ]; do sleep 0.1; done' &\n\
             until [ -e /home/alice/is-in ]; do sleep 0.1; done; rm /home/alice/is-in"
        ))
        .succeeds();
    // The same inode with another content, while a step has the former mounted.
    cluster
        .root("login", &format!("cat /shared/images/mpich.sif >{file}"))
        .succeeds();
    cluster
        .alice(&format!(
            "{run} cat /etc/oarlock-image; touch /home/alice/go-on; sleep 1; rm -f /home/alice/go-on"
        ))
        .says("mpich\n");
}

fn a_held_lock_delays_and_does_not_stop(cluster: &Cluster) {
    let _held = cluster.change(
        "node1",
        "mkdir -p -m 0700 /run/oarlock; (flock /run/oarlock/loop.lock sleep 60 >/dev/null 2>&1 & echo $! >/root/holder)",
        "pkill -P $(cat /root/holder); rm /root/holder",
    );
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} cat /etc/oarlock-image"
        ))
        .says("tiny\n");
}

fn only_root_may_clean_up(cluster: &Cluster) {
    cluster.alice("oarlock gc").is_refused([
        "oarlock: gc: only root can take away what a node keeps; become root on the node",
    ]);
}
