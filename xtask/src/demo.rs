//! The demonstration: a batch job, an MPI job over both nodes and a terminal,
//! each in an image that this project packed.
//!
//! Every part is checked, not only shown: what runs on the node instead of in
//! the image makes the demonstration fail.

use anyhow::{Result, bail};

use crate::cluster::{self, Cluster};
use crate::engine::Engine;
use crate::job::{require_root, say};
use crate::layout::{Layout, Slurm};

/// The image, as the machines see it.
const IMAGE: &str = "/shared/images/demo.sif";

/// The batch job: says where it runs and with what.
const JOB: &str = r#"#!/bin/bash
#SBATCH --job-name=demo
echo "batch script on $(hostname), image $(cat /etc/oarlock-image), as $(id -un)"
python3 -c 'import sys; print("python", sys.version.split()[0])'
"#;

/// Builds everything, runs the three jobs, and takes down what it started.
pub(crate) fn run(layout: &Layout, slurm: Slurm) -> Result<()> {
    require_root()?;
    let cluster = cluster::up(layout, slurm)?;
    let outcome = jobs(&cluster, slurm);
    if outcome.is_err() {
        cluster::logs(&cluster.engine);
    }
    let down = cluster::take_down(layout, &cluster);
    outcome?;
    down?;
    say("the demonstration is over: all three jobs ran in the image");
    Ok(())
}

fn jobs(cluster: &Cluster, slurm: Slurm) -> Result<()> {
    let engine = &cluster.engine;
    let (mpi_image, mpi) = slurm.mpi();
    alice(
        engine,
        "write the batch script",
        &format!("cat >job.sh <<'END'\n{JOB}END"),
    )?;
    show(
        engine,
        "a batch job whose script runs in the image",
        &format!(
            "sbatch --wait --output=demo.out --container-image={IMAGE} job.sh; code=$?; cat demo.out; (exit $code)"
        ),
        &["image demo, as alice", "python 3"],
    )?;
    let output = show(
        engine,
        "an MPI program, four ranks on two nodes",
        &format!(
            "srun -N2 -n4 --mpi={mpi} --container-image=/shared/images/{mpi_image}.sif mpi-hello"
        ),
        &["of 4 on node1 sum 10", "of 4 on node2 sum 10"],
    )?;
    let ranks = output
        .lines()
        .filter(|line| line.contains("of 4 on"))
        .count();
    if ranks != 4 {
        bail!("demo: four ranks should have reported, {ranks} did");
    }
    // script(1) gives srun a terminal where this program has none.
    show(
        engine,
        "an interactive step with a terminal",
        &format!(
            "script -qec \"srun --pty --container-image={IMAGE} bash -c \
             'tty; echo in image \\$(cat /etc/oarlock-image) on \\$(hostname)'\" /dev/null </dev/null"
        ),
        &["/dev/pts/", "in image demo on node"],
    )?;
    Ok(())
}

/// Runs a line as alice in her home and returns what it printed.
fn alice(engine: &Engine, what: &str, line: &str) -> Result<String> {
    engine
        .exec(
            "login",
            "alice",
            what,
            ["bash", "-lc", &format!("cd && {line}")],
        )
        .limit(120)
        .capture()
}

/// Shows a command and its output, and demands that these texts are in it.
fn show(engine: &Engine, what: &str, line: &str, texts: &[&str]) -> Result<String> {
    println!();
    say(what);
    println!("alice@login$ {line}");
    let output = alice(engine, &format!("run {what}"), line)?;
    print!("{output}");
    for text in texts {
        if !output.contains(text) {
            bail!("demo: {what}: the output lacks '{text}'");
        }
    }
    Ok(output)
}
