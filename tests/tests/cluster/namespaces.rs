//! `--container-unshare`: one namespace of each kind for all ranks of a node and step,
//! which ends with the step; and ranks that are no direct children of Slurm's.

use cluster_tests::images::{DEMO, DEMO_FUSE, MPICH, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        all_ranks_of_a_node_share_them,
        steps_do_not_share_them,
        what_is_not_named_is_the_hosts,
        a_network_of_its_own_has_a_loopback_device,
        shared_memory_and_queues_of_its_own,
        process_ids_of_its_own,
        orphans_are_reaped,
        a_daemon_ends_with_its_step,
        exit_codes_and_deaths_pass_through,
        a_signal_arrives_once,
        a_signal_to_a_batch_script_arrives_once,
        scancel_reaches_ranks_and_leaves_nothing,
        ranks_that_ignore_sigterm_are_killed,
        a_rank_dies_with_the_task_that_slurm_knows,
        the_process_that_waits_is_private,
        a_suspended_step_goes_on,
        a_terminal_and_its_job_control,
        an_interrupt_arrives_once,
        mpi_in_namespaces_of_its_own,
        a_running_container_is_joined_as_it_is,
        old_mount_calls,
        a_site_that_allows_none,
    ]
}

const ALL: &str = "--container-unshare=net,ipc,uts,pid";

fn all_ranks_of_a_node_share_them(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        cluster
            .alice(&format!(
                "srun -N2 -n32 --ntasks-per-node=16 {ALL} --container-image={image} sh -c \
                 'for kind in net ipc uts pid mnt; do echo $SLURMD_NODENAME $(readlink /proc/self/ns/$kind); done' \
                 | sort | uniq -c | sed 's/\\[.*//' | tr -s ' '"
            ))
            .succeeds()
            .lines(["node1", "node2"].iter().flat_map(|node| {
                ["net", "ipc", "uts", "pid", "mnt"].map(|kind| format!(" 16 {node} {kind}:"))
            }));
    }
}

/// Both run at once: a namespace's number is used again after its end.
fn steps_do_not_share_them(cluster: &Cluster) {
    let step = |own: &str, other: &str| {
        format!(
            "srun -w node1 -n1 {ALL} --container-image={TINY} sh -c \
             'for kind in net ipc uts pid; do readlink /proc/self/ns/$kind; done >{own}; \
             until [ -e {other} ]; do sleep 0.1; done'"
        )
    };
    let host = "srun -w node1 -n1 sh -c 'for kind in net ipc uts pid; do readlink /proc/self/ns/$kind; done' >c";
    cluster
        .alice(&format!(
            "rm -rf ~/ns; mkdir ~/ns && cd ~/ns; {} & {}; wait; {host}; sort a b c | uniq -d; cat a b c | wc -l; rm -rf ~/ns",
            step("a", "b"),
            step("b", "a")
        ))
        .succeeds()
        .says("12\n");
}

fn what_is_not_named_is_the_hosts(cluster: &Cluster) {
    let look = "sh -c 'for kind in net ipc uts pid user; do readlink /proc/self/ns/$kind; done'";
    for kind in ["net", "ipc", "uts", "pid"] {
        cluster
            .alice(&format!(
                "(srun -w node1 {look}; srun -w node1 --container-unshare={kind} --container-image={TINY} {look}) \
                 | sort | uniq -c | tr -s ' ' | grep -v ' 2 ' | sed 's/:.*//'"
            ))
            .succeeds()
            .lines([format!(" 1 {kind}"), format!(" 1 {kind}")]);
    }
}

const MEET: &str = "import os, socket, time
s = socket.socket()
if os.environ['SLURM_PROCID'] == '0':
    s.bind(('127.0.0.1', 4711)); s.listen(); c, _ = s.accept(); c.sendall(b'met'); c.close()
else:
    while True:
        try: s.connect(('127.0.0.1', 4711)); break
        except ConnectionRefusedError: time.sleep(0.1)
    print(s.recv(9).decode(), open('/proc/net/dev').read().count(':'))";

/// The ranks meet there, and see no other device.
fn a_network_of_its_own_has_a_loopback_device(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "cat >~/meet.py <<'END'\n{MEET}\nEND\n\
             srun -w node1 -n2 --container-unshare=net --container-image={DEMO} python3 ~/meet.py; rm ~/meet.py"
        ))
        .succeeds()
        .says("met 1\n");
}

