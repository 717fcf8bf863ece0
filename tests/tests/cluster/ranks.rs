//! Ranks run in the container, all of them, on one node and on two.

use std::collections::BTreeSet;

use cluster_tests::images::{DEMO, DEMO_FUSE, TINIES, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        one_rank,
        one_rank_of_every_form_of_image,
        sixteen_ranks_on_a_node_share_one_container,
        two_nodes,
        sixty_four_ranks_oversubscribed,
        many_ranks_of_short_tasks_twenty_times,
        relative_image_name,
        an_image_that_is_a_link,
        two_steps_at_once_on_one_image,
        a_step_without_a_container_is_left_alone,
    ]
}

fn one_rank(cluster: &Cluster) {
    for image in [DEMO, DEMO_FUSE] {
        cluster
            .alice(&format!(
                "srun --container-image={image} cat /etc/oarlock-image"
            ))
            .succeeds()
            .says("demo\n");
    }
}

fn one_rank_of_every_form_of_image(cluster: &Cluster) {
    for (form, image) in TINIES {
        let script = format!("srun --container-image={image} cat /etc/oarlock-image # {form}");
        cluster.alice(&script).succeeds().says("tiny\n");
    }
}

fn sixteen_ranks_on_a_node_share_one_container(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        let output = cluster
            .alice(&format!(
                "srun -w node2 -N1 -n16 --container-image={image} sh -c \
                 'echo $SLURM_PROCID $(cat /etc/oarlock-image) $(readlink /proc/self/ns/mnt)'"
            ))
            .succeeds();
        let mut ranks = BTreeSet::new();
        let mut namespaces = BTreeSet::new();
        for line in output.stdout.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [rank, "tiny", namespace] = words[..] else {
                panic!("odd line {line:?} in {output}");
            };
            ranks.insert(rank.parse::<u32>().expect("a rank"));
            namespaces.insert(namespace.to_owned());
        }
        assert_eq!(ranks, (0..16).collect(), "{output}");
        assert_eq!(namespaces.len(), 1, "one container for all: {output}");
    }
}

fn two_nodes(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        cluster
            .alice(&format!(
                "srun -N2 -n4 --ntasks-per-node=2 --container-image={image} sh -c \
                 'echo $SLURMD_NODENAME $SLURM_PROCID $(cat /etc/oarlock-image)'"
            ))
            .succeeds()
            .lines([
                "node1 0 tiny",
                "node1 1 tiny",
                "node2 2 tiny",
                "node2 3 tiny",
            ]);
    }
}

fn sixty_four_ranks_oversubscribed(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        cluster
            .alice(&format!(
                "srun -w node1 -N1 -n64 --overcommit --container-image={image} cat /etc/oarlock-image"
            ))
            .succeeds()
            .lines(["tiny"; 64]);
    }
}

/// The first rank may be gone before the last one enters.
fn many_ranks_of_short_tasks_twenty_times(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        let output = cluster.alice(&format!(
            "for i in $(seq 20); do\n\
                 srun -w node1 -N1 -n16 --container-image={image} true || echo \"run $i: exit code $?\"\n\
             done"
        ));
        output.succeeds().says("");
    }
}

fn relative_image_name(cluster: &Cluster) {
    for name in ["tiny.sif", "./tiny.sif", "../tests/tiny.sif"] {
        cluster
            .alice(&format!(
                "cd /shared/tests && srun -N2 --container-image={name} cat /etc/oarlock-image"
            ))
            .succeeds()
            .says("tiny\ntiny\n");
    }
}

fn an_image_that_is_a_link(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "ln -sfn {TINY} ~/link.sif; srun --container-image=$HOME/link.sif cat /etc/oarlock-image\n\
             code=$?; rm ~/link.sif; exit $code"
        ))
        .succeeds()
        .says("tiny\n");
}

fn two_steps_at_once_on_one_image(cluster: &Cluster) {
    for image in [TINY, TINY_FUSE] {
        cluster
            .alice(&format!(
                "for i in 1 2 3; do\n\
                     srun -w node1 -n2 --container-image={image} sh -c 'sleep 0.5; cat /etc/oarlock-image' &\n\
                 done; wait"
            ))
            .succeeds()
            .lines(["tiny"; 6]);
    }
}

fn a_step_without_a_container_is_left_alone(cluster: &Cluster) {
    cluster
        .alice("srun -w node1 sh -c 'ls /etc/oarlock-image; grep NoNewPrivs /proc/self/status; hostname'")
        .stdout_and_code("NoNewPrivs:\t0\nnode1\n", 0);
}
