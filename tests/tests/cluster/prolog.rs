//! Slurm's task prologs and epilogs: on the host, without a usable capability, and what
//! they say reaches the rank. Each case is run in both ways that there are: through
//! `oarlock-enter` (Slurm 23.11 and newer), and where that program has no file
//! capabilities, with the prologs run before the entry.

use cluster_tests::cluster::Restore;
use cluster_tests::images::{DEMO, MPICH, TINIES, TINY};
use cluster_tests::{Case, Cluster, Output, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_users_prolog_runs_on_the_host,
        the_sites_prolog_comes_first_and_both_are_heard,
        what_a_prolog_says_wins_over_the_image,
        every_rank_has_its_own_prolog,
        a_prolog_that_fails,
        a_prolog_that_cannot_be_run,
        the_variable_stands_for_the_option,
        epilogs_see_the_host,
        a_batch_script_has_the_sites_prolog,
        a_rank_after_a_prolog_is_without_privilege,
        a_program_of_the_image_alone_is_found,
        a_program_that_is_not_there,
        programs_that_slurm_names_itself,
        where_neither_way_is_there_the_step_fails,
        arguments_signals_and_exit_codes_are_unchanged,
        the_working_directory_is_as_without_a_prolog,
        every_form_of_image_is_entered,
        mpi_finds_its_world_after_a_prolog,
        a_terminal_after_a_prolog,
    ]
}

pub(crate) const ENTER: &str = "/usr/libexec/oarlock/oarlock-enter";

/// Runs a test in both ways into the container. On a Slurm before 23.11 they are one.
pub(crate) fn both_ways(cluster: &Cluster, test: impl Fn(&Cluster)) {
    test(cluster);
    let _without = without_file_capabilities(cluster);
    test(cluster);
}

/// As on a node whose root file system keeps no extended attributes.
fn without_file_capabilities(cluster: &Cluster) -> [Restore<'_>; 2] {
    ["node1", "node2"].map(|node| {
        cluster.change(
            node,
            &format!(
                "cp {ENTER} {ENTER}.bare && mv {ENTER} {ENTER}.able && mv {ENTER}.bare {ENTER}"
            ),
            format!("mv {ENTER}.able {ENTER}"),
        )
    })
}

/// A prolog of alice's, where every node sees it.
pub(crate) fn script<'a>(cluster: &'a Cluster, body: &str) -> Restore<'a> {
    script_in(cluster, "/shared/prolog.sh", body)
}

fn script_in<'a>(cluster: &'a Cluster, path: &str, body: &str) -> Restore<'a> {
    cluster.change(
        "login",
        &format!("cat >{path} <<'END'\n#!/bin/sh\n{body}\nEND\nchmod 755 {path}"),
        format!("rm -f {path}"),
    )
}

/// The nodes' slurm.conf with one more line, which they have read.
fn site<'a>(cluster: &'a Cluster, line: &str) -> Vec<Restore<'a>> {
    const CONF: &str = "/etc/slurm/slurm.conf";
    const READ: &str = "scontrol reconfigure && sleep 2 && \
        until [ \"$(sinfo -h -N -t idle -o %N | sort -u | wc -l)\" = 2 ]; do sleep 0.2; done";
    let mut all: Vec<_> = ["node1", "node2"]
        .map(|node| {
            cluster.change(
                node,
                &format!("cp -p {CONF} /root/slurm.conf && echo '{line}' >>{CONF}"),
                format!("cp -p /root/slurm.conf {CONF} && rm /root/slurm.conf"),
            )
        })
        .into();
    // Last, also when all is put back.
    all.push(cluster.change("login", READ, READ));
    all
}

