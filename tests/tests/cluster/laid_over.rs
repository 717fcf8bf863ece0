//! `--container-overlay`: directories and files with a file system over the image.

use cluster_tests::images::{TINY, TINY_DIRECTORY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_directory,
        a_squashfs_of_the_users,
        an_ext3_as_apptainer_makes_it,
        the_last_lies_on_top,
        what_is_written_stays_beside_it,
        what_cannot_be_laid_over,
        nobody_reads_more_by_it,
    ]
}

/// Makes `~/over` with a new file and one that takes the place of the image's.
const OVER: &str = "rm -rf ~/over; mkdir -p ~/over/etc ~/over/opt/new; echo over >~/over/etc/oarlock-image; echo new >~/over/opt/new/f\n";
const LOOK: &str = "sh -c 'cat /etc/oarlock-image /opt/new/f; ls /usr/bin/only-in-the-image'";
const SEEN: &str = "over\nnew\n/usr/bin/only-in-the-image\n";

fn a_directory(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE, TINY_DIRECTORY] {
        cluster
            .alice(&format!(
                "{OVER}srun --container-image={image} --container-overlay=$HOME/over:ro {LOOK}; rm -rf ~/over"
            ))
            .says(SEEN);
    }
}

fn a_squashfs_of_the_users(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        cluster
            .alice(&format!(
                "{OVER}mksquashfs ~/over ~/over.sqsh -quiet -no-progress >/dev/null\n\
                 srun --container-image={image} --container-overlay=$HOME/over.sqsh {LOOK}; rm -rf ~/over ~/over.sqsh"
            ))
            .succeeds()
            .says(SEEN);
    }
}

/// With `upper` and `work` at its root; served, as a user wrote it.
fn an_ext3_as_apptainer_makes_it(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "{OVER}mkdir -p ~/ext/work; mv ~/over ~/ext/upper; truncate -s 8M ~/over.img; /sbin/mkfs.ext3 -q -d ~/ext ~/over.img\n\
             srun -w node1 --container-image={TINY} --container-overlay=$HOME/over.img {LOOK}\n\
             sha256sum ~/over.img >~/sum; srun -w node1 --container-image={TINY} --container-overlay=$HOME/over.img sh -c 'touch /opt/new/g' 2>/dev/null\n\
             sha256sum -c --quiet ~/sum && echo unchanged; rm -rf ~/ext ~/over.img ~/sum"
        ))
        .succeeds()
        .says(&format!("{SEEN}unchanged\n"));
}

fn the_last_lies_on_top(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "{OVER}mkdir -p ~/top/etc; echo top >~/top/etc/oarlock-image\n\
             srun --container-image={TINY} --container-overlay=$HOME/over:ro,$HOME/top:ro sh -c 'cat /etc/oarlock-image /opt/new/f'\n\
             srun --container-image={TINY} --container-overlay=$HOME/top:ro,$HOME/over:ro sh -c 'cat /etc/oarlock-image'\n\
             rm -rf ~/over ~/top"
        ))
        .succeeds()
        .says("top\nnew\nover\n");
}

fn what_is_written_stays_beside_it(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "{OVER}srun --container-image={TINY} --container-overlay=$HOME/over:ro --container-writable sh -c \
             'echo changed >/opt/new/f && echo more >/opt/new/g && cat /opt/new/f /etc/oarlock-image'\n\
             cat ~/over/opt/new/f; ls ~/over/opt/new; rm -rf ~/over"
        ))
        .succeeds()
        .says("changed\nover\nnew\nf\n");
}

fn what_cannot_be_laid_over(cluster: &Cluster) {
    for (overlay, more, message) in [
        (
            "/home/alice",
            "",
            "overlay /home/alice: a directory is laid over for reading; write /home/alice:ro, and keep changes by --container-writable with --container-name or --container-save",
        ),
        (
            "/nowhere:ro",
            "",
            "--container-overlay: image /nowhere: no such file or directory; check the path, and that this node has it",
        ),
        (
            "/etc/hostname",
            "",
            "--container-overlay: image /etc/hostname: neither a SIF nor a squashfs file; give one of those, an EROFS file or a directory",
        ),
        (
            "/home/alice:ro",
            "--container-name=laid",
            "--container-overlay does not go with --container-name: such a container keeps the files that it was made with; leave one out",
        ),
    ] {
        cluster
            .alice(&format!(
                "srun -w node1 -n2 --container-image={TINY} --container-overlay={overlay} {more} sh -c 'echo ran'"
            ))
            .is_refused([format!("oarlock: node1: {message}")]);
    }
}

fn nobody_reads_more_by_it(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "srun -w node1 --container-image={TINY} --container-overlay=/root:ro sh -c 'ls /'; \
         srun -w node1 --container-image={TINY} --container-overlay=/shared/tests:ro sh -c 'cat /rootonly.sif'"
    ));
    assert_ne!(output.code, 0, "{output}");
    assert!(
        output.stderr.contains("permission denied for uid 1000"),
        "{output}"
    );
    assert!(
        output.stderr.contains("/rootonly.sif: Permission denied"),
        "{output}"
    );
}
