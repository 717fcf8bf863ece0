//! Containers with a name: their files outlive a step, are shared by steps that run at
//! once, and are one user's alone.

use cluster_tests::images::{DEMO, TINY, TINY_DIRECTORY, TINY_FUSE};
use cluster_tests::{Case, Cluster, Restore, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        what_is_written_is_there_in_the_next_step,
        every_kind_of_image_can_have_a_name,
        the_words_behind_a_name_mean_what_they_say,
        a_running_container_is_joined,
        steps_at_once_share_one_file_system,
        without_writable_it_is_read_only,
        another_users_name_is_another_container,
        a_jobs_container_ends_with_the_job,
        names_of_two_jobs_do_not_meet,
        a_name_is_no_path,
        a_changed_image_is_another_one,
        a_crash_while_it_is_made_poisons_nothing,
        a_killed_step_leaves_its_files_usable,
        slurmd_may_be_restarted_under_it,
        nothing_of_it_can_be_reached_from_outside,
        changes_without_a_name_can_be_on_the_disk,
        a_user_removes_his_container_by_a_step,
        what_runs_beside_a_container_does_not_keep_it,
        what_a_job_leaves_goes_however_deep_it_is,
        root_lists_and_removes_containers,
    ]
}

const BASE: &str = "/var/lib/oarlock/containers";

/// Removes all containers of a node when it goes.
fn clean<'a>(cluster: &'a Cluster, node: &'static str) -> Restore<'a> {
    cluster.change(
        node,
        "true",
        format!(
            "for m in /run/oarlock/live/*; do [ -e $m ] && {{ umount -l $m; rmdir $m; }}; done; \
             rm -rf {BASE}/* /run/oarlock-names/*; true"
        ),
    )
}

/// Ends containers with their jobs as long as the result lives.
fn ends_with_the_job(cluster: &Cluster) -> [Restore<'_>; 2] {
    const FILE: &str = "/etc/slurm/plugstack.conf.d/oarlock.conf";
    let change = format!(
        "cp -p {FILE} /root/plugstack && sed -i '/spank_oarlock/s/$/ container_scope=job/' {FILE}"
    );
    let back = format!("cp -p /root/plugstack {FILE} && rm /root/plugstack");
    ["node1", "login"].map(|machine| cluster.change(machine, &change, back.clone()))
}

fn what_is_written_is_there_in_the_next_step(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    cluster
        .alice(&format!(
            "srun -w node1 --container-name=a --container-image={TINY} --container-writable sh -c \
             'echo one >/x; echo more >>/etc/oarlock-image; rm /bin/env; cat /x'; \
             srun -w node1 --container-name=a sh -c 'cat /x /etc/oarlock-image; ls /bin/env' 2>&1 | grep -v srun:; \
             srun -w node1 --container-name=a --container-writable sh -c 'echo two >>/x; cat /x'"
        ))
        .stdout_and_code(
            "one\none\ntiny\nmore\nls: cannot access '/bin/env': No such file or directory\none\ntwo\n",
            0,
        );
}

fn every_kind_of_image_can_have_a_name(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    for (name, image) in [
        ("fuse", TINY_FUSE),
        ("directory", TINY_DIRECTORY),
        ("big", DEMO),
    ] {
        cluster
            .alice(&format!(
                "srun -w node1 --container-name={name} --container-image={image} --container-writable sh -c 'echo x >/x' && \
                 srun -w node1 --container-name={name} sh -c 'cat /x'"
            ))
            .stdout_and_code("x\n", 0);
    }
}

fn the_words_behind_a_name_mean_what_they_say(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    for (how, image, message) in [
        (
            "",
            "",
            "it does not exist on this node; name the image to make it of, with --container-image",
        ),
        (
            ":exec",
            TINY,
            "it does not run on this node; leave :exec out to start it",
        ),
        (
            ":no_exec",
            "",
            "it does not exist on this node; name the image to make it of, with --container-image",
        ),
    ] {
        let image = if image.is_empty() {
            String::new()
        } else {
            format!("--container-image={image}")
        };
        cluster
            .alice(&format!(
                "srun -w node1 --container-name=w{how} {image} true"
            ))
            .is_refused([format!("oarlock: node1: container w: {message}")]);
    }
    cluster
        .alice(&format!(
            "srun -w node1 --container-name=w:create --container-image={TINY} true"
        ))
        .succeeds();
    cluster
        .alice(&format!(
            "srun -w node1 --container-name=w:create --container-image={TINY} true"
        ))
        .is_refused([
            "oarlock: node1: container w: it exists already on this node; leave :create out to use it, or remove it: oarlock container rm NAME",
        ]);
    cluster
        .alice("srun -w node1 --container-name=w:no_exec cat /etc/oarlock-image")
        .stdout_and_code("tiny\n", 0);
}

