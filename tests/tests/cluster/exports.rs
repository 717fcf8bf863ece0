//! What goes from the client into the container: `--export` in all its forms, a
//! display, bindings, devices, standard input and output.

use cluster_tests::images::{DEMO, DEMO_FUSE, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        export_of_srun,
        export_of_sbatch,
        steps_of_a_script_that_was_given_no_environment,
        a_file_of_variables_keeps_the_container,
        a_display_is_passed_on,
        bindings_and_devices_are_slurms,
        a_large_input,
        a_pipe_that_breaks_inside,
        a_working_directory_of_the_users_choice,
    ]
}

const SHOW: &str = "echo \"[$A] [$B] [$C] [$HOME] $(cat /etc/oarlock-image)\"";

fn export_of_srun(cluster: &Cluster) {
    let steps: String = ["ALL", "NONE", "NIL", "A=1,B", "ALL,C=3", "C=3"]
        .iter()
        .map(|export| {
            format!("srun -w node1 --export={export} --container-image={TINY} sh -c '{SHOW}'\n")
        })
        .collect();
    cluster
        .alice(&format!("export A=a B=b\n{steps}"))
        .succeeds()
        .says(
            "[a] [b] [] [/home/alice] tiny\n\
             [] [] [] [] tiny\n\
             [] [] [] [] tiny\n\
             [1] [b] [] [] tiny\n\
             [a] [b] [3] [/home/alice] tiny\n\
             [] [] [3] [] tiny\n",
        );
}

fn export_of_sbatch(cluster: &Cluster) {
    let jobs: String = ["ALL", "NONE", "A=1,B"]
        .iter()
        .map(|export| {
            format!(
                "job=$(sbatch --parsable --export={export} -o ~/out --container-image={TINY_FUSE} --wrap '{SHOW}') || exit\n\
                 finish $job; sleep 0.1; cat ~/out; rm ~/out; ended $job\n"
            )
        })
        .collect();
    let output = cluster.alice(&format!("export A=a B=b\n{jobs}"));
    if cluster.alice("sbatch --version").stdout.contains(" 22.05.") {
        // It loses options with --export=NONE: another test demands that it fails.
        return;
    }
    output.succeeds().says(
        "[a] [b] [] [/home/alice] tiny\nCOMPLETED 0:0\n\
         [] [] [] [/home/alice] tiny\nCOMPLETED 0:0\n\
         [1] [b] [] [/home/alice] tiny\nCOMPLETED 0:0\n",
    );
}

/// Such a script's steps have none either; an image that they name is theirs.
fn steps_of_a_script_that_was_given_no_environment(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "export A=a; cat >~/job.sh <<'END'\n#!/bin/bash\nA=script\n\
             srun --container-image={TINY} sh -c '{SHOW}'\n\
             export A; srun --export=ALL --container-image={TINY} sh -c '{SHOW}'\n\
             export OARLOCK_CONTAINER_IMAGE={DEMO}; srun sh -c '{SHOW}'\nEND\n\
             job=$(sbatch --parsable --export=NONE -o ~/out -e ~/err ~/job.sh) || exit\n\
             finish $job; sleep 0.1; cat ~/out; rm ~/out ~/err ~/job.sh; ended $job"
        ))
        .succeeds()
        .says(
            "[] [] [] [] tiny\n[script] [] [] [/home/alice] tiny\n[] [] [] [] demo\nCOMPLETED 0:0\n",
        );
}

/// Slurm puts the file's variables in the place of its own, by which it hands
/// options on to the script.
fn a_file_of_variables_keeps_the_container(cluster: &Cluster) {
    // Slurm 26.05 loses them, with a container and without one.
    let of_the_file = if cluster.slurm() < (26, 0) {
        "file"
    } else {
        ""
    };
    for form in [
        format!("sbatch --container-image={TINY} --container-workdir=/usr"),
        format!("OARLOCK_CONTAINER_IMAGE={TINY} OARLOCK_CONTAINER_WORKDIR=/usr sbatch"),
    ] {
        cluster
            .alice(&format!(
                "printf 'A=file\\0C=c\\nd\\0' >~/variables\n\
                 job=$({form} --parsable --export-file=$HOME/variables -o ~/out --wrap 'cat /etc/oarlock-image || echo uncontained; pwd; echo $A') || exit\n\
                 finish $job; sleep 0.1; cat ~/out; rm ~/out ~/variables; ended $job"
            ))
            .succeeds()
            .says(&format!("tiny\n/usr\n{of_the_file}\nCOMPLETED 0:0\n"));
    }
}

