//! `--container-remap-root`: root inside, and nobody new outside.

use cluster_tests::images::{DEMO, DEMO_FUSE, MPICH, TINIES, TINY, TINY_DIRECTORY};
use cluster_tests::{Case, Cluster, Restore, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        the_user_is_root_inside,
        roots_home_is_the_users_where_it_is_shown,
        the_images_files_are_roots,
        a_directory_keeps_its_owners,
        all_ranks_share_one_user_namespace,
        ranks_read_each_others_memory,
        mpi_as_root,
        files_can_be_given_to_subordinate_ids,
        without_subordinate_ids_a_change_is_pretended,
        a_group_that_denies_is_not_dropped,
        capabilities_are_few_and_of_the_step_alone,
        roots_powers_end_at_the_container,
        what_belongs_to_others_stays_theirs,
        the_user_outside_has_no_right_inside,
        packages_can_be_installed,
        with_every_other_namespace,
        in_a_batch_job,
        a_site_that_forbids_it,
    ]
}

const ROOT: &str = "--container-remap-root";

fn the_user_is_root_inside(cluster: &Cluster) {
    for (form, image) in TINIES {
        if !cluster.gives_files_of(image) {
            continue;
        }
        cluster
            .alice(&format!(
                "srun {ROOT} --container-image={image} sh -c 'id -u; id -g; echo $USER $LOGNAME; grep -c ^root: /etc/passwd' # {form}"
            ))
            .succeeds()
            .says("0\n0\nroot root\n1\n");
    }
    cluster
        .alice(&format!(
            "srun {ROOT} --container-image={DEMO} sh -c 'whoami; getent group 0'; \
             export OARLOCK_CONTAINER_REMAP_ROOT=yes; srun --container-image={DEMO} whoami; \
             srun --no-container-remap-root --container-image={DEMO} whoami"
        ))
        .succeeds()
        .says("root\nroot:x:0:\nroot\nalice\n");
}

fn roots_home_is_the_users_where_it_is_shown(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun {ROOT} --container-image={DEMO} sh -c 'echo $HOME; stat -c %U:%G $HOME; touch ~/roots'; stat -c %U:%G ~/roots; rm ~/roots\n\
             srun {ROOT} --no-container-mount-home --container-workdir=/ --container-image={DEMO} sh -c 'echo $HOME'"
        ))
        .succeeds()
        .says("/home/alice\nroot:root\nalice:alice\n/root\n");
}

fn the_images_files_are_roots(cluster: &Cluster) {
    let look = "sh -c 'stat -c %U:%G /etc/os-release /usr/bin/env /etc/shadow; head -c4 /etc/shadow; echo; ls /root >/dev/null && echo in'";
    for (image, shadow) in [(DEMO, "root:shadow"), (DEMO_FUSE, "root:root")] {
        if !cluster.gives_files_of(image) {
            continue;
        }
        cluster
            .alice(&format!("srun {ROOT} --container-image={image} {look}"))
            .succeeds()
            .says(&format!("root:root\nroot:root\n{shadow}\nroot\nin\n"));
    }
}

/// What root alone may read on the host, its owners decide and not the container.
fn a_directory_keeps_its_owners(cluster: &Cluster) {
    let _secret = cluster.change(
        "login",
        &format!("echo secret >{TINY_DIRECTORY}/secret && chmod 0600 {TINY_DIRECTORY}/secret"),
        format!("rm {TINY_DIRECTORY}/secret"),
    );
    cluster
        .alice(&format!(
            "srun {ROOT} --container-image={TINY_DIRECTORY} sh -c 'cat /secret 2>/dev/null || stat -c %u /secret'"
        ))
        .succeeds()
        .says("65534\n");
}

fn all_ranks_share_one_user_namespace(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -N2 -n32 --ntasks-per-node=16 {ROOT} --container-image={TINY} sh -c \
             'echo $SLURMD_NODENAME $(readlink /proc/self/ns/user)' | sort | uniq -c | sed 's/ user.*//' | tr -s ' '"
        ))
        .succeeds()
        .lines([" 16 node1", " 16 node2"]);
    cluster
        .alice(&format!(
            "(srun -w node1 readlink /proc/self/ns/user; srun -w node1 {ROOT} --container-image={TINY} readlink /proc/self/ns/user) | sort -u | wc -l"
        ))
        .succeeds()
        .says("2\n");
}

