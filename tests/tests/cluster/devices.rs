//! The devices that a container shows: those that Slurm granted, and no others.
//!
//! The nodes' GPUs are four character devices of a made-up driver: they have no more to
//! them than a name in gres.conf and a number in the kernel, which is what Slurm, its
//! control groups and a container's /dev are about.

use cluster_tests::images::{DEMO, TINY};
use cluster_tests::{Case, Cluster, Restore, cases, skip};

use crate::confinement::hanging_at;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_step_sees_its_gpus_alone,
        two_jobs_on_a_node_do_not_see_each_others,
        each_task_has_its_own,
        each_tasks_own_are_those_of_the_container,
        gpus_are_those_of_the_slurm_conf_that_slurmd_has_read,
        a_batch_script_has_the_jobs,
        nobody_makes_a_device,
        nobody_reaches_a_device_by_another_path,
        without_slurms_constraint_the_container_shows_no_more,
        variables_are_those_of_the_container,
        a_running_container_keeps_its_devices,
        any_step_can_ask,
        a_site_shows_none,
        what_was_granted_is_explained,
        a_rank_may_lock_as_much_as_without_a_container,
        little_memory_to_lock_is_told,
        a_search_that_does_not_end_fails_the_step,
    ]
}

const LIST: &str = "ls /dev | grep fakegpu";

/// Ends what the test needs where the cluster does not hold steps to their devices.
fn needs_constraint(cluster: &Cluster) {
    let held = cluster.alice(
        "srun -w node1 --gres=gpu:1 sh -c 'cat /dev/fakegpu[0-3] 2>&1 | grep -c \"not permitted\"'",
    );
    if held.stdout.trim() != "3" {
        skip(&format!(
            "Slurm does not hold steps to their devices here: {held}"
        ));
    }
}

/// node1 without ConstrainDevices, as long as the result lives.
pub(crate) fn without_constraint(cluster: &Cluster) -> Restore<'_> {
    const FILE: &str = "/etc/slurm/cgroup.conf";
    cluster.change(
        "node1",
        &format!(
            "cp -p {FILE} /root/cgroup.kept && sed -i 's/^ConstrainDevices=.*/ConstrainDevices=no/' {FILE} && slurm-node restart"
        ),
        format!("mv /root/cgroup.kept {FILE}; slurm-node restart"),
    )
}

fn a_step_sees_its_gpus_alone(cluster: &Cluster) {
    for (option, expected) in [
        ("", ""),
        ("--gres=gpu:1", "fakegpu0\n"),
        ("--gres=gpu:3", "fakegpu0\nfakegpu1\nfakegpu2\n"),
    ] {
        cluster
            .alice(&format!(
                "srun -w node1 {option} --container-image={TINY} sh -c '{LIST}; true'"
            ))
            .succeeds()
            .says(expected);
    }
    // A device like any other: 240 is no driver's number, and the kernel says so.
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:1 --container-image={DEMO} sh -c 'stat -c \"%F %t:%T\" /dev/fakegpu0; cat /dev/fakegpu0 2>&1'"
        ))
        .stdout_and_code(
            "character special file f0:0\ncat: /dev/fakegpu0: No such device or address\n",
            1,
        );
}

fn two_jobs_on_a_node_do_not_see_each_others(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -f ~/in; srun -w node1 --gres=gpu:2 --container-image={TINY} sh -c '{LIST}; echo in >/home/alice/in; until [ -e /home/alice/stop ]; do sleep 0.1; done' >~/first 2>/dev/null & \
             wait_for ~/in; srun -w node1 --gres=gpu:1 --container-image={TINY} sh -c '{LIST}'; \
             touch ~/stop; wait; cat ~/first; rm ~/in ~/stop ~/first"
        ))
        .says("fakegpu2\nfakegpu0\nfakegpu1\n");
}

