//! The flags of `--container-mounts`, and its sources that are no paths.

use cluster_tests::images::{TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        an_empty_file_system_in_memory,
        its_size_and_mode,
        what_is_not_to_be_shown,
        a_relative_source,
        programs_that_may_not_run,
        what_may_be_missing,
        what_a_target_must_be,
        what_travels_and_what_does_not,
        what_is_covered_stays_covered,
    ]
}

fn an_empty_file_system_in_memory(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        cluster
            .alice(&format!(
                "srun -w node1 -n2 --container-image={image} --container-mounts=tmpfs:/scratch sh -c \
                 'touch /scratch/$SLURM_PROCID; while [ ! -e /scratch/$((1 - SLURM_PROCID)) ]; do sleep 0.1; done; stat -c \"%a %U\" /scratch; \
                  grep \" /scratch \" /proc/self/mountinfo | tr \" \" \"\\n\" | grep -c nosuid' | sort"
            ))
            .succeeds()
            .says("1\n1\n1777 alice\n1777 alice\n");
    }
}

fn its_size_and_mode(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "srun -w node1 --container-image={TINY} --container-mounts=tmpfs:/scratch:size=1m+mode=0700+noexec sh -c \
         'stat -c %a /scratch; cat /bin/bash >/scratch/bash; chmod +x /scratch/bash; stat -c %s /scratch/bash; /scratch/bash -c true'"
    ));
    assert_eq!(output.stdout, "700\n1048576\n", "{output}");
    assert!(
        output.stderr.contains("No space left on device"),
        "{output}"
    );
    assert!(output.stderr.contains("Permission denied"), "{output}");
}

fn what_is_not_to_be_shown(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "touch ~/marked /tmp/marked; srun -w node1 touch /tmp/marked\n\
             srun -w node1 -D /usr --container-image={TINY} --container-mounts=umount:/tmp,umount:/home sh -c \
             'ls -d /tmp/marked /home/alice 2>/dev/null; stat -c %a /tmp; test -e /proc/self && echo proc'\n\
             srun -w node1 rm /tmp/marked; rm ~/marked /tmp/marked"
        ))
        .says("1777\nproc\n");
}

fn a_relative_source(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "mkdir -p ~/run/in ~/beside; echo in >~/run/in/f; echo beside >~/beside/f; cd ~/run\n\
             srun --container-image={TINY} --container-mounts=./in:/mnt/in:ro,../beside:/mnt/beside cat /mnt/in/f /mnt/beside/f\n\
             srun --container-image={TINY} --container-mounts=./in:./mnt/in cat /mnt/in/f\n\
             rm -rf ~/run ~/beside"
        ))
        .succeeds()
        .says("in\nbeside\nin\n");
}

fn programs_that_may_not_run(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "mkdir -p ~/m; printf '#!/bin/sh\\necho ran\\n' >~/m/p; chmod +x ~/m/p\n\
         srun -w node1 --container-image={TINY} --container-mounts=$HOME/m:/mnt/m:noexec /mnt/m/p\n\
         srun -w node1 --container-image={TINY} --container-mounts=$HOME/m:/mnt/m:noexec+exec /mnt/m/p\n\
         rm -rf ~/m"
    ));
    assert_eq!(output.stdout, "ran\n", "{output}");
    assert!(output.stderr.contains("Permission denied"), "{output}");
}

fn what_may_be_missing(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} --container-mounts=/nowhere:/mnt/x:nofail sh -c 'ls /mnt/x 2>/dev/null || echo left out'"
        ))
        .succeeds()
        .says("left out\n");
}

fn what_a_target_must_be(cluster: &Cluster) {
    for (flag, source, kernel) in [
        ("x-create=dir", "/etc/hostname", "not a directory"),
        ("x-create=file", "/etc/slurm", "is a directory"),
    ] {
        cluster
            .alice(&format!(
                "srun -w node1 -n2 --container-image={TINY} --container-mounts={source}:/mnt/x:{flag} echo ran"
            ))
            .is_refused([format!(
                "oarlock: node1: mount {source}:/mnt/x: source: {kernel}; check that the path exists on this node and that you may reach it"
            )]);
    }
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} --container-mounts=/etc/slurm:/mnt/x:x-create=dir+rbind,/etc/hostname:/mnt/y:x-create=file+bind cat /mnt/y"
        ))
        .succeeds()
        .says("node1\n");
}

/// What the node mounts while the step runs: on a directory that is `slave` (the
/// default) and `shared` it is seen, on a `private` one it is not.
fn what_travels_and_what_does_not(cluster: &Cluster) {
    let _directory = cluster.change(
        "node1",
        "mkdir -p /srv/travel && mount -t tmpfs travel /srv/travel && mount --make-shared /srv/travel && mkdir -p /srv/travel/sub",
        "umount -R /srv/travel && rmdir /srv/travel",
    );
    for (flag, seen) in [
        ("rslave", "seen\n"),
        ("shared", "seen\n"),
        ("private", "not seen\n"),
    ] {
        let job = cluster
            .alice(&format!(
                "rm -f ~/up ~/mounted; job=$(sbatch --parsable -w node1 -o ~/out --container-image={TINY} \
                 --container-mounts=/srv/travel:/mnt/t:{flag} --wrap \
                 'touch ~/up; until [ -e ~/mounted ]; do sleep 0.1; done; test -e /mnt/t/sub/marked && echo seen || echo not seen')\n\
                 until [ -e ~/up ]; do sleep 0.1; done; echo $job"
            ))
            .succeeds();
        let _mounted = cluster.change(
            "node1",
            "mount -t tmpfs later /srv/travel/sub && touch /srv/travel/sub/marked",
            "umount /srv/travel/sub",
        );
        cluster
            .alice(&format!(
                "touch ~/mounted; finish {}; cat ~/out; rm ~/up ~/mounted ~/out",
                job.stdout.trim()
            ))
            .succeeds()
            .says(seen);
    }
}

/// A bind without what is mounted below its source would show what the node covers.
fn what_is_covered_stays_covered(cluster: &Cluster) {
    let _covered = cluster.change(
        "node1",
        "mkdir -p /srv/covered/in && echo secret >/srv/covered/in/f && chmod 0644 /srv/covered/in/f && mount -t tmpfs cover /srv/covered/in",
        "umount /srv/covered/in && rm -r /srv/covered",
    );
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} --container-mounts=/srv/covered:/mnt/c:bind sh -c 'ls /mnt/c/in | grep -c . ; true'"
        ))
        .succeeds()
        .says("0\n");
}
