//! Files whose numbers lie: each number of a header at its extremes, one at a
//! time, and damage in the middle. Each gets one line, or runs in safety.

use cluster_tests::hostile::{self, fields};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        every_number_of_a_sif,
        every_number_of_a_superblock,
        noise_in_the_metadata,
        cut_off_anywhere,
        in_steps,
    ]
}

/// Runs trials on a copy of a file, as alice on the login node: thousands of
/// images, without a step for each. At least this many must have been tried, and
/// some of them must still run, or nothing was tested.
fn try_all(cluster: &Cluster, file: &str, verb: &str, table: &str, at_least: u32) {
    hostile::make(cluster);
    let image = hostile::by_fuse(file);
    let output = cluster.alice(&format!(
        "d=$(mktemp -d); trap 'rm -rf $d' EXIT; cp {image} $d/image; chmod u+w $d/image\n\
         python3 {} {} <<'TABLE'\n{table}\nTABLE",
        hostile::by_fuse("patch.py"),
        verb.replace("IMAGE", "$d/image")
    ));
    let summary = output.stdout.lines().next().unwrap_or_default();
    let numbers: Vec<u32> = summary
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [tried, ran, wrong] = numbers[..] else {
        panic!("no summary: {output}");
    };
    assert!(tried >= at_least && ran > 0 && wrong == 0, "{output}");
}

fn every_number_of_a_sif(cluster: &Cluster) {
    try_all(cluster, "fields.sif", "fields IMAGE", fields::SIF, 500);
}

fn every_number_of_a_superblock(cluster: &Cluster) {
    let table = fields::SUPERBLOCK;
    try_all(cluster, "fields.sqsh", "fields IMAGE", table, 300);
}

fn noise_in_the_metadata(cluster: &Cluster) {
    try_all(cluster, "etc-chain.sqsh", "noise IMAGE 1 200", "", 200);
}

fn cut_off_anywhere(cluster: &Cluster) {
    try_all(cluster, "fields.sif", "cut IMAGE", "", 40);
    try_all(cluster, "etc-chain.sqsh", "cut IMAGE", "", 20);
}

fn in_steps(cluster: &Cluster) {
    hostile::make(cluster);
    for (place, sample) in fields::SAMPLES.iter().enumerate() {
        let file = format!("{}.sif", sample.name);
        let image = if place % 2 == 0 {
            hostile::by_fuse(&file)
        } else {
            hostile::by_kernel(&file)
        };
        let message = sample.message;
        let lines =
            ["node1", "node2"].map(|node| format!("oarlock: {node}: image {image}: {message}"));
        cluster
            .alice(&format!("srun -N2 -n4 --container-image={image} echo ran"))
            .is_refused(lines);
    }
}
