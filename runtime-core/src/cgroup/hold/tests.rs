//! Real groups of this machine's kernel, of both versions as far as it has them. Where
//! this process may make none, a test says so and ends.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use crate::cgroup::plan;
use crate::kept::Whose;

/// A step that nobody else has, and its job, which all of the same first letter have.
fn step(name: &str) -> (Step, u32) {
    let letter = u32::from(name.as_bytes().first().copied().unwrap_or(0));
    let job = 3_000_000_000 + std::process::id() % 1_000_000 * 256 + letter;
    (Step::new("", job, &format!("{job}.{name}")), job)
}

/// Whose each controller is here, in hierarchies of this version or in all.
fn own(version: Option<Version>) -> [(Controller, Holder); 4] {
    let all: Vec<Hierarchy> = Hierarchy::mounted()
        .unwrap()
        .into_iter()
        .filter(|own| version.is_none_or(|version| own.version == version))
        .collect();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    plan::holders(&all, &groups, &in_version_2(&all))
}

/// Whether groups can be made in hierarchies of this version.
fn can_make(version: Version) -> bool {
    let is_usable = |own: &&Hierarchy| {
        own.version == version && (version == Version::V2 || own.controls("pids"))
    };
    let mounted = Hierarchy::mounted().unwrap();
    let found = mounted.iter().find(is_usable);
    let made = found.is_some_and(|own| {
        let place = own
            .place
            .join(format!("oarlock-try-{}", std::process::id()));
        fs::create_dir(&place)
            .and_then(|()| fs::remove_dir(&place))
            .is_ok()
    });
    if !made {
        eprintln!("no group of {version:?} can be made here: nothing is tested");
    }
    made
}

/// Whose steps these are: who runs the tests.
fn nobody() -> Identity {
    Identity::default()
}

/// Pids alone, where there is such a controller, and devices.
fn wide() -> Limits {
    Limits {
        pids: Some(16),
        devices: Some(super::devices::BASIC.to_vec()),
        ..Limits::default()
    }
}

/// Whether a child that has joined finds this to be so.
fn holds_in(held: &StepGroups, work: impl FnOnce() -> bool) -> bool {
    let groups = held.processes().unwrap();
    let child = sys::process::fork(|| {
        let joined = groups
            .iter()
            .all(|group| rustix::io::write(group, b"0").is_ok());
        u8::from(!(joined && work()))
    });
    child.unwrap().wait().unwrap() == 0
}

fn opens(path: &str) -> bool {
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).is_ok()
}

/// The group that has this file.
fn with(held: &StepGroups, file: &str) -> PathBuf {
    let mut groups = held.groups.iter().map(|group| &group.directory);
    groups
        .find(|group| group.join(file).exists())
        .unwrap()
        .clone()
}

fn enter(held: &StepGroups, process: u32) {
    for group in &held.groups {
        let procs = group.directory.join("cgroup.procs");
        write_existing(&procs, &process.to_string()).unwrap();
    }
}

fn sleeper() -> Child {
    Command::new("sleep").arg("60").spawn().unwrap()
}

#[test]
fn groups_of_version_1_hold() {
    if !can_make(Version::V1) {
        return;
    }
    let (step, _) = step("v1");
    let cpus = fs::read_to_string("/sys/fs/cgroup/cpuset/cpuset.cpus").unwrap_or_default();
    let first = cpus.split([',', '-', '\n']).next().unwrap_or_default();
    let limits = Limits {
        cpus: (!first.is_empty()).then(|| first.to_owned()),
        memory: Some(64 << 20),
        pids: Some(1),
        devices: Some(vec![Rule::character(1, Some(3))]),
    };
    let of_job = Limits {
        memory: Some(128 << 20),
        pids: Some(100),
        ..limits.clone()
    };
    let holders = own(Some(Version::V1));
    let held = hold(&step, &nobody(), &holders, &of_job, &limits).unwrap();
    assert!(!held.groups.is_empty());
    let pinned = format!("Cpus_allowed_list:\t{first}\n");
    assert!(holds_in(&held, || {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let in_all = read("/proc/self/cgroup").matches("/step_v1").count() == held.groups.len();
        let is_pinned = first.is_empty() || read("/proc/self/status").contains(&pinned);
        // The one process that may be there is this.
        let is_alone = sys::process::fork(|| 0).is_err();
        in_all && is_pinned && is_alone && opens("/dev/null") && !opens("/dev/zero")
    }));
    for (controller, holder) in &holders {
        let (name, of_job, of_step) = match controller {
            Controller::Memory => ("memory.limit_in_bytes", "134217728", "67108864"),
            Controller::Cpuset if !first.is_empty() => ("cpuset.cpus", first, first),
            Controller::Pids => ("pids.max", "100", "1"),
            _ => continue,
        };
        if let Holder::Own(place, _) = holder {
            let read = |group: PathBuf| fs::read_to_string(group.join(name)).unwrap();
            assert_eq!(read(step.job_group(place)).trim(), of_job, "{name}");
            assert_eq!(read(step.group(place)).trim(), of_step, "{name}");
        }
    }
    release::step(&step).unwrap();
    for group in &held.groups {
        assert!(!group.directory.exists(), "{}", group.directory.display());
    }
}

