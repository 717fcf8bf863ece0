//! Nodes whose Slurm has no plugin, another one, or one of another version: nothing
//! runs outside of a container that was asked for, and the user is told.

use cluster_tests::images::TINY;
use cluster_tests::{Case, Cluster, Restore, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_node_without_the_line_runs_nothing,
        a_node_without_the_line_runs_no_batch_job,
        a_node_without_the_line_runs_nothing_whatever_is_exported,
        a_node_without_the_line_runs_no_inner_step,
        an_optional_plugin_that_is_missing,
        a_required_plugin_that_is_missing,
        a_plugin_of_another_slurm,
        what_the_client_sends_along_is_taken_away,
        an_optional_plugin_refuses_in_the_client,
        another_plugin_has_the_option,
        prepare_of_another_version,
    ]
}

const LINE: &str = "/etc/slurm/plugstack.conf.d/oarlock.conf";
/// Debian has Slurm's plugins here.
const PLUGIN: &str = "/usr/lib/*/slurm-wlm/spank_oarlock.so";
const RUN: &str = "sh -c 'cat /etc/oarlock-image 2>/dev/null || echo uncontained'";
/// What Slurm makes of it in the task; the words are ours.
const WORDS: &str = "Unable to create TMPDIR [/oarlock: this node has no plugin spank_oarlock.so/so there is no container, and nothing may run; tell the administrators]: No such file or directory";

/// Puts a node back to work that Slurm has drained.
const RESUME: &str = "for try in $(seq 100); do case $(sinfo -h -n node2 -o %T) in idle) break;; drain*|down*) scontrol update nodename=node2 state=resume 2>/dev/null;; esac; sleep 0.1; done";

fn without_the_line(cluster: &Cluster) -> Restore<'_> {
    cluster.change(
        "node2",
        &format!("mv {LINE} /root/line"),
        format!("mv /root/line {LINE}; {RESUME}"),
    )
}

/// node2's plugin away, behind `optional` or `required`.
fn without_the_plugin<'a>(cluster: &'a Cluster, how: &str) -> Restore<'a> {
    cluster.change(
        "node2",
        &format!(
            "cp -p {LINE} /root/line && sed -i 's/^required/{how}/' {LINE} && mv {PLUGIN} /root/plugin"
        ),
        format!("mv /root/plugin {}; mv /root/line {LINE}; {RESUME}", back()),
    )
}

/// Where the plugin goes back to.
fn back() -> &'static str {
    "$(ls -d /usr/lib/*/slurm-wlm)/spank_oarlock.so"
}

fn a_node_without_the_line_runs_nothing(cluster: &Cluster) {
    let _restore = without_the_line(cluster);
    let output = cluster.alice(&format!("srun -w node2 -n4 --container-image={TINY} {RUN}"));
    assert_ne!(output.code, 0, "{output}");
    assert_eq!(output.stdout, "", "{output}");
    // Once a node.
    assert_eq!(output.stderr.matches(WORDS).count(), 1, "{output}");
    // Of two nodes, the other one has its container.
    let output = cluster.alice(&format!(
        "srun -w node1,node2 -N2 --container-image={TINY} {RUN}"
    ));
    assert_ne!(output.code, 0, "{output}");
    assert!(!output.stdout.contains("uncontained"), "{output}");
    // Who asks for no container has nothing to do with it.
    cluster
        .alice(&format!("srun -w node2 {RUN}; until sinfo -h -p main -n node2 -o %T | grep -v completing; do sleep 0.2; done"))
        .succeeds()
        .says("uncontained\nidle\n");
}

fn a_node_without_the_line_runs_no_batch_job(cluster: &Cluster) {
    let _restore = without_the_line(cluster);
    for form in [
        format!("sbatch --container-image={TINY}"),
        format!("OARLOCK_CONTAINER_IMAGE={TINY} sbatch"),
        format!("sbatch --propagate=ALL --container-image={TINY}"),
        format!("sbatch --export=ALL,MINE=1 --container-image={TINY}"),
    ] {
        let output = cluster.alice(&format!(
            "job=$({form} --parsable -w node2 -o ~/out --wrap 'echo ran; touch ~/ran') || exit\n\
             finish $job; cat ~/out; rm ~/out; ended $job; ls ~/ran 2>&1"
        ));
        assert!(
            !output.stdout.contains("ran\n") || output.stdout.contains("cannot access"),
            "{form}: {output}"
        );
        assert!(output.stdout.contains(WORDS), "{form}: {output}");
        assert!(output.stdout.contains("FAILED "), "{form}: {output}");
    }
    // Without a container it runs.
    cluster
        .alice("job=$(sbatch --parsable -w node2 -o ~/out --wrap 'echo ran'); finish $job; cat ~/out; rm ~/out; ended $job")
        .says("ran\nCOMPLETED 0:0\n");
}