/// One step that waits for a file in /tmp, and `others` beside it.
fn beside(image: &str, others: &str) -> String {
    format!(
        "rm -f ~/go-on ~/is-in; \
         (srun --quiet -w node1 --container-name=r --container-image={image} --container-writable --container-mounts=/etc/hostname:/mark sh -c \
          'echo first >/x; readlink /proc/self/ns/mnt >/home/alice/is-in; until [ -e /home/alice/go-on ]; do sleep 0.1; done; cat /x' >~/out 2>&1 &); \
         wait_for ~/is-in; {others}; touch ~/go-on; wait_for ~/out; cat ~/out; rm -f ~/go-on ~/is-in ~/out"
    )
}

fn a_running_container_is_joined(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    let same = "sh -c '[ $(readlink /proc/self/ns/mnt) = $(cat /home/alice/is-in) ] && cat /mark'";
    cluster
        .alice(&beside(
            TINY,
            &format!(
                "srun -w node1 --container-name=r:exec {same}; srun -w node1 --container-name=r {same}; \
                 srun -w node1 --container-name=r:no_exec {same}; echo $?; \
                 srun -w node1 --container-name=r --container-mounts=/etc:/other sh -c 'cat /other/hostname'"
            ),
        ))
        .stdout_and_code("node1\nnode1\n1\nnode1\nfirst\n", 0);
}

fn steps_at_once_share_one_file_system(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    for image in [TINY, TINY_DIRECTORY] {
        cluster
            .alice(&beside(
                image,
                "srun -w node1 --container-name=r:no_exec --container-writable sh -c 'echo second >>/x'",
            ))
            .stdout_and_code("first\nsecond\n", 0);
        cluster
            .root("node1", &format!("rm -rf {BASE}/1000/global/r"))
            .succeeds();
    }
}

fn without_writable_it_is_read_only(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    cluster
        .alice(&format!(
            "srun -w node1 --container-name=a --container-image={TINY} sh -c 'echo x >/x' 2>&1 | grep -v srun:; \
             srun -w node1 --container-name=a --container-writable sh -c 'echo x >/x; cat /x'"
        ))
        .stdout_and_code("/bin/sh: line 1: /x: Read-only file system\nx\n", 0);
}

fn another_users_name_is_another_container(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    cluster
        .bob(&format!(
            "srun -w node1 --container-name=mine --container-image={TINY} --container-writable sh -c 'echo bob >/x'"
        ))
        .succeeds();
    for how in ["", ":exec", ":no_exec"] {
        let output = cluster.alice(&format!("srun -w node1 --container-name=mine{how} cat /x"));
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{output}");
    }
}

fn a_jobs_container_ends_with_the_job(cluster: &Cluster) {
    cluster.images();
    let _scope = ends_with_the_job(cluster);
    cluster
        .alice(&format!(
            "salloc -Q -w node1 bash -c 'srun --container-name=a --container-image={TINY} --container-writable sh -c \"echo x >/x\"; \
             srun --container-name=a cat /x'"
        ))
        .stdout_and_code("x\n", 0);
    let told = "oarlock: node1: container a: it does not exist on this node; name the image to make it of, with --container-image";
    cluster
        .alice("srun -w node1 --container-name=a cat /x")
        .is_refused([told]);
    // The harness looks whether its directory is gone.
}

fn names_of_two_jobs_do_not_meet(cluster: &Cluster) {
    cluster.images();
    let _scope = ends_with_the_job(cluster);
    cluster
        .alice(&format!(
            "cat >~/array.sh <<'END'\n#!/bin/bash\n\
             srun --container-name=a:create --container-image={TINY} --container-writable sh -c 'echo $SLURM_ARRAY_TASK_ID >/x; sleep 1; cat /x'\nEND\n\
             job=$(sbatch --parsable -w node1 -n1 -a 1-3 -o ~/array-%a array.sh); finish $job; cat ~/array-?; rm ~/array-? ~/array.sh"
        ))
        .stdout_and_code("1\n2\n3\n", 0);
}

fn a_name_is_no_path(cluster: &Cluster) {
    for name in ["../../etc", ".a", "a/b", "..", "/etc", ".new-a"] {
        let output = cluster.alice(&format!(
            "srun -w node1 --container-name={name} --container-image={TINY} true"
        ));
        assert_ne!(output.code, 0, "{output}");
        assert!(output.stderr.contains("container name"), "{output}");
    }
}

