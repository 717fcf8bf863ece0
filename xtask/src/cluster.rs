//! The test cluster: up, down, a shell in it.
//!
//! Everything it makes carries the project's name; nothing else on the engine
//! is touched.

use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::engine::{self, Engine, project};
use crate::job::{Job, require_root, say};
use crate::layout::{Layout, Slurm, make_dir};
use crate::{artifacts, base, images, packages};

/// The machines, in the order in which they get Oarlock.
pub(crate) const MACHINES: [&str; 4] = ["ctld", "node1", "node2", "login"];

/// How long both nodes may take to become idle.
const IDLE_WAIT: Duration = Duration::from_secs(120);

/// A cluster that is up.
pub(crate) struct Cluster {
    /// The engine that it runs on.
    pub(crate) engine: Engine,
    /// Whether this call started it.
    pub(crate) started: bool,
}

/// Builds, starts and installs; repeats only what has changed.
pub(crate) fn up(layout: &Layout, slurm: Slurm) -> Result<Cluster> {
    up_with(layout, slurm, UserImages::Made)
}

/// Whether the users' images are made of this version's Debian.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum UserImages {
    /// Made, where they are missing or of another one.
    Made,
    /// Those of another version, where they are there: minutes less.
    AsTheyAre,
}

/// The same, with a say about the users' images.
pub(crate) fn up_with(layout: &Layout, slurm: Slurm, images: UserImages) -> Result<Cluster> {
    require_root()?;
    packages::ensure(layout, packages::BUILD)?;
    let engine = Engine::find_or_start(layout)?;
    let started = !is_up(&engine);
    let outcome = start(layout, &engine, slurm, images);
    if outcome.is_err() {
        logs(&engine);
    }
    if outcome.is_err() && started {
        say("the cluster did not come up: removing what was started");
        let cleared = remove(layout, &engine);
        if engine.started {
            engine::stop(layout)?;
        }
        cleared?;
    }
    outcome?;
    Ok(Cluster { engine, started })
}

fn start(layout: &Layout, engine: &Engine, slurm: Slurm, user_images: UserImages) -> Result<()> {
    make_image(layout, engine, slurm)?;
    artifacts::compare_glibc(engine, slurm)?;
    artifacts::slurm_headers(layout, engine, slurm)?;
    artifacts::build(layout, slurm)?;
    artifacts::stage(layout)?;
    make_shared(layout)?;
    if user_images == UserImages::Made || !images::are_there(layout) {
        images::ensure(layout, engine, slurm)?;
    }

    say(&format!("starting the cluster: {}", MACHINES.join(", ")));
    // One machine first: a new volume is filled from the image by whoever has it
    // first, and machines that come at once fail at each other's files.
    let first = ["up", "-d", "--no-build", "--no-deps", "ctld"];
    engine
        .compose("start the first machine", slurm, first)
        .limit(180)
        .log_to(&layout.log("compose-first")?)?;
    engine
        .compose(
            "start the cluster",
            slurm,
            ["up", "-d", "--no-build", "--remove-orphans"],
        )
        .limit(180)
        .log_to(&layout.log("compose-up")?)?;
    wait_idle(engine)?;
    install(engine)?;
    greet(engine, slurm)
}

/// The image of the cluster's machines.
pub(crate) fn make_image(layout: &Layout, engine: &Engine, slurm: Slurm) -> Result<()> {
    base::ensure(layout, engine, slurm.suite())?;
    engine.build(
        layout,
        "Dockerfile",
        slurm.suite(),
        &slurm.image(),
        "slurm-test-cluster",
    )
}

/// /shared is every user's; /shared/images is root's, so that what lies in it
/// is trusted.
fn make_shared(layout: &Layout) -> Result<()> {
    let images = layout.shared().join("images");
    make_dir(&layout.install())?;
    for (mode, dir) in [("1777", layout.shared()), ("0755", images)] {
        Job::new(
            "make the shared folder",
            ["install", "-d", "-o", "root", "-m", mode],
        )
        .args([dir])
        .root_if(true)
        .capture()?;
    }
    Ok(())
}