fn shared_memory_and_queues_of_its_own(cluster: &Cluster) {
    let _seen = cluster.change("node1", "echo host >/dev/shm/host", "rm /dev/shm/host");
    cluster
        .alice(&format!(
            "srun -w node1 -n2 --container-unshare=ipc --container-image={DEMO} bash -c \
             'if [ $SLURM_PROCID = 0 ]; then echo mine >/dev/shm/new; mv /dev/shm/new /dev/shm/rank; sleep 0.5; \
              else until [ -e /dev/shm/rank ]; do sleep 0.1; done; ls /dev/shm; fi'\n\
             srun -w node1 --container-unshare=ipc --container-image={DEMO} stat -f -c %T /dev/shm /dev/mqueue\n\
             srun -w node1 --container-unshare=ipc --container-image={DEMO} stat -c %a /dev/shm /dev/mqueue\n\
             srun -w node1 ls /dev/shm"
        ))
        .succeeds()
        .says("rank\ntmpfs\nmqueue\n1777\n1777\nhost\n");
}

fn process_ids_of_its_own(cluster: &Cluster) {
    for image in [DEMO, DEMO_FUSE] {
        cluster
            .alice(&format!(
                "srun -w node1 --container-unshare=pid --container-image={image} bash -c \
                 'cat /proc/1/comm; stat -c %U /proc/$$; cat /proc/[0-9]*/comm | grep -c -E \"^(slurm|tini|munge)\"; \
                  readlink /proc/1/exe || echo private; kill -9 1; sleep 0.2; echo alive'"
            ))
            .succeeds()
            .says("oarlock-init\nalice\n0\nprivate\nalive\n");
    }
}

fn orphans_are_reaped(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 --container-unshare=pid --container-image={DEMO} bash -c \
             '(sleep 0.2 & echo $! >/dev/shm/orphan.$SLURM_JOB_ID); pid=$(cat /dev/shm/orphan.$SLURM_JOB_ID); rm /dev/shm/orphan.$SLURM_JOB_ID; \
              awk \"/^PPid/ {{print \\$2}}\" /proc/$pid/status; while [ -e /proc/$pid ]; do sleep 0.1; done; echo reaped'"
        ))
        .succeeds()
        .says("1\nreaped\n");
}

/// What is left of it the harness would see.
fn a_daemon_ends_with_its_step(cluster: &Cluster) {
    for unshare in [ALL, "--container-unshare=pid"] {
        cluster
            .alice(&format!(
                "srun -N2 -n4 {unshare} --container-image={DEMO} sh -c 'setsid sleep 500 >/dev/null 2>&1 & echo left'"
            ))
            .succeeds()
            .says("left\nleft\nleft\nleft\n");
    }
}

fn exit_codes_and_deaths_pass_through(cluster: &Cluster) {
    let run = format!("srun -w node1 -n4 --container-unshare=pid --container-image={TINY}");
    let output = cluster
        .alice(&format!(
            "{run} sh -c '[ $SLURM_PROCID = 2 ] && exit 42; exit 0'"
        ))
        .exits_with(42);
    let told = "srun: error: node1: task 2: Exited with exit code 42";
    assert!(output.stderr.contains(told), "{output}");
    for (signal, code, words) in [
        ("TERM", 143, "Terminated"),
        ("KILL", 137, "Killed"),
        ("SEGV", 139, "Segmentation fault"),
    ] {
        let output = cluster
            .alice(&format!("{run} -n1 sh -c 'kill -{signal} $$'"))
            .exits_with(code);
        let told = format!("srun: error: node1: task 0: {words}");
        assert!(output.stderr.contains(&told), "{output}");
    }
    cluster
        .alice(&format!("{run} no-such-program"))
        .stdout_and_code("", 2);
}

/// Counts what it gets, and ends when it is told to.
const COUNTING: &str = "n=0; trap \"n=\\$((n+1))\" USR1; trap \"echo \\$n; exit 6\" USR2; echo ready >ready; while :; do sleep 0.1; done";

fn a_signal_arrives_once(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -rf ~/sig; mkdir ~/sig && cd ~/sig\n\
             srun -J counting --container-unshare=pid --container-image={TINY} sh -c '{COUNTING}' >out 2>err &\n\
             wait_for ready; job=$(squeue -h -n counting -o %i)\n\
             scancel -s USR1 $job; sleep 0.5; scancel -s USR1 $job; sleep 0.5; scancel -s USR2 $job; wait $!\n\
             echo $?; cat out; rm -rf ~/sig"
        ))
        .says("6\n2\n");
}

fn a_signal_to_a_batch_script_arrives_once(cluster: &Cluster) {
    for how in ["--batch", "--full"] {
        cluster
            .alice(&format!(
                "rm -rf ~/sig; mkdir ~/sig && cd ~/sig\n\
                 cat >job.sh <<'END'\n#!/bin/sh\n{COUNTING}\nEND\n\
                 job=$(sbatch --parsable -o out --container-unshare=pid --container-image={TINY} job.sh)\n\
                 wait_for ready; scancel {how} -s USR1 $job; sleep 0.5; scancel {how} -s USR2 $job; finish $job\n\
                 cat out; ended $job; rm -rf ~/sig"
            ))
            .says("1\nFAILED 6:0\n");
    }
}