const READ: &str = r#"
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
static char text[] = "across";
int main(void) {
    if (strcmp(getenv("SLURM_PROCID"), "1") == 0) {
        FILE *file = fopen("new", "w");
        fprintf(file, "%d %p", getpid(), (void *)text);
        fclose(file);
        rename("new", "where");
        while (access("done", F_OK) != 0) usleep(100000);
        return 0;
    }
    while (access("where", F_OK) != 0) usleep(100000);
    int pid;
    void *place;
    fscanf(fopen("where", "r"), "%d %p", &pid, &place);
    memset(text, 0, sizeof text);
    struct iovec here = {text, 6}, there = {place, 6};
    if (process_vm_readv(pid, &here, 1, &there, 1, 0) < 0) perror("process_vm_readv");
    puts(text);
    fclose(fopen("done", "w"));
    return 0;
}
"#;

/// What MPI libraries do between ranks of a node (cross memory attach).
fn ranks_read_each_others_memory(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -rf ~/cma; mkdir ~/cma && cd ~/cma; cat >read.c <<'END'{READ}END\n\
             gcc -static -w -o read read.c"
        ))
        .succeeds();
    for unshare in ["", "--container-unshare=pid,ipc"] {
        cluster
            .alice(&format!(
                "cd ~/cma; rm -f where done; srun -w node1 -n2 {ROOT} {unshare} --container-image={TINY} ./read"
            ))
            .succeeds()
            .says("across\n");
    }
    cluster.alice("rm -rf ~/cma").succeeds();
}

fn mpi_as_root(cluster: &Cluster) {
    // Open MPI asks root whether he is sure.
    let sure = "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1";
    for (mpi, image) in [("pmix", DEMO), ("pmix", DEMO_FUSE), ("pmi2", MPICH)] {
        if !cluster.gives_files_of(image) || !cluster.has_mpi(mpi) {
            continue;
        }
        cluster
            .mpi(&format!(
                "{sure}; srun -N2 -n4 --ntasks-per-node=2 --mpi={mpi} {ROOT} --container-image={image} mpi-hello"
            ))
            .succeeds()
            .lines([
                "hello rank 0 of 4 on node1 sum 10",
                "hello rank 1 of 4 on node1 sum 10",
                "hello rank 2 of 4 on node2 sum 10",
                "hello rank 3 of 4 on node2 sum 10",
            ]);
    }
}

fn files_can_be_given_to_subordinate_ids(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 {ROOT} --container-image={DEMO} sh -c \
             'echo x >/dev/shm/given && chown 33:8 /dev/shm/given && stat -c %u:%g /dev/shm/given; \
              python3 -c \"import os; os.setgid(8); os.setuid(33); print(os.getuid(), os.getgid())\"'\n\
             srun -w node1 stat -c %u:%g /dev/shm/given\n\
             srun -w node1 {ROOT} --container-image={DEMO} rm /dev/shm/given"
        ))
        .succeeds()
        .says("33:8\n33 8\n100032:100007\n");
}

/// alice has none on this node.
fn without_ids(cluster: &Cluster) -> Restore<'_> {
    cluster.change(
        "node1",
        "cp -p /etc/subuid /root/subuid && sed -i /alice/d /etc/subuid",
        "cp -p /root/subuid /etc/subuid && rm /root/subuid",
    )
}

fn without_subordinate_ids_a_change_is_pretended(cluster: &Cluster) {
    let _none = without_ids(cluster);
    for image in [DEMO, DEMO_FUSE] {
        if !cluster.gives_files_of(image) {
            continue;
        }
        cluster
            .alice(&format!(
                "srun -w node1 {ROOT} --container-image={image} sh -c \
                 'cat /proc/self/uid_map | tr -s \" \"; cd ~; echo x >given && chown 33:8 given && chgrp 5 given && stat -c %u:%g given; rm given; \
                  python3 -c \"import os; os.setgid(8); os.setuid(33); print(os.getuid(), os.getgid())\"; \
                  mknod pipe p && stat -c %F pipe; mknod disk b 7 0 && ls disk 2>&1; rm pipe; cat /etc/shadow | head -c4; echo; whoami'"
            ))
            .says(
                " 0 1000 1\n0:0\n0 0\nfifo\nls: cannot access 'disk': No such file or directory\nroot\nroot\n"
            );
    }
}

