//! The Docker engine and Compose: found, or started and stopped by us.
//!
//! An engine that answers is used as it is. One that we start is told apart
//! by its pid file below target/, and only that one is ever stopped.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::job::{Job, is_root, say, tail};
use crate::layout::{Layout, Slurm, make_dir};
use crate::packages;

/// The name that the cluster's containers, volumes and network carry: as Compose
/// takes it, so that a second workspace can have a cluster of its own.
pub(crate) fn project() -> String {
    std::env::var("COMPOSE_PROJECT_NAME")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "oarlock".to_owned())
}

/// How long an engine may take to answer after its start, and to stop.
const ENGINE_WAIT: Duration = Duration::from_secs(60);

/// How to reach an engine that answers.
pub(crate) struct Engine {
    /// `docker` or a path of it.
    docker: String,
    /// Whether only root reaches the engine's socket.
    root: bool,
    /// `docker compose` or `docker-compose`.
    compose: Vec<String>,
    /// The compose file's folder.
    folder: PathBuf,
    /// Whether this call started it.
    pub(crate) started: bool,
}

impl Engine {
    /// Finds an engine, or installs what is missing and starts one.
    pub(crate) fn find_or_start(layout: &Layout) -> Result<Self> {
        packages::ensure(layout, packages::CLIENT)?;
        let mut started = false;
        let mut found = find_docker();
        if found.is_none() {
            packages::ensure(layout, packages::ENGINE)?;
            // Where an init system runs, the package has started it.
            found = find_docker();
        }
        if found.is_none() {
            start(layout)?;
            started = true;
            found = find_docker();
        }
        let (docker, root) = found.context(
            "docker: the engine runs but `docker info` fails; is the client too new or too old for it?",
        )?;
        if find_compose(&docker).is_none() {
            packages::ensure(layout, packages::COMPOSE)?;
        }
        let compose = find_compose(&docker)
            .context("docker compose: neither `docker compose` nor `docker-compose` runs; install one of them")?;
        Ok(Self {
            docker,
            root,
            compose,
            folder: layout.root.clone(),
            started,
        })
    }

    /// Finds an engine; none where none answers.
    pub(crate) fn find(layout: &Layout) -> Option<Self> {
        let (docker, root) = find_docker()?;
        let compose = find_compose(&docker)?;
        Some(Self {
            docker,
            root,
            compose,
            folder: layout.root.clone(),
            started: false,
        })
    }

    /// A docker command.
    pub(crate) fn docker<'a>(&self, what: &str, args: impl IntoIterator<Item = &'a str>) -> Job {
        Job::new(what, [self.docker.as_str()])
            .args(args)
            .root_if(self.root)
    }

    /// A compose command on the cluster.
    pub(crate) fn compose<'a>(
        &self,
        what: &str,
        slurm: Slurm,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Job {
        Job::new(what, &self.compose)
            .args(["-p", &project()])
            .args(args)
            .env("OARLOCK_SUITE", slurm.suite())
            .dir(&self.folder)
            .root_if(self.root)
    }

    /// A command in a machine of the cluster, without a terminal.
    pub(crate) fn exec<'a>(
        &self,
        machine: &str,
        user: &str,
        what: &str,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Job {
        self.compose(what, Slurm::default(), ["exec", "-T", "-u", user, machine])
            .args(args)
    }

    /// The compose command as one string, for the tests.
    pub(crate) fn compose_command(&self) -> String {
        let sudo = if self.root && !is_root() {
            "sudo -n "
        } else {
            ""
        };
        format!("{sudo}{}", self.compose.join(" "))
    }

    /// Whether an image with this tag is there.
    pub(crate) fn has_image(&self, tag: &str) -> bool {
        self.image_id(tag).is_some()
    }

    /// The id of an image.
    pub(crate) fn image_id(&self, tag: &str) -> Option<String> {
        self.docker(
            "look for an image",
            ["image", "inspect", "-f", "{{.Id}}", tag],
        )
        .capture()
        .ok()
        .map(|id| id.trim().to_owned())
    }

    /// Builds an image from a Dockerfile. The build uses the host's network:
    /// it needs no name server of the engine's own.
    pub(crate) fn build(
        &self,
        layout: &Layout,
        file: &str,
        suite: &str,
        tag: &str,
        context: &str,
    ) -> Result<()> {
        say(&format!("building the image {tag}"));
        let log = layout.log(&format!("build-{}", tag.replace([':', '/'], "-")))?;
        let context = layout.root.join(context);
        let file = context.join(file);
        self.docker("build an image", ["build", "--network", "host", "-t", tag])
            .args(["--build-arg", &format!("SUITE={suite}"), "-f"])
            .args([&file])
            .args([&context])
            .limit(1200)
            .log_to(&log)
    }
}