fn a_display_is_passed_on(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "export DISPLAY=login:7.0 XAUTHORITY=$HOME/.Xauthority-test; echo cookie >$XAUTHORITY\n\
             srun --container-image={TINY} sh -c 'echo $DISPLAY $(cat $XAUTHORITY)'; rm $XAUTHORITY"
        ))
        .succeeds()
        .says("login:7.0 cookie\n");
}

/// The same in the container as outside, for each way to ask.
fn bindings_and_devices_are_slurms(cluster: &Cluster) {
    let show = "sh -c 'echo $SLURM_PROCID $(grep -E \"^(Cpus|Mems)_allowed_list\" /proc/self/status) \
                [$SLURM_CPU_BIND] [$SLURM_MEM_BIND] [$CUDA_VISIBLE_DEVICES] [$SLURM_STEP_GPUS] [$GPU_DEVICE_ORDINAL]'";
    let steps: String = [
        "--cpu-bind=cores --mem-bind=local -c2",
        "--cpu-bind=none",
        "--cpu-bind=map_cpu:1,0",
        "--gres=gpu:2",
        "--gpus-per-task=1",
        "--gres=gpu:1 --overcommit -n5",
    ]
    .iter()
    .map(|options| {
        format!(
            "srun {options} {show} | sort >~/outside; srun {options} --container-image={TINY} {show} | sort >~/inside\n\
             [ -s ~/inside ] && cmp ~/outside ~/inside && echo same\n"
        )
    })
    .collect();
    cluster
        .alice(&format!(
            "cat >~/steps.sh <<'END'\n{steps}END\n\
             salloc -Q -w node1 -n2 -c2 --gres=gpu:4 bash ~/steps.sh; rm ~/steps.sh ~/inside ~/outside"
        ))
        .stdout_and_code(&"same\n".repeat(6), 0);
}

fn a_large_input(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "head -c 30000000 /dev/urandom >~/large; md5sum <~/large >~/sum\n\
             srun -w node1 --container-image={DEMO_FUSE} md5sum <~/large | cmp - ~/sum && echo same\n\
             srun -w node1 -n3 --input=1 --container-image={DEMO} sh -c '[ $SLURM_PROCID = 1 ] && md5sum' <~/large | cmp - ~/sum && echo same\n\
             srun -w node1 --container-image={DEMO} cat <~/large | cmp - ~/large && echo same\n\
             srun -w node1 --container-image={TINY_FUSE} true <~/large && echo unread\n\
             rm ~/large ~/sum"
        ))
        .stdout_and_code("same\nsame\nsame\nunread\n", 0);
}

/// A rank's own pipes break as everywhere, which needs the default for SIGPIPE.
fn a_pipe_that_breaks_inside(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun --container-image={DEMO} bash -c 'yes | head -n1; echo ${{PIPESTATUS[@]}}; grep -E \"^Sig(Blk|Ign)\" /proc/self/status'"
        ))
        .succeeds()
        .says("y\n141 0\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

fn a_working_directory_of_the_users_choice(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun --chdir=/usr/bin --container-image={TINY} sh -c 'pwd; echo $PWD'\n\
             srun --chdir=/usr/lib/apt --container-image={TINY} sh -c pwd\n\
             srun --chdir=/usr/bin --container-workdir=/etc --container-image={TINY} sh -c pwd"
        ))
        .succeeds()
        .says("/usr/bin\n/usr/bin\n/home/alice\n/etc\n");
}