/// Waits until Slurm calls both nodes idle.
pub(crate) fn wait_idle(engine: &Engine) -> Result<()> {
    say("waiting for both nodes");
    let deadline = Instant::now() + IDLE_WAIT;
    let mut last = String::new();
    while Instant::now() < deadline {
        let states = engine
            .exec(
                "ctld",
                "root",
                "ask Slurm for its nodes",
                ["sinfo", "-h", "-N", "-p", "main", "-o", "%N %T"],
            )
            .capture();
        match states {
            Ok(states) => {
                if states
                    .lines()
                    .filter(|line| line.ends_with(" idle"))
                    .count()
                    == 2
                {
                    return Ok(());
                }
                last = states;
            }
            Err(error) => last = format!("{error:#}"),
        }
        let ended = ended(engine)?;
        if !ended.is_empty() {
            bail!("cluster: ended at its start: {}", ended.join(", "));
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    bail!(
        "cluster: the nodes are not idle after {} s; the last answer: {}",
        IDLE_WAIT.as_secs(),
        last.trim()
    )
}

/// The cluster's containers that are no longer running.
fn ended(engine: &Engine) -> Result<Vec<String>> {
    let project = format!("label=com.docker.compose.project={}", project());
    let names = engine
        .docker(
            "look for ended machines",
            ["ps", "-a", "--format", "{{.Names}}"],
        )
        .args(["--filter", &project, "--filter", "status=exited"])
        .capture()?;
    Ok(names.lines().map(str::to_owned).collect())
}

/// Installs the staged tree on every machine and has Slurm read it.
fn install(engine: &Engine) -> Result<()> {
    say("installing Oarlock on every machine");
    for machine in MACHINES {
        engine
            .exec(machine, "root", "install Oarlock", ["install-oarlock"])
            .capture()?;
    }
    engine
        .exec(
            "ctld",
            "root",
            "reconfigure Slurm",
            ["scontrol", "reconfigure"],
        )
        .capture()?;
    // A slurmd that was started before the plugin was there does not call it at a
    // job's end. Slurm from 23.11 on has started anew by now; before, nobody did.
    for node in ["node1", "node2"] {
        engine
            .exec(
                node,
                "root",
                "start slurmd anew",
                [
                    "sh",
                    "-c",
                    "for try in 1 2 3 4 5; do [ -e /run/oarlock/epilog ] && exit; sleep 0.3; done; slurm-node restart",
                ],
            )
            .capture()?;
    }
    wait_idle(engine)
}

/// Runs one step over both nodes and says how to go on.
fn greet(engine: &Engine, slurm: Slurm) -> Result<()> {
    let hosts = engine
        .exec(
            "login",
            "alice",
            "run a step on both nodes",
            ["srun", "--chdir=/tmp", "-N2", "hostname"],
        )
        .capture()?;
    let mut hosts: Vec<&str> = hosts.lines().collect();
    hosts.sort_unstable();
    if hosts != ["node1", "node2"] {
        bail!("cluster: a step over both nodes ran on {hosts:?}");
    }
    let cgroups = engine
        .exec(
            "node1",
            "root",
            "read the cgroup state",
            ["cat", "/run/cluster-cgroup"],
        )
        .capture()?;
    say(&format!(
        "the cluster is up: Slurm {}, 2 nodes of 16 CPUs and 4 fake GPUs; {}",
        slurm.version(),
        cgroups.trim()
    ));
    say("enter it with: cargo xtask cluster shell");
    Ok(())
}

/// Whether Slurm's controller runs.
pub(crate) fn is_up(engine: &Engine) -> bool {
    engine
        .exec("ctld", "root", "look for the cluster", ["true"])
        .succeeds()
}

/// Prints the end of every daemon's log, for a failure's sake.
pub(crate) fn logs(engine: &Engine) {
    for (machine, log) in [
        ("ctld", "slurmctld.log"),
        ("node1", "slurmd.log"),
        ("node2", "slurmd.log"),
    ] {
        say(&format!("the last lines of {log} on {machine}:"));
        let path = format!("/var/log/slurm/{log}");
        let shown = engine
            .exec(machine, "root", "read a log", ["tail", "-n", "40", &path])
            .show();
        if shown.is_err() {
            // A machine that never started has its words in compose's log.
            let said = engine
                .compose(
                    "read a log",
                    Slurm::default(),
                    ["logs", "--tail=40", machine],
                )
                .show();
            if let Err(error) = said {
                say(&format!("{error:#}"));
            }
        }
    }
}

/// Stops and removes the cluster, and the engine where we started it.
pub(crate) fn down(layout: &Layout) -> Result<()> {
    match Engine::find(layout) {
        Some(engine) => remove(layout, &engine)?,
        None => say("no Docker engine answers: there is no cluster to stop"),
    }
    engine::stop(layout)
}

fn remove(layout: &Layout, engine: &Engine) -> Result<()> {
    say("stopping the cluster");
    engine
        .compose(
            "stop the cluster",
            Slurm::default(),
            ["down", "-v", "--remove-orphans", "-t", "2"],
        )
        .limit(120)
        .log_to(&layout.log("compose-down")?)
}

/// Takes down what `up` started, and only that.
pub(crate) fn take_down(layout: &Layout, cluster: &Cluster) -> Result<()> {
    if cluster.started {
        remove(layout, &cluster.engine)?;
    }
    if cluster.engine.started {
        engine::stop(layout)?;
    }
    Ok(())
}

/// Becomes a shell in a machine of the cluster.
pub(crate) fn shell(layout: &Layout, machine: &str, user: &str) -> Result<()> {
    let engine = Engine::find(layout)
        .filter(is_up)
        .context("cluster: it is not up; start it with `cargo xtask cluster up`")?;
    let home = if user == "root" {
        "/root".to_owned()
    } else {
        format!("/home/{user}")
    };
    let mut args = vec!["exec", "-u", user, "-w", &home];
    if !std::io::stdin().is_terminal() {
        args.push("-T");
    }
    args.extend([machine, "bash", "-l"]);
    let error = engine
        .compose("open a shell", Slurm::default(), args)
        .unlimited()
        .command()?
        .exec();
    Err(error).context("cluster: the shell does not start")
}
