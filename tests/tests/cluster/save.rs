//! A container is saved as a new image when its last rank has ended: whole or not at
//! all, as its user, and without the host's files.

use cluster_tests::images::{DEMO, TINY, TINY_DIRECTORY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_saved_image_has_the_changes_and_runs,
        every_kind_of_image_can_be_saved,
        a_container_with_a_name_can_be_saved,
        nothing_of_the_host_is_in_it,
        a_wrong_path_is_told_before_anything_runs,
        a_file_is_replaced_and_a_link_not_followed,
        only_the_first_node_writes,
        a_full_disk_leaves_nothing,
        the_jobs_umask_counts,
        a_cancelled_step_leaves_nothing,
        what_is_not_the_users_to_read_is_left_out,
    ]
}

fn saved(path: &str) -> String {
    format!("oarlock: node1: saved {path}")
}

fn a_saved_image_has_the_changes_and_runs(cluster: &Cluster) {
    cluster.images();
    for (file, kind) in [("new.sif", "SIF"), ("new.sqsh", "squashfs")] {
        cluster
            .alice(&format!(
                "srun -w node1 -n2 --container-image={TINY} --container-writable --container-save={file} sh -c \
                 'echo $SLURM_PROCID >/r$SLURM_PROCID; rm -f /etc/os-release /bin/env'"
            ))
            .stdout_and_code("", 0)
            .tells([saved(&format!("/home/alice/{file}"))]);
        cluster
            .alice(&format!(
                "stat -c '%U %a' {file}; oarlock inspect {file} | sed -n '1s/.*: \\([A-Za-z]*\\).*/\\1/p'; \
                 srun -w node2 --container-image=./{file} sh -c 'cat /r0 /r1 /etc/oarlock-image; [ -e /bin/env ] || echo gone'; rm {file}"
            ))
            .stdout_and_code(&format!("alice 644\n{kind}\n0\n1\ntiny\ngone\n"), 0);
    }
}

fn every_kind_of_image_can_be_saved(cluster: &Cluster) {
    cluster.images();
    for image in [TINY, TINY_FUSE, TINY_DIRECTORY] {
        if !cluster.gives_files_of(image) {
            continue;
        }
        for writable in ["", "--container-writable"] {
            cluster
                .alice(&format!(
                    "srun -w node1 --container-image={image} {writable} --container-save=/home/alice/k.sqsh true"
                ))
                .stdout_and_code("", 0)
                .tells([saved("/home/alice/k.sqsh")]);
            cluster
                .alice("srun -w node1 --container-image=/home/alice/k.sqsh cat /etc/oarlock-image; rm k.sqsh")
                .stdout_and_code("tiny\n", 0);
        }
    }
}

fn a_container_with_a_name_can_be_saved(cluster: &Cluster) {
    cluster.images();
    let _clean = cluster.change(
        "node1",
        "true",
        "rm -rf /var/lib/oarlock/containers/1000/global/s /run/oarlock-names/*; true",
    );
    cluster
        .alice(&format!(
            "srun -w node1 --container-name=s --container-image={TINY} --container-writable sh -c 'echo x >/x'; \
             srun -w node1 --container-name=s --container-save=s.sif true"
        ))
        .stdout_and_code("", 0)
        .tells([saved("/home/alice/s.sif")]);
    cluster
        .alice("srun -w node1 --container-image=./s.sif cat /x; rm s.sif")
        .stdout_and_code("x\n", 0);
}

fn nothing_of_the_host_is_in_it(cluster: &Cluster) {
    cluster.images();
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} --container-writable --container-mounts=/etc:/host --container-save=h.sqsh true"
        ))
        .tells([saved("/home/alice/h.sqsh")]);
    cluster
        .alice("unsquashfs -q -n -no-xattrs -d h h.sqsh && find h/home h/host h/proc h/tmp -mindepth 1 -not -type d | wc -l; ls h/home/alice | wc -l; rm -rf h h.sqsh")
        .stdout_and_code("0\n0\n", 0);
}

fn a_wrong_path_is_told_before_anything_runs(cluster: &Cluster) {
    cluster.images();
    let before = cluster.next_job();
    for path in ["./", ".", "/", "x/"] {
        cluster
            .alice(&format!(
                "srun -w node1 --container-image={TINY} --container-save={path} true 2>&1 | grep -v srun:"
            ))
            .stdout_and_code(
                &format!("oarlock: --container-save={path}: give the name of a file, as in --container-save=./new.sif\n"),
                0,
            );
    }
    assert_eq!(cluster.next_job(), before);
    for (path, message) in [
        ("/home", "is a directory; give the name of a file"),
        (
            "/nowhere/x.sif",
            "No such file or directory; the directory must exist and be writable by you",
        ),
        (
            "/root/x.sif",
            "Permission denied; the directory must exist and be writable by you",
        ),
        (
            "/etc/x.sif",
            "Permission denied; the directory must exist and be writable by you",
        ),
        (
            "/home/bob/x.sif",
            "Permission denied; the directory must exist and be writable by you",
        ),
    ] {
        cluster
            .alice(&format!(
                "srun -w node1 --container-image={TINY} --container-save={path} echo ran"
            ))
            .is_refused([format!(
                "oarlock: node1: --container-save={path}: {message}"
            )]);
    }
    // A client that does not look.
    cluster
        .alice(&format!(
            "SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_container_save=./ srun -w node1 --container-image={TINY} echo ran; ls -d /home/alice/.bashrc"
        ))
        .says("/home/alice/.bashrc\n");
}