fn a_users_prolog_runs_on_the_host(cluster: &Cluster) {
    let _script = script(
        cluster,
        "echo print \"on the host: $(cat /etc/oarlock-image 2>/dev/null) $(cat /etc/hostname) $SLURM_SCRIPT_CONTEXT $0 path=$PATH\"\n\
         echo export FROM_PROLOG=a value\necho unset TAKEN",
    );
    both_ways(cluster, |cluster| {
        cluster
            .alice(&format!(
                "PATH=/usr/bin:/bin TAKEN=1 srun -w node1 --task-prolog=/shared/prolog.sh --container-image={DEMO} \
                 sh -c 'cat /etc/oarlock-image; echo \"$FROM_PROLOG\" \"$TAKEN\"; env | grep -i spank_option | wc -l'"
            ))
            .stdout_and_code(
                "on the host:  node1 prolog_task /shared/prolog.sh path=/usr/bin:/bin\n\
                 demo\na value \n0\n",
                0,
            );
    });
}

fn the_sites_prolog_comes_first_and_both_are_heard(cluster: &Cluster) {
    let _user = script(cluster, "echo print user $SITE; echo export USER_S=2");
    let _site = script_in(
        cluster,
        "/shared/site.sh",
        "echo print site; echo export SITE=1; echo export USER_S=1",
    );
    let _conf = site(cluster, "TaskProlog=/shared/site.sh");
    both_ways(cluster, |cluster| {
        cluster
            .alice(&format!(
                "srun -w node1 --task-prolog=/shared/prolog.sh --container-image={TINY} \
                 sh -c 'cat /etc/oarlock-image; echo $SITE $USER_S'"
            ))
            .stdout_and_code("site\nuser 1\ntiny\n1 2\n", 0);
        cluster
            .alice(&format!(
                "srun -w node1 --container-image={TINY} sh -c 'cat /etc/oarlock-image; echo $SITE $USER_S'; srun -w node1 sh -c 'echo $SITE'"
            ))
            .stdout_and_code("site\ntiny\n1 1\nsite\n1\n", 0);
    });
}

fn what_a_prolog_says_wins_over_the_image(cluster: &Cluster) {
    let _script = script(
        cluster,
        "echo export PATH=/from/prolog:/usr/bin:/bin\necho export LD_LIBRARY_PATH=/from/prolog/lib",
    );
    both_ways(cluster, |cluster| {
        cluster
            .alice(&format!(
                "srun -w node1 --task-prolog=/shared/prolog.sh --container-image={DEMO} sh -c 'echo $PATH $LD_LIBRARY_PATH $PWD'"
            ))
            .stdout_and_code("/from/prolog:/usr/bin:/bin /from/prolog/lib /home/alice\n", 0);
        // What it does not name is the image's.
        let path = |prolog: &str| {
            cluster
                .alice(&format!(
                    "LD_LIBRARY_PATH=/of/the/host srun -w node1 {prolog} --container-image={DEMO} \
                     sh -c 'echo $PATH \"${{LD_LIBRARY_PATH-none}}\"'"
                ))
                .succeeds()
                .stdout
        };
        let direct = path("");
        assert!(direct.ends_with(" none\n"), "{direct}");
        assert_eq!(path("--task-prolog=/bin/true"), direct);
    });
}

fn every_rank_has_its_own_prolog(cluster: &Cluster) {
    let _script = script(
        cluster,
        "echo print p$SLURM_PROCID $SLURM_TASK_PID; echo export MINE=$SLURM_PROCID",
    );
    both_ways(cluster, |cluster| {
        cluster
            .alice(&format!(
                "srun -N2 -n16 --task-prolog=/shared/prolog.sh --container-image={DEMO} sh -c 'echo r$MINE $$' | sed 's/^[pr]//' | sort | uniq -c | awk '{{print $1, $2}}'"
            ))
            .succeeds()
            .lines((0..16).map(|rank| format!("2 {rank}")));
    });
}

/// What slurmstepd itself has told the user, without the time, which some versions put
/// before it.
fn slurms_words(output: &Output) -> Vec<String> {
    let told = output
        .stderr
        .lines()
        .filter(|line| !line.contains("srun: "));
    told.map(|line| match line.split_once("] error: ") {
        Some((time, words)) if time.starts_with('[') => format!("error: {words}"),
        _ => line.to_owned(),
    })
    .collect()
}

