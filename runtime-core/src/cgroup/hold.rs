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
use super::groups::Groups;
use super::hierarchy::{Hierarchy, Version};
use super::own::Step;
use super::plan::{self, Controller, Holder, Limits, Placement, Setting, placements};
use super::{present, release, write_existing};
use crate::request::Identity;
use crate::sys;

/// A step of the same job that ends takes the tree with it, which is made again.
const TRIES: usize = 100;

const CPUS: &str = "cpuset.cpus";
const MEMORY_NODES: &str = "cpuset.mems";

/// Why a step could not be held to its allocation.
#[derive(Debug, thiserror::Error)]
#[error("control group {}: {what}: {error}; for admins: cgroup.enforce = \"never\" in oarlock.toml does without", path.display())]
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

/// As [`super::plan::holders`], with what the node's own groups say.
#[must_use]
pub fn holders(task: &Groups) -> [(Controller, Holder); 4] {
    let hierarchies = task.hierarchies();
    let controllers = in_version_2(hierarchies);
    plan::holders(hierarchies, task.text(), &controllers).map(|(controller, holder)| {
        let group = |own: &Hierarchy| own.group_in(task.text()).map(str::to_owned);
        let holder = match holder {
            Holder::Own(place, version) => hierarchies
                .iter()
                .find(|own| own.place == place)
                .and_then(|own| present::bounding(own, &group(own)?, controller))
                .map_or(Holder::Own(place, version), Holder::Node),
            Holder::Slurm => {
                let own = plan::hierarchy_of(hierarchies, &controllers, controller);
                let is_bound = own.is_none_or(|own| {
                    let group = group(own).unwrap_or_default();
                    present::is_bound_by_slurm(own, &group, controller)
                });
                match is_bound {
                    true => Holder::Slurm,
                    false => Holder::SlurmUnbound,
                }
            }
            other => other,
        };
        (controller, holder)
    })
}

/// Makes the groups of a step and sets its limits and those of its job; `who` will join
/// them.
///
/// # Errors
/// [`HoldError`]; nothing is left then.
pub fn hold(
    step: &Step,
    who: &Identity,
    holders: &[(Controller, Holder)],
    of_job: &Limits,
    of_step: &Limits,
) -> Result<StepGroups, HoldError> {
    let mut held = StepGroups::default();
    for placement in placements(holders, of_step) {
        let made = make(step, &placement, of_job, of_step).and_then(|made| match made {
            Some(group) => joinable(group, placement.version, who),
            None => Ok(None),
        });
        match made {
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

/// The group, where the user's processes may join it. Version 1 lets whoever has the
/// descriptor move himself.
///
/// # Errors
/// Where that is not known: a step that should be held must not run without.
fn joinable(group: Group, version: Version, who: &Identity) -> Result<Option<Group>, HoldError> {
    if version == Version::V1 {
        return Ok(Some(group));
    }
    let may = joining::may_join(group.processes.as_fd(), who);
    if may.map_err(fail(&group.directory, "trying whether its user may join"))? {
        return Ok(Some(group));
    }
    tracing::warn!(
        group = %group.directory.display(),
        "this kernel lets root alone move processes there: the step is not held"
    );
    Ok(None)
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
    // One that is there already may be marked as over: then anybody kills who is in it.
    release::mark_new(&directory).map_err(fail(&directory, "setting its time"))?;
    let mut controllers = placement.controllers.clone();
    if placement.version == Version::V2 {
        controllers.retain(|controller| {
            *controller == Controller::Devices || enable(*controller, &[place, &tree, &job])
        });
    }
    for controller in &controllers {
        let is_bare = placement.version == Version::V1 && *controller == Controller::Cpuset;
        if is_bare {
            inherit(place, &tree, &[CPUS, MEMORY_NODES])?;
            inherit_first(&tree, &job)?;
        }
        for setting in of_job.settings(*controller, placement.version) {
            // A list of devices is the step's alone. Of a job that has shrunk the steps
            // that run may hold more: then its limit stays.
            if *controller != Controller::Devices
                && let Err(error) = write(&job, &setting)
            {
                tracing::debug!(group = %job.display(), %error, "the job's limit stays as it is");
            }
        }
        if is_bare {
            inherit_first(&job, &directory)?;
        }
        for setting in of_step.settings(*controller, placement.version) {
            set(&directory, &setting)?;
        }
        if placement.version == Version::V2 && *controller == Controller::Devices {
            attach(&directory, of_step.devices.as_deref().unwrap_or_default())?;
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

/// A new group of version 1 has no CPU and no memory node, and takes no process. One that
/// is there lacks those that were off when it was made: what is above it is copied anew.
/// Steps that begin at once write the same.
fn inherit(above: &Path, group: &Path, names: &[&str]) -> Result<(), HoldError> {
    for name in names {
        let copy = || {
            let all = fs::read_to_string(above.join(name))?;
            let own = fs::read_to_string(group.join(name))?;
            if all == own {
                return Ok(());
            }
            match write_existing(&group.join(name), all.trim()) {
                // A step that runs may hold one that is off again.
                Err(error) if !own.trim().is_empty() => {
                    tracing::debug!(group = %group.display(), %error, "{name} stays as it is");
                    Ok(())
                }
                done => done,
            }
        };
        copy().map_err(fail(group, format!("copying {name}")))?;
    }
    Ok(())
}

/// The same for a group that is narrowed next: never wider than it is, for another step
/// may be narrowing it, and what cannot be narrowed again would stay.
fn inherit_first(above: &Path, group: &Path) -> Result<(), HoldError> {
    let own = fs::read_to_string(group.join(CPUS)).map_err(fail(group, "reading its CPUs"))?;
    if own.trim().is_empty() {
        inherit(above, group, &[CPUS])?;
    }
    inherit(above, group, &[MEMORY_NODES])
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

/// Version 2 has no file for devices, but a program. A kernel without them holds nobody.
fn attach(group: &Path, rules: &[Rule]) -> Result<(), HoldError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let what = "attaching the program for devices";
    let place = rustix::fs::open(group, flags, Mode::empty())
        .map_err(|error| fail(group, what)(error.into()))?;
    match sys::bpf::attach(place.as_fd(), &devices::program(rules)) {
        Err(error) if is_lacking(&error) => {
            tracing::warn!(group = %group.display(), %error, "{what}: the step is not held to its devices");
            Ok(())
        }
        done => done.map_err(fail(group, what)),
    }
}

/// Whether a kernel or a node's container has no such programs: bpf(2).
fn is_lacking(error: &io::Error) -> bool {
    is_denied(error)
        || matches!(
            error.raw_os_error(),
            Some(libc::EINVAL | libc::ENOSYS | libc::EPERM)
        )
}

mod joining;
#[cfg(test)]
mod tests;
