//! Several users on one node and one image.

use cluster_tests::images::{TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        two_users_at_once_on_one_image,
        a_private_image_stays_private
    ]
}

fn two_users_at_once_on_one_image(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        let script = format!(
            "srun -w node1 -n4 --container-image={image} sh -c 'id; sleep 0.5; cat /etc/oarlock-image; id -un'"
        );
        std::thread::scope(|threads| {
            let bob = threads.spawn(|| cluster.bob(&script));
            let alice = cluster.alice(&script).succeeds();
            let bob = bob.join().expect("bob's job").succeeds();
            let of = |id: &str, name: &str| {
                let mut lines = vec![id.to_owned(); 4];
                lines.extend(vec!["tiny".to_owned(); 4]);
                lines.extend(vec![name.to_owned(); 4]);
                lines
            };
            alice.lines(of(
                "uid=1000(alice) gid=1000(alice) groups=1000(alice),2000(chem),2001(gpu)",
                "alice",
            ));
            bob.lines(of("uid=1001(bob) gid=1001(bob) groups=1001(bob)", "bob"));
        });
    }
}

/// Also while its owner runs it on the same node.
fn a_private_image_stays_private(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "install -m 600 {TINY} /shared/alices.sif\n\
             srun -J private -w node1 --container-image=/shared/alices.sif sh -c 'echo ready >~/ready; while [ -e ~/ready ]; do sleep 0.1; done; cat /etc/oarlock-image' >~/out 2>&1 & wait_for ~/ready"
        ))
        .succeeds();
    let bob = cluster
        .bob("srun -w node1 -n2 --container-image=/shared/alices.sif cat /etc/oarlock-image");
    let alice = cluster.alice(
        "rm ~/ready; until [ -z \"$(squeue -h -n private)\" ]; do sleep 0.1; done; cat ~/out; rm ~/out /shared/alices.sif",
    );
    bob.is_refused([
        "oarlock: node1: image /shared/alices.sif: permission denied for uid 1001; the file must be readable, and each directory above it searchable, by you",
    ]);
    alice.succeeds().says("tiny\n");
}
