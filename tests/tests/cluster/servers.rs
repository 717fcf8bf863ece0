//! The FUSE server: who it is, whom it reaches, and that it never outlives what it
//! serves.

use cluster_tests::images::{DEMO, DEMO_FUSE, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, Output, Restore, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        it_is_an_account_of_its_own_without_rights,
        its_memory_is_the_tasks,
        the_user_can_neither_stop_nor_trace_it,
        an_image_that_only_its_owner_can_read,
        files_that_only_root_may_read_stay_so,
        the_site_may_have_it_run_as_the_user,
        an_account_that_is_missing,
        a_library_that_is_missing,
        it_ends_with_a_cancelled_step,
        it_ends_with_its_ranks_where_slurmstepd_was_killed,
        it_ends_where_hooks_are_contained,
        a_step_whose_server_is_killed_ends,
    ]
}

const CONFIG: &str = "/etc/oarlock/oarlock.toml";

/// A step on node1 that runs until [`release`].
fn hold(cluster: &Cluster, image: &str, more: &str) {
    cluster
        .alice(&format!(
            "rm -f ~/ready; srun -J held -w node1 {more} --container-image={image} sh -c \
             'echo ready >~/ready; while [ -e ~/ready ]; do sleep 0.1; done; cat /etc/oarlock-image' >~/held 2>&1 & \
             wait_for ~/ready"
        ))
        .succeeds();
}

/// Ends it; what it said.
fn release(cluster: &Cluster) -> Output {
    cluster.alice(
        "rm -f ~/ready; until [ -z \"$(squeue -h -n held)\" ]; do sleep 0.1; done; cat ~/held; rm ~/held",
    )
}

/// A line of sed for the site's file on node1.
fn configure<'a>(cluster: &'a Cluster, edit: &str) -> Restore<'a> {
    cluster.change(
        "node1",
        &format!("cp -p {CONFIG} /root/kept && sed -i '{edit}' {CONFIG}"),
        format!("cp -p /root/kept {CONFIG} && rm /root/kept"),
    )
}

/// No server is left on node1 within two seconds.
fn is_gone(cluster: &Cluster) {
    cluster
        .root(
            "node1",
            "for try in $(seq 20); do pgrep -x squashfuse_ll >/dev/null || exit 0; sleep 0.1; done; ps -ef | grep squashfuse; exit 1",
        )
        .succeeds();
}

fn it_is_an_account_of_its_own_without_rights(cluster: &Cluster) {
    hold(cluster, TINY_FUSE, "");
    let seen = cluster.root(
        "node1",
        "p=$(pgrep -x squashfuse_ll); id=$(id -u oarlock)\n\
         awk -v id=$id '/^Uid:/ { print \"uid\", ($2 == id && $3 == id && $4 == id && $5 == id) }\n\
                        /^Groups:/ { print \"groups\", NF - 1 }\n\
                        /^(CapEff|CapPrm|CapBnd|NoNewPrivs|Seccomp):/ { print $1, $2 }' /proc/$p/status\n\
         sed -n 's/^Max core file size *\\([0-9a-z]*\\).*/core \\1/p' /proc/$p/limits\n\
         stat -c 'reachable by %U' /proc/$p/mem",
    );
    release(cluster).says("tiny\n");
    seen.succeeds().says(
        "uid 1\ngroups 0\nCapPrm: 0000000000000000\nCapEff: 0000000000000000\n\
         CapBnd: 0000000000000000\nNoNewPrivs: 1\nSeccomp: 2\ncore 0\nreachable by root\n",
    );
}

fn its_memory_is_the_tasks(cluster: &Cluster) {
    hold(cluster, TINY_FUSE, "");
    let seen = cluster.root(
        "node1",
        "diff /proc/$(pgrep -x squashfuse_ll)/cgroup /proc/$(pgrep -x -u alice -o sh)/cgroup && wc -l </proc/$(pgrep -x squashfuse_ll)/cgroup",
    );
    release(cluster).says("tiny\n");
    let seen = seen.succeeds();
    assert_ne!(seen.stdout, "0\n", "{seen}");
}

