//! Apptainer's images run under Oarlock, and Oarlock's under Apptainer.

use cluster_tests::images::{DEMO_FUSE, DIRECTORY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![an_image_that_apptainer_built, an_image_that_oarlock_built]
        .into_iter()
        .map(|case| case.needs("apptainer"))
        .collect()
}

/// Built by a user from a directory, as its manual has it; with an environment
/// of its own.
fn an_image_that_apptainer_built(cluster: &Cluster) {
    let _restore = cluster.change(
        "login",
        &format!(
            "cp -a {DIRECTORY}/tiny.d /root/sandbox\n\
             rm -rf /root/sandbox/.singularity.d\n\
             apptainer build --force {DIRECTORY}/theirs.sif /root/sandbox >/dev/null 2>&1; code=$?\n\
             rm -rf /root/sandbox /root/.apptainer; exit $code"
        ),
        format!("rm -f {DIRECTORY}/theirs.sif"),
    );
    cluster
        .alice(&format!(
            "export KEPT=job\n\
             srun -N2 -n4 --container-image={DIRECTORY}/theirs.sif sh -c 'echo $(cat /etc/oarlock-image) $KEPT $(only-in-the-image)'"
        ))
        .succeeds()
        .lines(["tiny job only here"; 4]);
    let inspected = cluster
        .alice(&format!("oarlock inspect {DIRECTORY}/theirs.sif"))
        .succeeds();
    assert!(inspected.stdout.contains("amd64"), "{inspected}");
}

fn an_image_that_oarlock_built(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "apptainer -q exec {DEMO_FUSE} sh -c 'cat /etc/oarlock-image; id -u; python3 -c \"print(6 * 7)\"; exit 6'"
        ))
        .stdout_and_code("demo\n1000\n42\n", 6);
    // With environment scripts; what they print is shown there.
    let output = cluster.alice(&format!(
        "apptainer -q exec {TINY_FUSE} /bin/sh -c 'echo $FROM_IMAGE; /usr/bin/only-in-the-image'"
    ));
    assert!(output.stdout.ends_with("\nimage\nonly here\n"), "{output}");
}
