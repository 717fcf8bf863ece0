//! `--container-explain` and `--container-debug`.

use cluster_tests::images::{TINY, TINY_DIRECTORY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        what_would_be_done_is_told_and_nothing_runs,
        trust_is_explained,
        refusals_are_told_all_the_same,
        a_batch_job_is_explained_in_its_output,
        details_are_shown_where_asked,
        no_details_without_asking,
    ]
}

fn what_would_be_done_is_told_and_nothing_runs(cluster: &Cluster) {
    let output = cluster
        .alice(&format!(
            "cd ~; rm -f ran; srun -N2 -n4 --container-image={TINY} --container-explain --container-workdir=/usr \
             --container-mounts=/shared/tests:/mnt/t:ro,tmpfs:/x --container-env=A sh -c 'touch ran'; code=$?; test ! -e ran || echo it ran; exit $code"
        ))
        .succeeds();
    for node in ["node1", "node2"] {
        for line in [
            format!("image {TINY}: lies at {TINY}"),
            "trusted: only root can have written it".to_owned(),
            "the kernel mounts it".to_owned(),
            "variable A from the job".to_owned(),
            "starts in /usr".to_owned(),
            "bind /home/alice at /home/alice rw (where the node has it)".to_owned(),
            "bind /shared/tests at /mnt/t ro".to_owned(),
            "tmpfs at /x rw".to_owned(),
            "device /dev/null".to_owned(),
        ] {
            let line = format!("{node}: {line}");
            let seen = output.stdout.lines().filter(|l| **l == line).count();
            assert_eq!(seen, 1, "{line}: {output}");
        }
    }
    assert!(!output.stdout.contains("it ran"), "{output}");
}

fn trust_is_explained(cluster: &Cluster) {
    let output = cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY_FUSE} --container-explain true\n\
             srun -w node1 --container-image={TINY_DIRECTORY} --container-explain true"
        ))
        .succeeds();
    for line in [
        "node1: not trusted: others than root can write it or a directory above it",
        "node1: /usr/bin/squashfuse_ll serves it, as oarlock",
        "node1: the directory is bound as it is",
    ] {
        assert!(output.stdout.lines().any(|l| l == line), "{line}: {output}");
    }
}

fn refusals_are_told_all_the_same(cluster: &Cluster) {
    cluster
        .alice("srun -w node1 -n2 --container-image=/nowhere.sif --container-explain echo ran")
        .is_refused([
            "oarlock: node1: image /nowhere.sif: no such file or directory; check the path, and that this node has it",
        ]);
}

fn a_batch_job_is_explained_in_its_output(cluster: &Cluster) {
    let output = cluster
        .alice(&format!(
            "job=$(sbatch --parsable -w node1 --container-image={TINY} --container-explain -o ~/out --wrap 'echo it was run'); finish $job\n\
             cat ~/out; rm ~/out; ended $job"
        ))
        .succeeds();
    assert!(
        output.stdout.contains("node1: the kernel mounts it\n"),
        "{output}"
    );
    assert!(output.stdout.ends_with("COMPLETED 0:0\n"), "{output}");
    assert!(!output.stdout.contains("it was run"), "{output}");
}

fn details_are_shown_where_asked(cluster: &Cluster) {
    let output = cluster
        .alice(&format!(
            "srun -w node1 -n2 --container-image={TINY} --container-debug --container-mounts=/nowhere:/mnt/x:nofail sh -c 'echo ran'"
        ))
        .stdout_and_code("ran\nran\n", 0);
    for part in [
        "debug: trust, method: Kernel",
        "debug: mount left out, source: /nowhere",
        "debug: container ready",
    ] {
        let line = format!("oarlock: node1: {part}");
        let seen = output
            .stderr
            .lines()
            .filter(|l| l.starts_with(&line))
            .count();
        assert_eq!(seen, 1, "{part}: {output}");
    }
}

fn no_details_without_asking(cluster: &Cluster) {
    let output = cluster
        .alice(&format!(
            "srun -w node1 -n2 --container-image={TINY} sh -c 'echo ran'"
        ))
        .succeeds();
    assert_eq!(output.stderr, "", "{output}");
}