/// From a rank, which sees the node's processes, and from a step beside it.
fn the_user_can_neither_stop_nor_trace_it(cluster: &Cluster) {
    hold(cluster, TINY_FUSE, "");
    let seen = cluster.alice(&format!(
        "job=$(squeue -h -n held -o %i)\n\
         srun -w node1 --overlap --jobid=$job --container-image={TINY_FUSE} sh -c '\
           for p in /proc/[0-9]*; do read -r name <$p/comm; [ \"$name\" = squashfuse_ll ] && break; done\n\
           for signal in STOP KILL; do kill -$signal ${{p#/proc/}}; done; ls $p/fd; cat $p/maps' 2>&1 | sed 's/[0-9][0-9]*/N/g'\n\
         srun -w node1 --overlap --jobid=$job sh -c 'strace -p $(pgrep -o -x squashfuse_ll)' 2>&1 | grep -o 'Operation not permitted'"
    ));
    release(cluster).says("tiny\n");
    let refused = |part: &str, words: &str| {
        let mut lines = seen.stdout.lines();
        lines.any(|line| line.contains(part) && line.contains(words))
    };
    assert_eq!(
        seen.stdout.matches("Operation not permitted").count(),
        3,
        "{seen}"
    );
    assert!(refused("/proc/N/fd", "Permission denied"), "{seen}");
    assert!(refused("/proc/N/maps", "Permission denied"), "{seen}");
}

fn an_image_that_only_its_owner_can_read(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "mkdir -m 700 ~/closed && cp {TINY} ~/closed/own.sif && chmod 400 ~/closed/own.sif\n\
             srun -w node1 -n2 --container-image=$HOME/closed/own.sif cat /etc/oarlock-image\n\
             code=$?; rm -rf ~/closed; exit $code"
        ))
        .succeeds()
        .says("tiny\ntiny\n");
}

/// The server may read all of the image; the kernel asks for the ranks' rights.
fn files_that_only_root_may_read_stay_so(cluster: &Cluster) {
    for image in [DEMO, DEMO_FUSE] {
        let output = cluster.alice(&format!(
            "srun -w node1 --container-image={image} sh -c 'cat /etc/shadow; ls /root; cat /etc/passwd | head -c 5'"
        ));
        let output = output.stdout_and_code("root:", 0);
        assert_eq!(output.stderr.matches("denied").count(), 2, "{output}");
    }
}

fn the_site_may_have_it_run_as_the_user(cluster: &Cluster) {
    let _restore = configure(cluster, "s/^user = .*/user = \"job\"/");
    hold(cluster, TINY_FUSE, "");
    let seen = cluster.root(
        "node1",
        "p=$(pgrep -x squashfuse_ll); awk '/^(Uid|Groups|Seccomp):/ { $1 = $1; print }' /proc/$p/status",
    );
    release(cluster).says("tiny\n");
    seen.succeeds()
        .says("Uid: 1000 1000 1000 1000\nGroups: 1000 2000 2001\nSeccomp: 2\n");
    an_image_that_only_its_owner_can_read(cluster);
}

fn an_account_that_is_missing(cluster: &Cluster) {
    let _restore = configure(cluster, "s/^user = .*/user = \"nobody-here\"/");
    cluster
        .alice(&format!("srun -w node1 -n2 --container-image={TINY_FUSE} echo ran"))
        .is_refused([format!(
            "oarlock: node1: image {TINY_FUSE}: fuse.user: there is no account \"nobody-here\" on this node; make it with systemd-sysusers and Oarlock's sysusers.d/oarlock.conf, or set fuse.user in oarlock.toml"
        )]);
    // What the kernel mounts needs no account.
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} cat /etc/oarlock-image"
        ))
        .succeeds()
        .says("tiny\n");
}

fn a_library_that_is_missing(cluster: &Cluster) {
    let library = "/usr/libexec/oarlock/liboarlock_fuse_open.so";
    let _restore = cluster.change(
        "node1",
        &format!("mv {library} {library}.away"),
        format!("mv {library}.away {library}"),
    );
    cluster
        .alice(&format!("srun -w node1 -n2 --container-image={TINY_FUSE} echo ran"))
        .is_refused([format!(
            "oarlock: node1: image {TINY_FUSE}: {library}: No such file or directory; it belongs beside oarlock-prepare: install it, or set fuse.user = \"job\" in oarlock.toml"
        )]);
}

fn it_ends_with_a_cancelled_step(cluster: &Cluster) {
    for signal in ["", "-s KILL"] {
        hold(cluster, TINY_FUSE, "-n2");
        cluster
            .alice(
                "job=$(squeue -h -n held -o %i); scancel SIGNAL $job; finish $job; rm -f ~/ready ~/held"
                    .replace("SIGNAL", signal)
                    .as_str(),
            )
            .succeeds();
        is_gone(cluster);
    }
}

