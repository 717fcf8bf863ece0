//! Makes a step's groups, and sets what it is held to.
//!
//! Only below our own tree. A node that gives root no groups (read-only, or not root's)
//! is a node without them; what fails in any other way fails the step, for it would run
//! with less than its allocation says or with more.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::devices::{self, Rule};
use super::groups::{Groups, write_existing};
use super::hierarchy::{Hierarchy, Version};
use super::own::Step;
use super::plan::{Controller, Holder, Limits, Placement, Setting, placements};
use super::release;
use crate::sys;

/// A step of the same job that ends takes the tree with it, which is made again.
const TRIES: usize = 100;

/// Why a step could not be held to its allocation.
#[derive(Debug, thiserror::Error)]
#[error("control group {}: {what}: {error}; cgroup.enforce in oarlock.toml is for the admin to decide", path.display())]
pub struct HoldError {
    path: PathBuf,
    what: String,
    error: io::Error,
}

fn fail(path: &Path, what: impl Into<String>) -> impl FnOnce(io::Error) -> HoldError {
    move |error| HoldError {
        path: path.to_owned(),
        what: what.into(),
        error,
    }
}

/// A step's groups of ours.
#[derive(Debug, Default)]
pub struct StepGroups {
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    place: PathBuf,
    directory: PathBuf,
    /// `cgroup.procs`, for writing.
    processes: OwnedFd,
}

impl StepGroups {
    /// For each rank to join by writing `0`: each group's `cgroup.procs`. The kernel asks
    /// whether who opened it may.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn processes(&self) -> io::Result<Vec<OwnedFd>> {
        let groups = self.groups.iter();
        groups.map(|group| group.processes.try_clone()).collect()
    }

    /// The groups of a task that joins these, too.
    #[must_use]
    pub fn with(&self, task: &Groups) -> Groups {
        let groups = self.groups.iter();
        groups.fold(task.clone(), |all, group| {
            all.with(&group.place, &group.directory)
        })
    }
}

/// The controllers that version 2 has on this node.
#[must_use]
pub fn in_version_2(hierarchies: &[Hierarchy]) -> String {
    hierarchies
        .iter()
        .find(|own| own.version == Version::V2)
        .and_then(|own| fs::read_to_string(own.place.join("cgroup.controllers")).ok())
        .unwrap_or_default()
}

/// Makes the groups of a step and sets its limits and those of its job.
///
/// # Errors
/// [`HoldError`]; nothing is left then.
pub fn hold(
    step: &Step,
    holders: &[(Controller, Holder)],
    of_job: &Limits,
    of_step: &Limits,
) -> Result<StepGroups, HoldError> {
    let mut held = StepGroups::default();
    for placement in placements(holders, of_step) {
        match make(step, &placement, of_job, of_step) {
            Ok(group) => held.groups.extend(group),
            Err(error) => {
                // Nobody is in it yet.
                let _ = release::step(step);
                return Err(error);
            }
        }
    }
    Ok(held)
}

/// Whether the node gives root no groups in a hierarchy.
fn is_denied(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
    )
}

fn make(
    step: &Step,
    placement: &Placement,
    of_job: &Limits,
    of_step: &Limits,
) -> Result<Option<Group>, HoldError> {
    let place = placement.place.as_path();
    let (tree, job, directory) = (step.tree(place), step.job_group(place), step.group(place));
    if let Err(error) = make_all(&[&tree, &job, &directory]) {
        if is_denied(&error) {
            tracing::warn!(place = %place.display(), %error, "no control group can be made: the step is not held there");
            return Ok(None);
        }
        return Err(fail(&directory, "making it")(error));
    }
    let mut controllers = placement.controllers.clone();
    if placement.version == Version::V2 {
        controllers.retain(|controller| {
            *controller == Controller::Devices || enable(*controller, &[place, &tree, &job])
        });
    } else if controllers.contains(&Controller::Cpuset) {
        for (above, group) in [(place, &tree), (&tree, &job), (&job, &directory)] {
            inherit(above, group)?;
        }
    }
    for controller in &controllers {
        for setting in of_job.settings(*controller, placement.version) {
            // A list of devices is the step's alone. A job that has grown keeps what an
            // earlier step was given; the step's own limit is what counts.
            if *controller != Controller::Devices
                && let Err(error) = write(&job, &setting)
            {
                tracing::debug!(group = %job.display(), %error, "the job's limit stays as it is");
            }
        }
        for setting in of_step.settings(*controller, placement.version) {
            set(&directory, &setting)?;
        }
        if placement.version == Version::V2 {
            let rules = of_step.devices.as_deref().unwrap_or_default();
            further(&directory, *controller, rules)?;
        }
    }
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let processes = rustix::fs::open(directory.join("cgroup.procs"), flags, Mode::empty())
        .map_err(|error| fail(&directory, "opening its processes")(error.into()))?;
    Ok(Some(Group {
        place: place.to_owned(),
        directory,
        processes,
    }))
}

/// Directories, the first above the second, and so on.
fn make_all(directories: &[&Path]) -> io::Result<()> {
    for _ in 0..TRIES {
        let mut made = Ok(());
        for directory in directories {
            made = match fs::create_dir(directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            };
            if made.is_err() {
                break;
            }
        }
        match made {
            // Another step's end was between.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Lets groups below have a controller of version 2.
fn enable(controller: Controller, groups: &[&Path]) -> bool {
    groups.iter().all(|group| {
        let file = group.join("cgroup.subtree_control");
        let word = format!("+{}", controller.name());
        let done = write_existing(&file, &word);
        if let Err(error) = &done {
            tracing::warn!(file = %file.display(), %error, "{} cannot be used: the step is not held to it", controller.name());
        }
        done.is_ok()
    })
}

/// A new group of version 1 has no CPU and no memory node, and takes no process.
fn inherit(above: &Path, group: &Path) -> Result<(), HoldError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let copy = || {
            let now = fs::read_to_string(group.join(name))?;
            if now.trim().is_empty() {
                let value = fs::read_to_string(above.join(name))?;
                write_existing(&group.join(name), value.trim())?;
            }
            Ok(())
        };
        copy().map_err(fail(group, format!("copying {name}")))?;
    }
    Ok(())
}

fn write(group: &Path, setting: &Setting) -> io::Result<()> {
    write_existing(&group.join(setting.name), &setting.value)
}

fn set(group: &Path, setting: &Setting) -> Result<(), HoldError> {
    match write(group, setting) {
        // No group may open more than the one above: in a container of a node's own, a
        // device may be out of reach for all.
        Err(error) if setting.name == devices::ALLOW && is_denied(&error) => {
            tracing::debug!(group = %group.display(), rule = %setting.value, "not allowed above");
            Ok(())
        }
        done => done.map_err(fail(
            group,
            format!("{} to {}", setting.value, setting.name),
        )),
    }
}

/// What version 2 has beside files with figures.
fn further(group: &Path, controller: Controller, rules: &[Rule]) -> Result<(), HoldError> {
    match controller {
        Controller::Devices => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let what = || fail(group, "attaching the program for devices");
            let place = rustix::fs::open(group, flags, Mode::empty())
                .map_err(|error| what()(error.into()))?;
            sys::bpf::attach(place.as_fd(), &devices::program(rules)).map_err(what())
        }
        // One rank less leaves the others waiting for it. Linux 4.19.
        Controller::Memory => {
            let _ = write_existing(&group.join("memory.oom.group"), "1");
            Ok(())
        }
        Controller::Cpuset | Controller::Pids => Ok(()),
    }
}

#[cfg(test)]
mod tests;
