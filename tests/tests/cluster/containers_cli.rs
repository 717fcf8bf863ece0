//! `oarlock container` for users: each sees his own alone, and removes and exports them
//! by a step; root sees all.

use cluster_tests::images::TINY;
use cluster_tests::{Case, Cluster, Restore, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_user_lists_his_own_and_root_all,
        nobody_reaches_the_lists_of_others,
        a_user_exports_a_container,
        a_user_removes_a_container,
        inside_a_job_a_step_of_it_does_so,
        a_jobs_containers_are_listed_until_its_end,
        after_a_boot_the_list_is_made_again,
        what_is_roots_and_what_is_not_is_told,
    ]
}

/// `oarlock container list` without the times, and without whether one runs: a rank
/// that has ended may be seen for a moment.
const LIST: &str = "oarlock container list | cut -f1-3,5";

/// Removes a node's containers, as root's command does.
fn clean(cluster: &Cluster) -> Restore<'_> {
    cluster.change(
        "node1",
        "true",
        "for m in /run/oarlock/live/*; do [ -e $m ] && { umount -l $m; rmdir $m; }; done; \
         rm -rf /var/lib/oarlock/containers/* /run/oarlock-names/*; true",
    )
}

fn make(cluster: &Cluster, user: &'static str, name: &str) {
    cluster
        .on(
            "login",
            user,
            &format!(
                "srun -w node1 --container-name={name} --container-image={TINY} --container-writable sh -c 'echo {name} >/x'"
            ),
        )
        .succeeds();
}

fn listed(uid: u32, name: &str) -> String {
    format!("{uid}\tglobal\t{name}\t{TINY}")
}

fn a_user_lists_his_own_and_root_all(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster);
    make(cluster, "alice", "hers.1");
    make(cluster, "alice", "hers");
    make(cluster, "bob", "his");
    cluster
        .alice(&format!("srun -w node1 sh -c '{LIST}'"))
        .stdout_and_code(
            &format!("{}\n{}\n", listed(1000, "hers"), listed(1000, "hers.1")),
            0,
        );
    for command in [
        "oarlock container list",
        "oarlock container list --user bob",
    ] {
        cluster
            .bob(&format!(
                "srun -w node1 {command} | sed 's/[0-9-]*T[0-9:]*Z$/T/' | cut -f1-3,5-"
            ))
            .stdout_and_code(&format!("{}\tT\n", listed(1001, "his")), 0);
    }
    cluster.root("node1", LIST).lines([
        listed(1000, "hers"),
        listed(1000, "hers.1"),
        listed(1001, "his"),
    ]);
    // A running one is seen by its user, too.
    cluster
        .alice(
            "salloc -Q -w node1 bash -c 'srun --container-name=hers sleep 60 & \
             for i in $(seq 100); do srun --overlap oarlock container list >~/seen; grep -q running ~/seen && break; sleep 0.1; done; kill %1; wait' 2>/dev/null; \
             cut -f3,4 ~/seen; rm ~/seen",
        )
        .says("hers\trunning\nhers.1\tidle\n");
}

fn nobody_reaches_the_lists_of_others(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster);
    make(cluster, "alice", "hers");
    cluster
        .bob("srun -w node1 oarlock container list")
        .stdout_and_code("", 0);
    cluster
        .bob("srun -w node1 oarlock container list --user alice")
        .is_refused(["oarlock: container list: --user and --job are for root; leave them out"]);
    let inside = "/run/oarlock-names/1000/1000.global.hers";
    cluster
        .bob(&format!(
            "srun -w node1 bash -c 'ls /run/oarlock-names; ls /run/oarlock-names/1000; cat {inside}; : >{inside}; : >/run/oarlock-names/x; true' 2>&1 | grep -c 'Permission denied'"
        ))
        .says("5\n");
    // Nor does she write to her own: it is read, and that is all.
    cluster
        .alice(&format!(
            "srun -w node1 bash -c 'cut -f2 {inside}; chmod u+w {inside} || : >{inside} || : >/run/oarlock-names/1000/x || rm -f {inside} || echo none' 2>/dev/null"
        ))
        .stdout_and_code(&format!("{TINY}\nnone\n"), 0);
}

fn a_user_exports_a_container(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster);
    make(cluster, "alice", "hers");
    // A variable for other containers does not mean this one.
    cluster
        .alice(
            "OARLOCK_CONTAINER_IMAGE=/nowhere oarlock container export --node node1 hers new.sif",
        )
        .stdout_and_code("", 0)
        .tells(["oarlock: node1: saved /home/alice/new.sif"]);
    cluster
        .alice("srun -w node2 --container-image=./new.sif cat /x; rm new.sif")
        .stdout_and_code("hers\n", 0);
    cluster
        .bob("oarlock container export --node node1 hers new.sif")
        .is_refused([
            "oarlock: node1: container hers: it does not exist on this node; name the image to make it of, with --container-image",
        ]);
    cluster
        .alice("oarlock container export --node node1 hers /root/x.sif")
        .is_refused([
            "oarlock: node1: --container-save=/root/x.sif: Permission denied; the directory must exist and be writable by you",
        ]);
}

