//! Interactive use: a terminal inside the container.

use cluster_tests::images::{TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        srun_pty_has_a_terminal,
        srun_pty_of_a_shell,
        salloc_opens_its_shell_in_the_container,
        an_interrupt_ends_the_step,
    ]
}

/// What came over a terminal, line by line.
fn lines(text: &str) -> Vec<String> {
    text.lines()
        .map(|line| {
            line.trim_matches(['\r', '\0', '\u{4}', '\u{8}', '^', '@', 'D'])
                .to_owned()
        })
        .collect()
}

fn srun_pty_has_a_terminal(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        let output = cluster.alice(&format!(
            "script -qec \"srun --pty --container-image={image} sh -c \
             'for n in 0 1 2; do test -t \\$n && echo tty; done; readlink /proc/self/fd/0; cat /etc/oarlock-image; stat -c %U /dev/pts/0; exit 7'\" /dev/null"
        ));
        assert_eq!(output.code, 7, "{output}");
        let seen = lines(&output.stdout);
        assert_eq!(
            seen.iter().filter(|line| *line == "tty").count(),
            3,
            "{output}"
        );
        assert!(
            seen.iter().any(|line| line.starts_with("/dev/pts/")),
            "{output}"
        );
        assert!(seen.contains(&"tiny".to_owned()), "{output}");
        assert!(seen.contains(&"alice".to_owned()), "{output}");
    }
}

fn srun_pty_of_a_shell(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "{{ sleep 1; printf 'cat /etc/oarlock-image\\nexit 5\\n'; sleep 2; }} | \
         script -qec 'srun --pty --container-image={TINY} bash --norc -i' /dev/null"
    ));
    assert_eq!(output.code, 5, "{output}");
    assert!(
        lines(&output.stdout).contains(&"tiny".to_owned()),
        "{output}"
    );
}

/// `LaunchParameters=use_interactive_step`: a step of its own kind.
fn salloc_opens_its_shell_in_the_container(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "export SHELL=/bin/sh\n\
         {{ sleep 1.5; printf 'cat /etc/oarlock-image\\necho on-$SLURMD_NODENAME\\nexit 3\\n'; sleep 2; }} | \
         script -qec 'salloc -w node2 --container-image={TINY}' /dev/null"
    ));
    let seen = lines(&output.stdout);
    assert!(seen.iter().any(|line| line == "tiny"), "{output}");
    assert!(seen.iter().any(|line| line == "on-node2"), "{output}");
    assert_eq!(output.code, 3, "{output}");
}

/// Ctrl-C goes to the program in the container.
fn an_interrupt_ends_the_step(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "{{ sleep 1.5; printf '\\003'; sleep 2; }} | \
         script -qec \"srun --pty --container-image={TINY} sh -c 'trap \\\"echo interrupted; exit 9\\\" INT; while :; do sleep 0.1; done'\" /dev/null"
    ));
    assert_eq!(output.code, 9, "{output}");
    assert!(output.stdout.contains("interrupted"), "{output}");
}