fn a_prolog_that_fails(cluster: &Cluster) {
    for (body, code) in [
        ("echo print seen; exit 3", 3),
        ("echo print unseen; kill -9 $$", 1),
    ] {
        let _script = script(cluster, body);
        let run = |image: &str| {
            let output = cluster.alice(&format!(
                "srun -Q -w node1 --task-prolog=/shared/prolog.sh {image} touch /home/alice/has-run; code=$?; ls /home/alice/has-run 2>/dev/null; exit $code"
            ));
            assert_eq!(output.code, code, "{output}");
            (output.stdout.clone(), slurms_words(&output))
        };
        let outside = run("");
        assert!(!outside.1.is_empty(), "Slurm says nothing");
        both_ways(cluster, |_| {
            assert_eq!(run(&format!("--container-image={DEMO}")), outside);
        });
    }
}

fn a_prolog_that_cannot_be_run(cluster: &Cluster) {
    let run = |image: &str| {
        let output = cluster.alice(&format!(
            "SLURM_TASK_PROLOG=/none/prolog.sh srun -Q -w node1 {image} true"
        ));
        assert_eq!(output.code, 1, "{output}");
        slurms_words(&output)
    };
    let outside = run("");
    assert!(
        outside.iter().any(|l| l.contains("status=1")),
        "{outside:?}"
    );
    both_ways(cluster, |_| {
        assert_eq!(run(&format!("--container-image={DEMO}")), outside);
    });
}

fn the_variable_stands_for_the_option(cluster: &Cluster) {
    let _script = script(cluster, "echo print \"$(cat /etc/hostname)\"");
    both_ways(cluster, |cluster| {
        cluster
            .alice(&format!(
                "SLURM_TASK_PROLOG=/shared/prolog.sh srun -w node1 --container-image={TINY} cat /etc/oarlock-image"
            ))
            .stdout_and_code("node1\ntiny\n", 0);
        // An argument of the program's is not srun's.
        cluster
            .alice(&format!(
                "srun -w node1 --container-image={DEMO} echo --task-prolog=/shared/prolog.sh"
            ))
            .stdout_and_code("--task-prolog=/shared/prolog.sh\n", 0);
    });
}

fn epilogs_see_the_host(cluster: &Cluster) {
    let _mine = script(
        cluster,
        "echo \"user $(cat /etc/hostname) $(cat /etc/oarlock-image 2>&1 | wc -c)\" >>/home/alice/epilogs",
    );
    let _site = script_in(
        cluster,
        "/shared/site.sh",
        "echo \"site $(cat /etc/hostname)\" >>/home/alice/epilogs",
    );
    let _conf = site(cluster, "TaskEpilog=/shared/site.sh");
    both_ways(cluster, |cluster| {
        cluster
            .alice(&format!(
                "srun -w node1 --task-epilog=/shared/prolog.sh --task-prolog=/bin/true --container-image={TINY} cat /etc/oarlock-image; sort ~/epilogs | cut -c1-10; rm ~/epilogs"
            ))
            .stdout_and_code("tiny\nsite node1\nuser node1\n", 0);
    });
}

/// Slurm runs TaskProlog for a batch script, too.
fn a_batch_script_has_the_sites_prolog(cluster: &Cluster) {
    let _site = script_in(
        cluster,
        "/shared/site.sh",
        "echo print site; echo export SITE=1",
    );
    let _conf = site(cluster, "TaskProlog=/shared/site.sh");
    both_ways(cluster, |cluster| {
        cluster
            .alice(&format!(
                "job=$(sbatch --parsable -o ~/out --container-image={DEMO} --wrap 'cat /etc/oarlock-image; echo $SITE $0 | sed s,/.*/,,'); finish $job; cat ~/out; rm ~/out; ended $job"
            ))
            .stdout_and_code("site\ndemo\n1 slurm_script\nCOMPLETED 0:0\n", 0);
    });
}

