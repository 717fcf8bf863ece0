//! Which controllers are Slurm's and which ours, and what is written to our groups.
//!
//! No system call is here: what the kernel says and what Slurm granted comes in, and
//! files with their values come out.

use std::fmt;
use std::path::PathBuf;

use super::devices::{self, Rule};
use super::hierarchy::{Hierarchy, Version};

/// What a step is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// CPUs.
    Cpuset,
    /// Memory.
    Memory,
    /// How many processes and threads there are.
    Pids,
    /// Device nodes that are opened. In version 2 it is no controller but a program.
    Devices,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cpuset, Self::Memory, Self::Pids, Self::Devices];

    /// The kernel's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Devices => "devices",
        }
    }
}

/// Whose a controller is for a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// Slurm has a group for the step.
    Slurm,
    /// Slurm has one, and bounds nothing by it: what a site switched off in cgroup.conf.
    /// The step stays there all the same, for Slurm's own books.
    SlurmUnbound,
    /// Nobody has: the step's group is made below this place.
    Own(PathBuf, Version),
    /// Nobody has, and the step is in a group of the node's with limits of its own, which
    /// it would leave: slurmd's, where the site bounds that.
    Node(PathBuf),
    /// The node does not have it, or gives nobody groups there.
    Nobody,
}

/// Where a controller is, if the node has it: in a hierarchy of version 1, or in that of
/// version 2, whose controllers are `in_version_2`.
#[must_use]
pub fn hierarchy_of<'a>(
    hierarchies: &'a [Hierarchy],
    in_version_2: &str,
    controller: Controller,
) -> Option<&'a Hierarchy> {
    let name = controller.name();
    let first = hierarchies.iter().find(|own| own.controls(name));
    let has_it = controller == Controller::Devices
        || in_version_2.split_ascii_whitespace().any(|own| own == name);
    first.or_else(|| {
        let second = hierarchies.iter().find(|own| own.version == Version::V2);
        second.filter(|_| has_it)
    })
}

/// Whose each controller is, by the groups of a task (proc_pid_cgroup(5)) and the
/// controllers that the node has in version 2.
#[must_use]
pub fn holders(
    hierarchies: &[Hierarchy],
    groups: &str,
    in_version_2: &str,
) -> [(Controller, Holder); 4] {
    Controller::ALL.map(|controller| {
        let found = hierarchy_of(hierarchies, in_version_2, controller);
        let found = found.and_then(|own| Some((own, own.group_in(groups)?)));
        let holder = match found {
            None => Holder::Nobody,
            Some((_, group)) if is_slurms(group) => Holder::Slurm,
            Some((own, _)) if own.read_only => Holder::Nobody,
            Some((own, _)) => Holder::Own(own.place.clone(), own.version),
        };
        (controller, holder)
    })
}

/// Whether a group is one that Slurm has made: of version 1 `slurm_NODE/uid_U/job_J/…`,
/// of version 2 `NODE_slurmstepd.scope/job_J/…` (xcgroup.c, cgroup_v2.c). slurmd's own,
/// `slurmd.service`, is not.
fn is_slurms(group: &str) -> bool {
    group.split('/').any(is_slurms_part)
}

/// Whether a group of this name is Slurm's, as all below it.
pub(super) fn is_slurms_part(part: &str) -> bool {
    part == "slurm"
        || part.starts_with("slurm_")
        || part.ends_with("slurmstepd.scope")
        || part.starts_with("job_")
        || part.starts_with("step_")
}

/// What a job or a step may have; `None` where it is not known, or not bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// As the kernel's lists, `0-3,8`.
    pub cpus: Option<String>,
    /// Bytes.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Devices that may be opened; no others.
    pub devices: Option<Vec<Rule>>,
}

impl Limits {
    fn has(&self, controller: Controller) -> bool {
        match controller {
            Controller::Cpuset => self.cpus.is_some(),
            Controller::Memory => self.memory.is_some(),
            Controller::Pids => self.pids.is_some(),
            Controller::Devices => self.devices.is_some(),
        }
    }