/// Waits for the epilog: then a user's list is this.
fn until_listed(expected: &str) -> String {
    format!(
        "for i in $(seq 100); do srun -w node1 sh -c '{LIST}' | cut -f3 | tr '\\n' ' ' >~/seen; \
         [ \"$(cat ~/seen)\" = '{expected}' ] && break; sleep 0.1; done; cat ~/seen; rm ~/seen"
    )
}

fn a_user_removes_a_container(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster);
    make(cluster, "alice", "hers");
    make(cluster, "alice", "stays");
    cluster
        .bob("oarlock container rm --node node1 hers")
        .is_refused([
            "oarlock: node1: container hers: it does not exist on this node; see: oarlock container list",
        ]);
    cluster
        .alice("oarlock container rm --node node1 hers")
        .stdout_and_code("", 0)
        .tells([""; 0]);
    cluster.alice(&until_listed("stays ")).says("stays ");
    cluster
        .root("node1", "oarlock container rm --user alice stays")
        .succeeds();
    cluster.alice(&until_listed("")).says("");
    // The harness looks whether the user's list is gone.
}

fn inside_a_job_a_step_of_it_does_so(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster);
    make(cluster, "alice", "hers");
    cluster
        .alice(
            "salloc -Q -w node1,node2 -N2 bash -c 'srun sleep 60 2>/dev/null & \
             oarlock container export --node node1 hers new.sqsh && oarlock container rm --node node1 hers; echo $?; kill %1; wait; true'",
        )
        .stdout_and_code("0\n", 0);
    cluster
        .alice("srun -w node2 --container-image=./new.sqsh cat /x; rm new.sqsh")
        .stdout_and_code("hers\n", 0);
    cluster.alice(&until_listed("")).says("");
}

fn a_jobs_containers_are_listed_until_its_end(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster);
    const FILE: &str = "/etc/slurm/plugstack.conf.d/oarlock.conf";
    let _scope = ["node1", "login"].map(|machine| {
        cluster.change(
            machine,
            &format!(
                "cp -p {FILE} /root/plugstack && sed -i '/spank_oarlock/s/$/ container_scope=job/' {FILE}"
            ),
            format!("cp -p /root/plugstack {FILE} && rm /root/plugstack"),
        )
    });
    cluster
        .alice(&format!(
            "salloc -Q -w node1 bash -c 'srun --container-name=a --container-image={TINY} true; \
             srun {LIST} | sed \"s/job $SLURM_JOB_ID/JOB/\"'"
        ))
        .stdout_and_code(&format!("1000\tJOB\ta\t{TINY}\n"), 0);
    cluster.alice(&until_listed("")).says("");
}

fn after_a_boot_the_list_is_made_again(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster);
    make(cluster, "alice", "hers");
    // /run is empty after a boot.
    cluster
        .root("node1", "rm -rf /run/oarlock-names /run/oarlock/swept")
        .succeeds();
    let none = "oarlock: container list: no step has used one here since the boot; they are on the nodes where steps made them: srun -w NODE oarlock container list";
    cluster
        .alice("srun -w node1 oarlock container list")
        .is_refused([none]);
    make(cluster, "bob", "his");
    cluster
        .alice(&format!("srun -w node1 sh -c '{LIST}'"))
        .stdout_and_code(&format!("{}\n", listed(1000, "hers")), 0);
    // The login node has no containers.
    cluster.alice("oarlock container list").is_refused([none]);
}

fn what_is_roots_and_what_is_not_is_told(cluster: &Cluster) {
    let before = cluster.next_job();
    for (verb, command) in [
        ("rm", "rm --user alice a"),
        ("rm", "rm --job 1 a"),
        ("export", "export --user alice a a.sif"),
    ] {
        cluster
            .alice(&format!("oarlock container {command}"))
            .is_refused([format!(
                "oarlock: container {verb}: --user and --job are for root; leave them out"
            )]);
    }
    cluster
        .root("node1", "oarlock container export --user alice a a.sif")
        .is_refused([
            "oarlock: container export: not for root, who would write with a user's rights; as the user: oarlock container export NAME FILE",
        ]);
    for command in ["rm a", "rm --user alice --node node1 a"] {
        cluster
            .root("node1", &format!("oarlock container {command}"))
            .is_refused([
                "oarlock: container rm: say whose it is, with --user; --node is for users",
            ]);
    }
    cluster
        .alice("PATH=/nowhere $(command -v oarlock) container rm a")
        .is_refused([
            "oarlock: container a: running srun: No such file or directory; is it in your PATH?",
        ]);
    assert_eq!(cluster.next_job(), before);
}
