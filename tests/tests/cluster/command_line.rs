//! The command line program, as a user on the login node: no Slurm, no privilege.

use cluster_tests::images::{DEMO, DIRECTORY, TINIES, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        exec_runs_a_command,
        exec_passes_the_exit_code,
        exec_of_a_missing_command,
        exec_passes_signals,
        exec_passes_stdin,
        exec_keeps_the_user,
        exec_gives_no_privilege,
        exec_mounts,
        exec_workdir,
        exec_environment,
        exec_of_a_broken_image,
        exec_leaves_the_image_untouched,
        exec_explains,
        inspect_shows_an_image,
        inspect_of_a_broken_image,
        config_check,
        config_check_names_the_line,
        build_and_run,
    ]
}

fn exec_runs_a_command(cluster: &Cluster) {
    for (form, image) in TINIES {
        cluster
            .alice(&format!(
                "oarlock exec {image} cat /etc/oarlock-image # {form}"
            ))
            .succeeds()
            .says("tiny\n");
    }
    cluster
        .alice(&format!("oarlock exec {DEMO} python3 -c 'print(6 * 7)'"))
        .succeeds()
        .says("42\n");
}

/// What would be done, and nothing of it: no command is needed, and none is run.
fn exec_explains(cluster: &Cluster) {
    for command in ["", "touch /home/alice/ran"] {
        let output = cluster.alice(&format!(
            "oarlock exec --explain --mount /opt:/x:ro --workdir /x {TINY} {command}; ls ~/ran 2>/dev/null"
        ));
        assert_eq!((output.code, output.stderr.as_str()), (2, ""), "{output}");
        for line in [
            format!("image {TINY}: lies at {TINY}\n"),
            "root file system: squashfs of ".to_owned(),
            "/usr/bin/squashfuse_ll serves it\n".to_owned(),
            "starts in /x\n".to_owned(),
            "bind /opt at /x ro\n".to_owned(),
            "device /dev/null\n".to_owned(),
        ] {
            assert!(output.stdout.contains(&line), "{line}{output}");
        }
    }
    let output = cluster.alice("oarlock exec --explain ~/none.sif");
    assert_eq!((output.code, output.stdout.as_str()), (125, ""), "{output}");
}

fn exec_passes_the_exit_code(cluster: &Cluster) {
    let output = cluster.alice(&format!("oarlock exec {TINY} sh -c 'exit 42'"));
    assert_eq!(output.stderr, "", "{output}");
    output.stdout_and_code("", 42);
}

fn exec_of_a_missing_command(cluster: &Cluster) {
    for (command, code, message) in [
        (
            "scontrol",
            127,
            "oarlock: scontrol: No such file or directory in the container",
        ),
        (
            "/usr/bin/scontrol",
            127,
            "oarlock: /usr/bin/scontrol: No such file or directory in the container",
        ),
        (
            "/etc/passwd",
            126,
            "oarlock: /etc/passwd: Permission denied in the container",
        ),
    ] {
        let output = cluster.alice(&format!("oarlock exec {TINY} {command} --version"));
        assert_eq!(output.code, code, "{output}");
        output.tells([message]);
    }
}

fn exec_passes_signals(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "oarlock exec {TINY} sh -c 'trap \"echo told; exit 4\" TERM; echo ready >ready; while :; do sleep 0.1; done' &\n\
             wait_for ~/ready; rm ~/ready; kill -TERM $!; wait $!"
        ))
        .stdout_and_code("told\n", 4);
}

fn exec_passes_stdin(cluster: &Cluster) {
    cluster
        .alice(&format!("echo through | oarlock exec {TINY} cat"))
        .succeeds()
        .says("through\n");
}

fn exec_keeps_the_user(cluster: &Cluster) {
    cluster
        .alice(&format!("oarlock exec {TINY} sh -c 'id -u; id -g; id -un; cd; pwd; touch mine; stat -c %U mine; rm mine'"))
        .succeeds()
        .says("1000\n1000\nalice\n/home/alice\nalice\n");
}

fn exec_gives_no_privilege(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "oarlock exec {TINY} sh -c 'grep -E \"^(Cap|NoNew)\" /proc/self/status; probe-setuid | head -n 1; probe-capable | tail -n 3' 2>/dev/null || true"
        ))
        .succeeds();
    let output = cluster
        .alice(&format!(
            "oarlock exec {TINY} grep -E '^(Cap|NoNewPrivs)' /proc/self/status"
        ))
        .succeeds();
    for line in output.stdout.lines() {
        assert!(
            line.ends_with("\t0000000000000000") || line == "NoNewPrivs:\t1",
            "{output}"
        );
    }
    assert_eq!(output.stdout.lines().count(), 6, "{output}");
    for program in ["probe-setuid", "probe-capable"] {
        let output = cluster
            .alice(&format!("oarlock exec {TINY} {program}"))
            .succeeds();
        assert!(
            output
                .stdout
                .starts_with("uid 1000 1000 1000\nCapPrm:\t0000000000000000\n"),
            "{output}"
        );
        assert!(!output.stdout.contains(" done"), "{output}");
    }
}