    /// Files of a group and what is written to them, in this order.
    #[must_use]
    pub fn settings(&self, controller: Controller, version: Version) -> Vec<Setting> {
        let one = |name, value: String| vec![Setting { name, value }];
        match controller {
            Controller::Cpuset => self.cpus.clone().map(|cpus| one("cpuset.cpus", cpus)),
            Controller::Memory => self.memory.map(|bytes| match version {
                Version::V1 => one("memory.limit_in_bytes", bytes.to_string()),
                Version::V2 => one("memory.max", bytes.to_string()),
            }),
            Controller::Pids => self.pids.map(|most| one("pids.max", most.to_string())),
            Controller::Devices => self
                .devices
                .as_ref()
                .filter(|_| version == Version::V1)
                .map(|rules| {
                    let mut all = one("devices.deny", "a".to_owned());
                    all.extend(one(devices::ALLOW, devices::WHITEOUT.to_owned()));
                    all.extend(rules.iter().map(|rule| Setting {
                        name: devices::ALLOW,
                        value: rule.to_string(),
                    }));
                    all
                }),
        }
        .unwrap_or_default()
    }
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The group's file.
    pub name: &'static str,
    /// What is written.
    pub value: String,
}

/// What is made in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Where the hierarchy is mounted.
    pub place: PathBuf,
    /// Its kind.
    pub version: Version,
    /// What the step is held to there.
    pub controllers: Vec<Controller>,
}

/// The hierarchies in which the step has a group of ours: where nobody else holds it to
/// something that is known.
#[must_use]
pub fn placements(holders: &[(Controller, Holder)], step: &Limits) -> Vec<Placement> {
    let mut all: Vec<Placement> = Vec::new();
    for (controller, holder) in holders {
        let Holder::Own(place, version) = holder else {
            continue;
        };
        if !step.has(*controller) {
            continue;
        }
        match all.iter_mut().find(|known| known.place == *place) {
            Some(known) => known.controllers.push(*controller),
            None => all.push(Placement {
                place: place.clone(),
                version: *version,
                controllers: vec![*controller],
            }),
        }
    }
    all
}

/// Processes and threads that a step may have on a node, by the number of its cores
/// there, where that is known: enough for any program, and an end to one that runs away.
#[must_use]
pub fn pids(cores: usize, each: u32) -> Option<u64> {
    const LEAST: u64 = 4096;
    let wanted = u64::from(each).saturating_mul(cores as u64);
    (wanted > 0).then(|| wanted.max(LEAST))
}

/// What a step is held to, and by whom, for people.
#[must_use]
pub fn lines(holders: &[(Controller, Holder)], step: &Limits) -> Vec<String> {
    let line = |(controller, holder): &(Controller, Holder)| {
        let name = controller.name();
        match holder {
            Holder::Slurm => format!("held: {name} by Slurm"),
            Holder::SlurmUnbound => format!(
                "held: {name} by nobody, the step's group is Slurm's, which bounds none (cgroup.conf)"
            ),
            Holder::Node(group) => format!(
                "held: {name} by the node's group {}, which has limits of its own",
                group.display()
            ),
            Holder::Nobody => {
                format!("held: {name} by nobody, the node has no such controller to write to")
            }
            Holder::Own(..) if step.has(*controller) => {
                format!("held: {name} by Oarlock, {}", Held(*controller, step))
            }
            Holder::Own(..) => format!("held: {name} by nobody, no figure is known"),
        }
    };
    holders.iter().map(line).collect()
}