/// The docker command that reaches an engine, and whether root has to call it.
fn find_docker() -> Option<(String, bool)> {
    // A newer client in front of the PATH may refuse Debian's engine.
    for docker in ["docker", "/usr/bin/docker"] {
        for root in [false, true] {
            if root && is_root() {
                continue;
            }
            let info = Job::new("ask the engine", [docker, "info"])
                .root_if(root)
                .limit(20);
            if info.succeeds() {
                return Some((docker.into(), root));
            }
        }
    }
    None
}

fn find_compose(docker: &str) -> Option<Vec<String>> {
    let plugin = vec![docker.to_owned(), "compose".to_owned()];
    let standalone = vec!["docker-compose".to_owned()];
    [plugin, standalone].into_iter().find(|argv| {
        Job::new("ask for Compose", argv)
            .args(["version"])
            .limit(20)
            .succeeds()
    })
}

fn folder(layout: &Layout) -> PathBuf {
    layout.cluster().join("engine")
}

fn pid_file(layout: &Layout) -> PathBuf {
    folder(layout).join("dockerd.pid")
}

/// Starts an engine that outlives this program.
fn start(layout: &Layout) -> Result<()> {
    make_dir(&folder(layout))?;
    let log = folder(layout).join("dockerd.log");
    // A machine without usable iptables still runs the cluster: images are
    // built on the host's network, and the machines talk over a bridge.
    let attempts: [&[&str]; 2] = [&[], &["--iptables=false", "--ip6tables=false"]];
    for extra in attempts {
        say(&format!(
            "no Docker engine answers: starting dockerd {}",
            extra.join(" ")
        ));
        let mut child = Job::new(
            "start the Docker engine",
            ["setsid", "dockerd", "--pidfile"],
        )
        .args([pid_file(layout)])
        .args(extra.iter().copied())
        .root_if(true)
        .start(&log)?;
        let deadline = Instant::now() + ENGINE_WAIT;
        while Instant::now() < deadline {
            if find_docker().is_some() {
                return Ok(());
            }
            let ended = child
                .try_wait()
                .context("dockerd: cannot be waited for")?
                .is_some();
            // setsid may fork and leave; then the pid file tells.
            if ended && our_pid(layout).is_none() {
                break;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
        stop(layout)?;
    }
    bail!(
        "docker: dockerd does not come up; its last lines (all in {}):\n{}",
        log.display(),
        tail(&log, 15)
    );
}

/// The process of the engine that we started, if it still runs.
fn our_pid(layout: &Layout) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(pid_file(layout))
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim() == "dockerd").then_some(pid)
}

/// Stops the engine where we started it; leaves any other alone.
pub(crate) fn stop(layout: &Layout) -> Result<()> {
    let Some(pid) = our_pid(layout) else {
        return Ok(());
    };
    say("stopping the Docker engine that was started for this");
    Job::new("stop the Docker engine", ["kill", &pid.to_string()])
        .root_if(true)
        .capture()?;
    let deadline = Instant::now() + ENGINE_WAIT;
    while our_pid(layout).is_some() {
        if Instant::now() > deadline {
            bail!("docker: the engine, process {pid}, still runs after 60 s; stop it by hand");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
