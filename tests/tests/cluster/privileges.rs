//! A rank has no privilege, and an image gives none.

use cluster_tests::images::{DEMO, DEMO_FUSE, TINIES, TINY_DIRECTORY};
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        no_capability_in_any_set,
        every_rank_is_without_privilege,
        a_batch_script_is_without_privilege,
        the_probe_can_tell,
        a_setuid_root_program_gives_nothing,
        a_setgid_program_gives_nothing,
        file_capabilities_give_nothing,
        a_user_namespace_gives_no_way_out,
    ]
}

const STATUS: &str = "grep -E '^(Cap|NoNewPrivs)' /proc/self/status";
const NONE: &str = "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n\
     CapBnd:\t0000000000000000\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\n";

fn no_capability_in_any_set(cluster: &Cluster) {
    for (form, image) in TINIES
        .into_iter()
        .chain([("demo by the kernel", DEMO), ("demo by FUSE", DEMO_FUSE)])
    {
        cluster
            .alice(&format!("srun --container-image={image} {STATUS} # {form}"))
            .succeeds()
            .says(NONE);
    }
}

fn every_rank_is_without_privilege(cluster: &Cluster) {
    let output = cluster
        .alice(&format!(
            "srun -N2 -n8 --container-image={DEMO} {STATUS} | sort | uniq -c | tr -s ' '"
        ))
        .succeeds();
    let mut expected: Vec<String> = NONE.lines().map(|line| format!(" 8 {line}")).collect();
    expected.sort();
    output.lines(expected);
}

fn a_batch_script_is_without_privilege(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "job=$(sbatch --parsable -o ~/out --container-image={DEMO} --wrap \"{STATUS}\"); finish $job; cat ~/out; rm ~/out"
        ))
        .succeeds()
        .says(NONE);
}

const POWERLESS: &str =
    "uid 1000 1000 1000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n";
const REFUSED: &str = "unshare EPERM\nchroot EPERM\nsetuid EPERM\n";

/// Outside of a container the same files do give rights: the tests below see a
/// difference, not an accident.
fn the_probe_can_tell(cluster: &Cluster) {
    let setuid = cluster
        .alice(&format!("{TINY_DIRECTORY}/usr/bin/probe-setuid"))
        .succeeds();
    assert!(setuid.stdout.starts_with("uid 1000 0 0\n"), "{setuid}");
    let capable = cluster
        .alice(&format!("{TINY_DIRECTORY}/usr/bin/probe-capable"))
        .succeeds();
    assert!(capable.stdout.contains("setuid done"), "{capable}");
}

fn a_setuid_root_program_gives_nothing(cluster: &Cluster) {
    for (form, image) in TINIES {
        cluster
            .alice(&format!(
                "srun --container-image={image} sh -c 'stat -c %a-%u /usr/bin/probe-setuid; probe-setuid' # {form}"
            ))
            .succeeds()
            .says(&format!("4755-0\n{POWERLESS}marked no\n{REFUSED}"));
    }
}

fn a_setgid_program_gives_nothing(cluster: &Cluster) {
    for (form, image) in TINIES {
        cluster
            .alice(&format!(
                "srun --container-image={image} sh -c 'stat -c %a-%g /usr/bin/probe-setgid; probe-setgid' # {form}"
            ))
            .succeeds()
            .says(&format!("2755-0\n{POWERLESS}marked no\n{REFUSED}"));
    }
}

fn file_capabilities_give_nothing(cluster: &Cluster) {
    for (form, image) in TINIES {
        cluster
            .alice(&format!(
                "srun --container-image={image} probe-capable # {form}"
            ))
            .succeeds()
            .says(&format!("{POWERLESS}marked yes\n{REFUSED}"));
    }
}

/// Whoever may make user namespaces may mount in one; nothing of that is seen
/// outside, and no device of the node can be opened.
fn a_user_namespace_gives_no_way_out(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "srun -w node1 --container-image={DEMO} sh -c 'unshare -Urm sh -c \"mount -t tmpfs x /home && mknod /home/loop b 7 0; ls /home\"; ls -d /home/alice'"
    ));
    assert!(
        !output.stdout.lines().any(|line| line == "loop"),
        "{output}"
    );
    assert!(output.stdout.ends_with("/home/alice\n"), "{output}");
}
