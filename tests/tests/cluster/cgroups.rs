//! Control groups: Slurm's are inherited and shown; where Slurm holds a step to nothing,
//! Oarlock's own do, and end with it.

use cluster_tests::cluster::IDLE;
use cluster_tests::images::{DEMO, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, Restore, cases, skip};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        slurms_limits_are_seen_and_cannot_be_written,
        every_way_in_leads_through_the_group,
        batch_scripts_and_interactive_steps_have_groups,
        a_step_is_held_where_slurm_does_not,
        the_steps_cpus_are_those_that_slurm_counts,
        foreign_devices_are_closed_where_slurm_leaves_them_open,
        memory_that_is_used_up_ends_the_step_and_is_told,
        helpers_are_in_the_steps_group,
        a_step_may_see_its_groups_alone,
        limits_of_slurmds_own_are_not_left,
        a_site_has_none_made,
    ]
}

/// The memory limit that a program finds that climbs from its own group, as the JVM
/// does: MiB.
const MEMORY: &str = "\
    m=$(grep \" - cgroup .*[,]memory\" /proc/self/mountinfo | tail -n 1); \
    root=$(echo \"$m\" | cut -d\" \" -f4); root=${root%/}; place=$(echo \"$m\" | cut -d\" \" -f5); \
    group=$(sed -n \"s/^[0-9]*:memory://p\" /proc/self/cgroup); group=${group#$root}; \
    least=9223372036854771712; while :; do \
    now=$(cat $place$group/memory.limit_in_bytes); [ $now -lt $least ] && least=$now; \
    [ -n \"$group\" ] || break; group=${group%/*}; done; echo $((least >> 20))";

/// Groups of ours that a process is in.
const OURS: &str = "sed -n \"s,^[0-9]*:\\(.*\\):.*/\\(oarlock/.*\\),\\1 \\2,p\" /proc/self/cgroup";

pub(crate) fn needs_version_1(cluster: &Cluster) {
    let there = cluster.root("node1", "test -w /sys/fs/cgroup/pids/cgroup.procs -a -e /sys/fs/cgroup/memory/memory.limit_in_bytes");
    if there.code != 0 {
        skip("the nodes have no control groups of version 1");
    }
}

/// node1 without anything that Slurm holds steps to, as long as the result lives.
pub(crate) fn without_slurms(cluster: &Cluster) -> Restore<'_> {
    const FILE: &str = "/etc/slurm/cgroup.conf";
    cluster.change(
        "node1",
        &format!(
            "cp -p {FILE} /root/cgroup.kept && sed -i 's/^\\(Constrain.*\\)=.*/\\1=no/' {FILE} && slurm-node restart"
        ),
        format!("mv /root/cgroup.kept {FILE}; slurm-node restart"),
    )
}

/// One key of the site's file on node1.
fn with_key<'a>(cluster: &'a Cluster, line: &str) -> Restore<'a> {
    const FILE: &str = "/etc/oarlock/oarlock.toml";
    let key = line.split(' ').next().unwrap_or_default();
    cluster.change(
        "node1",
        &format!("cp -p {FILE} /root/kept && sed -i 's/^{key} = .*/{line}/' {FILE}"),
        format!("cp -p /root/kept {FILE} && rm /root/kept"),
    )
}

fn slurms_limits_are_seen_and_cannot_be_written(cluster: &Cluster) {
    needs_version_1(cluster);
    let explained = cluster.alice(&format!(
        "srun -w node1 --mem=300M --gres=gpu:1 --container-explain --container-image={DEMO} true"
    ));
    for line in [
        "cpuset by Slurm",
        "memory by Slurm",
        "devices by Slurm",
        "pids by Oarlock, 4096 processes and threads",
    ] {
        let line = format!("node1: held: {line}");
        assert!(
            explained.stdout.lines().any(|l| l == line),
            "{line}: {explained}"
        );
    }
    cluster
        .alice(&format!(
            "srun -w node1 --mem=300M --container-image={DEMO} sh -c '{MEMORY}; nproc; grep -c /slurm.*/job_ /proc/self/cgroup'"
        ))
        .says("300\n1\n4\n");
    for user in ["", "--container-remap-root"] {
        cluster
            .alice(&format!(
                "srun -w node1 {user} --container-image={DEMO} sh -c '\
                 find /sys/fs/cgroup -writable 2>/dev/null | head -n 3; \
                 for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/x 2>&1 | grep -v \"Read-only file system\"; done; \
                 cut -d\" \" -f5,6 /proc/self/mountinfo | grep -c \"^/sys/fs/cgroup.* rw,\"; echo done'"
            ))
            .succeeds()
            .says("0\ndone\n");
    }
}

