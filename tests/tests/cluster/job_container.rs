//! `job_container/tmpfs`, which is `namespace/tmpfs` from Slurm 25.11 on: each job has
//! a /tmp and a /dev/shm of its own, and so has the container.

use std::thread;

use cluster_tests::images::{TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, Restore, cases};
use nix::sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, unshare};
use nix::unistd::Pid;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        the_container_has_the_jobs_own_directories,
        an_image_in_the_jobs_own_directory,
    ]
}

/// Whether a job runs on node1 and has its own /tmp; what it said if not.
const TRIAL: &str =
    "srun -Q -w node1 sh -c 'grep -c \" /tmp \" /proc/self/mountinfo' 2>&1 </dev/null";

/// How many numbers of namespaces a CPU takes at once (`COOKIE_LOCAL_BATCH` of Linux).
const NUMBERS_AT_ONCE: usize = 4096;

/// Namespaces that are made from here on have higher numbers than those there are.
///
/// Slurm keeps a job's namespace by a bind mount of /proc/PID/ns/mnt. Linux refuses
/// that where the new namespace has the lower number of the two, and since 6.18
/// each CPU hands out numbers of a supply of its own: without this it would depend
/// on CPUs whether a job starts. So each CPU's supply is used up here.
fn namespaces_in_order() {
    let cpus = sched_getaffinity(Pid::from_raw(0)).unwrap();
    for cpu in (0..CpuSet::count()).filter(|&cpu| cpus.is_set(cpu).unwrap()) {
        // A thread's namespaces and CPUs end with it.
        let thread = thread::spawn(move || {
            let mut only = CpuSet::new();
            only.set(cpu).unwrap();
            sched_setaffinity(Pid::from_raw(0), &only).unwrap();
            for _ in 0..=NUMBERS_AT_ONCE {
                unshare(CloneFlags::CLONE_NEWUTS).unwrap();
            }
        });
        thread.join().unwrap();
    }
}

/// Slurm with a /tmp for each job; put back when the result goes.
fn private_directories(cluster: &Cluster) -> Vec<Restore<'_>> {
    namespaces_in_order();
    let line = if cluster.slurm() < (25, 11) {
        "JobContainerType=job_container/tmpfs"
    } else {
        "NamespaceType=namespace/tmpfs"
    };
    // /tmp and /dev/shm are what it is about from the beginning; the key is younger.
    let directories = if cluster.slurm() < (23, 2) {
        ""
    } else {
        "Dirs=/tmp,/dev/shm\\n"
    };
    // The base has to be private: what is mounted below would be everybody's.
    let directory = cluster.change(
        "node1",
        &format!("mkdir -p /var/jobs && mount -t tmpfs jobs /var/jobs && mount --make-private /var/jobs\n\
         printf 'AutoBasePath=true\\nBasePath=/var/jobs\\n{directories}' >/etc/slurm/job_container.conf"),
        "rm -f /etc/slurm/job_container.conf; for try in $(seq 50); do umount -R /var/jobs && break; sleep 0.1; done; rmdir /var/jobs",
    );
    let mut all: Vec<Restore<'_>> = cluster
        .reconfigured(&format!("printf '{line}\\nPrologFlags=Contain\\n' >>$conf"))
        .into_iter()
        .collect();
    all.push(directory);
    cluster.alice(TRIAL).stdout_and_code("1\n", 0);
    all
}

/// A file that a job makes is there for its other steps, with a container and
/// without, and nowhere else.
fn the_container_has_the_jobs_own_directories(cluster: &Cluster) {
    let _private = private_directories(cluster);
    let _others = cluster.change(
        "node1",
        "touch /tmp/the-nodes /dev/shm/the-nodes",
        "rm -f /tmp/the-nodes /dev/shm/the-nodes",
    );
    for image in [TINY, TINY_FUSE] {
        cluster
            .alice(&format!(
                "salloc -Q -w node1 -n2 bash -c 'srun -n1 sh -c \"echo step 0 >/tmp/mine; echo shared memory >/dev/shm/mine\"\n\
                 srun -n2 --container-image={image} sh -c \"cat /etc/oarlock-image /tmp/mine /dev/shm/mine; echo rank \\$SLURM_PROCID >/tmp/of-\\$SLURM_PROCID; ls /tmp/the-nodes /dev/shm/the-nodes 2>/dev/null; true\"\n\
                 srun -n1 sh -c \"cat /tmp/of-*; ls /tmp /dev/shm\"'"
            ))
            .succeeds()
            .lines([
                "tiny", "step 0", "shared memory", "tiny", "step 0", "shared memory", "rank 0",
                "rank 1", "/dev/shm:", "mine", "", "/tmp:", "mine", "of-0", "of-1",
            ]);
    }
    cluster
        .root("node1", "ls /tmp/mine /dev/shm/mine /tmp/of-0 2>/dev/null; grep -c /run/oarlock/kept/ /proc/self/mountinfo")
        .stdout_and_code("0\n", 1);
    // Two ranks, and a batch script that is contained.
    cluster
        .alice(&format!(
            "job=$(sbatch --parsable -w node1 -o ~/out --container-image={TINY} --wrap 'echo batch >/tmp/mine; cat /tmp/mine /etc/oarlock-image; ls /tmp/the-nodes'); finish $job; cat ~/out; rm ~/out; ended $job"
        ))
        .says("batch\ntiny\nls: cannot access '/tmp/the-nodes': No such file or directory\nFAILED 2:0\n");
}

/// The image lies where only the job sees it, and where the node has another file of
/// the same name.
fn an_image_in_the_jobs_own_directory(cluster: &Cluster) {
    let _private = private_directories(cluster);
    let _other = cluster.change(
        "node1",
        "echo no image >/tmp/app.sif; chmod 644 /tmp/app.sif",
        "rm -f /tmp/app.sif",
    );
    let run = |image: &str| format!("srun --container-image={image} cat /etc/oarlock-image");
    cluster
        .alice(&format!(
            "salloc -Q -w node1 -n2 bash -c 'srun -n1 cp {TINY} /tmp/app.sif; cd /tmp; {}; {}; srun -n1 sh -c \"test -e /tmp/app.sif\"'",
            run("/tmp/app.sif"),
            run("./app.sif").replace("srun ", "srun --chdir=/tmp "),
        ))
        .succeeds()
        .lines(["tiny"; 4]);
    // Gone with the job; then the node's own file is what there is.
    let output = cluster.alice("srun -w node1 --container-image=/tmp/app.sif echo ran");
    assert_eq!(output.code, 1, "{output}");
    output.tells(["oarlock: node1: image /tmp/app.sif: *"]);
}
