//! `--container-entrypoint`: the image's entry point, once a node, before the ranks.

use cluster_tests::images::TINY;
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        it_runs_once_a_node_and_its_variables_reach_the_ranks,
        it_does_not_run_unless_asked,
        what_it_prints_is_shown_where_asked,
        one_that_does_not_run_its_command,
        one_that_fails,
        an_image_without_one,
        the_sites_default,
        what_it_leaves_running_is_ended,
        it_has_the_jobs_limits,
    ]
}

/// A directory image with the entry point that `body` makes.
fn image(body: &str) -> String {
    format!(
        "cp -a /shared/tests/tiny.d ~/ep.d; cat >~/ep.d/.singularity.d/runscript <<'END'\n#!/bin/sh\n{body}\nEND\n\
         chmod 0755 ~/ep.d/.singularity.d/runscript; trap 'rm -rf ~/ep.d ~/ran' EXIT\n"
    )
}

const GOOD: &str = "echo \"by the entry point: $FROM_IMAGE\"\nexport FROM_ENTRY=entry BOTH=entry\n\
    echo ran >>/home/alice/ran\nexec \"$@\"";

fn it_runs_once_a_node_and_its_variables_reach_the_ranks(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "( {}rm -f ~/ran; export BOTH=job FROM_ENTRY=job\n\
             srun -N2 -n6 --container-image=./ep.d --container-entrypoint sh -c 'echo $FROM_ENTRY $BOTH $FROM_IMAGE' | sort | uniq -c\n\
             wc -l <~/ran )",
            image(GOOD)
        ))
        .succeeds()
        .says("      6 entry entry image\n2\n");
}

fn it_does_not_run_unless_asked(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "( {}rm -f ~/ran\n\
             srun --container-image=./ep.d sh -c 'echo [$FROM_ENTRY]'\n\
             PYXIS_CONTAINER_ENTRYPOINT=1 srun --container-image=./ep.d --no-container-entrypoint sh -c 'echo [$FROM_ENTRY]'\n\
             ls ~/ran )",
            image(GOOD)
        ))
        .says("[]\n[]\n");
}

fn what_it_prints_is_shown_where_asked(cluster: &Cluster) {
    let script = |log: &str| {
        format!(
            "( {}srun -w node1 -n4 --container-image=./ep.d --container-entrypoint {log} true )",
            image(GOOD)
        )
    };
    let quiet = cluster.alice(&script("")).succeeds();
    assert_eq!(quiet.stderr, "", "{quiet}");
    cluster
        .alice(&script("--container-entrypoint-log"))
        .stdout_and_code("", 0)
        .tells(["oarlock: node1: entry point: by the entry point: image"]);
}

fn one_that_does_not_run_its_command(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "( {}srun -w node1 -n2 --container-image=./ep.d --container-entrypoint echo ran )",
            image("echo hello; exit 0")
        ))
        .is_refused([
            "oarlock: node1: image ./ep.d: the image's entry point did not run the command that it was given; it said last: hello; leave --container-entrypoint out, or use --container-entrypoint-log to see what it prints",
        ]);
}

fn one_that_fails(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "( {}srun -w node1 -n2 --container-image=./ep.d --container-entrypoint echo ran )",
            image("exit 3")
        ))
        .is_refused([
            "oarlock: node1: image ./ep.d: the image's entry point did not run the command that it was given; leave --container-entrypoint out, or use --container-entrypoint-log to see what it prints",
        ]);
}

fn an_image_without_one(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} --container-entrypoint echo ran"
        ))
        .is_refused([format!(
            "oarlock: node1: image {TINY}: the image's entry point did not run the command that it was given; it said last: the image has no entry point (/.singularity.d/runscript or /etc/rc); leave --container-entrypoint out, or use --container-entrypoint-log to see what it prints"
        )]);
}

fn the_sites_default(cluster: &Cluster) {
    const PLUGSTACK: &str = "/etc/slurm/plugstack.conf.d/oarlock.conf";
    let _restore = cluster.change(
        "node1",
        &format!(
            "cp -p {PLUGSTACK} /root/plugstack && sed -i 's|spank_oarlock.so.*|spank_oarlock.so execute_entrypoint=1|' {PLUGSTACK}"
        ),
        format!("cp -p /root/plugstack {PLUGSTACK} && rm /root/plugstack"),
    );
    cluster
        .alice(&format!(
            "( {}srun -w node1 --container-image=./ep.d sh -c 'echo [$FROM_ENTRY]'\n\
             srun -w node1 --container-image=./ep.d --no-container-entrypoint sh -c 'echo [$FROM_ENTRY]' )",
            image(GOOD)
        ))
        .succeeds()
        .says("[entry]\n[]\n");
}

fn what_it_leaves_running_is_ended(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "( {}srun -w node1 --container-image=./ep.d --container-entrypoint sh -c 'echo $FROM_ENTRY' )",
            image("sleep 1000 & export FROM_ENTRY=entry\nexec \"$@\"")
        ))
        .succeeds()
        .says("entry\n");
}

fn it_has_the_jobs_limits(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "( {}ulimit -S -n 333\n\
             srun -w node1 --propagate=NOFILE --container-image=./ep.d --container-entrypoint sh -c 'echo $FROM_ENTRY $(ulimit -n)' )",
            image("export FROM_ENTRY=$(ulimit -n); exec \"$@\"")
        ))
        .succeeds()
        .says("333 333\n");
}