fn a_changed_image_is_another_one(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    let _gone = cluster.change(
        "login",
        "cp /shared/images/tests/tiny.sif /shared/images/tests/changes.sif",
        "rm -f /shared/images/tests/changes.sif",
    );
    cluster
        .alice(
            "srun -w node1 --container-name=a --container-image=/opt/images/tests/changes.sif true",
        )
        .succeeds();
    cluster
        .root(
            "login",
            "cp /shared/images/tests/tiny.sif /shared/images/tests/changes.sif",
        )
        .succeeds();
    cluster
        .alice("srun -w node1 --container-name=a true")
        .is_refused([
            "oarlock: node1: container a: its image /opt/images/tests/changes.sif was changed or replaced since it was made; put the image back, or remove the container: oarlock container rm a",
        ]);
}

fn a_crash_while_it_is_made_poisons_nothing(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    cluster
        .root(
            "node1",
            &format!("mkdir -p -m 0700 {BASE}/1000/global/.new-a/upper/half {BASE}/1000/global/.gone-a; chmod 700 {BASE}/1000 {BASE}/1000/global"),
        )
        .succeeds();
    cluster
        .alice(&format!(
            "srun -w node1 --container-name=a:create --container-image={TINY} sh -c 'ls /half' 2>&1 | grep -v srun:"
        ))
        .stdout_and_code("ls: cannot access '/half': No such file or directory\n", 0);
}

fn a_killed_step_leaves_its_files_usable(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    cluster
        .alice(&format!(
            "rm -f ~/is-in; (srun -w node1 --container-name=k --container-writable --container-image={TINY} sh -c \
             'echo kept >/x; echo $SLURM_JOB_ID >/home/alice/is-in; while :; do echo x >>/grows; done' >/dev/null 2>&1 &) ; \
             wait_for ~/is-in; scancel -s KILL $(cat ~/is-in); finish $(cat ~/is-in); rm ~/is-in; \
             srun -w node1 --container-name=k --container-writable sh -c 'cat /x; echo more >>/x; [ -s /grows ] && rm /grows'"
        ))
        .stdout_and_code("kept\n", 0);
}

fn slurmd_may_be_restarted_under_it(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    cluster
        .alice(&format!(
            "rm -f ~/go-on ~/is-in ~/out; (srun -w node1 --container-name=s --container-writable --container-image={TINY} sh -c \
             'echo kept >/x; echo in >/home/alice/is-in; until [ -e /home/alice/go-on ]; do sleep 0.1; done; cat /x' >~/out 2>&1 &); wait_for ~/is-in"
        ))
        .succeeds();
    cluster
        .root("node1", "slurm-node restart >/dev/null")
        .succeeds();
    cluster
        .alice(
            "srun -w node1 --container-name=s:no_exec --container-writable sh -c 'echo more >>/x'; \
             touch ~/go-on; wait_for ~/out; cat ~/out; rm -f ~/go-on ~/is-in ~/out",
        )
        .stdout_and_code("kept\nmore\n", 0);
}

fn nothing_of_it_can_be_reached_from_outside(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    cluster
        .alice(&format!(
            "srun -w node1 --container-name=a --container-writable --container-image={TINY} true; \
             srun -w node1 sh -c 'ls {BASE}/1000; ls /run/oarlock/live; cat {BASE}/1000/lock' 2>&1 | grep -c 'Permission denied'"
        ))
        .stdout_and_code("3\n", 0);
    // Nor do overlayfs' own attributes come from a user.
    cluster
        .alice(
            "srun -w node1 --container-name=a --container-writable sh -c 'cat /proc/self/mountinfo' | grep -c ' / / rw,nosuid,nodev.*overlay 1000.global.a '",
        )
        .stdout_and_code("1\n", 0);
}

fn changes_without_a_name_can_be_on_the_disk(cluster: &Cluster) {
    cluster.images();
    const FILE: &str = "/etc/oarlock/oarlock.toml";
    let _disk = cluster.change(
        "node1",
        &format!(
            "cp -p {FILE} /root/policy-of-place && sed -i 's/^where = .*/where = \"disk\"/' {FILE}"
        ),
        format!("cp -p /root/policy-of-place {FILE} && rm /root/policy-of-place"),
    );
    cluster
        .alice(&format!(
            "salloc -Q -w node1 bash -c 'srun --container-writable --container-image={TINY} sh -c \"echo x >/x; cat /x; cat /proc/self/mountinfo\" | grep -cE \"^x|upperdir=/tmp/changes\"; \
             srun --container-writable --container-image={TINY} ls /x 2>/dev/null; echo $?'"
        ))
        .stdout_and_code("2\n2\n", 0);
    // The harness looks whether the directories are gone.
}

