//! What a user's task prolog can reach: nothing, though it may have what
//! `oarlock-enter` redeems, and start that program as it likes.

use cluster_tests::images::{DEMO, TINY};
use cluster_tests::{Case, Cluster, cases};

use crate::prolog::{ENTER, both_ways, script, through_the_program};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        no_capability_is_in_reach_of_a_prolog,
        the_entry_program_is_of_no_use_by_hand,
        a_ticket_opens_its_own_users_container_only,
    ]
}

const STATUS: &str = "grep -E '^(CapPrm|CapEff|CapAmb)' /proc/self/status";

fn no_capability_is_in_reach_of_a_prolog(cluster: &Cluster) {
    let _script = script(
        cluster,
        &format!(
            "{STATUS} | sed 's/^/print /'\n\
             for what in 'unshare -m true' 'nsenter -m -t 1 true' 'chroot / true' 'mount -t tmpfs none /mnt' 'capsh --print'; do\n\
             $what >/dev/null 2>&1 && echo print \"$what works\"; done; true"
        ),
    );
    both_ways(cluster, |cluster| {
        cluster
            .alice(&format!(
                "srun -w node1 --task-prolog=/shared/prolog.sh --container-image={DEMO} cat /etc/oarlock-image"
            ))
            .stdout_and_code(
                "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapAmb:\t0000000000000000\ndemo\n",
                0,
            );
    });
}

/// A prolog has what `oarlock-enter` can redeem, and may start it as it likes.
fn the_entry_program_is_of_no_use_by_hand(cluster: &Cluster) {
    let attempts = format!(
        r#"E={ENTER}
try() {{ name=$1; shift; "$@" >/tmp/oarlock-try 2>&1; echo "print $name $? $(tr '\n' ' ' </tmp/oarlock-try)"; }}
exec 3</proc/self/ns/mnt 4</dev/null 5</etc/hostname
try nothing $E
try words $E a,b,c true
try few $E 3,4 true
try closed $E 90,91,92 true
try host $E 3,3,3 true
try file $E 5,5,3 true
python3 - <<'P' >/tmp/oarlock-try2 2>&1
import ctypes, fcntl, os, struct, subprocess
def ticket(uid, fd):
    s = os.fstat(fd)
    return b'OARTICK1' + struct.pack('<IIQQQ', uid, 1, 0x20000, s.st_dev, s.st_ino)
own = os.open('/proc/self/ns/mnt', os.O_RDONLY)
t = os.memfd_create('oarlock-ticket', os.MFD_ALLOW_SEALING)
os.write(t, ticket(os.getuid(), own))
os.fchmod(t, 0o400)
fcntl.fcntl(t, 1033, 15)
o = os.memfd_create('o'); os.write(o, b'd/\0')
def run(*fds):
    for fd in fds: os.set_inheritable(fd, True)
    r = subprocess.run(['{ENTER}', ','.join(map(str, fds)), 'id'], pass_fds=fds, capture_output=True, text=True)
    print('forged', r.returncode, r.stdout + r.stderr.strip())
run(t, o, own)
# A namespace of the user's own user namespace.
child = subprocess.Popen(['unshare', '-Urm', 'sh', '-c', 'echo; exec sleep 5'], stdout=subprocess.PIPE)
child.stdout.readline()
theirs = os.open('/proc/%d/ns/mnt' % child.pid, os.O_RDONLY)
run(t, o, theirs)
child.kill()
P
sed 's/^/print /' /tmp/oarlock-try2; rm -f /tmp/oarlock-try /tmp/oarlock-try2"#
    );
    let _script = script(cluster, &attempts);
    let refused = "oarlock: node1: entering: this is no ticket of root's";
    let by_hand = "oarlock-enter: Oarlock's plugin starts it; it is of no use by hand";
    let expected = format!(
        "nothing 1 {by_hand} \nwords 1 {by_hand} \nfew 1 {by_hand} \nclosed 1 {refused} \n\
         host 1 {refused} \nfile 1 {refused} \nforged 1 {refused}\nforged 1 {refused}\ntiny\n"
    );
    both_ways(cluster, |cluster| {
        cluster
            .alice(&format!(
                "srun -w node1 --task-prolog=/shared/prolog.sh --container-image={TINY} cat /etc/oarlock-image"
            ))
            .stdout_and_code(&expected, 0);
    });
}

