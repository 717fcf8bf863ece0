//! The process that opens an image as the user, caught in the act: the image lies on
//! a file system that does not answer.

use cluster_tests::{Case, Cluster, Restore, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        an_image_is_opened_in_confinement,
        with_a_task_it_is_opened_in_the_tasks_control_groups,
        what_opens_an_image_is_killed_at_the_deadline,
    ]
}

/// Mounts a file system whose server has been stopped.
pub(crate) fn hanging(cluster: &Cluster) -> Restore<'_> {
    hanging_at(cluster, "/tmp/hanging")
}

/// The same, at another place.
pub(crate) fn hanging_at<'a>(cluster: &'a Cluster, place: &str) -> Restore<'a> {
    cluster.change(
        "node1",
        &format!(
            "mkdir {place} && squashfuse_ll -o allow_other,offset=32768 /opt/images/demo.sif {place} \
             && pkill -STOP -x squashfuse_ll"
        ),
        format!("pkill -CONT -x squashfuse_ll; sleep 0.2; umount {place}; rmdir {place}"),
    )
}

/// Starts a step with an image there, and waits for who opens it.
pub(crate) fn start(cluster: &Cluster, options: &str) {
    cluster
        .alice(&format!(
            "srun -J opening -w node1 --chdir=/tmp {options} echo ran >~/opening 2>&1 &"
        ))
        .succeeds();
    cluster
        .root(
            "node1",
            "for try in $(seq 300); do grep -q ^request_wait_answer /proc/$(pgrep -x -u alice oarlock-prepare)/wchan 2>/dev/null && exit 0; sleep 0.1; done; exit 1",
        )
        .succeeds();
}

pub(crate) const SAID: &str = "until [ -z \"$(squeue -h -n opening)\" ]; do sleep 0.1; done; grep -a ^oarlock ~/opening; rm ~/opening";

const CHECK: &str = "check the path, and that this node has it\n";

fn an_image_is_opened_in_confinement(cluster: &Cluster) {
    let hanging = hanging(cluster);
    start(cluster, "--container-image=/tmp/hanging/none.sif");
    let seen = cluster.root(
        "node1",
        "awk '/^(Uid|Gid|Groups|CapPrm|CapEff|CapBnd|NoNewPrivs|Seccomp):/ { $1 = $1; print }' \
         /proc/$(pgrep -x -u alice oarlock-prepare)/status",
    );
    drop(hanging);
    cluster.alice(SAID).says(&format!(
        "oarlock: node1: image /tmp/hanging/none.sif: no such file or directory; {CHECK}"
    ));
    seen.succeeds().says(
        "Uid: 1000 1000 1000 1000\nGid: 1000 1000 1000 1000\nGroups: 1000 2000 2001\n\
         CapPrm: 0000000000000000\nCapEff: 0000000000000000\nCapBnd: 0000000000000000\n\
         NoNewPrivs: 1\nSeccomp: 2\n",
    );
}

/// A relative name is looked up when there is a task. Slurm has then made the step's
/// groups, and puts the task into its own a moment later.
fn with_a_task_it_is_opened_in_the_tasks_control_groups(cluster: &Cluster) {
    let hanging = hanging(cluster);
    start(cluster, "--container-image=./hanging/none.sif");
    let seen = cluster.root(
        "node1",
        "groups() { sed -n 's|^[0-9]*:\\([^:]*\\):.*\\(/job_[0-9]*\\).*|\\1 \\2|p' /proc/$1/cgroup; }\n\
         diff <(groups $(pgrep -x -u alice oarlock-prepare)) <(groups $(pgrep -o -x -u alice slurmstepd))",
    );
    drop(hanging);
    cluster.alice(SAID).says(&format!(
        "oarlock: node1: image ./hanging/none.sif: no such file or directory in /tmp; {CHECK}"
    ));
    seen.succeeds().says("");
}

fn what_opens_an_image_is_killed_at_the_deadline(cluster: &Cluster) {
    let config = "/etc/oarlock/oarlock.toml";
    let _short = cluster.change(
        "node1",
        &format!("cp -p {config} /root/kept && sed -i 's/^timeout = .*/timeout = 2/' {config}"),
        format!("cp -p /root/kept {config} && rm /root/kept"),
    );
    let _hanging = hanging(cluster);
    start(cluster, "--container-image=/tmp/hanging/none.sif");
    cluster.alice(SAID).says(
        "oarlock: node1: image /tmp/hanging/none.sif: no answer within 2 s; is the file system it lies on alive?\n",
    );
    cluster
        .root("node1", "pgrep -x oarlock-prepare | wc -l")
        .says("0\n");
}