fn a_rank_after_a_prolog_is_without_privilege(cluster: &Cluster) {
    both_ways(cluster, |cluster| {
        cluster
            .alice(&format!(
                "srun -w node1 --task-prolog=/bin/true --container-image={DEMO} grep -E '^(Cap|NoNewPrivs)' /proc/self/status"
            ))
            .stdout_and_code(
                "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
                 CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n",
                0,
            );
        // The descriptors of the entry are gone.
        cluster
            .alice(&format!(
                "for p in --task-prolog=/bin/true ''; do srun -w node1 $p --container-image={DEMO} sh -c 'ls /proc/self/fd | wc -l'; done | uniq | wc -l"
            ))
            .stdout_and_code("1\n", 0);
    });
}

fn a_program_of_the_image_alone_is_found(cluster: &Cluster) {
    both_ways(cluster, |cluster| {
        cluster
            .alice(&format!(
                "run='srun -w node1 --task-prolog=/bin/true'; $run sh -c 'command -v mpi-hello || echo not on the host'; \
                 $run --container-image={MPICH} mpi-hello | grep -o 'hello rank 0 of 1'"
            ))
            .stdout_and_code("not on the host\nhello rank 0 of 1\n", 0);
    });
}

fn a_program_that_is_not_there(cluster: &Cluster) {
    // Before 23.11 it is Slurm that looks, and says.
    if !through_the_program(cluster) {
        return;
    }
    let run = format!("srun -w node1 --task-prolog=/bin/true --container-image={DEMO}");
    for (program, code, told) in [
        ("nosuch", 127, "nosuch: no such file in the container"),
        ("/no/such", 127, "/no/such: no such file in the container"),
        (
            "/etc/passwd",
            126,
            "/etc/passwd: cannot be executed in the container: Permission denied",
        ),
        (
            "/home/alice/bad-script",
            126,
            "/home/alice/bad-script: its interpreter or loader is not in the container",
        ),
    ] {
        cluster
            .alice(&format!(
                "printf '#!/no/interpreter\\n' >~/bad-script; chmod 755 ~/bad-script; {run} {program}; code=$?; rm ~/bad-script; exit $code"
            ))
            .stdout_and_code("", code)
            .tells([format!("oarlock: node1: {told}")]);
    }
}

/// A file for each rank, and a copy that srun puts on the node.
fn programs_that_slurm_names_itself(cluster: &Cluster) {
    both_ways(cluster, |cluster| {
        let run = format!("srun -Q -w node1 --task-prolog=/bin/true --container-image={DEMO}");
        cluster
            .alice(&format!(
                "printf '0 cat /etc/oarlock-image\\n1 echo one\\n' >~/list; {run} -n2 --multi-prog ~/list; rm ~/list"
            ))
            .succeeds()
            .lines(["demo", "one"]);
        cluster
            .alice(&format!(
                "printf '#!/bin/sh\\ncat /etc/oarlock-image; echo ${{0%%%%_*}}\\n' >~/own; chmod 755 ~/own; \
                 {run} --bcast=/tmp/ ~/own; srun -Q -w node1 sh -c 'rm -f /tmp/slurm_bcast_*'; rm ~/own"
            ))
            .stdout_and_code("demo\n/tmp/slurm\n", 0);
    });
}

fn where_neither_way_is_there_the_step_fails(cluster: &Cluster) {
    const NOTHING: &str = "/usr/libexec/oarlock/oarlock-nothing";
    let _without = without_file_capabilities(cluster);
    let _gone = cluster.change(
        "node1",
        &format!("mv {NOTHING} {NOTHING}.away"),
        format!("mv {NOTHING}.away {NOTHING}"),
    );
    let why = if through_the_program(cluster) {
        format!("{ENTER}: it lacks its file capabilities")
    } else {
        "this Slurm is older than 23.11".to_owned()
    };
    cluster
        .alice(&format!(
            "srun -w node1 --task-prolog=/bin/true --container-image={DEMO} cat /etc/oarlock-image"
        ))
        .is_refused([format!(
            "oarlock: node1: the step has a task prolog, and no way to run it before the container: {why}, and {NOTHING} is missing; is all of Oarlock installed on this node?"
        )]);
    // A step without one needs neither.
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={DEMO} cat /etc/oarlock-image"
        ))
        .stdout_and_code("demo\n", 0);
}

