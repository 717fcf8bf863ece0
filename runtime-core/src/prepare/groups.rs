//! Holding a step to its allocation where Slurm does not: which limits it has, and its
//! control groups.

use std::os::fd::OwnedFd;

use super::devices::Devices;
use super::failure::Failure;
use super::node::Node;
use super::search::Progress;
use crate::cgroup::Groups;
use crate::cgroup::cpus::{self, Shape, Topology, Unknown};
use crate::cgroup::devices::{BASIC, FUSE, Rule};
use crate::cgroup::hold::{self, StepGroups};
use crate::cgroup::own::Step;
use crate::cgroup::plan::{self, Controller, Holder, Limits};
use crate::config::Enforce;
use crate::entry::Entry;
use crate::host::Host;
use crate::path::HostPath;
use crate::slurm::conf::Conf;
use crate::slurm::place;

/// Begins the line that says why it is not known.
const SUBJECT: &str = "CPUs of the step";

/// What a step would be held to, and by whom.
struct Decided {
    holders: [(Controller, Holder); 4],
    of_job: Limits,
    of_step: Limits,
    /// Why something is not held to, for people.
    notes: Vec<String>,
}

impl Node<'_> {
    /// Makes the groups for what Slurm does not hold the task's step to. They end with
    /// the step: slurmstepd sees to it.
    ///
    /// # Errors
    /// [`Failure::Hold`], and where slurm.conf cannot be read in time.
    pub(super) fn make_groups(
        &self,
        task: &Groups,
        devices: &[Rule],
    ) -> Result<StepGroups, Failure> {
        if self.config.cgroup.enforce == Enforce::Never {
            return Ok(StepGroups::default());
        }
        let decided = self.decide(task, devices)?;
        for note in &decided.notes {
            tracing::info!(JOB_STEP = %self.request.label, "{note}");
        }
        let made = hold::hold(
            &self.step(),
            &self.request.identity,
            &decided.holders,
            &decided.of_job,
            &decided.of_step,
        )?;
        Ok(made)
    }

    /// For a container that sees its own control groups alone: the step's, which must be
    /// there when it is built.
    ///
    /// # Errors
    /// As [`Node::make_groups`].
    pub(super) fn groups_apart(
        &self,
        join: &Option<OwnedFd>,
        task: &Groups,
        devices: &Devices,
    ) -> Result<Option<(StepGroups, Groups)>, Failure> {
        if !self.request.options.unshare.cgroup || join.is_some() {
            return Ok(None);
        }
        let made = self.make_groups(task, &devices.own)?;
        let groups = made.with(task).of_step();
        Ok(Some((made, groups)))
    }

    /// Whether there is anything to which Oarlock may have to hold the step: its ranks go
    /// to groups of ours then.
    pub(super) fn will_hold(&self, task: &Groups) -> bool {
        let is_own = |(_, holder): &(Controller, Holder)| matches!(holder, Holder::Own(..));
        self.config.cgroup.enforce == Enforce::Auto && hold::holders(task).iter().any(is_own)
    }

    /// What a step is held to, in lines for people.
    ///
    /// # Errors
    /// Where slurm.conf cannot be read in time.
    pub(super) fn held_lines(
        &self,
        task: &Groups,
        devices: &[Rule],
    ) -> Result<Vec<String>, Failure> {
        if self.config.cgroup.enforce == Enforce::Never {
            return Ok(vec![
                "held: to what Slurm holds it to (cgroup.enforce in oarlock.toml is never)"
                    .to_owned(),
            ]);
        }
        let decided = self.decide(task, devices)?;
        let mut lines = plan::lines(&decided.holders, &decided.of_step);
        lines.extend(decided.notes);
        Ok(lines)
    }

    fn step(&self) -> Step {
        let request = self.request;
        Step::new(&request.node, request.job, &request.label)
    }

    fn decide(&self, task: &Groups, devices: &[Rule]) -> Result<Decided, Failure> {
        let holders = hold::holders(task);
        let granted = &self.request.granted;
        let mut notes = Vec::new();
        let is_own = |wanted: Controller| {
            holders
                .iter()
                .any(|(own, holder)| *own == wanted && matches!(holder, Holder::Own(..)))
        };
        let mut of_step = Limits {
            memory: bytes(granted.memory),
            pids: plan::pids(
                cpus::count(&granted.cores),
                self.config.cgroup.pids_per_core,
            ),
            devices: is_own(Controller::Devices).then(|| rules(devices, &self.request.entry)),
            cpus: None,
        };
        let mut of_job = Limits {
            memory: bytes(granted.job_memory),
            ..Limits::default()
        };
        // Asked of the kernel's and Slurm's files only where it is needed.
        if is_own(Controller::Cpuset) && !granted.cores.is_empty() {
            let found = self.search(SUBJECT, &[], |node, progress| {
                Ok(node.cpus(progress).map_err(|why| why.to_string()))
            })?;
            match found {
                Ok((job, step)) => {
                    of_job.cpus = Some(job);
                    of_step.cpus = Some(step);
                }
                Err(why) => notes.push(format!("cpuset: not held: {why}")),
            }
        }
        Ok(Decided {
            holders,
            of_job,
            of_step,
            notes,
        })
    }

    /// The CPUs of the job and of the step.
    fn cpus(&self, progress: Progress<'_>) -> Result<(String, String), Unknown> {
        let host = Host::this();
        let path = place::configuration(&host, self.request.slurm_conf());
        let path = path.ok_or(Unknown::NoNode)?;
        progress.at_file(&path);
        // slurmd believes it, whoever owns it.
        let conf = Conf::look_into(&host, &path).map_err(|_| Unknown::NoNode)?;
        let shape = Shape::of(&conf, &self.request.node)?;
        let topology = Topology::of(&host);
        let granted = &self.request.granted;
        let step = topology.cpus(&granted.cores, shape)?;
        let job = match granted.job_cores.as_str() {
            "" => step.clone(),
            cores => topology.cpus(cores, shape)?,
        };
        Ok((job, step))
    }
}