/// The container is the step's; Slurm's control groups and variables say which of its
/// GPUs are a task's.
fn each_task_has_its_own(cluster: &Cluster) {
    let seen = |container: &str| {
        cluster
            .alice(&format!(
                "srun -w node1 -n2 --gpus-per-task=1 {container} sh -c 'echo $SLURM_PROCID $CUDA_VISIBLE_DEVICES' | sort"
            ))
            .succeeds()
            .stdout
    };
    // Where Slurm counts a task's GPUs from 0, so does the container.
    let (outside, inside) = (seen(""), seen(&format!("--container-image={TINY}")));
    assert_eq!(outside, inside);
    cluster
        .alice(&format!(
            "srun -w node1 -n2 --gpus-per-task=1 --container-image={TINY} sh -c 'if [ $SLURM_PROCID = 0 ]; then {LIST}; fi'"
        ))
        .succeeds()
        .says("fakegpu0\nfakegpu1\n");
}

/// Whatever binds a task to a GPU binds it to the same one in a container: by what the
/// kernel lets it open where Slurm holds steps to their devices, and else by variables
/// that count what the container shows.
fn each_tasks_own_are_those_of_the_container(cluster: &Cluster) {
    needs_constraint(cluster);
    // A device that may be opened is one that has no driver.
    const FILES: &str = "\
        cat >~/which <<'END'\n\
        for n in 0 1 2 3; do cat /dev/fakegpu$n 2>&1 | grep -q 'No such device' && may=\"$may $n\"; done\n\
        echo $SLURM_PROCID: $CUDA_VISIBLE_DEVICES of$may\n\
        END\n\
        cat >~/steps <<'END'\n\
        srun -n1 --exact --gres=gpu:2 sh -c 'echo in >/home/alice/in; until [ -e /home/alice/stop ]; do sleep 0.1; done' &\n\
        until [ -s ~/in ]; do sleep 0.1; done\n\
        srun -n2 --exact \"$@\" sh /home/alice/which | sort; touch ~/stop; wait\n\
        END\n";
    let seen = |bind: &str, container: &str| {
        let output = cluster.alice(&format!(
            "{FILES}rm -f ~/in ~/stop; salloc -Q -w node1 --gres=gpu:4 -n4 bash ~/steps {bind} {container}; rm ~/in ~/stop ~/which ~/steps"
        ));
        output.succeeds().stdout
    };
    let container = format!("--container-image={DEMO}");
    // Slurm 22.05 finds no map to be within the allocation.
    let known = |bind: &&str| !(cluster.is_debian_12() && bind.contains("map_gpu"));
    let binds = [
        "--gpus-per-task=1",
        "--gres=gpu:2 --gpu-bind=single:1",
        "--gres=gpu:2 --gpu-bind=map_gpu:1,0",
    ];
    for bind in binds.into_iter().filter(known) {
        let outside = seen(bind, "");
        assert_eq!(outside.lines().count(), 2, "{bind}: {outside}");
        assert_eq!(seen(bind, &container), outside, "{bind}");
    }
    // There Slurm counts as the node does, and the kernel would let a rank open all.
    let _off = without_constraint(cluster);
    let binds = [
        ("--gpus-per-task=1", "0: 0 of 2 3\n1: 1 of 2 3\n"),
        (
            "--gres=gpu:2 --gpu-bind=single:1",
            "0: 0 of 2 3\n1: 1 of 2 3\n",
        ),
        (
            "--gres=gpu:2 --gpu-bind=map_gpu:3,2",
            "0: 1 of 2 3\n1: 0 of 2 3\n",
        ),
    ];
    for (bind, expected) in binds.into_iter().filter(|(bind, _)| known(bind)) {
        assert_eq!(seen(bind, &container), expected, "{bind}");
    }
}

