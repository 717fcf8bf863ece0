//! Into a running job: a second step beside the first, a client that looks on, a
//! terminal whose size changes.

use cluster_tests::images::{DEMO, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_second_step_beside_the_first,
        a_shell_beside_a_batch_job,
        sattach_shows_what_a_rank_says,
        a_terminal_that_changes_its_size,
    ]
}

/// Named again, the image is the same container but for its mount namespace:
/// processes, shared memory, files and the image's mount are the same.
fn a_second_step_beside_the_first(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        cluster
            .alice(&format!(
                "rm -rf ~/beside; mkdir ~/beside && cd ~/beside\n\
                 srun -J first -w node1 -n1 --container-image={image} sh -c \
                 'echo shared >/dev/shm/beside; echo $$ >pid; until [ -e go-on ]; do sleep 0.1; done; cat /dev/shm/answer; rm /dev/shm/answer; exit 6' >out 2>err &\n\
                 wait_for pid; job=$(squeue -h -n first -o %i)\n\
                 srun --jobid=$job --overlap --container-image={image} sh -c \
                 'cat /etc/oarlock-image /dev/shm/beside; rm /dev/shm/beside; readlink /proc/$(cat pid)/exe; echo answer >/dev/shm/answer'\n\
                 srun --jobid=$job --overlap sh -c 'test -e /etc/oarlock-image || echo none'\n\
                 touch go-on; wait; echo $?; cat out; finish $job; ended $job; rm -rf ~/beside"
            ))
            .succeeds()
            .says("tiny\nshared\n/bin/bash\nnone\n0\nanswer\nFAILED 6:0\n");
    }
}

/// From outside, nothing tells a step of the job's image: it has to be named.
fn a_shell_beside_a_batch_job(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "rm -rf ~/beside; mkdir ~/beside && cd ~/beside\n\
         job=$(sbatch --parsable -w node1 -o out --container-image={TINY} --wrap 'echo in >in; until [ -e go-on ]; do sleep 0.1; done; exit 3') || exit\n\
         wait_for in\n\
         srun --jobid=$job --overlap sh -c 'test -e /etc/oarlock-image || echo none'\n\
         {{ sleep 1; printf 'cat /etc/oarlock-image\\ntouch go-on\\nexit 5\\n'; sleep 1; }} | \
         script -qec \"srun --jobid=$job --overlap --pty --container-image={TINY} bash --norc -i\" /dev/null; echo code $?\n\
         finish $job; ended $job; rm -rf ~/beside"
    ));
    let lines: Vec<&str> = output
        .stdout
        .lines()
        .map(|line| line.trim_end_matches('\r'))
        .collect();
    for expected in ["none", "tiny", "code 5", "FAILED 3:0"] {
        assert!(lines.contains(&expected), "{expected}: {output}");
    }
}

fn sattach_shows_what_a_rank_says(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -rf ~/beside; mkdir ~/beside && cd ~/beside\n\
             srun -J seen -w node1 -n2 --container-image={TINY_FUSE} sh -c \
             'echo in >in.$SLURM_PROCID; until [ -e go-on ]; do sleep 0.1; done; [ $SLURM_PROCID = 1 ] || exit 0; cat /etc/oarlock-image; exit 2' >out 2>err &\n\
             wait_for in.0; wait_for in.1; job=$(squeue -h -n seen -o %i)\n\
             sattach -l $job.0 >seen 2>seen.err &\n\
             sleep 1; touch go-on; wait; finish $job; cat out; grep 1: seen; ended $job; rm -rf ~/beside"
        ))
        .succeeds()
        .says("tiny\n1: tiny\nFAILED 2:0\n");
}

/// A terminal of 33 lines becomes one of 44.
const RESIZE: &str = r#"
import fcntl, os, pty, struct, sys, termios

def resize(lines, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

child, terminal = pty.fork()
if child == 0:
    # The size must be there before srun looks.
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", 33, 101, 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])
seen = b""
while b"ready" not in seen:
    seen += os.read(terminal, 4096)
resize(44, 77)
try:
    while block := os.read(terminal, 4096):
        seen += block
except OSError:
    pass
print(seen.decode().replace("\r", ""), end="")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"#;

fn a_terminal_that_changes_its_size(cluster: &Cluster) {
    for option in [String::new(), format!("--container-image={DEMO}")] {
        let output = cluster.alice(&format!(
            "cat >/tmp/resize.py <<'END'\n{RESIZE}END\n\
             python3 /tmp/resize.py srun -Q -w node1 --pty {option} bash -c \
             'stty size; trap \"stty size; exit 5\" WINCH; echo ready; while :; do sleep 0.1; done'\n\
             code=$?; rm /tmp/resize.py; exit $code"
        ));
        assert_eq!(output.code, 5, "{output}");
        assert!(
            output.stdout.starts_with("33 101\nready\n44 77\n"),
            "{output}"
        );
    }
}
