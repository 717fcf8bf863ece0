//! What Slurm holds jobs to, by control groups: the kernel's kind, cgroup.conf, and
//! the plugins of slurm.conf that use it.

use std::path::Path;

use runtime_core::cgroup::cpus::{Shape, Topology};
use runtime_core::cgroup::hierarchy::{Hierarchy, Version};
use runtime_core::cgroup::plan::{self, Controller};
use runtime_core::config::Enforce;
use runtime_core::slurm::conf::Conf;

use super::check::{Findings, Verdict};
use super::node::Node;

/// No list of mounts is longer, in bytes: some nodes have tens of thousands.
const MAX_MOUNTS: u64 = 64 << 20;

/// What is mounted of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    None,
    V1,
    V2,
    /// Version 1 with an empty tree of version 2 beside it.
    Hybrid,
}

impl Kind {
    /// By /proc/mounts, proc_pid_mounts(5): source, place, file system.
    fn of(mounts: &str) -> Self {
        let has = |wanted| {
            mounts
                .lines()
                .any(|line| line.split(' ').nth(2) == Some(wanted))
        };
        match (has("cgroup"), has("cgroup2")) {
            (false, false) => Self::None,
            (true, false) => Self::V1,
            (false, true) => Self::V2,
            (true, true) => Self::Hybrid,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "none is mounted",
            Self::V1 => "version 1",
            Self::V2 => "version 2",
            Self::Hybrid => "hybrid: version 1, and a tree of version 2 beside it",
        }
    }
}

pub(super) fn look(node: &Node, findings: &mut Findings) {
    let mounts = node
        .host
        .look_into(Path::new("/proc/self/mounts"), MAX_MOUNTS);
    let kind = Kind::of(&String::from_utf8_lossy(&mounts.unwrap_or_default()));
    let verdict = if kind == Kind::None {
        Verdict::Warning
    } else {
        Verdict::Ok
    };
    let advice = (kind == Kind::None)
        .then_some("mount control groups: Slurm cannot hold jobs to anything else");
    findings.add("kernel's", verdict, kind.name(), advice);
    let takes_all = kind == Kind::V2 && node.slurm_conf().is_some_and(tracks);
    match takes_all {
        true => findings.not_here(OWN, "nothing to do: with version 2 and proctrack/cgroup a step is in Slurm's group for everything"),
        false => own(node, findings),
    }
    let Some(slurm) = node.slurm_conf() else {
        findings.not_here("slurm's", "no slurm.conf that could be read");
        return;
    };
    if node.config.cgroup.enforce != Enforce::Never {
        cpus(node, slurm, findings);
    }
    plugins(slurm, findings);
    let Some(found) = node.beside_slurm_conf("cgroup.conf") else {
        let conf = Conf::default();
        findings.not_here("cgroup.conf", "none: Slurm's defaults are in force");
        constraints(slurm, &conf, takes_all, findings);
        return;
    };
    match found.content {
        Ok(conf) => {
            version(&conf, kind, findings);
            constraints(slurm, &conf, takes_all, findings);
        }
        Err(error) => findings.failed("cgroup.conf", error.to_string(), "correct the file"),
    }
}

/// The key of oarlock.toml, and the check's name.
const OWN: &str = "cgroup.enforce";

/// Whether Slurm has groups for each step's processes: with version 2 these are its
/// groups for everything, whatever they bound.
fn tracks(slurm: &Conf) -> bool {
    let tracking = slurm.get("ProctrackType").unwrap_or(TRACKING);
    tracking.eq_ignore_ascii_case(TRACKING)
}

/// Slurm's own default.
const TRACKING: &str = "proctrack/cgroup";

/// What steps with a container can be held to where Slurm does not hold them.
fn own(node: &Node, findings: &mut Findings) {
    const NAME: &str = OWN;
    if node.config.cgroup.enforce == Enforce::Never {
        findings.not_here(NAME, "never: steps are held to what Slurm holds them to");
        return;
    }
    let text = |path: &Path| {
        let bytes = node.host.look_into(path, MAX_MOUNTS);
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    };
    let hierarchies = Hierarchy::all(&text(Path::new("/proc/self/mountinfo")));
    let second = hierarchies.iter().find(|own| own.version == Version::V2);
    let in_second = second.map(|own| text(&own.place.join("cgroup.controllers")));
    let has = |controller: Controller| {
        let in_second = in_second.as_deref().unwrap_or_default();
        plan::hierarchy_of(&hierarchies, in_second, controller).is_some_and(|own| !own.read_only)
    };
    let names = |wanted: bool| {
        let all = Controller::ALL
            .into_iter()
            .filter(|own| has(*own) == wanted);
        all.map(Controller::name).collect::<Vec<_>>().join(", ")
    };
    match (names(true), names(false)) {
        (there, lacking) if lacking.is_empty() => {
            findings.ok(NAME, format!("auto, and the node has {there}"));
        }
        (there, lacking) => findings.warning(
            NAME,
            format!("auto, and the node has {}, not {lacking}", if there.is_empty() { "nothing" } else { &there }),
            "mount those controllers, or boot with version 2: steps are held to no more than what is there",
        ),
    }
}