/// Another slurm.conf may lie about where packages put it.
fn gpus_are_those_of_the_slurm_conf_that_slurmd_has_read(cluster: &Cluster) {
    let _elsewhere = cluster.change(
        "node1",
        "cp -a /etc/slurm /opt/site-slurm && slurm-node stop && slurmd -f /opt/site-slurm/slurm.conf && \
         cp -p /etc/slurm/gres.conf /root/gres.kept && echo 'Name=gpu File=/dev/zero' >/etc/slurm/gres.conf",
        "mv /root/gres.kept /etc/slurm/gres.conf; slurm-node restart; rm -rf /opt/site-slurm",
    );
    for ask in [
        "oarlock explain",
        &format!("--container-explain --container-image={TINY} true"),
    ] {
        let output = cluster.alice(&format!("srun -w node1 --gres=gpu:1 {ask}"));
        assert!(
            output.stdout.contains(
                "granted: GPUs 0 at /dev/fakegpu0 (SLURM_STEP_GPUS and /opt/site-slurm/gres.conf)\n"
            ),
            "{output}"
        );
    }
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:1 --container-image={TINY} sh -c '{LIST}'"
        ))
        .succeeds()
        .says("fakegpu0\n");
}

fn a_batch_script_has_the_jobs(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "job=$(sbatch --parsable -w node1 --gres=gpu:2 -o ~/out --container-image={TINY} --wrap '{LIST}; echo script'); finish $job; cat ~/out; rm ~/out"
        ))
        .says("fakegpu0\nfakegpu1\nscript\n");
}

fn nobody_makes_a_device(cluster: &Cluster) {
    for more in ["", "--container-remap-root", "--container-writable"] {
        cluster
            .alice(&format!(
                "srun -w node1 --gres=gpu:1 {more} --container-image={DEMO} sh -c \
                 'for d in /dev /tmp /dev/shm /root /home/alice; do mknod $d/mine c 240 3 2>/dev/null && cat $d/mine 2>&1 | grep -v -e \"No such file\"; rm -f $d/mine; done; echo done'"
            ))
            .stdout_and_code("done\n", 0);
    }
}

/// What is not granted is nowhere below the container's root: not in other mounts of
/// devtmpfs, not by the /proc of a process outside.
fn nobody_reaches_a_device_by_another_path(cluster: &Cluster) {
    needs_constraint(cluster);
    cluster
        .alice(&format!(
            "rm -f ~/pid ~/stop; srun -w node1 -n1 sh -c 'echo $$ >/home/alice/pid; until [ -e /home/alice/stop ]; do sleep 0.1; done' & wait_for ~/pid\n\
             srun -w node1 --gres=gpu:1 --container-image={DEMO} sh -c '\
             find / -xdev -name \"fakegpu[123]\" 2>/dev/null; find /dev -name \"fakegpu[123]\"; \
             for p in $(cat /home/alice/pid) 1 $PPID; do for r in root cwd; do cat /proc/$p/$r/dev/fakegpu3 2>&1 | grep -v -e \"Permission denied\" -e \"Operation not permitted\" -e \"No such file\"; done; done; echo done'\n\
             touch ~/stop; wait; rm ~/pid ~/stop"
        ))
        .says("done\n");
    // A mount of one that the user asks for is as closed as the device.
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:1 --container-mounts=/dev/fakegpu3:/dev/fakegpu3 --container-image={TINY} cat /dev/fakegpu3 2>&1 | grep -o 'Operation not permitted\\|Permission denied'"
        ))
        .succeeds();
}

fn without_slurms_constraint_the_container_shows_no_more(cluster: &Cluster) {
    let _off = without_constraint(cluster);
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:2 --container-image={TINY} sh -c '{LIST}'"
        ))
        .succeeds()
        .says("fakegpu0\nfakegpu1\n");
}