fn exec_mounts(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "rm -rf ~/m; mkdir ~/m; echo seen >~/m/f\n\
         oarlock exec --mount $HOME/m:/a/b:ro -B /etc/hostname:/name {TINY} sh -c 'cat /a/b/f /name; echo x >/a/b/f'\n\
         cat ~/m/f; rm -rf ~/m"
    ));
    assert_eq!(output.stdout, "seen\nlogin\nseen\n", "{output}");
    assert!(output.stderr.contains("Read-only file system"), "{output}");
    let output = cluster.alice(&format!("oarlock exec --mount /nowhere:/a {TINY} true"));
    assert_eq!(output.code, 125, "{output}");
    assert!(
        output
            .stderr
            .contains("mount /nowhere:/a: source: No such file or directory; check that"),
        "{output}"
    );
}

fn exec_workdir(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "cd /shared/tests; oarlock exec {TINY} sh -c pwd; oarlock exec --workdir /usr/bin {TINY} sh -c 'pwd; echo $PWD'"
        ))
        .succeeds()
        .says("/shared/tests\n/usr/bin\n/usr/bin\n");
    let output = cluster.alice(&format!("oarlock exec --workdir /nowhere {TINY} echo ran"));
    assert_eq!(output.code, 125, "{output}");
    assert_eq!(output.stdout, "", "{output}");
    output.tells(["oarlock: working directory /nowhere: No such file or directory; it must be a directory inside the container"]);
}

fn exec_environment(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "export BOTH=job FROM_JOB=job OARLOCKENV_ASKED=asked\n\
             oarlock exec {TINY_FUSE} sh -c 'echo $FROM_JOB / $FROM_IMAGE / $BOTH / $ASKED'"
        ))
        .succeeds()
        .says("job / image / image and later / asked\n");
}

fn exec_of_a_broken_image(cluster: &Cluster) {
    for (name, message) in [
        (
            "missing.sif",
            "no such file or directory; check the path, and that this node has it",
        ),
        (
            "truncated.sif",
            "truncated: header promises * MiB, file has 293 KiB; copy it again",
        ),
        ("rootonly.sif", "permission denied for uid 1000; *"),
        (
            "arm64.sif",
            "the image is built for arm64, this machine is amd64; build or pull it for amd64",
        ),
    ] {
        let output = cluster.alice(&format!("oarlock exec {DIRECTORY}/{name} echo ran"));
        assert_eq!(output.code, 125, "{output}");
        assert_eq!(output.stdout, "", "{output}");
        output.tells([format!("oarlock: image {DIRECTORY}/{name}: {message}")]);
    }
}

fn exec_leaves_the_image_untouched(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "cp -r {DIRECTORY}/tiny.d ~/tree 2>/dev/null; chmod -R u+w ~/tree\n\
             (cd ~/tree && find . | sort) >before\n\
             oarlock exec ~/tree sh -c 'touch /new 2>/dev/null; cat /etc/oarlock-image'\n\
             (cd ~/tree && find . | sort) >after; cmp before after && echo same; rm -rf ~/tree before after"
        ))
        .succeeds()
        .says("tiny\nsame\n");
}

fn inspect_shows_an_image(cluster: &Cluster) {
    let output = cluster.alice(&format!("oarlock inspect {TINY}")).succeeds();
    for part in ["amd64", "squashfs"] {
        assert!(output.stdout.contains(part), "{part}: {output}");
    }
}

fn inspect_of_a_broken_image(cluster: &Cluster) {
    for (name, message) in [
        ("truncated.sif", "truncated"),
        ("text.sif", ""),
        ("rootonly.sif", ""),
    ] {
        let output = cluster.alice(&format!("oarlock inspect {DIRECTORY}/{name}"));
        assert_eq!(output.code, 1, "{output}");
        assert_eq!(output.stderr.lines().count(), 1, "{output}");
        assert!(output.stderr.starts_with("oarlock: "), "{output}");
        assert!(output.stderr.contains(name), "{output}");
        assert!(output.stderr.contains(message), "{output}");
    }
}

fn config_check(cluster: &Cluster) {
    let output = cluster.alice("oarlock config check").succeeds();
    assert!(
        output.stdout.contains("kernel_mount = \"trusted\""),
        "{output}"
    );
}

fn config_check_names_the_line(cluster: &Cluster) {
    let output = cluster.alice(
        "printf '[images]\\nkernel_mount = \"trusted\"\\n\\n[mounts]\\nhome = true\\nhoem = true\\n' >wrong.toml\n\
         oarlock config check wrong.toml; code=$?; rm wrong.toml; exit $code",
    );
    assert_eq!(output.code, 1, "{output}");
    for part in ["wrong.toml", "line 6", "hoem"] {
        assert!(output.stderr.contains(part), "{part}: {output}");
    }
}

fn build_and_run(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "cp -r {DIRECTORY}/tiny.d ~/tree 2>/dev/null; chmod -R u+w ~/tree; echo mine >~/tree/etc/oarlock-image\n\
         oarlock build ~/mine.sif ~/tree >/dev/null && srun -N2 --container-image=$HOME/mine.sif cat /etc/oarlock-image\n\
         oarlock build ~/mine.sif ~/tree; echo $?\n\
         rm -rf ~/tree ~/mine.sif"
    ));
    assert_eq!(output.stdout, "mine\nmine\n1\n", "{output}");
    assert!(
        output.stderr.contains(
            "image /home/alice/mine.sif exists; give another name, or --force to replace it"
        ),
        "{output}"
    );
}
