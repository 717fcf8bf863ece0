//! A container that may be written: anywhere in the image, as its user, for the
//! length of a step, and without a trace in the image.

use cluster_tests::images::{DEMO, TINIES, TINY, TINY_DIRECTORY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases, skip};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        everything_in_an_image_may_be_written,
        an_old_fuse_server_is_named,
        a_directory_is_written_as_its_permissions_say,
        nothing_of_it_outlives_the_step_or_reaches_the_image,
        without_the_option_nothing_is_written,
        all_ranks_of_a_node_share_it,
        what_is_written_is_bounded,
        nothing_gives_another_users_or_roots_rights,
        files_of_the_users_own_number_are_not_roots,
        missing_mount_points_are_made_in_it,
        a_killed_step_leaves_nothing,
    ]
}

fn everything_in_an_image_may_be_written(cluster: &Cluster) {
    cluster.images();
    for (image, form) in TINIES.iter().map(|(form, image)| (image, form)) {
        if *image == TINY_DIRECTORY || !cluster.gives_files_of(image) {
            continue;
        }
        cluster
            .alice(&format!(
                "srun -w node1 --container-writable --container-image={image} sh -c \
                 'echo new >/x && echo more >>/etc/oarlock-image && mkdir /usr/made && cat /x /etc/oarlock-image && \
                  rm /etc/oarlock-image && [ ! -e /etc/oarlock-image ] && echo {form}'"
            ))
            .stdout_and_code(&format!("new\ntiny\nmore\n{form}\n"), 0);
    }
    // A Debian, where most directories are deeper and packages are installed.
    cluster
        .alice(&format!(
            "srun -w node1 --container-writable --container-image={DEMO} sh -c \
             'touch /usr/local/lib/x /root/y /etc/shadow && stat -c %U /usr/local/lib/x /etc/shadow'"
        ))
        .stdout_and_code("alice\nalice\n", 0);
}

/// One without a copy that the kernel can mount.
fn an_old_fuse_server_is_named(cluster: &Cluster) {
    if !cluster.is_debian_12() {
        skip("the nodes' FUSE server shows files as the user's");
    }
    for options in ["--container-writable", "--container-save=x.sif"] {
        cluster
            .alice(&format!(
                "srun -w node1 {options} --container-stage=off --container-image={TINY_FUSE} echo ran"
            ))
            .is_refused([format!(
                "oarlock: node1: image {TINY_FUSE}: the kernel cannot show the files of its squashfs file system as the user's own, which a writable container needs: its FUSE server ended before it answered; use squashfs with Linux 6.2 or newer, or squashfuse 0.5 or newer"
            )]);
    }
}

fn a_directory_is_written_as_its_permissions_say(cluster: &Cluster) {
    cluster.images();
    // The directory is root's: its files are not shown as anybody else's, and
    // nothing in it becomes readable.
    let _made = cluster.change(
        "login",
        "mkdir -p /shared/guarded && cp -a /shared/tests/tiny.d/. /shared/guarded && \
         echo secret >/shared/guarded/secret && chmod 600 /shared/guarded/secret",
        "rm -rf --one-file-system /shared/guarded",
    );
    cluster
        .alice(
            "srun -w node1 --container-writable --container-image=/shared/guarded sh -c \
             'exec 2>&1; cat /secret; echo x >/new && cat /new; echo x >>/etc/oarlock-image || cat /etc/oarlock-image'",
        )
        .stdout_and_code(
            "cat: /secret: Permission denied\nx\n/bin/sh: line 1: /etc/oarlock-image: Permission denied\ntiny\n",
            0,
        );
    // Its own user's directory is his to change, in the container alone.
    let _own = cluster.change(
        "login",
        "su alice -c 'cp -r /shared/tests/tiny.d /home/alice/tiny.d'",
        "rm -rf --one-file-system /home/alice/tiny.d",
    );
    cluster
        .alice(
            "srun -w node1 --container-writable --container-image=/home/alice/tiny.d sh -c \
             'echo more >>/etc/oarlock-image && cat /etc/oarlock-image' && cat /home/alice/tiny.d/etc/oarlock-image",
        )
        .stdout_and_code("tiny\nmore\ntiny\n", 0);
}

fn nothing_of_it_outlives_the_step_or_reaches_the_image(cluster: &Cluster) {
    cluster.images();
    cluster
        .alice(&format!(
            "salloc -Q -w node1 bash -c 'srun --container-writable --container-image={TINY} sh -c \"echo x >/x; cat /x\"; \
             srun --container-writable --container-image={TINY} ls /x; srun --container-image={TINY} cat /etc/oarlock-image'"
        ))
        .stdout_and_code("x\ntiny\n", 0);
}