pub(crate) fn through_the_program(cluster: &Cluster) -> bool {
    let version = cluster.alice("srun --version").succeeds();
    !version.stdout.contains(" 22.05")
}

fn arguments_signals_and_exit_codes_are_unchanged(cluster: &Cluster) {
    let compare = |command: &str| {
        let run = |prolog: &str| {
            let output = cluster.alice(&format!(
                "srun -Q -w node1 {prolog} --container-image={DEMO} {command}; echo code $?"
            ));
            (output.stdout, output.code)
        };
        assert_eq!(run("--task-prolog=/bin/true"), run(""), "{command}");
    };
    both_ways(cluster, |_| {
        compare("sh -c 'tr \"\\0\" \"|\" </proc/$$/cmdline; exit 7' 'a  b' '' \"c*\"");
        compare("bash -c 'kill -9 $$'");
        compare("bash -c 'kill -SEGV $$'");
        compare("sh -c 'trap \"echo term; exit 5\" TERM; kill -TERM $$; wait'");
        compare("sh -c 'grep -E \"^Sig(Blk|Ign|Cgt)\" /proc/self/status'");
        compare("sh -c 'ulimit -a; umask; nice'");
    });
}

fn the_working_directory_is_as_without_a_prolog(cluster: &Cluster) {
    both_ways(cluster, |cluster| {
        for (option, directory, code) in [
            ("", "/home/alice\n", 0),
            ("--chdir=/tmp", "/tmp\n", 0),
            ("--container-workdir=/usr/lib", "/usr/lib\n", 0),
        ] {
            cluster
                .alice(&format!(
                    "srun -w node1 {option} --task-prolog=/bin/true --container-image={DEMO} pwd -P"
                ))
                .stdout_and_code(directory, code);
        }
        cluster
            .alice(&format!(
                "srun -w node1 --container-workdir=/none --task-prolog=/bin/true --container-image={DEMO} pwd"
            ))
            .is_refused(["oarlock: node1: working directory /none: No such file or directory; it must be a directory inside the container"]);
    });
}

fn every_form_of_image_is_entered(cluster: &Cluster) {
    both_ways(cluster, |cluster| {
        for (form, image) in TINIES {
            cluster
                .alice(&format!(
                    "srun -w node1 --task-prolog=/bin/true --container-image={image} cat /etc/oarlock-image # {form}"
                ))
                .stdout_and_code("tiny\n", 0);
        }
    });
}

fn mpi_finds_its_world_after_a_prolog(cluster: &Cluster) {
    let mut pairs = vec![(MPICH, "pmi2")];
    if cluster.has_mpi("pmix") {
        pairs.push((DEMO, "pmix"));
    } else {
        println!("this Slurm has no PMIx: pmi2 alone is tried");
    }
    let _site = script_in(cluster, "/shared/site.sh", "echo export SITE=1");
    let _conf = site(cluster, "TaskProlog=/shared/site.sh");
    both_ways(cluster, |cluster| {
        for (image, mpi) in &pairs {
            cluster
                .mpi(&format!(
                    "srun -N2 -n4 --ntasks-per-node=2 --mpi={mpi} --container-image={image} mpi-hello"
                ))
                .succeeds()
                .lines([
                    "hello rank 0 of 4 on node1 sum 10",
                    "hello rank 1 of 4 on node1 sum 10",
                    "hello rank 2 of 4 on node2 sum 10",
                    "hello rank 3 of 4 on node2 sum 10",
                ]);
        }
    });
}

fn a_terminal_after_a_prolog(cluster: &Cluster) {
    both_ways(cluster, |cluster| {
        let output = cluster.alice(&format!(
            "script -qec 'srun -Q -w node1 --pty --task-prolog=/bin/true --container-image={DEMO} \
             sh -c \"readlink /proc/self/fd/0; cat /etc/oarlock-image; exit 7\"' /dev/null </dev/null"
        ));
        assert_eq!(output.code, 7, "{output}");
        assert!(output.stdout.contains("/dev/pts/"), "{output}");
        assert!(output.stdout.contains("demo"), "{output}");
    });
}