/// Whether Slurm's cores can be told from the machine's CPUs, where Slurm does not hold
/// steps to them.
fn cpus(node: &Node, slurm: &Conf, findings: &mut Findings) {
    const NAME: &str = "cores";
    match Shape::of(slurm, &node.name).and_then(|shape| Topology::of(&node.host).cpus("0", shape)) {
        Ok(cpus) => findings.ok(NAME, format!("the first of Slurm's is CPU {cpus}")),
        Err(why) => findings.not_here(NAME, format!("cgroup.enforce holds no step to CPUs: {why}")),
    }
}

fn plugins(slurm: &Conf, findings: &mut Findings) {
    let tracking = slurm.get("ProctrackType").unwrap_or(TRACKING);
    if tracks(slurm) {
        findings.ok("ProctrackType", tracking);
    } else {
        findings.warning(
            "ProctrackType",
            format!("{tracking}: processes can leave their job"),
            "set ProctrackType=proctrack/cgroup in slurm.conf",
        );
    }
    let task = slurm.get("TaskPlugin").unwrap_or("task/none");
    if slurm.lists("TaskPlugin", "task/cgroup") {
        findings.ok("TaskPlugin", task);
    } else {
        findings.warning(
            "TaskPlugin",
            format!("{task}: nothing holds a step to its CPUs, memory and devices"),
            "set TaskPlugin=task/affinity,task/cgroup in slurm.conf",
        );
    }
}

fn version(conf: &Conf, kind: Kind, findings: &mut Findings) {
    let plugin = conf.get("CgroupPlugin").unwrap_or("autodetect");
    let is = |word: &str| plugin.eq_ignore_ascii_case(word);
    if is("disabled") {
        findings.warning(
            "CgroupPlugin",
            "disabled",
            "let Slurm use control groups: CgroupPlugin=autodetect",
        );
    } else if is("cgroup/v2") && kind != Kind::V2 || is("cgroup/v1") && kind == Kind::V2 {
        findings.failed(
            "CgroupPlugin",
            format!("{plugin}, and the kernel's is {}", kind.name()),
            "set CgroupPlugin=autodetect in cgroup.conf; slurmd does not start else",
        );
    } else if is("autodetect") && kind == Kind::Hybrid {
        findings.warning(
            "CgroupPlugin",
            format!("{plugin} on a machine with both versions"),
            "boot with version 2 alone, or set CgroupPlugin=cgroup/v1",
        );
    } else {
        findings.ok("CgroupPlugin", plugin);
    }
}

/// The keys of cgroup.conf, and what jobs can do without each.
const CONSTRAINTS: [(&str, &str, bool); 4] = [
    (
        "ConstrainDevices",
        "a job's processes reach the GPUs of others",
        true,
    ),
    (
        "ConstrainCores",
        "a job's processes run on CPUs of others",
        true,
    ),
    (
        "ConstrainRAMSpace",
        "a job's processes take memory of others",
        true,
    ),
    (
        "ConstrainSwapSpace",
        "a job that reaches its memory's limit goes on in swap space",
        false,
    ),
];