#[test]
fn a_program_of_version_2_holds() {
    if !can_make(Version::V2) {
        return;
    }
    let (step, _) = step("second");
    let limits = Limits {
        devices: Some(vec![Rule::character(1, Some(3))]),
        ..Limits::default()
    };
    // With rights of their own: only a user is refused by a kernel that asks who writes.
    let user = Identity {
        uid: 65534,
        gid: 65534,
        ..nobody()
    };
    let held = hold(&step, &user, &own(Some(Version::V2)), &limits, &limits).unwrap();
    assert_eq!(held.groups.len(), 1);
    assert!(holds_in(&held, || opens("/dev/null") && !opens("/dev/zero")));
    release::step(&step).unwrap();
}

#[test]
fn what_is_left_is_ended() {
    if !can_make(Version::V1) && !can_make(Version::V2) {
        return;
    }
    let node = format!("left{}", std::process::id());
    let job = 3_000_000_000 + std::process::id();
    let step = Step::new(&node, job, "7.left");
    let held = hold(&step, &nobody(), &own(None), &wide(), &wide()).unwrap();
    let mut left = sleeper();
    enter(&held, left.id());
    assert!(release::jobs().contains(&job));
    // Whoever only sweeps leaves what somebody is in.
    release::release(Whose::All, Some(&node)).unwrap();
    assert!(held.groups.iter().all(|group| group.directory.exists()));
    release::step(&step).unwrap();
    assert!(!left.wait().unwrap().success());
    assert!(held.groups.iter().all(|group| !group.directory.exists()));
}

#[test]
fn steps_that_come_and_go_do_not_meet() {
    if !can_make(Version::V1) && !can_make(Version::V2) {
        return;
    }
    let holders = own(None);
    std::thread::scope(|scope| {
        for name in ["n1", "n2", "n3", "n4"] {
            let holders = &holders;
            scope.spawn(move || {
                for _ in 0..50 {
                    let (step, _) = step(name);
                    let held = hold(&step, &nobody(), holders, &wide(), &wide()).unwrap();
                    assert!(held.groups.iter().all(|group| group.directory.exists()));
                    release::step(&step).unwrap();
                }
            });
        }
    });
}

/// The first CPU and the last, where there are two.
fn two_cpus() -> Option<(String, String)> {
    let all = fs::read_to_string("/sys/fs/cgroup/cpuset/cpuset.cpus").ok()?;
    let mut numbers = all.trim().split([',', '-']).map(str::to_owned);
    let first = numbers.next()?;
    Some((first, numbers.next_back()?))
}

/// A tree as it is where a CPU was off when it was made; steps that begin at once mend it.
#[test]
fn cpus_that_came_back_are_had_again() {
    let place = Path::new("/sys/fs/cgroup/cpuset");
    let (true, Some((first, last))) = (can_make(Version::V1), two_cpus()) else {
        eprintln!("no two CPUs in a controller of version 1: nothing is tested");
        return;
    };
    let node = format!("cpus{}", std::process::id());
    let steps: Vec<Step> = (0..8)
        .map(|number| Step::new(&node, 7, &format!("7.{number}")))
        .collect();
    let tree = steps[0].tree(place);
    let job = steps[0].job_group(place);
    for group in [&tree, &job] {
        fs::create_dir(group).unwrap();
        let nodes = fs::read_to_string(place.join(MEMORY_NODES)).unwrap();
        write_existing(&group.join(MEMORY_NODES), nodes.trim()).unwrap();
        write_existing(&group.join(CPUS), &first).unwrap();
    }
    let limits = |cpus: &str| Limits {
        cpus: Some(cpus.to_owned()),
        ..Limits::default()
    };
    let of_job = limits(&format!("{first},{last}"));
    std::thread::scope(|scope| {
        for (number, step) in steps.iter().enumerate() {
            let cpu = if number == 0 { &first } else { &last };
            let (of_job, of_step) = (&of_job, limits(cpu));
            scope.spawn(move || {
                hold(step, &nobody(), &own(Some(Version::V1)), of_job, &of_step).unwrap();
                let cpus = fs::read_to_string(step.group(place).join(CPUS)).unwrap();
                assert_eq!(cpus.trim(), of_step.cpus.unwrap());
            });
        }
    });
    let read = |group: &Path| fs::read_to_string(group.join(CPUS)).unwrap();
    assert_eq!(read(&tree), read(place));
    for step in &steps {
        release::step(step).unwrap();
    }
    assert!(!tree.exists());
}