const PATIENT: &str = "trap \"echo \\$SLURM_PROCID got it >>ended; exit 0\" TERM; \
     echo ready >>ready; while :; do sleep 0.1; done";

fn scancel_reaches_ranks_and_leaves_nothing(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        cluster
            .alice(&format!(
                "rm -rf ~/sig; mkdir ~/sig && cd ~/sig\n\
                 srun -J patient -N2 -n2 {ALL} --container-image={image} sh -c '{PATIENT}' 2>err &\n\
                 until [ \"$(grep -c ready ready 2>/dev/null)\" = 2 ]; do sleep 0.1; done\n\
                 job=$(squeue -h -n patient -o %i); scancel $job\n\
                 wait; finish $job\n\
                 sort ended; ended $job | cut -d' ' -f1; grep -c '^oarlock' err; rm -rf ~/sig"
            ))
            .lines(["0 got it", "1 got it", "CANCELLED", "0"]);
    }
}

fn ranks_that_ignore_sigterm_are_killed(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -rf ~/sig; mkdir ~/sig && cd ~/sig\n\
             srun -J deaf -n2 {ALL} --container-image={TINY_FUSE} sh -c 'trap \"\" TERM; echo ready >ready; while :; do sleep 0.1; done' 2>err &\n\
             wait_for ready; job=$(squeue -h -n deaf -o %i); scancel $job; wait; finish $job\n\
             ended $job | cut -d' ' -f1; rm -rf ~/sig"
        ))
        .says("CANCELLED\n");
}

/// Killed alone, the process that waits takes its rank with it.
fn a_rank_dies_with_the_task_that_slurm_knows(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -rf ~/sig; mkdir ~/sig && cd ~/sig\n\
             srun -J known -K -w node1 -n2 --container-unshare=pid --container-image={TINY} sh -c \
             'trap \"\" TERM; [ $SLURM_PROCID = 0 ] && echo $SLURM_TASK_PID >task; while :; do sleep 0.1; done' 2>err &\n\
             wait_for task; srun --overlap --jobid=$(squeue -h -n known -o %i) -w node1 -n1 kill -9 $(cat task)\n\
             wait $!; echo $?; grep -c 'task 0: Killed' err; rm -rf ~/sig"
        ))
        .says("137\n1\n");
}

/// It was slurmstepd, and has its memory.
fn the_process_that_waits_is_private(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -rf ~/sig; mkdir ~/sig && cd ~/sig\n\
             srun -J private -w node1 --container-unshare=pid --container-image={TINY} sh -c \
             'echo $SLURM_TASK_PID >task; until [ -e go ]; do sleep 0.1; done' &\n\
             wait_for task; srun --overlap --jobid=$(squeue -h -n private -o %i) -w node1 -n1 sh -c \
             'cd /proc/$(cat task); cat comm; for file in environ maps auxv; do cat $file >/dev/null 2>&1 && echo $file; done; \
              readlink exe cwd root fd/0; true'\n\
             touch go; wait; rm -rf ~/sig"
        ))
        .succeeds()
        .says("oarlock-wait\n");
}

fn a_suspended_step_goes_on(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -rf ~/sig; mkdir ~/sig && cd ~/sig\n\
             srun -J rest -w node1 --container-unshare=pid --container-image={TINY} sh -c \
             'echo ready >ready; until [ -e go ]; do sleep 0.1; done; echo went on' >out 2>err &\n\
             wait_for ready; squeue -h -n rest -o %i >job"
        ))
        .succeeds();
    cluster
        .root(
            "login",
            "job=$(cat /home/alice/sig/job); scontrol suspend $job; sleep 3; squeue -h -j $job -o %T; \
             touch /home/alice/sig/go; sleep 1; cat /home/alice/sig/out; scontrol resume $job",
        )
        .says("SUSPENDED\n");
    cluster
        .alice("cd ~/sig; until [ -s out ]; do sleep 0.1; done; cat out; finish $(cat job); rm -rf ~/sig")
        .says("went on\n");
}

/// What came over a terminal, line by line.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(|line| line.trim_matches('\r')).collect()
}

fn a_terminal_and_its_job_control(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "{{ sleep 1.5; printf 'sleep 100 &\\njobs -r | wc -l\\nkill %%1; wait; exit 5\\n'; sleep 2; }} | \
         script -qec 'srun --pty {ALL} --container-image={DEMO} bash --norc -i' /dev/null"
    ));
    assert_eq!(output.code, 5, "{output}");
    assert!(lines(&output.stdout).contains(&"1"), "{output}");
    for complaint in ["no job control", "cannot set terminal"] {
        assert!(!output.stdout.contains(complaint), "{output}");
    }
}