struct Held<'a>(Controller, &'a Limits);

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(controller, limits) = self;
        match controller {
            Controller::Cpuset => write!(f, "CPUs {}", limits.cpus.as_deref().unwrap_or_default()),
            Controller::Memory => write!(f, "{} MiB", limits.memory.unwrap_or_default() >> 20),
            Controller::Pids => write!(
                f,
                "{} processes and threads",
                limits.pids.unwrap_or_default()
            ),
            Controller::Devices => f.write_str("those of the container's /dev"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
31 30 0:27 / /c/cpuset rw - cgroup cgroup rw,cpuset
32 30 0:28 / /c/memory rw - cgroup cgroup rw,memory
33 30 0:29 / /c/devices rw - cgroup cgroup rw,devices
34 30 0:30 / /c/unified rw - cgroup2 cgroup2 rw";

    fn names(holders: &[(Controller, Holder)]) -> Vec<String> {
        let name = |(controller, holder): &(Controller, Holder)| {
            let holder = match holder {
                Holder::Slurm => "slurm".to_owned(),
                Holder::SlurmUnbound => "slurm, unbound".to_owned(),
                Holder::Nobody => "nobody".to_owned(),
                Holder::Node(group) => format!("node {}", group.display()),
                Holder::Own(place, version) => format!("{} {version:?}", place.display()),
            };
            format!("{} {holder}", controller.name())
        };
        holders.iter().map(name).collect()
    }

    #[test]
    fn slurms_stay_slurms() {
        let all = Hierarchy::all(MOUNTS);
        let groups = "3:cpuset:/slurm_n1/uid_1/job_2/step_0/task_0\n4:memory:/system.slice/slurmd.service\n5:devices:/\n0::/system.slice/slurmd.service\n";
        assert_eq!(
            names(&holders(&all, groups, "pids memory")),
            [
                "cpuset slurm",
                "memory /c/memory V1",
                "pids /c/unified V2",
                "devices /c/devices V1",
            ]
        );
        assert_eq!(names(&holders(&all, groups, ""))[2], "pids nobody");
        assert_eq!(names(&holders(&all, "", "pids"))[0], "cpuset nobody");
    }

    #[test]
    fn below_slurms_group_of_version_2_nothing_is_made() {
        let all = Hierarchy::all("34 30 0:30 / /c rw - cgroup2 cgroup2 rw");
        for scope in ["slurmstepd.scope", "n1_slurmstepd.scope"] {
            let groups = format!("0::/system.slice/{scope}/job_2/step_0/user/task_0\n");
            let found = holders(&all, &groups, "cpuset memory pids");
            assert!(found.iter().all(|(_, holder)| *holder == Holder::Slurm));
        }
        let free = holders(&all, "0::/system.slice/slurmd.service", "memory");
        assert_eq!(
            names(&free),
            [
                "cpuset nobody",
                "memory /c V2",
                "pids nobody",
                "devices /c V2"
            ]
        );
    }

    #[test]
    fn what_is_not_known_is_not_held() {
        let all = Hierarchy::all(MOUNTS);
        let holders = holders(&all, "3:cpuset:/\n4:memory:/\n5:devices:/\n0::/", "pids");
        let limits = Limits {
            memory: Some(512 << 20),
            pids: Some(4096),
            ..Limits::default()
        };
        let places: Vec<_> = placements(&holders, &limits)
            .into_iter()
            .map(|own| (own.place.display().to_string(), own.controllers))
            .collect();
        assert_eq!(
            places,
            [
                ("/c/memory".to_owned(), vec![Controller::Memory]),
                ("/c/unified".to_owned(), vec![Controller::Pids]),
            ]
        );
        assert_eq!(
            lines(&holders, &limits),
            [
                "held: cpuset by nobody, no figure is known",
                "held: memory by Oarlock, 512 MiB",
                "held: pids by Oarlock, 4096 processes and threads",
                "held: devices by nobody, no figure is known",
            ]
        );
    }

    #[test]
    fn settings_of_both_versions() {
        let limits = Limits {
            cpus: Some("0-1".to_owned()),
            memory: Some(1 << 20),
            pids: Some(7),
            devices: Some(vec![Rule::character(240, Some(1))]),
        };
        let texts = |version| -> Vec<String> {
            Controller::ALL
                .iter()
                .flat_map(|controller| limits.settings(*controller, version))
                .map(|setting| format!("{}={}", setting.name, setting.value))
                .collect()
        };
        assert_eq!(
            texts(Version::V1),
            [
                "cpuset.cpus=0-1",
                "memory.limit_in_bytes=1048576",
                "pids.max=7",
                "devices.deny=a",
                "devices.allow=c 0:0 m",
                "devices.allow=c 240:1 rw",
            ]
        );
        assert_eq!(
            texts(Version::V2),
            ["cpuset.cpus=0-1", "memory.max=1048576", "pids.max=7"]
        );
    }

    #[test]
    fn processes_are_bounded_by_cores() {
        assert_eq!(pids(1, 1024), Some(4096));
        assert_eq!(pids(64, 1024), Some(65536));
        assert_eq!(pids(0, 1024), None);
        assert_eq!(pids(64, 0), None);
    }
}
