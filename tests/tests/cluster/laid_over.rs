//! `--container-overlay`: directories and files with a file system over the image.

use cluster_tests::images::{TINY, TINY_DIRECTORY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases, skip};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_directory,
        a_squashfs_of_the_users,
        an_ext3_as_apptainer_makes_it,
        the_last_lies_on_top,
        what_is_written_stays_beside_it,
        what_cannot_be_laid_over,
        nobody_reads_more_by_it,
        a_directory_takes_the_changes,
        what_takes_the_changes_is_written_as_the_user,
        links_in_it_lead_nowhere,
        what_does_not_go_with_writing,
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
    if cluster.is_debian_12() {
        skip("the nodes' fuse2fs is not handed its connection");
    }
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
            "overlay /home/alice: is a directory; write /home/alice:ro to lay it over for reading, or /home/alice:rw to keep the container's changes in it",
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
            "/home/alice/a:rw,/home/alice/b:ro",
            "",
            "overlay /home/alice/a: only the last one can take the container's changes; write :ro",
        ),
        (
            "/etc/hostname:rw",
            "",
            "overlay /etc/hostname: Not a directory; changes go into a directory of yours",
        ),
        (
            "/opt:rw",
            "",
            "overlay /opt: Permission denied; changes go into a directory of yours",
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

/// Ranks of a step share it, and the next step finds it; the image stays as it is.
fn a_directory_takes_the_changes(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        if !cluster.gives_files_of(image) {
            continue;
        }
        cluster
            .alice(&format!(
                "mkdir ~/mine; run() {{ srun -w node1 --container-image={image} --container-overlay=$HOME/mine:rw \"$@\"; }}\n\
                 run -n2 sh -c 'echo $SLURM_PROCID >/by-$SLURM_PROCID && cd /usr/bin && if [ $SLURM_PROCID = 0 ]; then rm only-in-the-image; fi'\n\
                 run sh -c 'cat /by-0 /by-1; ls /usr/bin/only-in-the-image'\n\
                 ls ~/mine ~/mine/upper | grep -v -x -e dev -e etc -e home -e proc -e sys -e tmp; stat -c %U ~/mine/upper/by-0\n\
                 srun -w node1 --container-image={image} ls /usr/bin/only-in-the-image; chmod 700 ~/mine/work/work; rm -rf ~/mine"
            ))
            .lines([
                "0", "1", "/home/alice/mine:", "upper", "work", "", "/home/alice/mine/upper:",
                "by-0", "by-1", "usr", "alice", "/usr/bin/only-in-the-image",
            ]);
    }
}

/// What is another's in it stays so: overlayfs has the user's rights.
fn what_takes_the_changes_is_written_as_the_user(cluster: &Cluster) {
    let _bobs = cluster.change(
        "node1",
        "mkdir -p /home/alice/mine/upper/opt /home/alice/mine/work && echo bobs >/home/alice/mine/upper/opt/bobs\n\
         chown alice /home/alice/mine /home/alice/mine/* && chown -R bob /home/alice/mine/upper/opt; chmod -R a+rX /home/alice/mine",
        "rm -rf /home/alice/mine",
    );
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} --container-overlay=$HOME/mine:rw sh -c \
             '(echo alices >/opt/bobs) 2>/dev/null || echo refused; touch /opt/new 2>/dev/null || echo refused; echo hers >/hers'\n\
             cat ~/mine/upper/opt/bobs ~/mine/upper/hers"
        ))
        .says("refused\nrefused\nbobs\nhers\n");
}

fn links_in_it_lead_nowhere(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "mkdir ~/mine ~/aside; ln -s ~/aside ~/mine/upper; mkdir ~/mine/work\n\
             srun -w node1 --container-image={TINY} --container-overlay=$HOME/mine:rw sh -c 'echo x >/x'; code=$?\n\
             ls ~/aside; rm -rf ~/mine ~/aside; exit $code"
        ))
        .is_refused([format!(
            "oarlock: node1: image {TINY}: mounting the overlay to write to (it must be on a disk of the node, as ext4 or XFS): its upper and work: *"
        )]);
}

fn what_does_not_go_with_writing(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "mkdir ~/mine; srun -w node1 --container-readonly --container-image={TINY} --container-overlay=/home/alice/mine:rw sh -c 'echo ran'; code=$?; rm -rf ~/mine; exit $code"
        ))
        .is_refused([
            "oarlock: node1: --container-readonly does not go with --container-overlay=/home/alice/mine:rw; leave one out",
        ]);
    const FILE: &str = "/etc/oarlock/oarlock.toml";
    let _strict = cluster.change(
        "node1",
        &format!("cp -p {FILE} /root/kept && sed -i 's/^overlay = .*/overlay = false/' {FILE}"),
        format!("cp -p /root/kept {FILE} && rm /root/kept"),
    );
    cluster
        .alice(&format!(
            "mkdir ~/mine; srun -w node1 --container-image={TINY} --container-overlay=/home/alice/mine:rw sh -c 'echo ran'; code=$?; ls -A ~/mine; rm -rf ~/mine; exit $code"
        ))
        .is_refused([
            "oarlock: node1: overlay /home/alice/mine: writing to one is not allowed here (writable.overlay in oarlock.toml)",
        ]);
}
