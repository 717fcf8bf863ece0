//! What is seen inside: the image, and what of the node belongs there.

use cluster_tests::images::{DEMO, TINIES, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        passwd_and_group_know_the_user,
        network_files_are_the_nodes,
        home_is_the_users_and_writable,
        tmp_is_the_nodes_and_writable,
        shared_memory_is_the_nodes,
        the_image_cannot_be_written,
        dev_holds_only_the_private_nodes,
        dev_nodes_work,
        proc_and_sys_are_there,
        no_trace_of_the_host_is_mounted,
        the_mount_options,
        older_mount_calls_make_the_same
    ]
}

fn passwd_and_group_know_the_user(cluster: &Cluster) {
    for (form, image) in TINIES.into_iter().chain([("demo", DEMO)]) {
        cluster
            .alice(&format!(
                "# {form}\n\
                 srun --container-image={image} sh -c 'id; grep -c ^root: /etc/passwd; grep :1000: /etc/passwd'"
            ))
            .succeeds()
            .says(
                "uid=1000(alice) gid=1000(alice) groups=1000(alice),2000(chem),2001(gpu)\n1\n\
                 alice:x:1000:1000::/home/alice:/bin/bash\n",
            );
    }
}

fn network_files_are_the_nodes(cluster: &Cluster) {
    for node in ["node1", "node2"] {
        let files = "/etc/resolv.conf /etc/hosts";
        let outside = cluster.root(node, &format!("cat {files}")).succeeds();
        for image in [TINY, DEMO] {
            cluster
                .alice(&format!(
                    "srun -w {node} --container-image={image} cat {files}"
                ))
                .succeeds()
                .says(&outside.stdout);
        }
    }
}

fn home_is_the_users_and_writable(cluster: &Cluster) {
    for (form, image) in TINIES {
        cluster
            .alice(&format!(
                "# {form}\n\
                 srun --container-image={image} sh -c 'cd; pwd; echo written >here'; cat ~/here; rm ~/here"
            ))
            .succeeds()
            .says("/home/alice\nwritten\n");
    }
}

fn tmp_is_the_nodes_and_writable(cluster: &Cluster) {
    for place in ["/tmp", "/var/tmp"] {
        cluster
            .alice(&format!(
                "srun -w node1 --container-image={TINY} sh -c 'echo $$ >{place}/mine; cat {place}/mine >~/there'\n\
                 srun -w node1 cat {place}/mine >~/here; srun -w node1 rm {place}/mine\n\
                 cmp ~/here ~/there && echo same; rm ~/here ~/there"
            ))
            .succeeds()
            .says("same\n");
    }
}

fn shared_memory_is_the_nodes(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 sh -c 'echo outside >/dev/shm/meeting'\n\
             srun -w node1 --container-image={TINY} sh -c 'cat /dev/shm/meeting; rm /dev/shm/meeting'"
        ))
        .succeeds()
        .says("outside\n");
}

fn the_image_cannot_be_written(cluster: &Cluster) {
    for (form, image) in TINIES {
        let output = cluster.alice(&format!(
            "# {form}\n\
             srun --container-image={image} sh -c 'touch /new /etc/new /usr/bin/new /home/new; chmod 777 /bin/cat; rm -f /bin/cat'"
        ));
        assert_ne!(output.code, 0, "{output}");
        assert_eq!(
            output.stderr.matches("Read-only file system").count(),
            6,
            "{output}"
        );
    }
}

/// No GPU, no FUSE, no loop device: nothing but these.
fn dev_holds_only_the_private_nodes(cluster: &Cluster) {
    for (form, image) in TINIES {
        for (options, granted) in [("", None), ("--gres=gpu:1", Some("fakegpu0"))] {
            let every = [
                "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
                "stdout", "tty", "urandom", "zero",
            ];
            cluster
                .alice(&format!(
                    "srun {options} --container-image={image} ls /dev # {form}"
                ))
                .succeeds()
                .lines(every.into_iter().chain(granted));
        }
    }
}

fn dev_nodes_work(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun --container-image={DEMO} sh -c 'echo x >/dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; \
             echo to stdout >/dev/stdout; cat </dev/fd/0; echo x >/dev/full || echo full' </dev/null 2>/dev/null"
        ))
        .stdout_and_code("3\n3\nto stdout\nfull\n", 0);
}

