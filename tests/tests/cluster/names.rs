//! Images by name: files of the working directory, and what can only be in a
//! registry.

use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_bare_name_is_a_file_of_the_working_directory,
        a_name_that_is_no_file_says_what_was_tried,
        what_can_only_be_in_a_registry_is_not_queued,
    ]
}

fn a_bare_name_is_a_file_of_the_working_directory(cluster: &Cluster) {
    for name in [
        "tiny.sif",
        "./tiny.sif",
        "../tests/tiny.sif",
        "tiny.sqsh",
        "tiny.d",
    ] {
        cluster
            .alice(&format!(
                "cd /shared/tests; srun -w node1 --container-image={name} cat /etc/oarlock-image"
            ))
            .succeeds()
            .says("tiny\n");
    }
    // The job's directory, not that of whoever submits.
    cluster
        .alice("srun -w node1 -D /shared/tests --container-image=tiny.sif cat /etc/oarlock-image")
        .succeeds()
        .says("tiny\n");
    // A file is a file, whatever else its name may mean.
    cluster
        .alice(
            "mkdir ~/odd; cd ~/odd; mkdir library\n\
             for name in ubuntu:22.04 library/ubuntu './r.example#a:1'; do\n\
               ln -s /shared/tests/tiny.sif \"$name\"; srun -w node1 --container-image=\"$name\" cat /etc/oarlock-image\n\
             done; cd; rm -r ~/odd",
        )
        .succeeds()
        .says("tiny\ntiny\ntiny\n");
}

fn a_name_that_is_no_file_says_what_was_tried(cluster: &Cluster) {
    const PULL: &str = "if an image in a registry is meant, registries are not supported yet: make a file of it first (as with: apptainer pull app.sif docker://";
    for (name, message) in [
        (
            "none.sif",
            "no such file or directory in /shared/tests; check the path, and that this node has it"
                .to_owned(),
        ),
        (
            "./none.sif",
            "no such file or directory in /shared/tests; check the path, and that this node has it"
                .to_owned(),
        ),
        (
            "none",
            "no such file or directory in /shared/tests; check the path, and that this node has it"
                .to_owned(),
        ),
        (
            "ubuntu:22.04",
            format!(
                "no such file or directory in /shared/tests; {PULL}ubuntu:22.04) and give its path"
            ),
        ),
        (
            "library/ubuntu",
            format!(
                "no such file or directory in /shared/tests; {PULL}library/ubuntu) and give its path"
            ),
        ),
    ] {
        cluster
            .alice(&format!(
                "cd /shared/tests; srun -w node1 --container-image={name} echo ran"
            ))
            .is_refused([format!("oarlock: node1: image {name}: {message}")]);
    }
}

fn what_can_only_be_in_a_registry_is_not_queued(cluster: &Cluster) {
    let before = cluster.next_job();
    for name in [
        "docker://debian:13",
        "docker://r.example#a/b:1",
        "oras://r.example/a",
        "library://a/b/c",
        "r.example#a/b:1",
        "me@r.example:5000#a",
    ] {
        for (client, command) in [
            ("srun", "echo ran"),
            ("salloc", "echo ran"),
            ("sbatch", "--wrap='echo ran'"),
        ] {
            let output = cluster.alice(&format!("{client} '--container-image={name}' {command}"));
            assert_ne!(output.code, 0, "{output}");
            assert_eq!(output.stdout, "", "{output}");
            output.tells([format!(
                "oarlock: image {name}: registries are not supported yet; make a file of the image first (as with: apptainer pull app.sif docker://...) and give its path, or ./NAME for a file of that name"
            )]);
        }
    }
    assert_eq!(cluster.next_job(), before, "nothing may be queued");
}
