//! The environment of a rank: what is asked for, then the image's, then the job's;
//! but Slurm's own always from the job.

use cluster_tests::images::{DEMO, TINIES, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        precedence,
        slurms_own_variables_come_from_the_job,
        values_are_not_mangled,
        the_path_is_the_images,
        host_paths_and_unknown_locales_are_dropped,
        ranks_keep_what_differs_between_them,
        the_images_scripts_are_silent,
        an_image_without_scripts,
    ]
}

fn precedence(cluster: &Cluster) {
    for (form, image) in TINIES {
        cluster
            .alice(&format!(
                "# {form}\n\
                 export BOTH=job FROM_JOB=job FROM_IMAGE=job ASKED=job\n\
                 srun --container-image={image} sh -c 'echo $FROM_JOB / $FROM_IMAGE / $BOTH / $ASKED'\n\
                 export OARLOCKENV_BOTH=asked OARLOCKENV_ASKED=asked OARLOCKENV_NEW=\n\
                 srun --container-image={image} sh -c 'echo $FROM_JOB / $FROM_IMAGE / $BOTH / $ASKED / ${{NEW-unset}}'"
            ))
            .succeeds()
            .says("job / image / image and later / job\njob / image / asked / asked /\n");
    }
}

fn slurms_own_variables_come_from_the_job(cluster: &Cluster) {
    // The image says 0 and 77, and HOME=/nowhere.
    let output = cluster
        .alice(&format!(
            "srun -n2 --container-image={TINY} sh -c 'echo $SLURM_JOB_ID $SLURM_PROCID $HOME [$PMI_RANK]'"
        ))
        .succeeds();
    let mut lines: Vec<Vec<&str>> = output
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    lines.sort();
    assert_eq!(lines.len(), 2, "{output}");
    for (rank, line) in ["0", "1"].iter().zip(&lines) {
        assert_ne!(line[0], "0", "{output}");
        assert_eq!(line[1..], [*rank, "/home/alice", "[]"], "{output}");
    }
}

fn values_are_not_mangled(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "export OARLOCKENV_ASKED=$'tab\\tand \"quotes\" = \\xe2\\x82\\xac\\nsecond line'\n\
             srun --container-image={TINY} sh -c 'echo \"$QUOTED\"; echo \"$LINES_OF_TEXT\"; echo \"$ASKED\"; echo \"[$not_exported]\"'"
        ))
        .succeeds()
        .says("it's \"so\" $BOTH \\ done\none\ntwo\ntab\tand \"quotes\" = €\nsecond line\n[]\n");
}

fn the_path_is_the_images(cluster: &Cluster) {
    const PLAIN: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    for (image, path) in [
        (TINY, format!("/opt/image/bin:{PLAIN}")),
        (DEMO, PLAIN.to_owned()),
    ] {
        cluster
            .alice(&format!(
                "PATH=/host/only:$PATH srun --container-image={image} sh -c 'echo $PATH'"
            ))
            .succeeds()
            .says(&format!("{path}\n"));
    }
}

fn host_paths_and_unknown_locales_are_dropped(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "export LD_LIBRARY_PATH=/host LANG=de_DE.UTF-8 LC_TIME=C.UTF-8\n\
             srun --container-image={DEMO} sh -c 'echo [$LD_LIBRARY_PATH] [$LANG] [$LC_TIME]'"
        ))
        .succeeds()
        .says("[] [] [C.UTF-8]\n");
}

fn ranks_keep_what_differs_between_them(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -N2 -n4 --ntasks-per-node=2 --container-image={TINY_FUSE} sh -c \
             'echo $SLURM_PROCID $SLURM_LOCALID $SLURM_NODEID $SLURMD_NODENAME'"
        ))
        .succeeds()
        .lines(["0 0 0 node1", "1 1 0 node1", "2 0 1 node2", "3 1 1 node2"]);
}

fn the_images_scripts_are_silent(cluster: &Cluster) {
    cluster
        .alice(&format!("srun -n4 --container-image={TINY} true"))
        .succeeds()
        .says("");
}

fn an_image_without_scripts(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "export KEPT=job OARLOCKENV_ASKED=asked; srun --container-image={DEMO} sh -c 'echo $KEPT $ASKED'"
        ))
        .succeeds()
        .says("job asked\n");
}