/// Without its constraint Slurm counts as the node does; a program in the container
/// finds the step's GPUs and counts from 0.
fn variables_are_those_of_the_container(cluster: &Cluster) {
    let _off = without_constraint(cluster);
    cluster
        .alice(&format!(
            "salloc -Q -w node1 --gres=gpu:4 -n4 bash -c '\
             srun -n1 --exact --gres=gpu:2 sleep 5 & sleep 1; \
             srun -n1 --exact --gres=gpu:2 sh -c \"echo host \\$CUDA_VISIBLE_DEVICES\"; \
             srun -n1 --exact --gres=gpu:2 --container-image={TINY} sh -c \"echo container \\$CUDA_VISIBLE_DEVICES; {LIST}\"; wait'"
        ))
        .succeeds()
        .says("host 2,3\ncontainer 0,1\nfakegpu2\nfakegpu3\n");
}

/// A step with GPUs of its own has them beside a container that runs; only who says
/// so joins it, and is told.
fn a_running_container_keeps_its_devices(cluster: &Cluster) {
    let _clean = cluster.change(
        "node1",
        "true",
        "rm -rf /var/lib/oarlock/containers/1000/global/d /run/oarlock-names/*; true",
    );
    cluster
        .alice(&format!(
            "rm -f ~/in ~/stop; srun -Q -w node1 --gres=gpu:1 --container-name=d --container-image={TINY} sh -c 'echo in >/home/alice/in; until [ -e /home/alice/stop ]; do sleep 0.1; done' & wait_for ~/in\n\
             srun -Q -w node1 --gres=gpu:1 --container-name=d sh -c '{LIST}' 2>&1; srun -Q -w node1 --gres=gpu:1 --container-name=d:exec sh -c '{LIST}' 2>&1\n\
             srun -Q -w node1 --container-name=d sh -c '{LIST}' 2>&1; touch ~/stop; wait; rm ~/in ~/stop"
        ))
        .says(
            "fakegpu1\noarlock: node1: the container that is joined shows the devices of the step that made it, and not this step's\nfakegpu0\nfakegpu0\n",
        );
}

/// Without a container, in the words of `--container-explain`.
fn any_step_can_ask(cluster: &Cluster) {
    cluster
        .alice("srun -w node1 -n2 --mem=100 --gres=gpu:2 oarlock explain | grep -v memory | sort -u")
        .succeeds()
        // srun of Slurm 22.05 says nothing of memory to whom it starts.
        .lines([
            "granted: nodes 1 (SLURM_STEP_NUM_NODES)",
            "granted: CPUs 2 (SLURM_CPUS_ON_NODE)",
            "granted: ranks on this node 2 (Slurm)",
            "granted: GPUs 0 at /dev/fakegpu0, 1 at /dev/fakegpu1 (SLURM_STEP_GPUS and /etc/slurm/gres.conf)",
        ]);
    cluster.alice("env -u SLURM_JOB_ID oarlock explain").is_refused([
        "oarlock: explain: this is no step of a Slurm job (SLURM_JOB_ID is not set); run it in one: srun oarlock explain",
    ]);
}

fn a_site_shows_none(cluster: &Cluster) {
    const FILE: &str = "/etc/oarlock/oarlock.toml";
    let _none = cluster.change(
        "node1",
        &format!("cp -p {FILE} /root/kept && sed -i 's/^gpus = .*/gpus = false/' {FILE}"),
        format!("cp -p /root/kept {FILE} && rm /root/kept"),
    );
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:1 --container-image={TINY} sh -c '{LIST}; echo ran'"
        ))
        .succeeds()
        .says("ran\n");
}

/// node1 with a device that stands for an adapter, as long as the result lives.
fn with_adapter(cluster: &Cluster) -> Restore<'_> {
    cluster.change(
        "node1",
        "mkdir /dev/infiniband && mknod -m 0666 /dev/infiniband/uverbs0 c 240 0",
        "rm -r /dev/infiniband",
    )
}