fn every_way_in_leads_through_the_group(cluster: &Cluster) {
    needs_version_1(cluster);
    for option in [
        "",
        "--container-unshare=pid",
        "--container-unshare=net,ipc,uts,pid",
        "--container-remap-root",
        "--container-writable",
        "--task-prolog=/bin/true",
        "--task-prolog=/bin/true --container-unshare=pid",
    ] {
        cluster
            .alice(&format!(
                "srun -w node1 -n3 {option} --container-image={DEMO} sh -c '{OURS} | sed \"s/job_[0-9]*/job_J/\"'"
            ))
            .succeeds()
            .says("pids oarlock/job_J/step_0\npids oarlock/job_J/step_0\npids oarlock/job_J/step_0\n");
    }
}

fn batch_scripts_and_interactive_steps_have_groups(cluster: &Cluster) {
    needs_version_1(cluster);
    cluster
        .alice(&format!(
            "job=$(sbatch --parsable -w node1 -o ~/out --container-image={DEMO} --wrap '{OURS}'); finish $job; sed s/$job/J/ ~/out; rm ~/out"
        ))
        .says("pids oarlock/job_J/step_batch\n");
    cluster
        .alice(&format!(
            "echo '{OURS}; exit' | salloc -Q -w node1 --container-image={DEMO} | sed 's/job_[0-9]*/job_J/'"
        ))
        .says("pids oarlock/job_J/step_interactive\n");
}

fn a_step_is_held_where_slurm_does_not(cluster: &Cluster) {
    needs_version_1(cluster);
    let _off = without_slurms(cluster);
    cluster
        .alice(&format!(
            "srun -w node1 -n2 --mem=300M --gres=gpu:1 --container-image={DEMO} sh -c '[ $SLURM_PROCID = 1 ] || exit 0; {OURS} | sed \"s/ .*//\" | sort; {MEMORY}; \
             cat /sys/fs/cgroup/pids/oarlock/job_$SLURM_JOB_ID/step_0/pids.max; \
             grep -c \"c 240:0 rw\" /sys/fs/cgroup/devices/oarlock/job_$SLURM_JOB_ID/step_0/devices.list; \
             grep -c \"c 240:1\" /sys/fs/cgroup/devices/oarlock/job_$SLURM_JOB_ID/step_0/devices.list'"
        ))
        .stdout_and_code("devices\nmemory\npids\n300\n4096\n1\n0\n", 1);
    let explained = cluster.alice(&format!(
        "srun -w node1 --mem=300M --container-image={TINY} --container-explain true"
    ));
    for line in [
        "node1: granted: memory 300 MiB (Slurm)",
        "node1: held: memory by Oarlock, 300 MiB",
        "node1: held: pids by Oarlock, 4096 processes and threads",
        "node1: held: devices by Oarlock, those of the container's /dev",
        "node1: held: cpuset by nobody, no figure is known",
    ] {
        assert!(
            explained.stdout.lines().any(|l| l == line),
            "{line}: {explained}"
        );
    }
    // The node claims more cores than it has.
    assert!(
        explained
            .stdout
            .contains("node1: cpuset: not held: the machine has "),
        "{explained}"
    );
}

