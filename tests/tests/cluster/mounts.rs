//! `--container-mounts` and `--container-workdir`.

use cluster_tests::images::{TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        read_only,
        read_write,
        a_target_that_the_image_lacks,
        a_file,
        a_file_on_a_directory_is_refused,
        a_directory_on_a_file_is_refused,
        several_and_nested,
        over_a_default,
        a_lone_source,
        messages_are_for_people,
        a_missing_source_is_refused,
        a_source_that_the_user_may_not_reach_is_refused,
        a_source_that_is_a_link,
        a_mount_of_a_device_directory_brings_no_devices,
        workdir,
        a_missing_workdir_is_refused,
        a_workdir_that_is_a_file_is_refused,
        the_default_workdir_is_the_jobs,
        a_workdir_that_is_not_shown_falls_back_to_home,
    ]
}

fn read_only(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        let output = cluster.alice(&format!(
            "rm -rf ~/m; mkdir ~/m; echo seen >~/m/file\n\
             srun --container-image={image} --container-mounts=$HOME/m:/mnt/m:ro sh -c \
             'cat /mnt/m/file; echo no >/mnt/m/file; touch /mnt/m/new; rm -f /mnt/m/file'\n\
             ls ~/m; cat ~/m/file; rm -rf ~/m"
        ));
        assert_eq!(output.stdout, "seen\nfile\nseen\n", "{output}");
        assert_eq!(
            output.stderr.matches("Read-only file system").count(),
            3,
            "{output}"
        );
    }
}

fn read_write(cluster: &Cluster) {
    for flags in ["", ":rw"] {
        cluster
            .alice(&format!(
                "rm -rf ~/m; mkdir ~/m\n\
                 srun --container-image={TINY} --container-mounts=$HOME/m:/mnt/m{flags} sh -c 'echo written >/mnt/m/file'\n\
                 cat ~/m/file; stat -c '%U %G' ~/m/file; rm -rf ~/m"
            ))
            .succeeds()
            .says("written\nalice alice\n");
    }
}

fn a_target_that_the_image_lacks(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        cluster
            .alice(&format!(
                "srun --container-image={image} --container-mounts=/shared/tests:/a/b/c:ro,/shared/tests:/usr/bin/d:ro \
                 sh -c 'ls /a/b/c/tiny.sif /usr/bin/d/tiny.sif /usr/bin/probe; ls /a /a/b'"
            ))
            .succeeds()
            .lines(["/a/b/c/tiny.sif", "/usr/bin/d/tiny.sif", "/usr/bin/probe", "/a:", "b", "", "/a/b:", "c"]);
    }
}

fn a_file(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node2 --container-image={TINY} \
             --container-mounts=/etc/hostname:/new/name,/etc/hostname:/etc/oarlock-image:ro cat /new/name /etc/oarlock-image"
        ))
        .succeeds()
        .says("node2\nnode2\n");
}

fn a_file_on_a_directory_is_refused(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 -n2 --container-image={TINY} --container-mounts=/etc/hostname:/usr echo ran"
        ))
        .is_refused([
            "oarlock: node1: mount /etc/hostname:/usr: target: is a directory in the image, and the source is a file; choose another target",
        ]);
}

fn a_directory_on_a_file_is_refused(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY_FUSE} --container-mounts=/shared/tests:/bin/cat echo ran"
        ))
        .is_refused([
            "oarlock: node1: mount /shared/tests:/bin/cat: target: is a file in the image, and the source is a directory; choose another target",
        ]);
}

fn several_and_nested(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -rf ~/m; mkdir -p ~/m/outer/inner ~/m/other; echo outer >~/m/outer/f; echo other >~/m/other/f\n\
             srun --container-image={TINY} --container-mounts=$HOME/m/other:/mnt/inner:ro,$HOME/m/outer:/mnt \
             cat /mnt/f /mnt/inner/f; code=$?; rm -rf ~/m; exit $code"
        ))
        .succeeds()
        .says("outer\nother\n");
}

fn over_a_default(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -rf ~/m; mkdir ~/m; echo mine >~/m/f\n\
             srun --container-image={TINY} --container-mounts=$HOME/m:/tmp,$HOME/m/f:/etc/resolv.conf \
             cat /tmp/f /etc/resolv.conf; code=$?; rm -rf ~/m; exit $code"
        ))
        .succeeds()
        .says("mine\nmine\n");
}