/// The words may be lost with the user's variables; that nothing runs may not.
fn a_node_without_the_line_runs_nothing_whatever_is_exported(cluster: &Cluster) {
    let _restore = without_the_line(cluster);
    for form in ["--export=NONE", "--export=MINE", "--export=MINE=1"] {
        let output = cluster.alice(&format!(
            "srun {form} -w node2 -n2 --container-image={TINY} sh -c 'echo ran'"
        ));
        assert_ne!(output.code, 0, "{form}: {output}");
        assert_eq!(output.stdout, "", "{form}: {output}");
        let output = cluster.alice(&format!(
            "job=$(sbatch {form} --parsable -w node2 -o ~/out --container-image={TINY} --wrap 'echo it ran') || exit\n\
             finish $job; cat ~/out; rm ~/out; ended $job"
        ));
        assert!(!output.stdout.contains("it ran\n"), "{form}: {output}");
        assert!(output.stdout.contains("FAILED "), "{form}: {output}");
    }
    // Neither a list of programs nor a program that Slurm copies there.
    let output = cluster.alice(&format!(
        "echo '0-1 /bin/echo ran' >~/programs; srun -w node2 -n2 --multi-prog --container-image={TINY} ~/programs; code=$?; rm ~/programs; exit $code"
    ));
    assert_ne!(output.code, 0, "{output}");
    assert_eq!(output.stdout, "", "{output}");
    let output = cluster.alice(&format!(
        "srun -w node2 --bcast=/tmp/copied --container-image={TINY} /bin/echo ran"
    ));
    cluster.root("node2", "rm -f /tmp/copied").succeeds();
    assert_ne!(output.code, 0, "{output}");
    assert_eq!(output.stdout, "", "{output}");
}

/// Of an allocation, and of a batch script that runs elsewhere.
fn a_node_without_the_line_runs_no_inner_step(cluster: &Cluster) {
    let _restore = without_the_line(cluster);
    let output = cluster.alice(&format!(
        "salloc -Q -w node1,node2 -N2 --container-image={TINY} srun -w node2 -N1 -n1 {RUN}"
    ));
    assert_ne!(output.code, 0, "{output}");
    assert_eq!(output.stdout, "", "{output}");
    let output = cluster.alice(&format!(
        "job=$(sbatch --parsable -w node1,node2 -N2 -o ~/out --wrap 'srun -w node2 -N1 -n1 --container-image={TINY} echo ran') || exit\n\
         finish $job; cat ~/out; rm ~/out; ended $job"
    ));
    assert!(
        !output.stdout.contains("\nran\n") && !output.stdout.starts_with("ran"),
        "{output}"
    );
    assert!(output.stdout.contains(WORDS), "{output}");
    assert!(output.stdout.contains("FAILED "), "{output}");
}

/// Slurm passes over it.
fn an_optional_plugin_that_is_missing(cluster: &Cluster) {
    let _restore = without_the_plugin(cluster, "optional");
    let output = cluster.alice(&format!("srun -w node2 -n2 --container-image={TINY} {RUN}"));
    assert_ne!(output.code, 0, "{output}");
    assert_eq!(output.stdout, "", "{output}");
    assert!(output.stderr.contains(WORDS), "{output}");
}

/// Slurm refuses every step, and from 23.02 on drains the node at the first job's end.
fn a_required_plugin_that_is_missing(cluster: &Cluster) {
    let _restore = without_the_plugin(cluster, "required");
    let output = cluster.alice(&format!("srun -w node2 --container-image={TINY} {RUN}"));
    assert_eq!(output.stdout, "", "{output}");
    if cluster.slurm() > (22, 5) {
        assert_ne!(output.code, 0, "{output}");
        assert!(output.stderr.contains("launch failed: "), "{output}");
    }
}

/// Slurm compares the versions, and the plugin is as good as missing.
fn a_plugin_of_another_slurm(cluster: &Cluster) {
    for how in ["optional", "required"] {
        let _restore = without_the_plugin(cluster, how);
        let _other = cluster.change(
            "node2",
            &format!(
                "printf '#include <slurm/spank.h>\\nconst char plugin_name[] = \"oarlock\", plugin_type[] = \"spank\";\\n\
                 const unsigned int plugin_version = 0x150800, spank_plugin_version = 1;\\n' >/root/other.c\n\
                 gcc -shared -fPIC -o {} /root/other.c; code=$?; rm /root/other.c; exit $code",
                back()
            ),
            format!("rm -f {}", back()),
        );
        let output = cluster.alice(&format!("srun -w node2 --container-image={TINY} {RUN}"));
        assert_eq!(output.stdout, "", "{how}: {output}");
        assert!(
            output.code != 0 || cluster.slurm() == (22, 5),
            "{how}: {output}"
        );
        let log = cluster.root("node2", "tail -n 40 /var/log/slurm/slurmd.log");
        assert!(
            how == "optional" || log.stdout.contains("ncompatible"),
            "{log}"
        );
    }
}