/// With a slurm.conf that knows the machine, the step's cores are its CPUs.
fn the_steps_cpus_are_those_that_slurm_counts(cluster: &Cluster) {
    needs_version_1(cluster);
    let threads = cluster
        .root(
            "node1",
            "cat /sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list | sort -u",
        )
        .succeeds()
        .stdout;
    let cores = threads.lines().count();
    let first = threads.lines().next().unwrap_or_default();
    if first.contains(['-', ',']) || cores < 2 {
        skip("the machine's cores have several threads, or there is one alone");
    }
    let _off = without_slurms(cluster);
    const CONF: &str = "/etc/slurm/slurm.conf";
    let _shape = cluster.change(
        "node1",
        &format!(
            "cp -p {CONF} /root/slurm.conf.kept; sed -i 's/CoresPerSocket=16/CoresPerSocket={cores}/' {CONF}; slurm-node restart"
        ),
        format!("mv /root/slurm.conf.kept {CONF}; slurm-node restart"),
    );
    cluster
        .alice(&format!(
            "srun -w node1 -n1 --cpu-bind=none --container-image={DEMO} sh -c 'nproc; sed -n \"s/^Cpus_allowed_list:.//p\" /proc/self/status; taskset -pc 0-63 $$ >/dev/null 2>&1; nproc'\n\
             srun -w node1 -n1 -c2 --cpu-bind=none --container-image={DEMO} nproc"
        ))
        .says("1\n0\n1\n2\n");
    // Slurm's own binding of each rank stays, where it has one.
    let bound = |container: &str| {
        let output = cluster.alice(&format!(
            "srun -Q -w node1 -n2 --cpu-bind=map_cpu:1,0 -l {container} sed -n 's/^Cpus_allowed_list:.//p' /proc/self/status | sort"
        ));
        output.succeeds().stdout
    };
    let outside = bound("");
    assert_eq!(bound(&format!("--container-image={DEMO}")), outside);
    if !cluster.is_debian_12() {
        assert_eq!(outside, "0: 1\n1: 0\n");
    }
    // A step that cannot have what it was granted does not run with something else: another
    // of its job, which has shrunk, holds more. The job before has to be over, for its epilog
    // takes an empty tree away.
    const TREE: &str = "/sys/fs/cgroup/cpuset/oarlock";
    cluster.root("node1", IDLE).succeeds();
    let job = format!("{TREE}/job_{}", cluster.next_job());
    let _taken = cluster.change(
        "node1",
        &format!(
            "mkdir -p {job}/step_9; cd {TREE}; cat ../cpuset.cpus >cpuset.cpus; cat ../cpuset.mems >cpuset.mems; \
             for group in {job} {job}/step_9; do cat cpuset.mems >$group/cpuset.mems; echo 1 >$group/cpuset.cpus; done"
        ),
        format!("rmdir {job}/step_9 {job} {TREE} 2>/dev/null; true"),
    );
    cluster
        .alice(&format!("srun -w node1 --container-image={DEMO} true"))
        .is_refused([format!(
            "oarlock: node1: control group {job}/step_0: 0 to cpuset.cpus: Permission denied; for admins: cgroup.enforce = \"never\" in oarlock.toml does without"
        )]);
}

fn foreign_devices_are_closed_where_slurm_leaves_them_open(cluster: &Cluster) {
    needs_version_1(cluster);
    let _off = without_slurms(cluster);
    // 240 is no driver's number: a device that may be opened is none that is there.
    cluster
        .alice(&format!(
            "rm -f ~/pid ~/stop; srun -w node1 -n1 sh -c 'echo $$ >/home/alice/pid; until [ -e /home/alice/stop ]; do sleep 0.1; done' & wait_for ~/pid\n\
             try='for d in /dev/fakegpu0 /proc/'$(cat ~/pid)'/root/dev/fakegpu0 /proc/'$(cat ~/pid)'/root/dev/fakegpu3; do cat $d 2>&1 | sed \"s/.*: //\"; done'\n\
             echo outside; srun -Q -w node1 --gres=gpu:1 sh -c \"$try\"\n\
             echo inside; srun -Q -w node1 --gres=gpu:1 --container-image={DEMO} sh -c \"$try; cat /dev/null; head -c 1 /dev/urandom | wc -c; echo x >/dev/tty; true\" 2>&1 | sed 's/.*tty: //'\n\
             echo terminal; script -qec \"srun -Q -w node1 --pty --container-image={DEMO} sh -c 'echo x >/dev/tty'\" /dev/null </dev/null | tr -d '\\r' | grep -o 'x$'\n\
             touch ~/stop; wait; rm ~/pid ~/stop"
        ))
        .succeeds()
        .says(
            "outside\nNo such device or address\nNo such device or address\nNo such device or address\n\
             inside\nNo such device or address\nNo such device or address\nOperation not permitted\n1\nNo such device or address\n\
             terminal\nx\n",
        );
}

fn memory_that_is_used_up_ends_the_step_and_is_told(cluster: &Cluster) {
    needs_version_1(cluster);
    let _off = without_slurms(cluster);
    let grow = "bash -c 'a=0123456789abcdef; for n in {1..24}; do a=$a$a; done'";
    cluster
        .alice(&format!("srun -w node1 --mem=60M {grow}"))
        .succeeds();
    for image in [TINY, TINY_FUSE] {
        let output = cluster.alice(&format!(
            "srun -w node1 -n2 --mem=60M --container-image={image} {grow}"
        ));
        assert_ne!(output.code, 0, "{output}");
        let told: Vec<&str> = output
            .stderr
            .lines()
            .filter(|line| {
                line.contains("for want of memory; it may use 60 MiB here: ask for more with --mem")
            })
            .collect();
        assert_eq!(told.len(), 1, "{output}");
    }
}

