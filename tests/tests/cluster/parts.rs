//! Shares and parts of GPUs: the container shows the GPU on which a step's shares lie,
//! of a divided GPU the devices of the step's part, and nothing where it cannot be known
//! which GPU is the step's.

use cluster_tests::images::TINY;
use cluster_tests::{Case, Cluster, Output, Restore, cases};

use crate::devices::without_constraint;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        a_share_shows_its_gpu,
        a_batch_script_with_a_share_sees_the_gpu,
        a_shares_variables_are_those_of_the_container,
        a_part_shows_all_its_devices,
        slurm_conf_says_which_lines_count,
        what_slurm_finds_alone_is_not_guessed,
    ]
}

const LIST: &str = "ls /dev | grep fakegpu";

/// node1 with this gres.conf, and what else `more` writes there, as long as the result
/// lives.
fn with_gres<'a>(cluster: &'a Cluster, gres: &str, more: &str) -> Restore<'a> {
    const FILE: &str = "/etc/slurm/gres.conf";
    let settled = "i=0; until sinfo -h -n node1 -o %T | grep -q idle || [ $i = 50 ]; do sleep 0.1; i=$((i+1)); done";
    cluster.change(
        "node1",
        &format!(
            "cp -p {FILE} /root/gres.kept && cat >{FILE} <<'END'\n{gres}END\n{more}slurm-node restart; {settled}"
        ),
        format!(
            "mv /root/gres.kept {FILE}; rm -f /etc/slurm/fake_gpus.conf; slurm-node restart; {settled}"
        ),
    )
}

/// Runs `command` for a step with a share while another job has the node's first GPU.
fn beside_a_whole_gpu(cluster: &Cluster, command: &str) -> Output {
    cluster.alice(&format!(
        "rm -f ~/in ~/stop; srun -Q -w node1 --gres=gpu:1 sh -c 'echo in >/home/alice/in; until [ -e /home/alice/stop ]; do sleep 0.1; done' & wait_for ~/in; \
         {command}; touch ~/stop; wait; rm ~/in ~/stop"
    ))
}

fn a_share_shows_its_gpu(cluster: &Cluster) {
    beside_a_whole_gpu(
        cluster,
        &format!("srun -w node1 --gres=shard:1 --container-image={TINY} sh -c '{LIST}'"),
    )
    .says("fakegpu1\n");
    cluster
        .alice(&format!(
            "srun -w node1 --gres=shard:2 --container-explain --container-image={TINY} true | grep -e GPUs -e fakegpu | sed 's/^node1: //'"
        ))
        .succeeds()
        .lines([
            "granted: GPUs 0 at /dev/fakegpu0 (SLURM_STEP_GPUS and /etc/slurm/gres.conf)",
            "granted: shares of GPUs 2 (SLURM_SHARDS_ON_NODE)",
            "device /dev/fakegpu0",
        ]);
}

fn a_batch_script_with_a_share_sees_the_gpu(cluster: &Cluster) {
    beside_a_whole_gpu(
        cluster,
        &format!(
            "job=$(sbatch --parsable -w node1 --gres=shard:1 -o ~/out --container-image={TINY} --wrap '{LIST}; echo script'); finish $job; cat ~/out; rm ~/out"
        ),
    )
    .says("fakegpu1\nscript\n");
}

fn a_shares_variables_are_those_of_the_container(cluster: &Cluster) {
    const SAY: &str =
        "echo $CUDA_VISIBLE_DEVICES $ROCR_VISIBLE_DEVICES $ZE_AFFINITY_MASK $GPU_DEVICE_ORDINAL";
    let _off = without_constraint(cluster);
    beside_a_whole_gpu(
        cluster,
        &format!(
            "srun -w node1 --gres=shard:1 sh -c '{SAY}'; srun -w node1 --gres=shard:1 --container-image={TINY} sh -c '{SAY}; {LIST}'"
        ),
    )
    .says("1 1 1 1\n0 0 0 0\nfakegpu1\n");
}

fn a_part_shows_all_its_devices(cluster: &Cluster) {
    let _parts = with_gres(
        cluster,
        "Name=gpu MultipleFiles=/dev/fakegpu0,/dev/fakegpu2\nName=gpu MultipleFiles=/dev/fakegpu1,/dev/fakegpu3\nName=gpu File=/dev/full\nName=gpu File=/dev/zero\nName=shard Count=8\n",
        "",
    );
    for (gres, expected) in [
        ("gpu:1", "fakegpu0\nfakegpu2\n"),
        ("gpu:2", "fakegpu0\nfakegpu1\nfakegpu2\nfakegpu3\n"),
        ("shard:1", "fakegpu0\nfakegpu2\n"),
    ] {
        cluster
            .alice(&format!(
                "srun -w node1 --gres={gres} --container-image={TINY} sh -c '{LIST}'"
            ))
            .succeeds()
            .says(expected);
    }
}

/// Slurm reads the lines that begin with NodeName last, whatever stands first in the file.
fn slurm_conf_says_which_lines_count(cluster: &Cluster) {
    let _lines = with_gres(
        cluster,
        "NodeName=node1 Name=gpu File=/dev/fakegpu[0-1]\nName=gpu File=/dev/fakegpu[2-3]\nName=shard Count=8\n",
        "",
    );
    cluster
        .alice("srun -w node1 --gres=gpu:1 sh -c 'for n in 0 1 2 3; do cat /dev/fakegpu$n 2>&1 | grep -q \"not permitted\" || echo fakegpu$n; done'")
        .says("fakegpu2\n");
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:1 --container-image={TINY} sh -c '{LIST}'"
        ))
        .succeeds()
        .says("fakegpu2\n");
}

/// slurmd is told of GPUs of which this node's kernel and drivers say nothing.
fn what_slurm_finds_alone_is_not_guessed(cluster: &Cluster) {
    let gpus: String = (0..4)
        .map(|n| {
            let links: Vec<&str> = (0..4)
                .map(|m| if m == 3 - n { "-1" } else { "0" })
                .collect();
            format!("(null)|16|0-15|{}|/dev/fakegpu{n}\n", links.join(","))
        })
        .collect();
    let more = format!("cat >/etc/slurm/fake_gpus.conf <<'END'\n{gpus}END\n");
    let held = "for n in 0 1 2 3; do cat /dev/fakegpu$n 2>&1 | grep -q \"not permitted\" || echo fakegpu$n; done";
    for (word, why) in [
        (
            "nvml",
            "Slurm has found 4 of them by itself, and 0 are here now, so that it is not known which have which number",
        ),
        (
            "nrt",
            "what Slurm finds by AutoDetect=nrt is not known here",
        ),
    ] {
        let _found = with_gres(
            cluster,
            &format!("AutoDetect={word}\nName=shard Count=8\n"),
            &more,
        );
        // Slurm's first is the last of its kind on the bus.
        cluster
            .alice(&format!("srun -w node1 --gres=gpu:1 sh -c '{held}'"))
            .says("fakegpu3\n");
        let output = cluster.alice(&format!(
            "srun -w node1 --gres=gpu:1 --container-image={TINY} sh -c '{LIST}; echo ran'"
        ));
        assert_eq!(
            (output.code, output.stdout.as_str()),
            (0, "ran\n"),
            "{output}"
        );
        output.tells([format!(
            "oarlock: node1: GPU 0: {why}; the container does not show it; for admins: name its devices in gres.conf by File= or MultipleFiles="
        )]);
    }
}
