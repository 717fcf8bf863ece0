//! A user who wants root, or out: what root does in the container's namespace
//! must not be steered by what the user shows there.

use cluster_tests::images::{DEMO, TINY, TINY_DIRECTORY};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_covered_proc_makes_root_write_nothing,
        a_covered_proc_does_not_choose_the_namespace,
        a_covered_dev_gets_no_mount_points,
        the_hosts_shared_memory_gets_no_mount_points,
        mount_points_in_dev_are_made_in_the_private_one,
        scripts_of_the_image_outlive_nothing,
        scripts_of_the_image_are_in_the_tasks_control_groups,
        background_processes_of_scripts_do_not_hold_up_the_step,
    ]
}

/// The processes that make the container must not follow the user's /proc: TINY
/// has environment scripts, so that one of them runs after everything is bound.
fn a_covered_proc_makes_root_write_nothing(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "rm -rf ~/fp; mkdir -p ~/fp/self ~/fp/thread-self\n\
         ln -s /he/oarlock-attack ~/fp/self/oom_score_adj\n\
         srun -w node1 --container-image={TINY} --container-mounts=$HOME/fp:/proc,/etc:/he echo ran\n\
         rm -rf ~/fp"
    ));
    assert!(
        output.stdout == "ran\n" || output.stdout.is_empty(),
        "{output}"
    );
    cluster
        .root("node1", "ls /etc/oarlock-attack 2>/dev/null | cat")
        .says("");
}

fn a_covered_proc_does_not_choose_the_namespace(cluster: &Cluster) {
    let host = cluster.root("node1", "readlink /proc/1/ns/mnt").stdout;
    let output = cluster.alice(&format!(
        "rm -rf ~/fp; mkdir -p ~/fp/self/ns\n\
         ln -s /realproc/1/ns/mnt ~/fp/self/ns/mnt\n\
         srun -w node1 --container-image={TINY} --container-mounts=$HOME/fp:/proc,/proc:/realproc \
           sh -c 'readlink /realproc/self/ns/mnt; cat /etc/oarlock-image'\n\
         rm -rf ~/fp"
    ));
    assert!(output.stdout.starts_with("mnt:["), "{output}");
    assert!(output.stdout.ends_with("\ntiny\n"), "{output}");
    assert!(
        !output.stdout.starts_with(&host),
        "the host's own namespace: {output}"
    );
}

fn a_covered_dev_gets_no_mount_points(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "echo x >~/f; srun -w node1 --container-image={DEMO} --container-mounts=/etc:/dev,$HOME/f:/dev/oarlock-attack true; \
             code=$?; rm ~/f; exit $code"
        ))
        .is_refused([
            "oarlock: node1: mount /home/alice/f:/dev/oarlock-attack: target: does not exist in the mounted directory above it; create it on the host, or choose another target",
        ]);
    cluster
        .root("node1", "ls /etc/oarlock-attack 2>/dev/null | cat")
        .says("");
}

fn the_hosts_shared_memory_gets_no_mount_points(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={DEMO} --container-mounts=$HOME:/dev/shm/oarlock-attack true"
        ))
        .is_refused([
            "oarlock: node1: mount /home/alice:/dev/shm/oarlock-attack: target: does not exist in the mounted directory above it; create it on the host, or choose another target",
        ]);
}

fn mount_points_in_dev_are_made_in_the_private_one(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "echo seen >~/f; srun -w node1 --container-image={DEMO} --container-mounts=$HOME/f:/dev/mine/f cat /dev/mine/f; \
             code=$?; rm ~/f; exit $code"
        ))
        .succeeds()
        .says("seen\n");
    cluster
        .root("node1", "ls -d /dev/mine 2>/dev/null | cat")
        .says("");
}

/// An image in ~/image with this line in an environment script.
fn with_script(line: &str, then: &str) -> String {
    format!(
        "rm -rf ~/image; cp -a {TINY_DIRECTORY} ~/image 2>/dev/null; rm -f ~/image/.singularity.d/env/*\n\
         cat >~/image/.singularity.d/env/99-attack.sh <<'SCRIPT'\n{line}\nSCRIPT\n\
         {then}; code=$?; rm -rf ~/image; exit $code"
    )
}

/// That nothing is left is checked after the test as after every other.
fn scripts_of_the_image_outlive_nothing(cluster: &Cluster) {
    cluster
        .alice(&with_script(
            "( exec 3>&-; exec setsid sleep 247 ) & export SEEN=yes",
            "srun -w node1 --container-image=$HOME/image sh -c 'echo $SEEN'",
        ))
        .succeeds()
        .says("yes\n");
    cluster.root("node1", "pgrep -f 'sleep 247' | cat").says("");
}

fn scripts_of_the_image_are_in_the_tasks_control_groups(cluster: &Cluster) {
    let output = cluster.alice(&with_script(
        "export GROUPS_SEEN=\"$(cat /proc/self/cgroup | sort)\"",
        "srun -w node1 --container-image=$HOME/image sh -c 'echo \"$GROUPS_SEEN\"; echo --; cat /proc/self/cgroup | sort'",
    ));
    let (script, task) = output.stdout.split_once("--\n").expect("both are printed");
    assert!(!task.is_empty(), "{output}");
    assert_eq!(script, task, "{output}");
}

fn background_processes_of_scripts_do_not_hold_up_the_step(cluster: &Cluster) {
    cluster
        .alice(&with_script(
            "sleep 20 & export SEEN=yes",
            "SECONDS=0; srun -w node1 --container-image=$HOME/image sh -c 'echo $SEEN'; code=$?; \
             [ $SECONDS -lt 15 ] || echo held up; (exit $code)",
        ))
        .succeeds()
        .says("yes\n");
}
