//! Jobs that are more than one step on one node: arrays, heterogeneous jobs, jobs
//! that run again, steps of several images side by side.

use cluster_tests::images::{DEMO, MPICH, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, Output, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        each_task_of_an_array_has_its_own_container,
        components_of_one_image,
        components_of_several_images_in_steps_of_their_own,
        components_that_differ_are_refused,
        a_requeued_job_runs_again_in_a_container,
        steps_of_several_images_side_by_side,
        programs_and_labels_of_one_step,
        a_rank_that_fails_ends_the_step,
        sixty_four_ranks_on_two_nodes,
    ]
}

/// Runs a script as alice in a directory of its own, which holds `job.sh`.
fn with_script(cluster: &Cluster, job: &str, script: &str) -> Output {
    cluster.alice(&format!(
        "rm -rf ~/shape; mkdir ~/shape && cd ~/shape\n\
         cat >job.sh <<'END-OF-JOB'\n{job}\nEND-OF-JOB\n\
         {script}\n\
         code=$?; rm -rf ~/shape; exit $code"
    ))
}

/// All run at once, so that no two can have a namespace's number one after the
/// other.
fn each_task_of_an_array_has_its_own_container(cluster: &Cluster) {
    with_script(
        cluster,
        "#!/bin/sh\n\
         echo $SLURM_ARRAY_TASK_ID $(cat /etc/oarlock-image); readlink /proc/self/ns/mnt >>namespaces\n\
         echo in >in.$SLURM_ARRAY_TASK_ID; until [ -s in.0 -a -s in.1 -a -s in.2 -a -s in.3 ]; do sleep 0.1; done\n\
         if [ $SLURM_ARRAY_TASK_ID = 2 ]; then echo waits >waits; sleep 80; fi\n\
         exit $SLURM_ARRAY_TASK_ID",
        &format!(
            "job=$(sbatch --parsable --array=0-3 -o out.%a --container-image={TINY_FUSE} job.sh) || exit\n\
             wait_for waits; scancel ${{job}}_2; finish $job; sleep 0.1\n\
             grep -h tiny out.*; sort -u namespaces | wc -l; ended $job | sed 's/CANCELLED .*/CANCELLED/'"
        ),
    )
    .succeeds()
    .lines([
        "0 tiny",
        "1 tiny",
        "2 tiny",
        "3 tiny",
        "4",
        "COMPLETED 0:0",
        "FAILED 1:0",
        "CANCELLED",
        "FAILED 3:0",
    ]);
}

/// Components are always on nodes of their own.
fn components_of_one_image(cluster: &Cluster) {
    let show = "sh -c 'echo $SLURM_PROCID $(cat /etc/oarlock-image)'";
    cluster
        .alice(&format!(
            "srun -n1 --container-image={TINY} {show} : -n2 --container-image={TINY} {show}"
        ))
        .succeeds()
        .lines(["0 tiny", "1 tiny", "2 tiny"]);
    cluster
        .alice(&format!(
            "OARLOCK_CONTAINER_IMAGE={TINY_FUSE} srun -n1 {show} : -n1 sh -c 'cat /etc/oarlock-image; exit 5'"
        ))
        .exits_with(5)
        .lines(["0 tiny", "tiny"]);
}

fn components_of_several_images_in_steps_of_their_own(cluster: &Cluster) {
    with_script(
        cluster,
        &format!(
            "#!/bin/bash\n#SBATCH -n1\n#SBATCH hetjob\n#SBATCH -n2\n\
             srun --het-group=0 --container-image={DEMO} sh -c 'echo 0 $(cat /etc/oarlock-image)' &\n\
             srun --het-group=1 --container-image={MPICH} sh -c 'echo 1 $(cat /etc/oarlock-image)' &\n\
             wait\n\
             srun --het-group=0,1 --container-image={TINY} sh -c 'echo both $(cat /etc/oarlock-image)'\n\
             srun --het-group=1 sh -c 'test -e /etc/oarlock-image || echo 1 none'"
        ),
        // Slurm says there that a step had to wait.
        "job=$(sbatch --parsable -o out -e err job.sh) || exit; finish $job; sleep 0.1; cat out; ended $job",
    )
    .succeeds()
    .lines([
        "0 demo",
        "1 mpich",
        "1 mpich",
        "both tiny",
        "both tiny",
        "both tiny",
        "1 none",
        "1 none",
        "COMPLETED 0:0",
        "COMPLETED 0:0",
    ]);
    // The first component's image is the script's.
    with_script(
        cluster,
        "#!/bin/sh\ncat /etc/oarlock-image",
        &format!(
            "job=$(sbatch --parsable -o out -n1 --container-image={TINY} : -n1 job.sh) || exit; finish $job; sleep 0.1; cat out"
        ),
    )
    .succeeds()
    .says("tiny\n");
}

const DIFFER: &str = "oarlock: the components of a heterogeneous job have different --container options, and Slurm hands on one set for all; give all the same, or start each by an srun of its own (srun --het-group=0 ...)";