fn a_lone_source(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} --container-mounts=/etc/slurm cat /etc/slurm/plugstack.conf"
        ))
        .succeeds()
        .says("include /etc/slurm/plugstack.conf.d/*\n");
}

fn a_missing_source_is_refused(cluster: &Cluster) {
    let line = |node| {
        format!(
            "oarlock: {node}: mount /nowhere/data:/data: source: No such file or directory; check that the path exists on this node and that you may reach it"
        )
    };
    cluster
        .alice(&format!(
            "srun -N2 -n4 --container-image={TINY} --container-mounts=/nowhere/data:/data echo ran"
        ))
        .is_refused([line("node1"), line("node2")]);
}

fn a_source_that_the_user_may_not_reach_is_refused(cluster: &Cluster) {
    for source in ["/shared/tests/closed/tiny.sif", "/root/.bashrc"] {
        cluster
            .alice(&format!(
                "srun -w node1 -n2 --container-image={TINY} --container-mounts={source}:/mnt/x echo ran"
            ))
            .is_refused([format!(
                "oarlock: node1: mount {source}:/mnt/x: source: Permission denied; check that the path exists on this node and that you may reach it"
            )]);
    }
}

/// The kernel's words are enough: its number tells a user nothing.
fn messages_are_for_people(cluster: &Cluster) {
    for option in [
        "--container-mounts=/nowhere:/data",
        "--container-mounts=/root/.bashrc:/data",
        "--container-workdir=/nowhere",
    ] {
        let output = cluster.alice(&format!(
            "srun -w node1 --container-image={TINY} {option} echo ran"
        ));
        assert!(!output.stderr.contains("os error"), "{output}");
    }
}

fn a_source_that_is_a_link(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "ln -sfn /shared/tests ~/m; srun --container-image={TINY} --container-mounts=$HOME/m:/mnt/m:ro ls /mnt/m/tiny.sif\n\
             code=$?; rm ~/m; exit $code"
        ))
        .succeeds()
        .says("/mnt/m/tiny.sif\n");
}

fn a_mount_of_a_device_directory_brings_no_devices(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "srun -w node1 --container-image={TINY} --container-mounts=/dev:/mnt/dev sh -c 'echo x >/mnt/dev/null; echo x >/mnt/dev/fuse'"
    ));
    assert_ne!(output.code, 0, "{output}");
    assert_eq!(
        output.stderr.matches("Permission denied").count(),
        2,
        "{output}"
    );
}

fn workdir(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun --container-image={TINY} --container-workdir=/usr/bin sh -c 'pwd; echo $PWD; ls only-in-the-image'"
        ))
        .succeeds()
        .says("/usr/bin\n/usr/bin\nonly-in-the-image\n");
}

fn a_missing_workdir_is_refused(cluster: &Cluster) {
    let line = |node| {
        format!(
            "oarlock: {node}: working directory /nowhere: No such file or directory; it must be a directory inside the container"
        )
    };
    cluster
        .alice(&format!(
            "srun -N2 -n4 --container-image={TINY} --container-workdir=/nowhere echo ran"
        ))
        .is_refused([line("node1"), line("node2")]);
}

fn a_workdir_that_is_a_file_is_refused(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 -n2 --container-image={TINY} --container-workdir=/bin/cat echo ran"
        ))
        .is_refused([
            "oarlock: node1: working directory /bin/cat: Not a directory; it must be a directory inside the container",
        ]);
}

fn the_default_workdir_is_the_jobs(cluster: &Cluster) {
    for directory in ["/home/alice", "/shared/tests", "/tmp", "/usr/bin"] {
        cluster
            .alice(&format!(
                "srun -D {directory} --container-image={TINY} sh -c 'pwd; echo $PWD'"
            ))
            .succeeds()
            .says(&format!("{directory}\n{directory}\n"));
    }
}

/// It is a directory of the node's own system, which the image does not have.
fn a_workdir_that_is_not_shown_falls_back_to_home(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -D /usr/libexec/oarlock --container-image={TINY} sh -c 'pwd; echo $PWD'"
        ))
        .succeeds()
        .says("/home/alice\n/home/alice\n");
}