#[test]
fn helpers_go_where_the_ranks_go() {
    if !can_make(Version::V1) && !can_make(Version::V2) {
        return;
    }
    let (step, _) = step("helpers");
    let mut child = sleeper();
    let task = Groups::of_child(child.id(), std::process::id()).unwrap();
    let held = hold(&step, &nobody(), &own(None), &wide(), &wide()).unwrap();
    held.with(&task).join(child.id()).unwrap();
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
    assert_eq!(groups.matches("/step_helpers").count(), held.groups.len());
    release::step(&step).unwrap();
    child.wait().unwrap();
}

/// Each process has ended before long, and started two.
#[test]
fn a_fork_storm_ends_with_its_job() {
    if !can_make(Version::V1) {
        return;
    }
    let (step, job) = step("forks");
    let limits = Limits {
        pids: Some(400),
        ..wide()
    };
    let held = hold(&step, &nobody(), &own(Some(Version::V1)), &limits, &limits).unwrap();
    let pids = with(&held, "pids.max");
    // It goes with the test, and with it the storm.
    let place = tempfile::tempdir().unwrap();
    let script = place.path().join("storm");
    fs::write(&script, "sh $0 & sh $0 &").unwrap();
    let mut first = Command::new("sh")
        .args(["-c", "read go; exec 2>/dev/null; exec sh $0"])
        .arg(&script)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    enter(&held, first.id());
    drop(first.stdin.take());
    let count = || -> u32 {
        let text = fs::read_to_string(pids.join("pids.current")).unwrap();
        text.trim().parse().unwrap()
    };
    let is_there = (0..2000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        count() > 300
    });
    assert!(is_there, "{}", count());
    assert_eq!(
        release::release(Whose::Job(job), None).unwrap(),
        held.groups.len()
    );
    assert!(!pids.exists());
    first.wait().unwrap();
}

/// A group that has another in it stays, and shows what was done to it.
#[test]
fn in_a_group_that_ends_nobody_forks() {
    for (version, name) in [(Version::V1, "stop1"), (Version::V2, "stop2")] {
        if !can_make(version) {
            continue;
        }
        let (step, _) = step(name);
        let held = hold(&step, &nobody(), &own(Some(version)), &wide(), &wide()).unwrap();
        let (file, is_first) = match version {
            Version::V1 => ("pids.max", true),
            Version::V2 => ("cgroup.kill", false),
        };
        if !is_first && !held.groups[0].directory.join(file).exists() {
            eprintln!("this kernel has no {file}: nothing is tested");
            release::step(&step).unwrap();
            continue;
        }
        let group = with(&held, file);
        let below = group.join("below");
        fs::create_dir(&below).unwrap();
        let mut left = sleeper();
        write_existing(&below.join("cgroup.procs"), &left.id().to_string()).unwrap();
        assert!(release::step(&step).is_err());
        if is_first {
            assert_eq!(fs::read_to_string(group.join(file)).unwrap(), "0\n");
            left.kill().unwrap();
        }
        assert!(!left.wait().unwrap().success());
        fs::remove_dir(&below).unwrap();
        release::step(&step).unwrap();
        assert!(!group.exists());
    }
}

/// An epilog has an end, whatever the kernel holds; the next one who sweeps goes on.
#[test]
fn what_an_epilog_left_is_ended_later() {
    let freezer = Path::new("/sys/fs/cgroup/freezer");
    if !can_make(Version::V1) || !freezer.exists() {
        return;
    }
    let node = format!("over{}", std::process::id());
    // What is frozen does not die.
    let ice = freezer.join(format!("ice-{node}"));
    fs::create_dir(&ice).unwrap();
    let freeze = |process: &Child| {
        write_existing(&ice.join("cgroup.procs"), &process.id().to_string()).unwrap();
        write_existing(&ice.join("freezer.state"), "FROZEN").unwrap();
    };
    let thaw = |mut process: Child| {
        write_existing(&ice.join("freezer.state"), "THAWED").unwrap();
        assert!(!process.wait().unwrap().success());
    };
    let step = Step::new(&node, 7, "7.0");
    let sweep = || release::release(Whose::All, Some(&node)).unwrap();
    let make = || hold(&step, &nobody(), &own(Some(Version::V1)), &wide(), &wide()).unwrap();

    let held = make();
    let group = with(&held, "pids.max");
    let one = sleeper();
    enter(&held, one.id());
    freeze(&one);
    assert!(release::release(Whose::Job(7), Some(&node)).is_err());
    thaw(one);
    // A job that was put back into the queue comes again, with the same numbers.
    let held = make();
    let other = sleeper();
    enter(&held, other.id());
    assert_eq!(sweep(), 0);
    freeze(&other);
    assert!(release::step(&step).is_err());
    thaw(other);
    let mut left = sleeper();
    enter(&held, left.id());
    assert_eq!(sweep(), held.groups.len());
    assert!(!left.wait().unwrap().success());
    assert!(!group.exists());
    fs::remove_dir(ice).unwrap();
}
