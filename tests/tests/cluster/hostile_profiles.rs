//! Profiles by somebody who wants to read what is not his, or to keep a node busy.
//! Each is tried where the client sees it too, and where only the node does.

use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_profile_is_opened_with_its_users_rights,
        what_is_no_text_is_not_waited_for,
        depth_and_length_are_bounded,
        a_profile_is_read_in_confinement,
    ]
}

/// Where the nodes have files that the login node lacks.
const NODE: &str = "/var/tmp/oarlock-profiles";

fn a_profile_is_opened_with_its_users_rights(cluster: &Cluster) {
    let _node = cluster.change(
        "node1",
        &format!(
            "mkdir {NODE} && cd {NODE} && echo 'word = \"of bob\"' >bobs.toml && chown bob bobs.toml && chmod 600 bobs.toml && \
             mkdir -m 700 closed && echo >closed/x.toml && ln -s /etc/shadow shadow.toml && ln -s /proc/1/environ environ.toml && \
             echo 'base_environment = \"{NODE}/bobs.toml\"' >based.toml && ln -s /proc/1/root/etc/shadow magic.toml"
        ),
        format!("rm -r {NODE}"),
    );
    let denied = |file: &str| format!("profile {NODE}/{file}: permission denied for uid 1000");
    for (file, message) in [
        ("bobs.toml", denied("bobs.toml")),
        ("closed/x.toml", denied("closed/x.toml")),
        ("shadow.toml", denied("shadow.toml")),
        ("environ.toml", denied("environ.toml")),
        ("based.toml", denied("bobs.toml")),
    ] {
        cluster
            .alice(&format!(
                "srun -w node1 --container-profile={NODE}/{file} echo ran"
            ))
            .is_refused([format!("oarlock: node1: {message}")]);
    }
    let output = cluster.alice(&format!(
        "srun -w node1 --container-profile={NODE}/magic.toml echo ran"
    ));
    assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{output}");
    // The same by the client.
    let before = cluster.next_job();
    let output = cluster.alice("ln -s /etc/shadow ~/x.toml; srun --container-profile=./x.toml echo ran; rm ~/x.toml; exit 1");
    output.tells(["oarlock: profile ./x.toml: permission denied for uid 1000"]);
    assert_eq!(cluster.next_job(), before, "nothing may be queued");
}

fn what_is_no_text_is_not_waited_for(cluster: &Cluster) {
    let _node = cluster.change(
        "node1",
        &format!(
            "mkdir {NODE} && cd {NODE} && mkfifo -m 644 pipe.toml && mkdir dir.toml && head -c 100 /dev/urandom >noise.toml && \
             ln -s /dev/zero zero.toml && ln -s self.toml self.toml"
        ),
        format!("rm -r {NODE}"),
    );
    for (file, message) in [
        ("pipe.toml", "is a pipe, not a file"),
        ("dir.toml", "is a directory, not a file"),
        ("zero.toml", "is a device, not a file"),
        ("noise.toml", "not UTF-8 text"),
        ("self.toml", "Too many levels of symbolic links*"),
    ] {
        cluster
            .alice(&format!(
                "srun -w node1 --container-profile={NODE}/{file} echo ran"
            ))
            .is_refused([format!("oarlock: node1: profile {NODE}/{file}: {message}")]);
    }
    let output = cluster
        .alice("mkfifo ~/p.toml; srun --container-profile=./p.toml echo ran; rm ~/p.toml; exit 1");
    output.tells(["oarlock: profile ./p.toml: is a pipe, not a file"]);
}

fn depth_and_length_are_bounded(cluster: &Cluster) {
    let _node = cluster.change(
        "node1",
        &format!(
            "mkdir {NODE} && cd {NODE} && truncate -s 10G large.toml && \
             for i in $(seq 12); do echo \"base_environment = \\\"{NODE}/$((i + 1)).toml\\\"\" >$i.toml; done && \
             echo 'base_environment = \"{NODE}/circle.toml\"' >circle.toml && \
             (printf 'base_environment = ['; for i in $(seq 64); do printf '\"{NODE}/empty.toml\",'; done; echo ']') >wide.toml && touch empty.toml && \
             (printf 'mounts = '; head -c 60000 /dev/zero | tr '\\0' '[') >nested.toml && \
             (printf 'workdir = \"/'; printf '${{LONG}}%.0s' $(seq 1000); echo '\"') >blown.toml"
        ),
        format!("rm -r {NODE}"),
    );
    for (file, message) in [
        (
            "large.toml",
            format!("profile {NODE}/large.toml: longer than 64 KiB"),
        ),
        (
            "1.toml",
            format!("profile {NODE}/11.toml: line 1: base_environment: more than 10 levels"),
        ),
        (
            "circle.toml",
            format!("profile {NODE}/circle.toml: line 1: base_environment leads back to this file"),
        ),
        (
            "wide.toml",
            format!("profile {NODE}/wide.toml: it and its base_environment are more than 64 files"),
        ),
        (
            "nested.toml",
            format!("profile {NODE}/nested.toml: line 1: *"),
        ),
        (
            "blown.toml",
            format!(
                "profile {NODE}/blown.toml: line 1: workdir: longer than 64 KiB with its variables"
            ),
        ),
    ] {
        cluster
            .alice(&format!(
                "export LONG=$(printf 'x%.0s' $(seq 1000)); srun -w node1 --container-profile={NODE}/{file} echo ran"
            ))
            .is_refused([format!("oarlock: node1: {message}")]);
    }
}

/// Stopped at a file system that does not answer, the reader has nothing of root's.
fn a_profile_is_read_in_confinement(cluster: &Cluster) {
    let hanging = crate::confinement::hanging(cluster);
    crate::confinement::start(cluster, "--container-profile=/tmp/hanging/none.toml");
    let seen = cluster.root(
        "node1",
        "awk '/^(Uid|Gid|Groups|CapPrm|CapEff|CapBnd|NoNewPrivs|Seccomp):/ { $1 = $1; print }' \
         /proc/$(pgrep -x -u alice oarlock-prepare)/status",
    );
    drop(hanging);
    cluster
        .alice(crate::confinement::SAID)
        .says("oarlock: node1: profile /tmp/hanging/none.toml: no such file or directory\n");
    seen.succeeds().says(
        "Uid: 1000 1000 1000 1000\nGid: 1000 1000 1000 1000\nGroups: 1000 2000 2001\n\
         CapPrm: 0000000000000000\nCapEff: 0000000000000000\nCapBnd: 0000000000000000\n\
         NoNewPrivs: 1\nSeccomp: 2\n",
    );
}