fn proc_and_sys_are_there(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun --container-image={TINY_FUSE} sh -c 'cat /proc/self/comm; test -d /sys/devices/system/cpu && echo sys'"
        ))
        .succeeds()
        .says("cat\nsys\n");
}

/// The old root, and what was only needed for building, is gone.
fn no_trace_of_the_host_is_mounted(cluster: &Cluster) {
    for (form, image) in TINIES {
        let output = cluster
            .alice(&format!(
                "# {form}\nsrun -w node1 -D /tmp --container-image={image} cat /proc/self/mountinfo"
            ))
            .succeeds();
        // The image's own large directories, bound as they are where no server is
        // in between.
        let own = |point: &&str| ["/bin", "/lib", "/lib64", "/opt", "/usr"].contains(point);
        let mut points: Vec<&str> = output
            .stdout
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|point| !own(point))
            .filter(|point| {
                !["/proc/", "/sys/", "/dev/"]
                    .iter()
                    .any(|above| point.starts_with(above))
            })
            .collect();
        points.sort_unstable();
        assert_eq!(
            points,
            [
                "/",
                "/dev",
                "/etc/group",
                "/etc/hosts",
                "/etc/localtime",
                "/etc/passwd",
                "/etc/resolv.conf",
                "/home/alice",
                "/proc",
                "/sys",
                "/tmp",
                "/var/tmp"
            ],
            "{output}"
        );
    }
}

fn the_mount_options(cluster: &Cluster) {
    for (form, image) in TINIES {
        let output = cluster
            .alice(&format!(
                "# {form}\nsrun --container-image={image} --container-mounts=/shared:/mnt cat /proc/self/mountinfo"
            ))
            .succeeds();
        for line in output.stdout.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let (point, options) = (fields[4], fields[5]);
            let has = |option: &str| options.split(',').any(|o| o == option);
            assert!(has("nosuid"), "{point} lacks nosuid: {output}");
            assert!(
                has("nodev") || point.starts_with("/dev/") || point.starts_with("/proc/"),
                "{point} lacks nodev: {output}"
            );
            assert!(point != "/" || has("ro"), "{point} is writable: {output}");
            assert!(
                !line.contains("shared:"),
                "{point} would be seen outside: {output}"
            );
        }
    }
}

/// mount(2) alone, as on kernels before 5.12.
fn older_mount_calls_make_the_same(cluster: &Cluster) {
    const CONFIG: &str = "/etc/oarlock/oarlock.toml";
    let look = |image: &str| {
        cluster
            .alice(&format!(
                "touch ~/there; srun -w node1 -n2 --container-image={image} --container-mounts=/etc:/dev/x/y:ro,/shared:/mnt/s sh -c '\
                   ls /dev | sort; ls ~/there /dev/x/y/hostname /mnt/s/tests/tiny.sif; : >/tmp/by-$SLURM_PROCID; : >/dev/null\n\
                   while read -r a b c d e f rest; do case $e in /tmp*|/|/proc|/sys|/home/*|/mnt/s|/dev/x/y) echo $e ${{f%%,relatime}};; esac; done </proc/self/mountinfo | sort | uniq'; \
                 code=$?; rm ~/there; exit $code"
            ))
            .succeeds()
            .stdout
    };
    let mut seen = Vec::new();
    for calls in ["auto", "old"] {
        let _restore = cluster.change(
            "node1",
            &format!("cp -p {CONFIG} /root/kept && sed -i 's/^mount_calls = .*/mount_calls = \"{calls}\"/' {CONFIG}"),
            format!("cp -p /root/kept {CONFIG} && rm /root/kept"),
        );
        for image in [TINY, TINY_FUSE] {
            seen.push(look(image));
            cluster.root("node1", "rm /tmp/by-0 /tmp/by-1").succeeds();
        }
    }
    let sorted = |text: &String| {
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    let first = sorted(&seen[0]);
    assert!(first.contains("/tmp rw,nosuid,nodev"), "{first}");
    for other in &seen {
        assert_eq!(sorted(other), first);
    }
}
