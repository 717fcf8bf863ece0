//! Nodes on which something of Oarlock is missing or wrong: the task never runs
//! uncontained, the user is told in one line, and the node is not drained.

use cluster_tests::images::TINY;
use cluster_tests::{Case, Cluster, Restore, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        prepare_is_missing,
        prepare_is_missing_and_the_plugin_optional,
        the_image_is_missing_and_the_plugin_optional,
        prepare_ends_at_once,
        prepare_is_killed_while_it_works,
        the_configuration_has_a_wrong_key,
        the_configuration_can_be_written_by_others,
        the_plugstack_line_has_an_unknown_argument,
        the_fuse_server_is_missing,
        the_fuse_server_is_killed,
        kernel_mounts_are_forbidden,
        old_mount_calls,
    ]
}

const PREPARE: &str = "/usr/libexec/oarlock/oarlock-prepare";
const PLUGSTACK: &str = "/etc/slurm/plugstack.conf.d/oarlock.conf";
const CONFIG: &str = "/etc/oarlock/oarlock.toml";
const RUN: &str = "sh -c 'cat /etc/oarlock-image 2>/dev/null || echo uncontained'";

/// Edits a file of node1 with sed.
fn edit<'a>(cluster: &'a Cluster, file: &str, edit: &str) -> Restore<'a> {
    cluster.change(
        "node1",
        &format!("cp -p {file} /root/kept && sed -i '{edit}' {file}"),
        format!("cp -p /root/kept {file} && rm /root/kept"),
    )
}

fn without_prepare(cluster: &Cluster) -> Restore<'_> {
    cluster.change(
        "node1",
        &format!("mv {PREPARE} {PREPARE}.away"),
        format!("mv {PREPARE}.away {PREPARE}"),
    )
}

const MISSING: &str = "oarlock: node1: /usr/libexec/oarlock/oarlock-prepare cannot be executed; is Oarlock installed on this node?";

fn prepare_is_missing(cluster: &Cluster) {
    let _restore = without_prepare(cluster);
    cluster
        .alice(&format!("srun -w node1 -n4 --container-image={TINY} {RUN}"))
        .is_refused([MISSING]);
    // A batch job, a step without a container, and the other node.
    cluster
        .alice(&format!(
            "job=$(sbatch --parsable -w node1 -o ~/out --container-image={TINY} --wrap 'echo ran'); finish $job; cat ~/out; rm ~/out; ended $job"
        ))
        .says(&format!("{MISSING}\nFAILED 1:0\n"));
    cluster
        .alice(&format!(
            "srun -w node1 {RUN}; srun -w node2 --container-image={TINY} {RUN}"
        ))
        .succeeds()
        .says("uncontained\ntiny\n");
}

fn prepare_is_missing_and_the_plugin_optional(cluster: &Cluster) {
    let _optional = edit(cluster, PLUGSTACK, "s/^required/optional/");
    let _missing = without_prepare(cluster);
    cluster
        .alice(&format!("srun -w node1 -n4 --container-image={TINY} {RUN}"))
        .is_refused([MISSING]);
}

fn the_image_is_missing_and_the_plugin_optional(cluster: &Cluster) {
    let _optional = edit(cluster, PLUGSTACK, "s/^required/optional/");
    cluster
        .alice(&format!("srun -w node1 -n4 --container-image=/nowhere.sif {RUN}"))
        .is_refused([
            "oarlock: node1: image /nowhere.sif: no such file or directory; check the path, and that this node has it",
        ]);
    cluster
        .alice(&format!("srun -w node1 --container-image={TINY} {RUN}"))
        .succeeds()
        .says("tiny\n");
}

fn prepare_ends_at_once(cluster: &Cluster) {
    for program in ["/bin/false", "/bin/true"] {
        let _restore = edit(
            cluster,
            PLUGSTACK,
            &format!("s|^required .*|& prepare={program}|"),
        );
        let output = cluster
            .alice(&format!("srun -w node1 -n4 --container-image={TINY} {RUN}"))
            .is_refused([
                "oarlock: node1: oarlock-prepare ended without an answer; see the node's journal",
            ]);
        drop(output);
    }
}

/// It waits for the task; then it is gone.
fn prepare_is_killed_while_it_works(cluster: &Cluster) {
    let _restore = cluster.change(
        "node1",
        &format!(
            "cp -p {PLUGSTACK} /root/kept && sed -i 's|^required .*|& prepare=/root/dying-prepare|' {PLUGSTACK}\n\
             printf '#!/bin/bash\\nsleep 0.5; kill -KILL $$\\n' >/root/dying-prepare; chmod 755 /root/dying-prepare"
        ),
        format!("cp -p /root/kept {PLUGSTACK} && rm /root/kept /root/dying-prepare"),
    );
    cluster
        .alice(&format!("srun -w node1 -n4 --container-image={TINY} {RUN}"))
        .is_refused([
            "oarlock: node1: oarlock-prepare ended without an answer; see the node's journal",
        ]);
}