fn a_rank_may_lock_as_much_as_without_a_container(cluster: &Cluster) {
    for before in ["", "ulimit -S -l 32;", "ulimit -l 48;"] {
        let limits = |container: &str| {
            let propagate = match before {
                "" => "",
                _ => "--propagate=MEMLOCK",
            };
            cluster
                .alice(&format!(
                    "{before} srun -w node1 {propagate} {container} sh -c 'grep locked /proc/self/limits'"
                ))
                .succeeds()
                .stdout
        };
        let image = format!("--container-image={TINY}");
        assert_eq!(limits(""), limits(&image), "{before}");
    }
}

fn little_memory_to_lock_is_told(cluster: &Cluster) {
    let run = |before: &str, options: &str| {
        cluster.alice(&format!(
            "{before} srun -Q -w node1 -n2 {options} --container-image={TINY} sh -c 'if [ $SLURM_PROCID = 0 ]; then ls /dev/infiniband 2>/dev/null; echo ran; fi'"
        ))
    };
    let little = "ulimit -S -l 32;";
    run(little, "--propagate=MEMLOCK").succeeds().says("ran\n");
    let _adapter = with_adapter(cluster);
    let output = run(little, "--propagate=MEMLOCK");
    assert_eq!(
        (output.code, output.stdout.as_str()),
        (0, "uverbs0\nran\n"),
        "{output}"
    );
    output.tells(["oarlock: node1: RDMA: only 32 KiB can be locked in memory (memlock): libraries of MPI fail with an adapter, or do without; *"]);
    // What is enough for these two ranks is not told of.
    let output = run("ulimit -S -l 8192;", "--propagate=MEMLOCK --mem=16");
    assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{output}");
    // A site that shows none says nothing.
    const FILE: &str = "/etc/oarlock/oarlock.toml";
    let _none = cluster.change(
        "node1",
        &format!("cp -p {FILE} /root/kept && sed -i 's/^rdma = .*/rdma = \"never\"/' {FILE}"),
        format!("cp -p /root/kept {FILE} && rm /root/kept"),
    );
    run(little, "--propagate=MEMLOCK").succeeds().says("ran\n");
}

/// Without its devices it is not the step that was asked for; who has none is not held up.
fn a_search_that_does_not_end_fails_the_step(cluster: &Cluster) {
    const FILE: &str = "/etc/oarlock/oarlock.toml";
    let _short = cluster.change(
        "node1",
        &format!(
            "cp -p {FILE} /root/kept && sed -i -e 's/^timeout = .*/timeout = 2/' -e 's|^cdi = .*|cdi = [\"/etc/cdi\", \"/opt/hanging/cdi\"]|' {FILE}"
        ),
        format!("cp -p /root/kept {FILE} && rm /root/kept"),
    );
    // Only where root alone can write is a spec looked for.
    let _hanging = hanging_at(cluster, "/opt/hanging");
    let run = |gres: &str| {
        cluster.alice(&format!(
            "srun -w node1 -n2 {gres} --container-image={TINY} sh -c 'echo ran'"
        ))
    };
    run("--gres=gpu:1").is_refused([
        "oarlock: node1: devices of the step: /etc/cdi, /opt/hanging/cdi: no answer within 2 s; is the file system it lies on alive?",
    ]);
    run("").succeeds().says("ran\nran\n");
    cluster
        .root("node1", "pgrep -x oarlock-prepare | wc -l")
        .says("0\n");
}

fn what_was_granted_is_explained(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 -n2 -c2 --mem=100 --gres=gpu:2 --container-explain --container-image={TINY} true | grep -e granted: -e fakegpu | sed 's/^node1: //'"
        ))
        .succeeds()
        .lines([
            "granted: nodes 1 (SLURM_STEP_NUM_NODES)",
            "granted: memory 100 MiB (Slurm)",
            "granted: cores 0-3 (Slurm)",
            "granted: ranks on this node 2 (Slurm)",
            "granted: GPUs 0 at /dev/fakegpu0, 1 at /dev/fakegpu1 (SLURM_STEP_GPUS and /etc/slurm/gres.conf)",
            "device /dev/fakegpu0",
            "device /dev/fakegpu1",
        ]);
}
