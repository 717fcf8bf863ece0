//! The options in all their forms: command line, variables, inherited, forged.

use cluster_tests::images::{DEMO, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        variables_for_srun,
        variables_for_sbatch,
        the_command_line_wins_over_variables,
        export_none_keeps_the_container_of_srun,
        export_none_keeps_the_container_of_a_batch_job,
        an_empty_variable_is_no_option,
        mounts_without_an_image_are_refused_by_the_client,
        wrong_values_are_refused_by_the_client,
        forged_values_are_refused,
        options_are_in_the_help,
    ]
}

fn variables_for_srun(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "export OARLOCK_CONTAINER_IMAGE={TINY} OARLOCK_CONTAINER_MOUNTS=/shared/tests:/mnt/here:ro \
             OARLOCK_CONTAINER_WORKDIR=/mnt/here\n\
             srun sh -c 'cat /etc/oarlock-image; pwd; ls tiny.sif; echo $PWD'"
        ))
        .succeeds()
        .says("tiny\n/mnt/here\ntiny.sif\n/mnt/here\n");
}

fn variables_for_sbatch(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "export OARLOCK_CONTAINER_IMAGE={TINY} OARLOCK_CONTAINER_MOUNTS=/shared/tests:/mnt/here:ro \
             OARLOCK_CONTAINER_WORKDIR=/mnt/here\n\
             job=$(sbatch --parsable -o ~/out --wrap 'cat /etc/oarlock-image; pwd'); finish $job; cat ~/out; rm ~/out; ended $job"
        ))
        .succeeds()
        .says("tiny\n/mnt/here\nCOMPLETED 0:0\n");
}

fn the_command_line_wins_over_variables(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "export OARLOCK_CONTAINER_IMAGE=/nowhere.sif OARLOCK_CONTAINER_WORKDIR=/nowhere\n\
             srun --container-image={TINY} --container-workdir=/usr sh -c 'cat /etc/oarlock-image; pwd'\n\
             salloc --container-image={TINY} --container-workdir=/usr srun --container-image={DEMO} \
                 --container-workdir=/usr/lib sh -c 'cat /etc/oarlock-image; pwd'"
        ))
        .succeeds()
        .says("tiny\n/usr\ndemo\n/usr/lib\n");
}

fn export_none_keeps_the_container_of_srun(cluster: &Cluster) {
    for form in [
        format!("srun --export=NONE --container-image={TINY}"),
        format!("OARLOCK_CONTAINER_IMAGE={TINY} srun --export=NONE"),
        format!("OARLOCK_CONTAINER_IMAGE={TINY} SLURM_EXPORT_ENV=NONE srun"),
        format!("srun --export=ONLY=this --container-image={TINY_FUSE}"),
    ] {
        cluster
            .alice(&format!(
                "export SECRET=job ONLY=this; {form} sh -c 'cat /etc/oarlock-image; echo \"[$SECRET]\"'"
            ))
            .succeeds()
            .says("tiny\n[]\n");
    }
}

/// Slurm 22.05 loses the option for the batch step; it is found elsewhere.
fn export_none_keeps_the_container_of_a_batch_job(cluster: &Cluster) {
    for form in [
        format!("sbatch --export=NONE --container-image={TINY}"),
        format!("OARLOCK_CONTAINER_IMAGE={TINY} sbatch --export=NONE"),
        format!("OARLOCK_CONTAINER_IMAGE={TINY} sbatch --export=NIL"),
    ] {
        cluster
            .alice(&format!(
                "job=$({form} --parsable -o ~/out --wrap 'cat /etc/oarlock-image || echo uncontained') || exit\n\
                 finish $job; cat ~/out; rm ~/out; ended $job"
            ))
            .succeeds()
            .says("tiny\nCOMPLETED 0:0\n");
    }
}

fn an_empty_variable_is_no_option(cluster: &Cluster) {
    cluster
        .alice(
            "export OARLOCK_CONTAINER_IMAGE= OARLOCK_CONTAINER_MOUNTS=\n\
             srun -w node1 sh -c 'test -e /etc/oarlock-image || echo uncontained'",
        )
        .succeeds()
        .says("uncontained\n");
}