/// bob has shut out a group, and alice is in it.
fn a_group_that_denies_is_not_dropped(cluster: &Cluster) {
    let _files = cluster.change(
        "login",
        "cd /home/alice && echo for the group >may && echo for others >may-not && chown bob:chem may may-not && chmod 0640 may && chmod 0604 may-not",
        "rm /home/alice/may /home/alice/may-not",
    );
    let try_all = "import os
for drop in False, True:
    if drop: os.setgroups([])
    for name in 'may', 'may-not':
        try: print(open(os.path.expanduser('~/' + name)).read(), end='')
        except PermissionError: print('denied')
print(sorted(set(os.getgroups())))";
    let expected = "for the group\ndenied\nfor the group\ndenied\n[0, 65534]\n";
    let run = format!(
        "cat >~/drop.py <<'END'\n{try_all}\nEND\n\
         srun -w node1 {ROOT} --container-image={DEMO} python3 ~/drop.py; rm ~/drop.py"
    );
    cluster.alice(&run).succeeds().says(expected);
    let _none = without_ids(cluster);
    cluster.alice(&run).succeeds().says(expected);
}

/// Of chown, dac_override, dac_read_search, fowner, fsetid, kill, setgid, setuid,
/// setpcap, sys_chroot, sys_ptrace, setfcap.
const FEW: &str = "CapInh:\t0000000000000000\nCapPrm:\t00000000800c01ff\nCapEff:\t00000000800c01ff\n\
     CapBnd:\t00000000800c01ff\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n";

fn capabilities_are_few_and_of_the_step_alone(cluster: &Cluster) {
    for more in ["", "--container-unshare=net,ipc,uts,pid"] {
        cluster
            .alice(&format!(
                "srun {ROOT} {more} --container-image={DEMO} grep -E '^(Cap|NoNewPrivs)' /proc/self/status"
            ))
            .succeeds()
            .says(FEW);
    }
}

fn roots_powers_end_at_the_container(cluster: &Cluster) {
    let attempts = [
        "mount -t tmpfs none /mnt",
        "mount --bind /etc /mnt",
        "mount -o remount,rw /",
        "umount /tmp",
        "unshare -m true",
        "unshare -n true",
        "python3 -c 'import socket; socket.sethostname(\"mine\")'",
        "python3 -c 'import time; time.clock_settime(time.CLOCK_REALTIME, 0)'",
        "sh -c 'echo 1 >/proc/sys/vm/drop_caches'",
        "sh -c 'echo 1 >/proc/sys/kernel/sysrq'",
        "sh -c 'echo -1000 >/proc/self/oom_score_adj'",
        "sh -c 'cat /proc/1/environ >/dev/null'",
        "sh -c '[ $(cat /proc/1/comm) != oarlock-init ] && kill -0 1'",
        "chown 0 /proc/1/comm",
        "dd if=/dev/kmsg of=/dev/null count=1",
        "python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
        "python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'",
        "nice -n -10 sh -c '[ $(nice) -ge 0 ]  || exit 0; exit 1'",
        "sh -c 'mknod /dev/shm/disk b 7 0; cat /dev/shm/disk'",
    ];
    let script: Vec<String> = attempts
        .iter()
        .map(|attempt| format!("if {attempt} >/dev/null 2>&1; then echo \"can: {attempt}\"; fi"))
        .collect();
    for more in ["", "--container-unshare=net,ipc,uts,pid"] {
        cluster
            .alice(&format!(
                "cat >~/attempts.sh <<'END'\n{}\necho tried\nEND\n\
                 srun -w node1 {ROOT} {more} --container-image={DEMO} sh ~/attempts.sh; rm ~/attempts.sh",
                script.join("\n")
            ))
            .succeeds()
            .says("tried\n");
    }
}

/// bob's process and bob's file, seen by a root who is alice.
fn what_belongs_to_others_stays_theirs(cluster: &Cluster) {
    let _file = cluster.change(
        "login",
        "echo bobs >/home/alice/bobs && chown bob:bob /home/alice/bobs && chmod 0600 /home/alice/bobs",
        "rm /home/alice/bobs",
    );
    cluster
        .root(
            "node1",
            "su bob -s /bin/sh -c 'sleep 60 >/dev/null 2>&1 & echo $!' >/home/alice/pid",
        )
        .succeeds();
    cluster
        .alice(&format!(
            "srun -w node1 {ROOT} --container-image={DEMO} sh -c \
             'pid=$(cat ~/pid); for try in \"kill -0 $pid\" \"cat /proc/$pid/environ\" \"readlink /proc/$pid/cwd\" \
              \"cat $HOME/bobs\" \"chmod 0644 $HOME/bobs\" \"chown 0 $HOME/bobs\"; do $try >/dev/null 2>&1 && echo can $try; done; stat -c %u ~/bobs'"
        ))
        .succeeds()
        .says("65534\n");
    cluster
        .root("node1", "kill $(cat /home/alice/pid); rm /home/alice/pid")
        .succeeds();
}