/// `takes_all`: Oarlock's own groups are of no use there.
fn constraints(slurm: &Conf, conf: &Conf, takes_all: bool, findings: &mut Findings) {
    let whose = match takes_all {
        true => "",
        false => "outside of containers ",
    };
    let heeded = slurm.lists("TaskPlugin", "task/cgroup");
    for (key, consequence, is_bad) in CONSTRAINTS {
        match (conf.switch(key), heeded) {
            (Some(true), true) => findings.ok(key, "on"),
            (Some(true), false) => findings.warning(
                key,
                "on, and not heeded without task/cgroup",
                "add task/cgroup to TaskPlugin in slurm.conf",
            ),
            _ if is_bad => findings.warning(
                key,
                format!("off: {whose}{consequence}"),
                format!("set {key}=yes in cgroup.conf"),
            ),
            _ => findings.not_here(key, format!("off: {consequence}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use runtime_core::host::Host;

    use super::super::check::Check;
    use super::*;

    const V1: &str = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n";
    const V2: &str = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";

    /// What is found on a node with these files.
    fn checks(files: &[(&str, &str)]) -> Vec<Check> {
        let place = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        }
        let node = Node::of(Host::at(place.path()).unwrap(), None, None, true);
        let mut findings = Findings::new("cgroup");
        look(&node, &mut findings);
        findings.checks
    }

    fn verdicts(files: &[(&str, &str)]) -> Vec<(String, Verdict)> {
        let checks = checks(files).into_iter();
        checks.map(|check| (check.name, check.verdict)).collect()
    }

    #[test]
    fn kinds_of_control_groups() {
        for (mounts, kind) in [
            ("", Kind::None),
            (V1, Kind::V1),
            (V2, Kind::V2),
            (
                "cgroup /a cgroup rw 0 0\ncgroup2 /b cgroup2 rw 0 0",
                Kind::Hybrid,
            ),
            ("x /cgroup tmpfs rw 0 0", Kind::None),
        ] {
            assert_eq!(Kind::of(mounts), kind, "{mounts}");
        }
    }

    #[test]
    fn a_site_that_holds_jobs_to_all() {
        let found = verdicts(&[
            ("proc/self/mounts", V2),
            (
                "proc/self/mountinfo",
                "34 30 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            ),
            ("sys/fs/cgroup/cgroup.controllers", "cpuset memory pids\n"),
            (
                "etc/slurm/slurm.conf",
                "ProctrackType=proctrack/cgroup\nTaskPlugin=task/affinity,task/cgroup\n",
            ),
            (
                "etc/slurm/cgroup.conf",
                "ConstrainDevices=yes\nconstraincores=YES\nConstrainRAMSpace=yes\nConstrainSwapSpace=yes\n",
            ),
        ]);
        assert_eq!(found.len(), 10);
        // The tree has no CPUs.
        let others = found.iter().filter(|(name, _)| name != "cores");
        assert!(
            others.into_iter().all(|(name, verdict)| *verdict
                == if name == OWN {
                    Verdict::NotHere
                } else {
                    Verdict::Ok
                }),
            "{found:?}"
        );
    }

    /// With version 2 nobody but Slurm holds a step to anything.
    #[test]
    fn what_is_off_in_version_2_is_off_in_containers() {
        let line = |tracking: &str| {
            let slurm = format!("TaskPlugin=task/cgroup\n{tracking}");
            let files = [("proc/self/mounts", V2), ("etc/slurm/slurm.conf", &slurm)];
            let mut checks = checks(&files).into_iter();
            let check = checks.find(|check| check.name == "ConstrainDevices");
            check.unwrap().found
        };
        assert_eq!(line(""), "off: a job's processes reach the GPUs of others");
        assert_eq!(
            line("ProctrackType=proctrack/linuxproc\n"),
            "off: outside of containers a job's processes reach the GPUs of others"
        );
    }

    #[test]
    fn what_steps_can_be_held_to() {
        const FIRST: &str = "34 30 0:30 / /c/pids rw - cgroup cgroup rw,pids\n";
        for (files, verdict) in [
            (vec![("proc/self/mountinfo", FIRST)], Verdict::Warning),
            (vec![], Verdict::Warning),
            (
                vec![(
                    "etc/oarlock/oarlock.toml",
                    "[cgroup]\nenforce = \"never\"\n",
                )],
                Verdict::NotHere,
            ),
        ] {
            let found = verdicts(&files);
            let own = ("cgroup.enforce".to_owned(), verdict);
            assert!(found.contains(&own), "{files:?}: {found:?}");
        }
    }

    #[test]
    fn what_is_off_is_warned_of() {
        const SLURM: (&str, &str) = ("etc/slurm/slurm.conf", "TaskPlugin=task/cgroup\n");
        const MOUNTS: (&str, &str) = ("proc/self/mounts", V1);
        for (files, name, verdict) in [
            (vec![MOUNTS, SLURM], "ConstrainDevices", Verdict::Warning),
            (vec![MOUNTS, SLURM], "ConstrainSwapSpace", Verdict::NotHere),
            (
                vec![
                    MOUNTS,
                    SLURM,
                    ("etc/slurm/cgroup.conf", "ConstrainDevices=no"),
                ],
                "ConstrainDevices",
                Verdict::Warning,
            ),
            (
                vec![
                    MOUNTS,
                    ("etc/slurm/slurm.conf", ""),
                    ("etc/slurm/cgroup.conf", "ConstrainDevices=yes"),
                ],
                "ConstrainDevices",
                Verdict::Warning,
            ),
            (
                vec![MOUNTS, ("etc/slurm/slurm.conf", "TaskPlugin=task/affinity")],
                "TaskPlugin",
                Verdict::Warning,
            ),
            (
                vec![
                    MOUNTS,
                    ("etc/slurm/slurm.conf", "ProctrackType=proctrack/linuxproc"),
                ],
                "ProctrackType",
                Verdict::Warning,
            ),
            (
                vec![
                    MOUNTS,
                    SLURM,
                    ("etc/slurm/cgroup.conf", "CgroupPlugin=cgroup/v2"),
                ],
                "CgroupPlugin",
                Verdict::Failed,
            ),
            (
                vec![
                    MOUNTS,
                    SLURM,
                    ("etc/slurm/cgroup.conf", "CgroupPlugin=disabled"),
                ],
                "CgroupPlugin",
                Verdict::Warning,
            ),
            (
                vec![MOUNTS, SLURM, ("etc/slurm/cgroup.conf", "nonsense")],
                "cgroup.conf",
                Verdict::Failed,
            ),
            (vec![SLURM], "kernel's", Verdict::Warning),
            (vec![MOUNTS], "slurm's", Verdict::NotHere),
        ] {
            let found = verdicts(&files);
            assert!(
                found.contains(&(name.to_owned(), verdict)),
                "{name}: {found:?}"
            );
        }
    }
}