/// Slurm would give all components of an srun the last one's options.
fn components_that_differ_are_refused(cluster: &Cluster) {
    let before = cluster.next_job();
    for form in [
        format!("srun -n1 --container-image={TINY} true : -n1 --container-image={DEMO} true"),
        format!("srun -n1 --container-image={TINY} true : -n1 true"),
        format!("srun -n1 true : -n1 --container-image={TINY} true"),
        format!("OARLOCK_CONTAINER_IMAGE={DEMO} srun -n1 true : -n1 --container-image={TINY} true"),
        format!(
            "srun -n1 --container-image={TINY} true : -n1 --container-image={TINY} --container-workdir=/usr true"
        ),
        format!("salloc -n1 --container-image={TINY} : -n1 --container-image={DEMO} true"),
        format!("sbatch -n1 : -n1 --container-image={TINY} --wrap=true"),
        format!(
            "printf '#!/bin/sh\\n#SBATCH --container-image={TINY}\\n#SBATCH hetjob\\n#SBATCH --container-image={DEMO}\\n' >/tmp/differ.sh\n\
             sbatch /tmp/differ.sh; code=$?; rm /tmp/differ.sh; exit $code"
        ),
    ] {
        let output = cluster.alice(&form);
        assert_ne!(output.code, 0, "{output}");
        assert_eq!(output.stdout, "", "{output}");
        output.tells([DIFFER]);
    }
    assert_eq!(cluster.next_job(), before, "nothing may be queued");
}

/// Slurm lets it wait two minutes, unless somebody says now.
fn a_requeued_job_runs_again_in_a_container(cluster: &Cluster) {
    with_script(
        cluster,
        "#!/bin/sh\n\
         echo run ${SLURM_RESTART_COUNT:-0} $(cat /etc/oarlock-image) >>runs\n\
         if [ -z \"$SLURM_RESTART_COUNT\" ]; then echo in >in; sleep 80; fi\n\
         exit 3",
        &format!(
            "job=$(sbatch --parsable --requeue -o out --container-image={TINY_FUSE} job.sh) || exit\n\
             wait_for in; scontrol requeue $job\n\
             until scontrol -o show job $job | grep -q 'JobState=PENDING'; do sleep 0.1; done\n\
             sleep 2.1; scontrol update JobId=$job StartTime=now; finish $job; cat runs; ended $job"
        ),
    )
    .succeeds()
    .says("run 0 tiny\nrun 1 tiny\nFAILED 3:0\n");
}

fn steps_of_several_images_side_by_side(cluster: &Cluster) {
    let step = |number: u32, option: &str| {
        format!(
            "srun -n1 --exact --mem=500 {option} sh -c 'echo in >in.{number}; \
             until [ -s in.1 -a -s in.2 -a -s in.3 ]; do sleep 0.1; done; \
             echo {number} $(cat /etc/oarlock-image 2>/dev/null || echo none)' &\n"
        )
    };
    let steps = [
        step(1, &format!("--container-image={TINY_FUSE}")),
        step(2, &format!("--container-image={MPICH}")),
        step(3, ""),
    ];
    with_script(
        cluster,
        &format!("#!/bin/bash\n{}wait", steps.concat()),
        "job=$(sbatch --parsable -w node1 -n3 -o out -e err job.sh) || exit; finish $job; sleep 0.1; cat out; ended $job",
    )
    .succeeds()
    .lines(["1 tiny", "2 mpich", "3 none", "COMPLETED 0:0"]);
}

fn programs_and_labels_of_one_step(cluster: &Cluster) {
    with_script(
        cluster,
        "0 cat /etc/oarlock-image\n1-2 echo task %t offset %o",
        &format!(
            "export OARLOCK_CONTAINER_IMAGE={DEMO}\n\
             srun -w node1 -n3 -l --multi-prog job.sh || exit\n\
             srun -w node1 -n2 -o 'out.%s.%t.%N' -e 'err.%t' sh -c 'echo out $SLURM_PROCID; echo err >&2' || exit\n\
             sleep 0.1; grep . out.* err.*"
        ),
    )
    .succeeds()
    .lines([
        "0: demo",
        "1: task 1 offset 0",
        "2: task 2 offset 1",
        "out.0.0.node1:out 0",
        "out.0.1.node1:out 1",
        "err.0:err",
        "err.1:err",
    ]);
    // Each rank's program is Slurm's knowledge alone: nothing is said of it.
    with_script(
        cluster,
        "0 true\n1 not-there",
        &format!("srun -w node1 -n2 --container-image={TINY} --multi-prog job.sh"),
    )
    .exits_with(2)
    .says("");
}

/// Slurm ends the others; how they end is as without a container.
fn a_rank_that_fails_ends_the_step(cluster: &Cluster) {
    let steps = |option: &str| {
        format!(
            "salloc -Q -w node1 -n3 bash -c '\
             srun {option} -K sh -c \"[ \\$SLURM_PROCID = 1 ] && exit 7; sleep 60\"; echo $?\n\
             srun {option} -W1 sh -c \"[ \\$SLURM_PROCID = 1 ] && exit 0; sleep 60\"; echo $?'"
        )
    };
    for option in [String::new(), format!("--container-image={TINY_FUSE}")] {
        cluster
            .alice(&steps(&option))
            .stdout_and_code("143\n137\n", 0);
    }
}

fn sixty_four_ranks_on_two_nodes(cluster: &Cluster) {
    let mut expected = vec!["0 tiny"; 32];
    expected.extend(["1 tiny"; 32]);
    for image in [TINY, TINY_FUSE] {
        let output = cluster
            .alice(&format!(
                "srun -N2 -n64 --overcommit --container-image={image} sh -c \
                 'echo $SLURM_NODEID $(cat /etc/oarlock-image); [ $SLURM_PROCID != 40 ] || exit 3'"
            ))
            .exits_with(3)
            .lines(&expected);
        assert!(
            output
                .stderr
                .contains("srun: error: node2: task 40: Exited with exit code 3"),
            "{output}"
        );
    }
}