fn mounts_without_an_image_are_refused_by_the_client(cluster: &Cluster) {
    for (option, value) in [("mounts", "/tmp:/mnt"), ("workdir", "/tmp")] {
        let before = cluster.next_job();
        for (client, command) in [
            ("srun", "true"),
            ("salloc", "true"),
            ("sbatch", "--wrap=true"),
        ] {
            let script = format!("{client} --container-{option}={value} {command}");
            let output = cluster.alice(&script);
            assert_ne!(output.code, 0, "{output}");
            output.tells([format!(
                "oarlock: --container-{option} needs a container; add --container-image=PATH"
            )]);
        }
        assert_eq!(cluster.next_job(), before, "nothing may be queued");
    }
}

fn wrong_values_are_refused_by_the_client(cluster: &Cluster) {
    let before = cluster.next_job();
    for (option, message) in [
        (
            "--container-image=",
            "no image is named; give a path, as in --container-image=/path/app.sif",
        ),
        (
            "--container-mounts=data:/data",
            "mount \"data:/data\": the source \"data\" is neither a path (begin it with / or ./) nor tmpfs or umount; the form is SOURCE:TARGET[:FLAG+FLAG...]",
        ),
        (
            "--container-mounts=/data:data",
            "mount \"/data:data\": \"data\" is not an absolute path; the form is SOURCE:TARGET[:FLAG+FLAG...]",
        ),
        (
            "--container-mounts=/tmp:/mnt:rx",
            "mount \"/tmp:/mnt:rx\": unknown flag \"rx\"; known are ro, rw, exec, noexec, nosuid, nodev, bind, rbind, private, slave, shared and their r-forms, nofail, x-create=auto|dir|file, and for tmpfs size= and mode=; the form is SOURCE:TARGET[:FLAG+FLAG...]",
        ),
        (
            "--container-mounts=/tmp:/mnt,/tmp/../etc:/mnt",
            "mount \"/tmp/../etc:/mnt\": \"/tmp/../etc\" has a \"..\" in it; the form is SOURCE:TARGET[:FLAG+FLAG...]",
        ),
        (
            "--container-mounts=/tmp:/",
            "mount \"/tmp:/\": the target may not be /; the form is SOURCE:TARGET[:FLAG+FLAG...]",
        ),
        (
            "--container-workdir=here",
            "working directory \"here\" is not an absolute path",
        ),
    ] {
        let output = cluster.alice(&format!(
            "srun --container-image={TINY} '{option}' echo ran"
        ));
        assert_ne!(output.code, 0, "{output}");
        assert_eq!(output.stdout, "", "{output}");
        output.tells([format!("oarlock: {message}")]);
    }
    assert_eq!(cluster.next_job(), before, "nothing may be queued");
}

/// Slurm's clients hand options on in variables that a user can write, past the
/// command line. Whoever reads them first, client or node, refuses.
fn forged_values_are_refused(cluster: &Cluster) {
    const HANDED: &str = "SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_container";
    for (name, value) in [
        ("image", "docker://debian"),
        ("mounts", "relative:/mnt"),
        ("workdir", "relative"),
    ] {
        let output = cluster.alice(&format!(
            "export {HANDED}_image={TINY}; export {HANDED}_{name}={value}; srun echo ran; exit $?"
        ));
        assert_ne!(output.code, 0, "{output}");
        assert_eq!(output.stdout, "", "{output}");
    }
}

fn options_are_in_the_help(cluster: &Cluster) {
    for client in ["srun", "sbatch", "salloc"] {
        let help = cluster.alice(&format!("{client} --help")).stdout;
        for option in [
            "--container-image=PATH",
            "--container-mounts=SOURCE:TARGET[:FLAG+...],...",
            "--container-workdir=PATH",
        ] {
            assert!(help.contains(option), "{client} lacks {option}: {help}");
        }
    }
}