fn without_the_option_nothing_is_written(cluster: &Cluster) {
    cluster.images();
    for option in ["", "--container-readonly"] {
        cluster
            .alice(&format!(
                "srun -w node1 {option} --container-image={TINY} sh -c 'exec 2>&1; echo x >/x; echo $?'"
            ))
            .stdout_and_code("/bin/sh: line 1: /x: Read-only file system\n1\n", 0);
    }
}

fn all_ranks_of_a_node_share_it(cluster: &Cluster) {
    cluster.images();
    cluster
        .alice(&format!(
            "srun -w node1 -n4 --container-writable --container-image={TINY} sh -c \
             'echo $SLURM_PROCID >/r$SLURM_PROCID; until [ -e /r0 ] && [ -e /r1 ] && [ -e /r2 ] && [ -e /r3 ]; do :; done; cat /r0'"
        ))
        .succeeds()
        .lines(["0", "0", "0", "0"]);
}

fn what_is_written_is_bounded(cluster: &Cluster) {
    cluster.images();
    const FILE: &str = "/etc/oarlock/oarlock.toml";
    let _small = cluster.change(
        "node1",
        &format!("cp -p {FILE} /root/policy-of-size && sed -i 's/^size = \"25%\"/size = \"1MiB\"/' {FILE}"),
        format!("cp -p /root/policy-of-size {FILE} && rm /root/policy-of-size"),
    );
    cluster
        .alice(&format!(
            "srun -w node1 --container-writable --container-image={DEMO} sh -c \
             'head -c 2000000 /dev/zero >/big 2>/dev/null; echo $?; rm /big; echo ok >/small && cat /small'"
        ))
        .stdout_and_code("1\nok\n", 0);
}

fn nothing_gives_another_users_or_roots_rights(cluster: &Cluster) {
    cluster.images();
    cluster
        .alice(&format!(
            "srun -w node1 --container-writable --container-image={DEMO} sh -c \
             'cp /usr/bin/id /usr/local/bin/id && chmod 6755 /usr/local/bin/id && /usr/local/bin/id -u; \
              mknod /dev/sda b 8 0 2>/dev/null || echo no node; mknod /n b 8 0 2>/dev/null || echo no node; \
              chown 0:0 /etc/passwd 2>/dev/null || echo not given away; \
              grep -E \" / / (rw|ro),nosuid,nodev\" /proc/self/mountinfo | wc -l; grep -c . /etc/shadow >/dev/null && echo shadow'"
        ))
        .stdout_and_code("1000\nno node\nno node\nnot given away\n1\nshadow\n", 0);
}

fn files_of_the_users_own_number_are_not_roots(cluster: &Cluster) {
    cluster.images();
    // An image in which a program of uid 1000 runs as its owner, and everybody may
    // change it: written by alice it must not become root's.
    let _made = cluster.change(
        "login",
        "d=$(mktemp -d) && cp -a /shared/tests/tiny.d/. $d && echo x >$d/mine && chmod 4777 $d/mine && chown 1000:1000 $d/mine && \
         mksquashfs $d /shared/images/own.sqsh -quiet -no-progress -noappend >/dev/null && rm -rf $d",
        "rm -f /shared/images/own.sqsh",
    );
    cluster
        .alice(
            "srun -w node1 --container-writable --container-image=/opt/images/own.sqsh sh -c \
             'echo y >>/mine; cat /mine; set -- $(ls -ln /mine); echo $1 $3 $4'",
        )
        .stdout_and_code("x\ny\n-rwxrwxrwx 4294967280 4294967280\n", 0);
}

fn missing_mount_points_are_made_in_it(cluster: &Cluster) {
    cluster.images();
    cluster
        .alice(&format!(
            "srun -w node1 --container-writable --container-image={TINY} --container-mounts=/etc/hostname:/a/b/c,/tmp:/deep/er sh -c \
             'cat /a/b/c; ls -d /deep/er $HOME; echo x >/a/b/d && cat /a/b/d'"
        ))
        .stdout_and_code("node1\n/deep/er\n/home/alice\nx\n", 0);
    // Also in directories of root's, where an image is a directory.
    cluster
        .alice(&format!(
            "srun -w node1 --container-writable --container-image={TINY_DIRECTORY} --container-mounts=/etc/hostname:/etc/a/b cat /etc/a/b"
        ))
        .stdout_and_code("node1\n", 0);
}

fn a_killed_step_leaves_nothing(cluster: &Cluster) {
    cluster.images();
    cluster
        .alice(&format!(
            "rm -f ~/is-in; (srun -w node1 --container-writable --container-image={TINY} sh -c \
             'echo $SLURM_JOB_ID >/home/alice/is-in; while :; do echo x >>/grows; done' >/dev/null 2>&1 &) ; \
             wait_for ~/is-in; scancel -s KILL $(cat ~/is-in); scancel $(cat ~/is-in); finish $(cat ~/is-in); rm ~/is-in"
        ))
        .succeeds();
    // The harness looks at what is left.
}