fn helpers_are_in_the_steps_group(cluster: &Cluster) {
    needs_version_1(cluster);
    cluster
        .alice(&format!(
            "rm -f ~/in ~/stop; srun -w node1 --container-image={TINY_FUSE} sh -c 'echo in >/home/alice/in; until [ -e /home/alice/stop ]; do sleep 0.1; done' >/dev/null 2>&1 & wait_for ~/in"
        ))
        .succeeds();
    cluster
        .root(
            "node1",
            "for p in $(pgrep squashfuse_ll); do grep -c ':pids:.*/oarlock/job_[0-9]*/step_0' /proc/$p/cgroup; done",
        )
        .says("1\n");
    cluster
        .alice("touch ~/stop; until [ -z \"$(squeue -h -u alice)\" ]; do sleep 0.1; done; rm ~/in ~/stop")
        .succeeds();
}

fn a_step_may_see_its_groups_alone(cluster: &Cluster) {
    needs_version_1(cluster);
    cluster
        .alice(&format!(
            "srun -w node1 -n2 --mem=300M --container-unshare=cgroup --container-image={DEMO} sh -c '\
             [ $SLURM_PROCID = 1 ] || exit 0; grep -e :pids: -e :memory: -e :freezer: /proc/self/cgroup | cut -d: -f2- | sort; \
             cat /sys/fs/cgroup/memory/memory.limit_in_bytes; cat /sys/fs/cgroup/pids/pids.max; {MEMORY}; \
             mkdir /sys/fs/cgroup/pids/x 2>&1 | grep -o Read-only; \
             grep \" /sys/fs/cgroup/memory \" /proc/self/mountinfo | cut -d\" \" -f4'"
        ))
        .succeeds()
        .says("freezer:/\nmemory:/task_1\npids:/\n314572800\n4096\n300\nRead-only\n/\n");
    // After a task prolog, and with everything else apart.
    for option in [
        "--task-prolog=/bin/true",
        "--container-unshare=cgroup,pid,net,ipc,uts",
    ] {
        cluster
            .alice(&format!(
                "srun -w node1 --container-unshare=cgroup {option} --container-image={DEMO} grep :pids: /proc/self/cgroup | cut -d: -f2-"
            ))
            .succeeds()
            .says("pids:/\n");
    }
    // Who builds the container may have to mount a block device, which is in no step's
    // group of devices.
    {
        let _off = without_slurms(cluster);
        let _old = with_key(cluster, "mount_calls = \"old\"");
        cluster
            .alice(&format!(
                "srun -w node1 --container-unshare=cgroup --container-image={DEMO} grep :devices: /proc/self/cgroup | cut -d: -f2-"
            ))
            .succeeds()
            .says("devices:/\n");
    }
    let _none = with_key(cluster, "unshare = [\"pid\"]");
    cluster
        .alice(&format!(
            "srun -w node1 --container-unshare=cgroup --container-image={TINY} true"
        ))
        .is_refused(["oarlock: node1: --container-unshare=cgroup: not allowed here (namespaces.unshare in oarlock.toml)"]);
}

/// A site that keeps something for the node has bounded slurmd, and all that it starts.
fn limits_of_slurmds_own_are_not_left(cluster: &Cluster) {
    needs_version_1(cluster);
    const GROUP: &str = "/sys/fs/cgroup/pids/site";
    const MOVE: &str = "for p in $(pgrep -x slurmd; pgrep -x slurmd-wlm); do echo $p";
    let _bounded = cluster.change(
        "node1",
        &format!("mkdir {GROUP}; echo 5000 >{GROUP}/pids.max; {MOVE} >{GROUP}/cgroup.procs; done"),
        format!("{MOVE} >{GROUP}/../cgroup.procs; done; for try in $(seq 50); do rmdir {GROUP} && exit; sleep 0.1; done"),
    );
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={DEMO} sh -c '{OURS}; grep -o \":pids:.*/site$\" /proc/self/cgroup | sed \"s,/.*/,/,\"'"
        ))
        .succeeds()
        .says(":pids:/site\n");
    let explained = cluster.alice(&format!(
        "srun -w node1 --container-image={TINY} --container-explain true"
    ));
    let line =
        format!("node1: held: pids by the node's group {GROUP}, which has limits of its own");
    assert!(explained.stdout.lines().any(|l| l == line), "{explained}");
}

fn a_site_has_none_made(cluster: &Cluster) {
    needs_version_1(cluster);
    {
        let _never = with_key(cluster, "enforce = \"never\"");
        cluster
            .alice(&format!(
                "srun -w node1 --container-image={DEMO} sh -c '{OURS}; echo done'"
            ))
            .says("done\n");
        let explained = cluster.alice(&format!(
            "srun -w node1 --container-image={TINY} --container-explain true"
        ));
        assert!(
            explained
                .stdout
                .contains("cgroup.enforce in oarlock.toml is never"),
            "{explained}"
        );
    }
    let _unbounded = with_key(cluster, "pids_per_core = 0");
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={DEMO} sh -c '{OURS}; echo done'"
        ))
        .says("done\n");
}