fn an_interrupt_arrives_once(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "{{ sleep 1.5; printf '\\003'; sleep 1; printf '\\034'; sleep 2; }} | \
         script -qec \"srun --pty --container-unshare=pid --container-image={TINY} sh -c \
         'n=0; trap \\\"n=\\\\\\$((n+1))\\\" INT; trap \\\"echo interrupts: \\\\\\$n; exit 9\\\" QUIT; while :; do sleep 0.1; done'\" /dev/null"
    ));
    assert_eq!(output.code, 9, "{output}");
    assert!(output.stdout.contains("interrupts: 1"), "{output}");
}

fn mpi_in_namespaces_of_its_own(cluster: &Cluster) {
    let world = |nodes: [&str; 4]| {
        nodes
            .into_iter()
            .zip(0..)
            .map(|(node, rank)| format!("hello rank {rank} of 4 on {node} sum 10"))
            .collect::<Vec<_>>()
    };
    for (mpi, image) in [("pmix", DEMO), ("pmi2", MPICH)] {
        if !cluster.has_mpi(mpi) {
            continue;
        }
        cluster
            .mpi(&format!(
                "srun -N2 -n4 --ntasks-per-node=2 --mpi={mpi} --container-unshare=ipc,uts,pid --container-image={image} mpi-hello"
            ))
            .succeeds()
            .lines(world(["node1", "node1", "node2", "node2"]));
    }
    // PMI-2 talks over a descriptor: it needs no network.
    cluster
        .mpi(&format!(
            "srun -w node2 -n4 --mpi=pmi2 {ALL} --container-image={MPICH} mpi-hello"
        ))
        .succeeds()
        .lines(world(["node2"; 4]));
}

fn a_running_container_is_joined_as_it_is(cluster: &Cluster) {
    let _clean = cluster.change(
        "node1",
        "true",
        "for m in /run/oarlock/live/*; do [ -e $m ] && { umount -l $m; rmdir $m; }; done; rm -rf /var/lib/oarlock/containers/* /run/oarlock-names/*; true",
    );
    for option in ["--container-unshare=ipc", "--container-remap-root"] {
        cluster
            .alice(&format!(
                "rm -rf ~/ns; mkdir ~/ns && cd ~/ns\n\
                 srun -J first -w node1 --container-name=apart --container-image={TINY} sh -c 'echo ready >ready; until [ -e go ]; do sleep 0.1; done' &\n\
                 wait_for ready; srun -w node1 --container-name=apart {option} cat /etc/oarlock-image; code=$?\n\
                 touch go; wait; rm -rf ~/ns; while squeue -h -u alice | grep -q .; do sleep 0.1; done; exit $code"
            ))
            .is_refused([
                "oarlock: node1: container apart: it runs already and is joined as it is; leave --container-unshare and --container-remap-root out, or wait for that step's end",
            ]);
    }
}

const CONFIG: &str = "/etc/oarlock/oarlock.toml";

fn old_mount_calls(cluster: &Cluster) {
    let _old = cluster.change(
        "node1",
        &format!("cp -p {CONFIG} /root/kept && sed -i 's/^mount_calls = .*/mount_calls = \"old\"/' {CONFIG}"),
        format!("cp -p /root/kept {CONFIG} && rm /root/kept"),
    );
    cluster
        .alice(&format!(
            "srun -w node1 {ALL} --container-image={DEMO} sh -c 'cat /proc/1/comm; stat -f -c %T /dev/shm /dev/mqueue'"
        ))
        .succeeds()
        .says("oarlock-init\ntmpfs\nmqueue\n");
}

fn a_site_that_allows_none(cluster: &Cluster) {
    let _strict = cluster.change(
        "node1",
        &format!(
            "cp -p {CONFIG} /root/kept && sed -i 's/^unshare = .*/unshare = [\"ipc\"]/' {CONFIG}"
        ),
        format!("cp -p /root/kept {CONFIG} && rm /root/kept"),
    );
    cluster
        .alice(&format!("srun -w node1 -n4 {ALL} --container-image={TINY} echo ran"))
        .is_refused([
            "oarlock: node1: --container-unshare=net: not allowed here (namespaces.unshare in oarlock.toml)",
        ]);
    cluster
        .alice(&format!(
            "srun -w node1 --container-unshare=ipc --container-image={TINY} cat /etc/oarlock-image"
        ))
        .succeeds()
        .says("tiny\n");
}