/// Slurm leaves the ranks of a slurmstepd that was killed to init, with or without a
/// container. They keep their image as long as they run, and then nothing is left.
fn it_ends_with_its_ranks_where_slurmstepd_was_killed(cluster: &Cluster) {
    let _remains = cluster.change(
        "node1",
        "true",
        // Slurm's own: the groups and files of a step that it no longer knows.
        "sleep 0.5; find /sys/fs/cgroup/*/slurm*/uid_1000 -depth -type d -exec rmdir {} + 2>/dev/null\n\
         find /var/spool/slurmd \\( -name 'node1_*' -o -name 'hwloc_topo_[0-9]*' \\) -delete; true",
    );
    hold(cluster, TINY_FUSE, "-n2");
    cluster
        .root("node1", "pkill -KILL -x slurmstepd; sleep 1; pgrep -x squashfuse_ll | wc -l; pgrep -x -u alice -P 1 sh | wc -l")
        .says("1\n2\n");
    cluster.alice("rm ~/ready").succeeds();
    is_gone(cluster);
    cluster
        .alice(
            "job=$(squeue -h -n held -o %i); [ -z \"$job\" ] || { scancel $job; finish $job; }\n\
             rm -f ~/held; sinfo -h -n node1 -o %T",
        )
        .says("idle\n");
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY_FUSE} cat /etc/oarlock-image"
        ))
        .succeeds()
        .says("tiny\n");
}

/// `contain_spank` calls `task_exit` in a process that shares slurmstepd's memory and
/// not its descriptors.
fn it_ends_where_hooks_are_contained(cluster: &Cluster) {
    cluster.needs_slurm((24, 5), "contain_spank");
    let conf = "/etc/slurm/slurm.conf";
    let up = "slurm-node restart; for try in $(seq 100); do [ \"$(sinfo -h -n node1 -o %T)\" = idle ] && exit 0; sleep 0.1; done; exit 1";
    let _restore = cluster.change(
        "node1",
        &format!(
            "cp -p {conf} /root/kept && sed -i 's/^SlurmdParameters=.*/&,contain_spank/' {conf} && grep -q contain_spank {conf} && {{ {up}; }}"
        ),
        format!("cp -p /root/kept {conf} && rm /root/kept && {{ {up}; }}"),
    );
    cluster
        .alice(&format!(
            "srun -w node1 -n4 --container-image={TINY_FUSE} cat /etc/oarlock-image"
        ))
        .succeeds()
        .says("tiny\ntiny\ntiny\ntiny\n");
    is_gone(cluster);
    hold(cluster, TINY_FUSE, "-n2");
    cluster
        .alice("job=$(squeue -h -n held -o %i); scancel $job; finish $job; rm -f ~/ready ~/held; sinfo -h -n node1 -o %T")
        .says("idle\n");
    is_gone(cluster);
    // The step ends at once, not at Slurm's second look.
    let output = cluster.alice(&format!(
        "begun=$(date +%s%N); for n in 1 2 3 4 5; do srun -w node1 --container-image={TINY_FUSE} true; done; echo $(( ($(date +%s%N) - begun) / 1000000 ))"
    ));
    let milliseconds: u32 = output.stdout.trim().parse().expect("a number");
    assert!(milliseconds < 5_000, "{output}");
}

/// As the kernel does when memory is short.
fn a_step_whose_server_is_killed_ends(cluster: &Cluster) {
    hold(cluster, TINY_FUSE, "-n2");
    cluster
        .root("node1", "pkill -KILL -x squashfuse_ll; sleep 0.3")
        .succeeds();
    let output = cluster.alice(
        "rm -f ~/ready; job=$(squeue -h -n held -o %i); [ -z \"$job\" ] || finish $job; \
         ended $(sed -n 's/.*StepId=\\([0-9]*\\).*/\\1/p' ~/held | head -n 1); cat ~/held; rm ~/held",
    );
    assert!(!output.stdout.contains("tiny"), "{output}");
    assert!(output.stdout.contains("srun: error: node1: "), "{output}");
    assert!(
        output.stdout.contains("Exited with exit code 1"),
        "{output}"
    );
    is_gone(cluster);
}
