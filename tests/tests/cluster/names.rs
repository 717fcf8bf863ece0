//! Images by name: files of the working directory, the site's own names, and what
//! can only be in a registry.

use cluster_tests::images::TINY;
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_bare_name_is_a_file_of_the_working_directory,
        a_name_that_is_no_file_says_what_was_tried,
        what_can_only_be_in_a_registry_is_not_queued,
        a_name_of_the_site_is_the_same_image_everywhere,
        a_name_of_the_site_gives_no_rights,
        a_wrong_name_of_the_site_names_itself,
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

/// Changes the names of the site on node1.
fn names<'a>(cluster: &'a Cluster, names: &str) -> cluster_tests::cluster::Restore<'a> {
    const FILE: &str = "/etc/oarlock/oarlock.toml";
    cluster.change(
        "node1",
        &format!(
            "cp -p {FILE} /root/names && sed -i 's|^aliases = .*|aliases = {{ {names} }}|' {FILE} && grep -q '^aliases = {{ .' {FILE}"
        ),
        format!("cp -p /root/names {FILE} && rm /root/names"),
    )
}

fn a_name_of_the_site_is_the_same_image_everywhere(cluster: &Cluster) {
    let _names = names(
        cluster,
        &format!("\"lab/tiny\" = \"{TINY}\", \"tiny\" = \"{TINY}\""),
    );
    for name in ["lab/tiny", "tiny"] {
        cluster
            .alice(&format!(
                "srun -w node1 --container-image={name} cat /etc/oarlock-image"
            ))
            .succeeds()
            .says("tiny\n");
    }
    // A directory that somebody else filled does not decide what runs.
    cluster
        .alice(
            "mkdir -p ~/odd/lab; cd ~/odd; ln -s /opt/images/mpich.sif lab/tiny\n\
             srun -w node1 --container-image=lab/tiny cat /etc/oarlock-image\n\
             srun -w node1 --container-image=./lab/tiny cat /etc/oarlock-image; cd; rm -r ~/odd",
        )
        .succeeds()
        .says("tiny\nmpich\n");
    cluster
        .root(
            "node1",
            "cd /; su alice -c 'oarlock exec lab/tiny cat /etc/oarlock-image'",
        )
        .succeeds()
        .says("tiny\n");
}

fn a_name_of_the_site_gives_no_rights(cluster: &Cluster) {
    let _names = names(
        cluster,
        "\"lab/closed\" = \"/shared/tests/rootonly.sif\", \"lab/gone\" = \"/nowhere.sif\"",
    );
    cluster
        .alice("srun -w node1 --container-image=lab/closed echo ran")
        .is_refused([
            "oarlock: node1: image /shared/tests/rootonly.sif: permission denied for uid 1000; *",
        ]);
    cluster
        .alice("srun -w node1 --container-image=lab/gone echo ran")
        .is_refused(["oarlock: node1: image /nowhere.sif: no such file or directory; *"]);
}

fn a_wrong_name_of_the_site_names_itself(cluster: &Cluster) {
    for (wrong, message) in [
        (
            "\"lab/x\" = \"x.sif\"",
            "images.aliases: lab/x: \"x.sif\" is not an absolute path",
        ),
        (
            "\"./x\" = \"/x.sif\"",
            "images.aliases: \"./x\" is a path or an image in a registry; give a name as in \"lab/app\"",
        ),
    ] {
        let _names = names(cluster, wrong);
        cluster
            .alice(&format!("srun -w node1 --container-image={TINY} echo ran"))
            .is_refused([format!(
                "oarlock: node1: site configuration /etc/oarlock/oarlock.toml: {message}"
            )]);
    }
}