/// The groups that a container shows, each in the place of its hierarchy.
pub(super) fn shown(groups: &Groups) -> Vec<(HostPath, HostPath)> {
    groups
        .directories()
        .filter_map(|(place, group)| Some((HostPath::new(group).ok()?, HostPath::new(place).ok()?)))
        .collect()
}

fn bytes(mebibytes: u64) -> Option<u64> {
    (mebibytes > 0).then(|| mebibytes.checked_mul(1 << 20))?
}

/// The devices of every container, and these. Where the rank's prologs come first they
/// run in its groups, on the host, where one may mount something for its user.
fn rules(devices: &[Rule], entry: &Entry) -> Vec<Rule> {
    let mut rules = BASIC.to_vec();
    rules.extend((*entry != Entry::Hook).then_some(FUSE));
    rules.extend(devices);
    rules.sort_unstable();
    rules.dedup();
    rules
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_may_be_opened() {
        let zero = Rule::character(1, Some(5));
        let paths = ["/dev/zero", "/dev/zero", "/etc/passwd", "/dev/none"].map(Path::new);
        let devices: Vec<Rule> = paths.into_iter().filter_map(Rule::of).collect();
        let of_hook = rules(&devices, &Entry::Hook);
        assert_eq!(of_hook.iter().filter(|rule| **rule == zero).count(), 1);
        assert_eq!(of_hook.len(), BASIC.len());
        assert!(!of_hook.contains(&FUSE));
        assert!(rules(&devices, &Entry::Program).contains(&FUSE));
    }

    #[test]
    fn no_figure_is_no_limit() {
        assert_eq!((bytes(0), bytes(2)), (None, Some(2 << 20)));
        assert_eq!(bytes(u64::MAX - 1), None);
    }
}
