//! What a job script's first line may ask for, and what is said where the image
//! lacks a program, an interpreter or a loader.

use cluster_tests::images::{DEMO, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, Output, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        any_interpreter_of_the_image,
        an_interpreter_that_the_image_lacks,
        lines_that_the_kernel_refuses,
        no_first_line_fails_before_the_queue,
        a_program_that_the_image_lacks,
        a_program_of_another_c_library,
    ]
}

/// Runs job scripts of these lines, all at once, and shows each one's output and
/// end, in order.
fn submit(cluster: &Cluster, image: &str, scripts: &[&str]) -> Output {
    use std::fmt::Write;
    let mut all = String::from("rm -rf ~/shebang; mkdir ~/shebang && cd ~/shebang\n");
    for (number, script) in scripts.iter().enumerate() {
        let _ = write!(
            all,
            "cat >{number}.sh <<'END-OF-JOB'\n{script}\nEND-OF-JOB\n\
             sbatch --parsable -w node1 -o {number}.out --container-image={image} {number}.sh >{number}.job || exit\n"
        );
    }
    for number in 0..scripts.len() {
        let _ = writeln!(
            all,
            "job=$(cat {number}.job); finish $job; sleep 0.1; cat {number}.out; ended $job"
        );
    }
    all.push_str("rm -rf ~/shebang\n");
    cluster.alice(&all)
}

fn any_interpreter_of_the_image(cluster: &Cluster) {
    submit(
        cluster,
        DEMO,
        &[
            "#!/bin/bash\ncat /etc/oarlock-image",
            "#! /bin/sh -e\nfalse\necho not reached",
            "#!/usr/bin/python3 -I\nimport sys; print(sys.flags.isolated)",
            "#!/usr/bin/env python3\nprint(open('/etc/oarlock-image').read().strip())",
            "#!/usr/bin/env -S python3 -I\nimport sys; sys.exit(sys.flags.isolated + 6)",
        ],
    )
    .succeeds()
    .says("demo\nCOMPLETED 0:0\nFAILED 1:0\n1\nCOMPLETED 0:0\ndemo\nCOMPLETED 0:0\nFAILED 7:0\n");
    // An interpreter that no node has.
    submit(
        cluster,
        TINY_FUSE,
        &["#!/usr/bin/only-in-the-image\nnothing"],
    )
    .succeeds()
    .says("only here\nCOMPLETED 0:0\n");
}

/// The last two are on the node, and not in the image.
fn an_interpreter_that_the_image_lacks(cluster: &Cluster) {
    let told = |name: &str| {
        format!(
            "oarlock: node1: job script: its first line asks for {name}, which the image {TINY} lacks; \
             name an interpreter of the image, or take an image that has it\n"
        )
    };
    let bad = |name: &str| {
        format!(
            "slurmstepd-node1: error: execve(): bad interpreter({name}): No such file or directory\n"
        )
    };
    let output = submit(
        cluster,
        TINY,
        &[
            "#!/usr/bin/perl -w\nprint 1;",
            "#!bin/sh\necho ran",
            "#!/usr/bin/python3\nprint('ran')",
            "#!/bin/env python3\nprint('ran')",
        ],
    )
    .succeeds();
    let expected = [
        told("/usr/bin/perl"),
        bad("/usr/bin/perl -w"),
        "FAILED 2:0\n".to_owned(),
        told("bin/sh"),
        bad("bin/sh"),
        "FAILED 2:0\n".to_owned(),
        told("/usr/bin/python3"),
        bad("/usr/bin/python3"),
        "FAILED 2:0\n".to_owned(),
        told("python3"),
        "/bin/env: 'python3': No such file or directory\n".to_owned(),
        "FAILED 127:0\n".to_owned(),
    ];
    // Slurm has its own names for its processes, and env's quotes the locale's.
    let plain = |text: &str| {
        text.lines()
            .map(|line| line.split_once("execve(): ").map_or(line, |(_, rest)| rest))
            .map(|line| line.replace(['\u{2018}', '\u{2019}'], "'"))
            .map(|line| line.replace("/bin/env: ", "env: "))
            .collect::<Vec<_>>()
    };
    assert_eq!(plain(&output.stdout), plain(&expected.concat()), "{output}");
}

/// Nothing is lacking: the words are Slurm's, and the codes are.
fn lines_that_the_kernel_refuses(cluster: &Cluster) {
    let output = submit(
        cluster,
        TINY,
        &[
            "#!\necho ran",
            "#!/etc/passwd\necho ran",
            "#!/etc\necho ran",
        ],
    )
    .succeeds();
    assert!(!output.stdout.contains("oarlock"), "{output}");
    let ends: Vec<&str> = output
        .stdout
        .lines()
        .filter(|l| !l.contains("execve"))
        .collect();
    assert_eq!(
        ends,
        ["FAILED 8:0", "FAILED 13:0", "FAILED 13:0"],
        "{output}"
    );
}

fn no_first_line_fails_before_the_queue(cluster: &Cluster) {
    let before = cluster.next_job();
    let output = cluster.alice(&format!(
        "printf 'echo ran\\n' >/tmp/plain.sh; sbatch --container-image={TINY} /tmp/plain.sh; code=$?; rm /tmp/plain.sh; exit $code"
    ));
    assert_ne!(output.code, 0, "{output}");
    assert_eq!(cluster.next_job(), before, "nothing may be queued");
}

/// One line a node, whatever the number of ranks; the exit code is Slurm's.
fn a_program_that_the_image_lacks(cluster: &Cluster) {
    for program in [
        "not-there",
        "/usr/bin/scontrol",
        "./not-there",
        "/usr/bin/true/below",
    ] {
        let output = cluster.alice(&format!(
            "srun -N2 -n6 --container-image={TINY_FUSE} {program}"
        ));
        assert_eq!(output.code, 2, "{output}");
        assert_eq!(output.stdout, "", "{output}");
        output.tells(["node1", "node2"].map(|node| {
            format!(
                "oarlock: {node}: program {program}: not in the image {TINY_FUSE} nor in what is mounted into it; check the name, the image's PATH and --container-mounts"
            )
        }));
    }
    // It is there, and cannot be executed: the words are Slurm's.
    let output = cluster.alice(&format!(
        "srun -w node1 --container-image={TINY} /etc/passwd"
    ));
    assert_eq!(output.code, 13, "{output}");
    output.tells::<&str>([]);
    // A step's own script.
    let output = cluster.alice(&format!(
        "printf '#!/usr/bin/perl\\n' >~/script; chmod 755 ~/script\n\
         srun -w node1 -n2 --container-image={TINY} ./script; code=$?; rm ~/script; exit $code"
    ));
    assert_eq!(output.code, 2, "{output}");
    output.tells([format!(
        "oarlock: node1: program ./script: its first line asks for /usr/bin/perl, which the image {TINY} lacks; name an interpreter of the image, or take an image that has it"
    )]);
}

/// The kernel says "No such file" of a program that everybody sees.
fn a_program_of_another_c_library(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "sed 's|/lib64/ld-linux-x86-64.so.2|/lib64/ld-other-x86-64.so.2|;s|/lib/ld-linux-aarch64.so.1|/lib/ld-other-aarch64.so.1|' /bin/true >~/other; chmod 755 ~/other\n\
         srun -w node1 -n2 --container-image={TINY} ./other; code=$?; rm ~/other; exit $code"
    ));
    assert_eq!(output.code, 2, "{output}");
    output.tells([format!(
        "oarlock: node1: program ./other: it was linked for the loader *, which the image {TINY} lacks; build it in that image, or take an image with that C library"
    )]);
}