fn a_file_is_replaced_and_a_link_not_followed(cluster: &Cluster) {
    cluster.images();
    cluster
        .alice(&format!(
            "echo old >f.sqsh; echo precious >precious; ln -s /home/alice/precious l.sqsh; \
             for f in f l; do srun -w node1 --container-image={TINY} --container-save=$f.sqsh true 2>/dev/null; done; \
             cat precious; for f in f l; do stat -c %F $f.sqsh; unsquashfs -q -cat $f.sqsh etc/oarlock-image; done; ls -A | grep -c sqsh; rm f.sqsh l.sqsh precious"
        ))
        .stdout_and_code("precious\nregular file\ntiny\nregular file\ntiny\n2\n", 0);
}

fn only_the_first_node_writes(cluster: &Cluster) {
    cluster.images();
    cluster
        .alice(&format!(
            "srun -N2 --container-image={TINY} --container-writable --container-save=n.sqsh sh -c 'echo $SLURM_NODEID >/node'"
        ))
        .tells([saved("/home/alice/n.sqsh")]);
    cluster
        .alice("unsquashfs -q -cat n.sqsh node; rm n.sqsh")
        .stdout_and_code("0\n", 0);
}

fn a_full_disk_leaves_nothing(cluster: &Cluster) {
    cluster.images();
    let _small = cluster.change(
        "node1",
        "mkdir /mnt/small && mount -t tmpfs -o size=64k,mode=1777 none /mnt/small",
        "umount /mnt/small && rmdir /mnt/small",
    );
    let output = cluster.alice(&format!(
        "srun -w node1 --container-image={TINY} --container-save=/mnt/small/x.sif true"
    ));
    assert!(
        output
            .stderr
            .contains("--container-save=/mnt/small/x.sif: not saved: "),
        "{output}"
    );
    cluster
        .root("node1", "ls -A /mnt/small | wc -l")
        .stdout_and_code("0\n", 0);
}

fn the_jobs_umask_counts(cluster: &Cluster) {
    for (umask, mode) in [("077", "600"), ("002", "664")] {
        cluster
            .alice(&format!(
                "umask {umask}; srun -w node1 --container-image={TINY} --container-save=p.sif true; stat -c %a p.sif; rm p.sif"
            ))
            .stdout_and_code(&format!("{mode}\n"), 0);
    }
}

fn a_cancelled_step_leaves_nothing(cluster: &Cluster) {
    cluster.images();
    cluster
        .alice(&format!(
            "rm -f ~/is-in; (srun -w node1 --container-image={DEMO} --container-writable --container-save=c.sif sh -c \
             'head -c 50000000 /dev/urandom >/x; echo $SLURM_JOB_ID >/home/alice/is-in' >/dev/null 2>&1 &); wait_for ~/is-in; \
             for i in $(seq 100); do srun -Q -w node1 --overlap pkill -STOP mksquashfs && break; sleep 0.1; done; \
             scancel -s KILL $(cat ~/is-in); scancel $(cat ~/is-in); finish $(cat ~/is-in); rm -f ~/is-in; ls -A | grep -c c.sif"
        ))
        .says("0\n");
}

fn what_is_not_the_users_to_read_is_left_out(cluster: &Cluster) {
    cluster.images();
    let _made = cluster.change(
        "login",
        "d=$(mktemp -d) && cp -a /shared/tests/tiny.d/. $d && mkdir $d/theirs && echo x >$d/theirs/x && chown -R 33:33 $d/theirs && \
         chmod 700 $d/theirs && mksquashfs $d /shared/images/theirs.sqsh -quiet -no-progress -noappend >/dev/null && rm -rf $d",
        "rm -f /shared/images/theirs.sqsh",
    );
    cluster
        .alice("srun -w node1 --container-image=/opt/images/theirs.sqsh --container-save=t.sqsh true; rm t.sqsh")
        .stdout_and_code("", 0)
        .tells(["oarlock: node1: saved /home/alice/t.sqsh; left out: 1 that are not yours to read, as /theirs"]);
}
