//! What a rank finds itself to be: the user it was, in the host's namespaces but
//! for the mounts, with what it inherited from Slurm.

use cluster_tests::images::{TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_command_that_only_the_image_has,
        a_command_that_only_the_host_has_is_not_run,
        all_ids_and_groups_are_kept,
        namespaces_but_the_mounts_are_the_hosts,
        no_descriptor_is_left_open,
        stdin_goes_to_rank_0,
        stdin_goes_to_all_ranks,
        a_long_command_line,
        limits_and_umask_are_kept,
    ]
}

fn a_command_that_only_the_image_has(cluster: &Cluster) {
    for command in ["only-in-the-image", "/usr/bin/only-in-the-image"] {
        cluster
            .alice(&format!("srun -N2 --container-image={TINY} {command}"))
            .succeeds()
            .says("only here\nonly here\n");
    }
}

fn a_command_that_only_the_host_has_is_not_run(cluster: &Cluster) {
    for command in ["scontrol --version", "/usr/bin/scontrol --version"] {
        let output = cluster.alice(&format!("srun --container-image={TINY_FUSE} {command}"));
        assert!(matches!(output.code, 2 | 127), "exit code of {output}");
        assert_eq!(output.stdout, "", "{output}");
        output.tells(["oarlock: *: not in the image /shared/tests/tiny.sif nor in what is mounted into it; check the name, the image's PATH and --container-mounts"]);
    }
}

fn all_ids_and_groups_are_kept(cluster: &Cluster) {
    let ids = "sh -c 'id -u; id -g; id -G; grep -E \"^(Uid|Gid|Groups):\" /proc/self/status'";
    for image in [TINY, TINY_FUSE] {
        let outside = cluster.alice(&format!("srun -w node1 {ids}")).succeeds();
        assert!(outside.stdout.contains("1000 2000 2001\n"), "{outside}");
        cluster
            .alice(&format!("srun -w node1 --container-image={image} {ids}"))
            .succeeds()
            .says(&outside.stdout);
    }
}

fn namespaces_but_the_mounts_are_the_hosts(cluster: &Cluster) {
    let kinds =
        "sh -c 'for n in cgroup ipc net pid user uts mnt; do readlink /proc/self/ns/$n; done'";
    let outside = cluster.alice(&format!("srun -w node1 {kinds}")).succeeds();
    let inside = cluster
        .alice(&format!("srun -w node1 --container-image={TINY} {kinds}"))
        .succeeds();
    let shared = |text: &str| text.lines().take(6).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(shared(&inside.stdout), shared(&outside.stdout));
    assert_ne!(inside.stdout, outside.stdout, "the mounts are its own");
}

fn no_descriptor_is_left_open(cluster: &Cluster) {
    let open = "sh -c 'ls /proc/self/fd | tr \"\\n\" \" \"'";
    for image in [TINY, TINY_FUSE] {
        let outside = cluster.alice(&format!("srun -w node1 {open}")).succeeds();
        cluster
            .alice(&format!("srun -w node1 --container-image={image} {open}"))
            .succeeds()
            .says(&outside.stdout);
    }
}

fn stdin_goes_to_rank_0(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "printf 'a\\nb\\n' | srun -N2 -n4 --input=0 --container-image={TINY} sh -c \
             'while read -r line; do echo $SLURM_PROCID:$line; done'"
        ))
        .succeeds()
        .lines(["0:a", "0:b"]);
}

fn stdin_goes_to_all_ranks(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "printf 'a\\n' | srun -N2 -n2 --container-image={TINY_FUSE} sh -c \
             'read -r line; echo $SLURM_PROCID:$line'"
        ))
        .succeeds()
        .lines(["0:a", "1:a"]);
}

fn a_long_command_line(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "word=$(head -c 60000 /dev/zero | tr '\\0' x)\n\
         export LONG=$word\n\
         srun --container-image={TINY} sh -c 'echo ${{#1}} ${{#LONG}}' sh $word"
    ));
    output.succeeds().says("60000 60000\n");
}

fn limits_and_umask_are_kept(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "umask 027; srun --propagate=NOFILE --container-image={TINY} sh -c umask"
        ))
        .succeeds()
        .says("0027\n");
}