/// The job has the limit and the TMPDIR that it would have had, and none of ours.
fn what_the_client_sends_along_is_taken_away(cluster: &Cluster) {
    let show = "env | grep -E \"^(TMPDIR|SLURM_RLIMIT|SLURM_OARLOCK)\" | sort; ulimit -v";
    for (before, expected) in [
        ("unset TMPDIR", "TMPDIR=/tmp\nunlimited\n"),
        ("export TMPDIR=/var/tmp", "TMPDIR=/var/tmp\nunlimited\n"),
    ] {
        cluster
            .alice(&format!(
                "{before}; srun -w node2 --container-image={TINY} bash -c '{show}'"
            ))
            .succeeds()
            .says(expected);
        cluster
            .alice(&format!(
                "{before}; job=$(sbatch --parsable -w node2 -o ~/out --container-image={TINY} --wrap '{show}'); finish $job; cat ~/out\n\
                 job=$(sbatch --parsable -w node2 -o ~/out --wrap '{show}; srun --container-image={TINY} bash -c \"echo \\$TMPDIR; ulimit -v\"'); finish $job; cat ~/out; rm ~/out"
            ))
            .succeeds()
            .says(&format!("{expected}{expected}{}", expected.replace("TMPDIR=", "")));
        // A shell of salloc's is the user's own, on the machine that he is on.
        cluster
            .alice(&format!("{before}; salloc -Q -w node2 --container-image={TINY} bash -c 'echo ${{TMPDIR-none}} ${{SLURM_RLIMIT_AS-none}}'"))
            .succeeds()
            .says(if before.starts_with("unset") { "none none\n" } else { "/var/tmp none\n" });
    }
}

/// Slurm throws an optional plugin's return code away.
fn an_optional_plugin_refuses_in_the_client(cluster: &Cluster) {
    let _optional = cluster.change(
        "login",
        &format!("cp -p {LINE} /root/line && sed -i 's/^required/optional/' {LINE}"),
        format!("mv /root/line {LINE}"),
    );
    let before = cluster.next_job();
    for client in [
        "srun -w node2 echo ran",
        "sbatch --wrap true",
        "salloc true",
    ] {
        let output = cluster.alice(&client.replacen(' ', " --container-workdir=/tmp ", 1));
        assert_eq!(output.code, 1, "{output}");
        assert_eq!(output.stdout, "", "{output}");
        output
            .tells(["oarlock: --container-workdir needs a container; add --container-image=PATH"]);
    }
    assert_eq!(cluster.next_job(), before, "nothing may be queued");
    cluster
        .alice(&format!("srun -w node2 --container-image={TINY} {RUN}"))
        .succeeds()
        .says("tiny\n");
}

/// Slurm gives the option to the first, and keeps quiet.
fn another_plugin_has_the_option(cluster: &Cluster) {
    const SOURCE: &str = "#include <slurm/spank.h>\nSPANK_PLUGIN(pyxis, 1)\n\
        static int taken(int val, const char *arg, int remote) { return 0; }\n\
        static struct spank_option image = { \"container-image\", \"IMAGE\", \"of another plugin\", 1, 0, taken };\n\
        int slurm_spank_init(spank_t sp, int ac, char **av) { return spank_option_register(sp, &image); }\n";
    let _other = cluster.change(
        "login",
        &format!(
            "cat >/root/other.c <<'END'\n{SOURCE}END\n\
             gcc -shared -fPIC -o /root/other.so /root/other.c && install -m 644 /root/other.so /usr/lib/other.so && rm /root/other.* &&\n\
             echo 'optional /usr/lib/other.so' >/etc/slurm/plugstack.conf.d/another.conf"
        ),
        "rm -f /etc/slurm/plugstack.conf.d/another.conf /usr/lib/other.so",
    );
    let before = cluster.next_job();
    for client in [
        "srun -w node2 echo ran",
        "sbatch --wrap true",
        "salloc true",
    ] {
        let output =
            cluster.alice(&client.replacen(' ', &format!(" --container-image={TINY} "), 1));
        assert_eq!(output.code, 1, "{output}");
        assert_eq!(output.stdout, "", "{output}");
        let told = "oarlock: option --container-image: the plugin \"pyxis\" has one of this name, too, and took it; leave one of the two in plugstack.conf";
        assert!(output.stderr.lines().any(|line| line == told), "{output}");
    }
    assert_eq!(cluster.next_job(), before, "nothing may be queued");
    // Who asks for no container is left alone.
    cluster
        .alice(&format!("srun -w node2 {RUN} 2>/dev/null"))
        .says("uncontained\n");
}

/// A plugin that is newer, or older, than what it starts.
fn prepare_of_another_version(cluster: &Cluster) {
    let prepare = "/usr/libexec/oarlock/oarlock-prepare";
    let _restore = cluster.change(
        "node2",
        &format!(
            "mv {prepare} /root/prepare.kept && printf '#!/bin/sh\\nexec 4</dev/null; exec /root/prepare.kept \"$@\"\\n' >{prepare} && chmod 755 {prepare}"
        ),
        format!("mv -f /root/prepare.kept {prepare}"),
    );
    let output = cluster.alice(&format!("srun -w node2 -n2 --container-image={TINY} {RUN}"));
    output.is_refused(["oarlock: node2: *are plugin and oarlock-prepare of one version?"]);
}