/// Takes the descriptors with which a task goes through `oarlock-enter` out of it, and
/// starts that program with them as any user: with the host's namespace in place of the
/// container's, with the container's, and with another file as the ticket. Started by
/// root, it makes inheritable what slurmstepd does.
const TAKER: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
static void run(const char *enter, int uid, int ticket, int order, int ns) {
    char numbers[64];
    snprintf(numbers, sizeof numbers, "%d,%d,%d", ticket, order, ns);
    if (fork() == 0) {
        if (getuid() == 0) {
            struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
            struct __user_cap_data_struct sets[2];
            syscall(SYS_capget, &header, sets);
            sets[0].inheritable = 1 << CAP_SETPCAP | 1 << CAP_SYS_CHROOT | 1 << CAP_SYS_ADMIN;
            if (syscall(SYS_capset, &header, sets) || setgid(uid) || setuid(uid)) _exit(98);
        }
        execl(enter, enter, numbers, "sh", "-c",
              "cat /etc/oarlock-image; grep -E '^(Cap(Inh|Eff|Bnd)|NoNew)' /proc/self/status", NULL);
        _exit(99);
    }
    wait(NULL);
}
int main(int argc, char **argv) {
    int ticket = -1, order = -1, ns = -1, host = open("/proc/self/ns/mnt", O_RDONLY);
    int task = syscall(SYS_pidfd_open, atoi(argv[1]), 0);
    for (int n = 3; n < 200; n++) {
        char path[64], name[256] = "";
        int fd = syscall(SYS_pidfd_getfd, task, n, 0);
        if (fd < 0) continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        readlink(path, name, sizeof name - 1);
        if (strstr(name, "oarlock-ticket")) ticket = fd;
        else if (strstr(name, "oarlock-order")) order = fd;
        else if (!strncmp(name, "mnt:", 4)) ns = fd;
        else { close(fd); continue; }
        fcntl(fd, F_SETFD, 0);
    }
    printf("taken %d %d %d\n", ticket >= 0, order >= 0, ns >= 0);
    fflush(stdout);
    if (ticket < 0) return 0;
    run(argv[2], 1000, ticket, order, host);
    run(argv[2], 1000, ticket, order, ns);
    run(argv[2], 1000, order, order, ns);
    run(argv[2], 1001, ticket, order, ns);
    return 0;
}
"#;

/// A prolog cannot take anything out of its task. With root's help it would have the
/// ticket, and still only what the ticket says.
fn a_ticket_opens_its_own_users_container_only(cluster: &Cluster) {
    // Before 23.11 there is no ticket.
    if !through_the_program(cluster) {
        return;
    }
    let _taker = cluster.change(
        "login",
        &format!(
            "cat >/root/taker.c <<'END'\n{TAKER}\nEND\ngcc -o /shared/taker /root/taker.c 2>&1"
        ),
        "rm -f /shared/taker /root/taker.c /shared/task /shared/go",
    );
    let _script = script(
        cluster,
        &format!(
            "/shared/taker $PPID {ENTER} 2>&1 | sed 's/^/print /'\n\
             echo $PPID >/shared/task; until [ -e /shared/go ]; do sleep 0.1; done"
        ),
    );
    std::thread::scope(|threads| {
        let root = threads.spawn(|| {
            cluster.root(
                "node1",
                &format!(
                    "until [ -s /shared/task ]; do sleep 0.1; done; \
                     /shared/taker $(cat /shared/task) {ENTER} 2>&1; touch /shared/go"
                ),
            )
        });
        cluster
            .alice(&format!(
                "srun -w node1 --task-prolog=/shared/prolog.sh --container-image={DEMO} cat /etc/oarlock-image"
            ))
            .stdout_and_code("taken 0 0 0\ndemo\n", 0);
        root.join().expect("root's part").stdout_and_code(
            "taken 1 1 1\n\
             oarlock: node1: entering: the ticket names another namespace\n\
             demo\nCapInh:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1\n\
             oarlock: node1: entering: this is no ticket of root's\n\
             oarlock: node1: entering: the ticket is another user's\n",
            0,
        );
    });
}
