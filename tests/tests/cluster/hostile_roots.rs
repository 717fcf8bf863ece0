//! Root file systems by somebody who wants harm, by the kernel and by FUSE: the
//! program runs in the image, or one line says why not; and nothing is made,
//! changed or opened on a node.

use cluster_tests::hostile::roots::{Outcome, ROOTS, Root};
use cluster_tests::hostile::{self, MARKER};
use cluster_tests::images::TINY;
use cluster_tests::{Case, Cluster, cases};

/// What hostile links lead to, and what could be made there.
const VICTIMS: &str = "find /etc /root /mnt /srv /var/tmp /usr/local /opt -xdev \
    -printf '%p %y %m %U:%G %s %C@ %l\\n' 2>/dev/null | sort; ls -d /oarlock-outside 2>&1; ls -la /dev";

pub(crate) fn cases() -> Vec<Case> {
    ROOTS
        .iter()
        .map(|root| {
            Case::new(module_path!(), root.name, move |cluster: &Cluster| {
                does_no_harm(cluster, root);
            })
        })
        .chain(cases![unprivileged, a_job_that_names_the_host])
        .collect()
}

fn does_no_harm(cluster: &Cluster, root: &Root) {
    hostile::make(cluster);
    let file = format!("{}.sqsh", root.name);
    for image in [hostile::by_kernel(&file), hostile::by_fuse(&file)] {
        let before = cluster.root("node1", VICTIMS).stdout;
        // As from a directory that the image has to be given a place for.
        let output = cluster.alice(&format!(
            "srun -w node1 -n2 --chdir=/shared --container-image={image} /bin/sh -c '{}'",
            program(root)
        ));
        let after = cluster.root("node1", VICTIMS).stdout;
        assert_eq!(after, before, "{output}");
        match root.outcome {
            Outcome::Runs => {
                output.succeeds().lines([MARKER, MARKER]);
            }
            Outcome::Refused(message) => {
                output.is_refused([format!("oarlock: node1: image {image}: {message}")]);
            }
            Outcome::NoProgram => {
                assert_ne!(output.code, 0, "{output}");
                assert_eq!(output.stdout, "", "{output}");
                output.tells([format!(
                    "oarlock: node1: program /bin/sh: not in the image {image} nor in what is mounted into it; check the name, the image's PATH and --container-mounts"
                )]);
            }
        }
    }
}

/// What runs in each: proof of the image, an attempt to write where its links
/// lead, and its own probe.
fn program(root: &Root) -> String {
    format!(
        "cat /marker; touch /oarlock-outside /mnt/oarlock-outside /root/oarlock-outside /srv/oarlock-outside 2>/dev/null; {}; exit 0",
        if root.probe.is_empty() {
            ":"
        } else {
            root.probe
        }
    )
}

/// The same without Slurm and without a privilege, in one go.
fn unprivileged(cluster: &Cluster) {
    hostile::make(cluster);
    let mut script = String::new();
    let mut expected = Vec::new();
    for root in ROOTS {
        let image = hostile::by_fuse(&format!("{}.sqsh", root.name));
        script.push_str(&format!(
            "echo \"$(oarlock exec {image} /bin/sh -c '{}' 2>&1)\"\n",
            program(root)
        ));
        expected.push(match root.outcome {
            Outcome::Runs => MARKER.to_owned(),
            Outcome::Refused(message) => format!("oarlock: image {image}: {message}"),
            Outcome::NoProgram => {
                "oarlock: /bin/sh: No such file or directory in the container".to_owned()
            }
        });
    }
    let before = cluster.root("login", VICTIMS).stdout;
    let output = cluster.alice(&script);
    assert_eq!(cluster.root("login", VICTIMS).stdout, before, "{output}");
    output.succeeds().lines(expected);
}

/// The host's own root, by a variable of the job, is nothing to put over the
/// image's.
fn a_job_that_names_the_host(cluster: &Cluster) {
    for place in ["/", "/usr", "/etc"] {
        cluster
            .alice(&format!(
                "export PMIX_SYSTEM_TMPDIR={place}; srun -w node1 --container-image={TINY} \
                 sh -c 'cat /etc/oarlock-image; only-in-the-image'"
            ))
            .succeeds()
            .says("tiny\nonly here\n");
    }
}