fn the_user_outside_has_no_right_inside(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -rf ~/in; mkdir ~/in && cd ~/in\n\
             srun -J inside -w node1 {ROOT} --container-image={TINY} sh -c 'echo $SLURM_TASK_PID >pid; until [ -e go ]; do sleep 0.1; done' &\n\
             wait_for pid; srun --overlap --jobid=$(squeue -h -n inside -o %i) -w node1 -n1 \
             sh -c 'nsenter -U -t $(cat pid) true 2>/dev/null && echo entered; true'; touch go; wait; rm -rf ~/in"
        ))
        .succeeds()
        .says("");
}

/// A package that gives a file away, by dpkg and by apt.
const PACKAGE: &str = "rm -rf ~/deb; mkdir -p ~/deb/pkg/DEBIAN ~/deb/pkg/usr/share/hello && cd ~/deb && chmod 0755 pkg pkg/DEBIAN
printf 'Package: hello-oarlock\\nVersion: 1\\nArchitecture: all\\nMaintainer: nobody <nobody@localhost>\\nDescription: says hello\\n' >pkg/DEBIAN/control
printf '#!/bin/sh\\nset -e\\nchown daemon:daemon /usr/share/hello/text\\n' >pkg/DEBIAN/postinst && chmod 0755 pkg/DEBIAN/postinst
echo hello >pkg/usr/share/hello/text && dpkg-deb --root-owner-group -b pkg hello.deb >/dev/null";

fn packages_can_be_installed(cluster: &Cluster) {
    cluster.alice(PACKAGE).succeeds();
    let install = |image: &str| {
        format!(
            "cd ~/deb; srun -w node1 {ROOT} --container-writable --container-image={image} sh -c \
             '(dpkg -i hello.deb && dpkg -r hello-oarlock && apt-get -q -y install ./hello.deb) >log 2>&1 || tail -5 log; \
              cat /usr/share/hello/text; stat -c %U /usr/share/hello/text; dpkg-query -W -f \"\\${{Status}}\\n\" hello-oarlock; grep -E \"^(W|E):\" log; true'"
        )
    };
    for (image, owner) in [(DEMO, "daemon"), (DEMO_FUSE, "daemon")] {
        if !cluster.gives_files_of(image) {
            continue;
        }
        cluster
            .alice(&install(image))
            .succeeds()
            .says(&format!("hello\n{owner}\ninstall ok installed\n"));
    }
    let _none = without_ids(cluster);
    for image in [DEMO, DEMO_FUSE] {
        if !cluster.gives_files_of(image) {
            continue;
        }
        cluster
            .alice(&install(image))
            .succeeds()
            .says("hello\nroot\ninstall ok installed\n");
    }
    cluster.alice("rm -rf ~/deb").succeeds();
}

fn with_every_other_namespace(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -N2 -n4 {ROOT} --container-unshare=net,ipc,uts,pid --container-image={DEMO} sh -c \
             'echo $(id -u) $(cat /proc/1/comm) $(stat -c %U /proc/$$); (setsid sleep 300 &); exit 3'"
        ))
        .exits_with(3)
        .lines(["0 oarlock-init root"; 4]);
}

fn in_a_batch_job(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "job=$(sbatch --parsable -o ~/out {ROOT} --container-image={TINY} --wrap 'id -u'); finish $job; cat ~/out; rm ~/out; ended $job"
        ))
        .says("0\nCOMPLETED 0:0\n");
}

const CONFIG: &str = "/etc/oarlock/oarlock.toml";

fn a_site_that_forbids_it(cluster: &Cluster) {
    let _strict = cluster.change(
        "node1",
        &format!(
            "cp -p {CONFIG} /root/kept && sed -i 's/^remap_root = .*/remap_root = false/' {CONFIG}"
        ),
        format!("cp -p /root/kept {CONFIG} && rm /root/kept"),
    );
    cluster
        .alice(&format!("srun -w node1 -n4 {ROOT} --container-image={TINY} echo ran"))
        .is_refused([
            "oarlock: node1: --container-remap-root: not allowed here (namespaces.remap_root in oarlock.toml)",
        ]);
}
