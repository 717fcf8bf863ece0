//! Images whose mount points lead elsewhere: nothing of it happens on the node.
//! That nothing is left there is checked after every test.

use cluster_tests::images::{DIRECTORY, TINY};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    ["absolute", "upwards", "devices"]
        .into_iter()
        .map(|name| {
            Case::new(module_path!(), name, move |cluster: &Cluster| {
                links_lead_nowhere(cluster, name);
            })
        })
        .chain(cases![
            a_mount_target_behind_a_link,
            a_mount_target_in_a_directory_of_the_node,
            replaced_while_it_runs
        ])
        .collect()
}

/// The image's links are followed inside of it or not at all; a rank runs in it,
/// or the step is refused in one line.
fn links_lead_nowhere(cluster: &Cluster, name: &str) {
    let victims = "ls -lan --time-style=+ /etc/oarlock-victim* /var/tmp /mnt /root /srv /etc/passwd /etc/resolv.conf 2>&1";
    let before = cluster.root("node1", victims).stdout;
    let output = cluster.alice(&format!(
        "srun -w node1 -n2 --container-image={DIRECTORY}/{name}.sif sh -c \
         'cat /etc/oarlock-image; touch /etc/oarlock-victim /srv/x /root/x 2>/dev/null; exit 0'"
    ));
    let after = cluster.root("node1", victims).stdout;
    assert_eq!(after, before, "{output}");
    if output.code == 0 {
        output.succeeds().says(&format!("{name}\n{name}\n"));
    } else {
        assert_eq!(output.stdout, "", "{output}");
        assert_eq!(output.code, 1, "{output}");
        let told = output.stderr.lines().filter(|line| {
            line.starts_with(&format!("oarlock: node1: image {DIRECTORY}/{name}.sif: "))
        });
        assert_eq!(told.count(), 1, "{output}");
    }
}

fn a_mount_target_behind_a_link(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={DIRECTORY}/upwards.sif --container-mounts=/shared/tests:/link/below/it:ro \
             ls /link/below/it/tiny.sif /opt/below/it/tiny.sif"
        ))
        .succeeds()
        .says("/link/below/it/tiny.sif\n/opt/below/it/tiny.sif\n");
}

/// The image's /home leads to /var/tmp, and that is the node's: nothing is made
/// there.
fn a_mount_target_in_a_directory_of_the_node(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "srun -w node1 -n2 --container-image={DIRECTORY}/upwards.sif --container-mounts=/shared/tests:/home/below/it:ro echo ran"
        ))
        .is_refused([
            "oarlock: node1: mount /shared/tests:/home/below/it: target: does not exist in the mounted directory above it; create it on the host, or choose another target",
        ]);
}

/// The image is the file that was opened, whatever its name means later.
fn replaced_while_it_runs(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "cp {TINY} ~/mine.sif\n\
             srun -w node1 --container-image=$HOME/mine.sif sh -c 'echo ready >ready; while [ -e mine.sif ]; do sleep 0.1; done; cat /etc/oarlock-image' &\n\
             wait_for ~/ready; rm ~/mine.sif ~/ready; wait $!"
        ))
        .succeeds()
        .says("tiny\n");
}