fn a_user_removes_his_container_by_a_step(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    let missing = "oarlock: node1: container a: it does not exist on this node; name the image to make it of, with --container-image";
    cluster
        .alice(&format!(
            "srun -w node1 --container-name=a --container-image={TINY} true"
        ))
        .succeeds();
    cluster
        .bob("srun -w node1 --container-name=a:remove true")
        .is_refused([
            "oarlock: node1: container a: it does not exist on this node; see: oarlock container list",
        ]);
    cluster
        .alice("srun -w node1 --container-name=a:remove cat /etc/oarlock-image")
        .stdout_and_code("tiny\n", 0);
    // The epilog may still be at it.
    cluster
        .root(
            "node1",
            &format!("for i in $(seq 50); do [ -e {BASE}/1000/global/a ] || break; sleep 0.1; done; ls {BASE}/1000/global 2>/dev/null; true"),
        )
        .says("");
    cluster
        .alice("srun -w node1 --container-name=a true")
        .is_refused([missing]);
}

/// Waits until a process of its own has deleted what has lost its name on node1.
const DELETED: &str = "for i in $(seq 100); do [ -z \"$(ls -A /var/lib/oarlock/containers/.gone 2>/dev/null)\" ] && break; sleep 0.1; done";

fn what_runs_beside_a_container_does_not_keep_it(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    // The node's own mount is in the sight of every process without a container.
    cluster
        .alice(&format!(
            "rm -f ~/is-in; (srun -w node1 -n1 sh -c 'echo $SLURM_JOB_ID >/home/alice/is-in; sleep 300' >/dev/null 2>&1 &); wait_for ~/is-in; \
             srun -w node1 -n1 --container-name=a --container-writable --container-image={TINY} sh -c 'echo x >/x'; \
             srun -w node1 -n1 --container-name=a:remove cat /x"
        ))
        .stdout_and_code("x\n", 0);
    cluster
        .root(
            "node1",
            &format!(
                "for i in $(seq 100); do [ -e {BASE}/1000/global/a ] || break; sleep 0.1; done; {DELETED}; \
                 ls -A {BASE}/1000/global {BASE}/.gone 2>/dev/null | grep -v :; ls /run/oarlock/live; pgrep -u alice -x sleep >/dev/null && echo runs"
            ),
        )
        .stdout_and_code("runs\n", 0);
    cluster
        .alice("scancel $(cat ~/is-in); finish $(cat ~/is-in); rm ~/is-in")
        .succeeds();
}

fn what_a_job_leaves_goes_however_deep_it_is(cluster: &Cluster) {
    cluster.images();
    let _scope = ends_with_the_job(cluster);
    cluster
        .alice(&format!(
            "srun -w node1 --container-name=deep --container-writable --container-image={TINY} sh -c \
             'mkdir -p /$1 && echo x >/d/file && echo made' sh $(printf 'd/%.0s' $(seq 2000))"
        ))
        .stdout_and_code("made\n", 0);
    cluster
        .root(
            "node1",
            &format!(
                "for i in $(seq 100); do [ -z \"$(ls -A /run/oarlock/jobs)\" ] && break; sleep 0.1; done; {DELETED}; \
                 find {BASE} -mindepth 2 -not -name lock -not -name global | head -n 3"
            ),
        )
        .says("");
    cluster
        .alice("for i in $(seq 100); do [ $(sinfo -h -n node1 -o %T) = idle ] && break; sleep 0.1; done; sinfo -h -n node1 -o %T")
        .stdout_and_code("idle\n", 0);
}

fn root_lists_and_removes_containers(cluster: &Cluster) {
    cluster.images();
    let _clean = clean(cluster, "node1");
    cluster
        .alice(&beside(
            TINY,
            "echo; srun -w node1 -n1 --container-name=idle --container-image=/opt/images/tests/tiny.sqsh true",
        ))
        .stdout_and_code("\nfirst\n", 0);
    cluster
        .root("node1", "oarlock container list --user alice | cut -f1-5")
        .lines([
            format!("1000\tglobal\tr\tidle\t{TINY}"),
            "1000\tglobal\tidle\tidle\t/opt/images/tests/tiny.sqsh".to_owned(),
        ]);
    cluster
        .root("node1", "oarlock container list --user bob")
        .says("");
    cluster
        .root("node1", "oarlock container rm --user bob r")
        .is_refused(["oarlock: container r: not on this node; try: oarlock container list"]);
    cluster
        .alice(
            "rm -f ~/is-in ~/go-on; (srun -w node1 --container-name=r sh -c 'echo in >/home/alice/is-in; until [ -e /home/alice/go-on ]; do sleep 0.1; done' >/dev/null 2>&1 &); wait_for ~/is-in",
        )
        .succeeds();
    cluster
        .root("node1", "oarlock container rm --user 1000 r")
        .is_refused(["oarlock: container r: a step runs in it; wait for its end, or cancel it"]);
    cluster
        .alice("touch ~/go-on; sleep 1; squeue -h -u alice; rm -f ~/is-in ~/go-on")
        .succeeds();
    cluster
        .root("node1", "oarlock container rm --user alice r && oarlock container rm --user alice idle && oarlock container list")
        .stdout_and_code("", 0);
}