fn the_configuration_has_a_wrong_key(cluster: &Cluster) {
    let _restore = edit(cluster, CONFIG, "s/^kernel_mount/kernel_mounts/");
    let line = cluster.root(
        "node1",
        &format!("grep -n ^kernel_mounts {CONFIG} | cut -d: -f1"),
    );
    let line = line.stdout.trim();
    let output = cluster
        .alice(&format!("srun -w node1 -n4 --container-image={TINY} {RUN}"))
        .is_refused([format!("oarlock: node1: site configuration {CONFIG}*")]);
    for part in [format!("line {line}"), "kernel_mounts".to_owned()] {
        assert!(output.stderr.contains(&part), "{part}: {output}");
    }
    cluster
        .alice(&format!("srun -w node1 {RUN}"))
        .succeeds()
        .says("uncontained\n");
}

fn the_configuration_can_be_written_by_others(cluster: &Cluster) {
    let _restore = cluster.change(
        "node1",
        &format!("chmod 666 {CONFIG}"),
        format!("chmod 644 {CONFIG}"),
    );
    cluster
        .alice(&format!("srun -w node1 -n4 --container-image={TINY} {RUN}"))
        .is_refused([format!("oarlock: node1: site configuration {CONFIG}*")]);
}

fn the_plugstack_line_has_an_unknown_argument(cluster: &Cluster) {
    let _restore = edit(cluster, PLUGSTACK, "s|^required .*|& prepere=/x|");
    cluster
        .alice(&format!("srun -w node1 -n4 --container-image={TINY} {RUN}"))
        .is_refused([
            "oarlock: node1: plugstack.conf: unknown argument \"prepere=/x\"; known are prepare=PATH, config=PATH, container_scope=global|job, execute_entrypoint=0|1 and sbatch_support=0|1",
        ]);
    cluster
        .alice(&format!("srun -w node1 {RUN}"))
        .succeeds()
        .says("uncontained\n");
}

fn the_fuse_server_is_missing(cluster: &Cluster) {
    let _restore = edit(
        cluster,
        CONFIG,
        "s|^server = .*|server = \"/nowhere/squashfuse_ll\"|",
    );
    cluster
        .alice(&format!("srun -w node1 -n4 --container-image=/shared/tests/tiny.sif {RUN}"))
        .is_refused([
            "oarlock: node1: image /shared/tests/tiny.sif: FUSE server /nowhere/squashfuse_ll: No such file or directory; install squashfuse or set fuse.server in oarlock.toml",
        ]);
    // What the kernel mounts needs no server.
    cluster
        .alice(&format!("srun -w node1 --container-image={TINY} {RUN}"))
        .succeeds()
        .says("tiny\n");
}

/// The ranks lose their files, and that is all that happens.
fn the_fuse_server_is_killed(cluster: &Cluster) {
    cluster
        .alice(
            "srun -J served -w node1 -n2 --container-image=/shared/tests/tiny.sif sh -c \
             'echo ready >~/ready; while [ -e ~/ready ]; do read -t 0.1 <> <(:); done; cat /etc/oarlock-image' >~/out 2>&1 & wait_for ~/ready",
        )
        .succeeds();
    cluster
        .root("node1", "pkill -KILL -x squashfuse_ll")
        .succeeds();
    let output = cluster.alice(
        "rm ~/ready; job=$(squeue -h -n served -o %i); [ -z \"$job\" ] || finish $job; cat ~/out; rm ~/out",
    );
    assert!(!output.stdout.contains("tiny"), "{output}");
    cluster
        .alice("srun -w node1 --container-image=/shared/tests/tiny.sif cat /etc/oarlock-image")
        .succeeds()
        .says("tiny\n");
}

/// How an image is mounted is seen from outside: by the process that serves it.
fn kernel_mounts_are_forbidden(cluster: &Cluster) {
    let job = format!(
        "srun -J seen -w node1 --container-image={TINY} sh -c 'echo ready >~/ready; while [ -e ~/ready ]; do sleep 0.1; done' >/dev/null 2>&1 & wait_for ~/ready"
    );
    let servers = "pgrep -x squashfuse_ll | wc -l";
    let end = "rm ~/ready; until [ -z \"$(squeue -h -n seen)\" ]; do sleep 0.1; done";
    cluster.alice(&job).succeeds();
    cluster.root("node1", servers).succeeds().says("0\n");
    cluster.alice(end).succeeds();

    let _restore = edit(
        cluster,
        CONFIG,
        "s/^kernel_mount = .*/kernel_mount = \"never\"/",
    );
    cluster.alice(&job).succeeds();
    cluster.root("node1", servers).succeeds().says("1\n");
    cluster.alice(end).succeeds();
}

/// As on kernels before 5.2.
fn old_mount_calls(cluster: &Cluster) {
    let _restore = edit(
        cluster,
        CONFIG,
        "s/^mount_calls = .*/mount_calls = \"old\"/",
    );
    for image in [TINY, "/shared/tests/tiny.sif", "/shared/tests/tiny.d"] {
        cluster
            .alice(&format!(
                "srun -w node1 -n4 --container-image={image} {RUN}"
            ))
            .succeeds()
            .says("tiny\ntiny\ntiny\ntiny\n");
    }
}
