//! Batch jobs: the script itself runs in the container, and the steps inside
//! inherit its options.

use cluster_tests::images::{DEMO, DEMO_FUSE, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, Output, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        the_script_runs_in_the_container,
        the_script_can_be_read_inside,
        options_in_the_script,
        job_array,
        a_script_of_the_images_own_python,
        the_exit_code_is_the_scripts,
        a_missing_image_fails_the_job,
        a_wrong_option_fails_before_the_queue,
        salloc_with_an_inner_srun,
        salloc_and_an_image_for_the_inner_srun_only,
        two_nodes_and_the_script_on_the_first,
    ]
}

/// Submits `script` with `options`, waits for it, and prints the outputs; the
/// last lines say how it ended.
fn submit(cluster: &Cluster, options: &str, script: &str) -> Output {
    cluster.alice(&format!(
        "rm -rf ~/batch; mkdir ~/batch && cd ~/batch\n\
         cat >job.sh <<'END-OF-JOB'\n{script}\nEND-OF-JOB\n\
         job=$(sbatch --parsable -o out.%a {options} job.sh) || exit\n\
         finish $job\n\
         sleep 0.1; cat out.*; ended $job\n\
         rm -rf ~/batch"
    ))
}

fn the_script_runs_in_the_container(cluster: &Cluster) {
    for (name, image) in [
        ("demo", DEMO),
        ("demo", DEMO_FUSE),
        ("tiny", TINY),
        ("tiny", TINY_FUSE),
    ] {
        submit(
            cluster,
            &format!("--container-image={image}"),
            "#!/bin/sh\ncat /etc/oarlock-image; pwd; id -un 2>/dev/null",
        )
        .succeeds()
        .says(&format!(
            "{name}\n/home/alice/batch\nalice\nCOMPLETED 0:0\n"
        ));
    }
}

fn the_script_can_be_read_inside(cluster: &Cluster) {
    submit(
        cluster,
        &format!("--container-image={TINY}"),
        "#!/bin/bash\ngrep -c shebang \"$0\" # shebang\n(echo x >>\"$0\") 2>/dev/null || echo read-only",
    )
    .stdout_and_code("1\nread-only\nCOMPLETED 0:0\n", 0);
}

fn options_in_the_script(cluster: &Cluster) {
    submit(
        cluster,
        "",
        &format!(
            "#!/bin/sh\n#SBATCH --container-image={TINY}\n#SBATCH --container-mounts=/shared/tests:/mnt/here:ro\n\
             #SBATCH --container-workdir=/mnt/here\ncat /etc/oarlock-image; pwd; ls tiny.sif"
        ),
    )
    .succeeds()
    .says("tiny\n/mnt/here\ntiny.sif\nCOMPLETED 0:0\n");
}

fn job_array(cluster: &Cluster) {
    submit(
        cluster,
        &format!("--array=0-3 --container-image={TINY_FUSE}"),
        "#!/bin/sh\necho $SLURM_ARRAY_TASK_ID $(cat /etc/oarlock-image)",
    )
    .succeeds()
    .says(
        "0 tiny\n1 tiny\n2 tiny\n3 tiny\n\
         COMPLETED 0:0\nCOMPLETED 0:0\nCOMPLETED 0:0\nCOMPLETED 0:0\n",
    );
}

fn a_script_of_the_images_own_python(cluster: &Cluster) {
    submit(
        cluster,
        &format!("--container-image={DEMO}"),
        "#!/usr/bin/python3\nprint(open('/etc/oarlock-image').read().strip(), sum(range(10)))",
    )
    .succeeds()
    .says("demo 45\nCOMPLETED 0:0\n");
}

fn the_exit_code_is_the_scripts(cluster: &Cluster) {
    submit(
        cluster,
        &format!("--container-image={TINY}"),
        "#!/bin/sh\nexit 42",
    )
    .succeeds()
    .says("FAILED 42:0\n");
}

fn a_missing_image_fails_the_job(cluster: &Cluster) {
    submit(
        cluster,
        "-w node1 --container-image=/nowhere/x.sif",
        "#!/bin/sh\necho ran uncontained",
    )
    .succeeds()
    .says(
        "oarlock: node1: image /nowhere/x.sif: no such file or directory; check the path, and that this node has it\n\
         FAILED 1:0\n",
    );
}

fn a_wrong_option_fails_before_the_queue(cluster: &Cluster) {
    let before = cluster.next_job();
    let output = submit(
        cluster,
        "--container-image=docker://debian",
        "#!/bin/sh\necho ran",
    );
    assert_ne!(output.code, 0, "{output}");
    assert_eq!(output.stdout, "", "{output}");
    output.tells([
        "oarlock: image docker://debian: registries are not supported yet; make a file of the image first (as with: apptainer pull app.sif docker://...) and give its path, or ./NAME for a file of that name",
    ]);
    assert_eq!(cluster.next_job(), before, "nothing may be queued");
}

fn salloc_with_an_inner_srun(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "salloc -N2 --container-image={TINY} srun -n2 cat /etc/oarlock-image"
        ))
        .succeeds()
        .says("tiny\ntiny\n");
}

fn salloc_and_an_image_for_the_inner_srun_only(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "salloc --container-image={TINY} srun --container-image={DEMO} cat /etc/oarlock-image\n\
             salloc srun --container-image={TINY_FUSE} cat /etc/oarlock-image"
        ))
        .succeeds()
        .says("demo\ntiny\n");
}

fn two_nodes_and_the_script_on_the_first(cluster: &Cluster) {
    submit(
        cluster,
        &format!("-N2 --container-image={TINY}"),
        "#!/bin/sh\necho $SLURMD_NODENAME $(cat /etc/oarlock-image)",
    )
    .succeeds()
    .says("node1 tiny\nCOMPLETED 0:0\n");
}
