//! Limits of the group that a step is in already, where that is none of Slurm's: what a
//! site sets for slurmd, to keep something for the node itself. A step that went to a
//! group of ours would leave them.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::hierarchy::{Hierarchy, Version};
use super::plan::{self, Controller};
use crate::sys::bpf;

/// Beyond this a limit of memory is none: the kernel writes the largest number of pages.
const UNBOUNDED: u64 = 1 << 60;

/// Files of version 2, and how each begins that bounds nothing. A step leaves all of them
/// at once.
const FILES: [(&str, &str); 8] = [
    ("memory.max", "max"),
    ("memory.high", "max"),
    ("memory.swap.max", "max"),
    ("pids.max", "max"),
    ("cpu.max", "max"),
    ("io.max", ""),
    ("cpuset.cpus", ""),
    ("cpuset.mems", ""),
];

/// The first group on the way to a process' own, from the top, that bounds what is in it.
#[must_use]
pub fn bounding(hierarchy: &Hierarchy, group: &str, controller: Controller) -> Option<PathBuf> {
    let mut directory = hierarchy.place.clone();
    let parts = group.split('/').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            directory.push(part);
            directory.clone()
        })
        .find(|directory| match hierarchy.version {
            Version::V1 => bounds_first(&hierarchy.place, directory, controller),
            Version::V2 => bounds_second(directory),
        })
}

/// Whether one of Slurm's groups on the way to a process' own bounds what is in it.
#[must_use]
pub fn is_bound_by_slurm(hierarchy: &Hierarchy, group: &str, controller: Controller) -> bool {
    let mut directory = hierarchy.place.clone();
    let mut is_slurms = false;
    group
        .split('/')
        .filter(|part| !part.is_empty())
        .any(|part| {
            directory.push(part);
            is_slurms |= plan::is_slurms_part(part);
            is_slurms
                && match (hierarchy.version, controller) {
                    // It has a list always, and is made for nothing else.
                    (Version::V1, Controller::Cpuset) => true,
                    (Version::V1, _) => bounds_first(&hierarchy.place, &directory, controller),
                    (Version::V2, Controller::Devices) => {
                        has_programs(&directory, &[bpf::BPF_CGROUP_DEVICE])
                    }
                    (Version::V2, _) => {
                        let name = controller.name();
                        let own = FILES.iter().filter(|(file, _)| file.starts_with(name));
                        own.into_iter().any(|file| is_bound(&directory, file))
                    }
                }
        })
}

fn word(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn bounds_first(top: &Path, group: &Path, controller: Controller) -> bool {
    let is_bound = |name: &str| match (word(&group.join(name)), controller) {
        (None, _) => false,
        (Some(own), Controller::Memory) => own.parse::<u64>().is_ok_and(|limit| limit < UNBOUNDED),
        (Some(own), Controller::Pids) => own != "max",
        (Some(own), Controller::Devices) => !own.starts_with("a *:* rwm"),
        (Some(own), Controller::Cpuset) => !own.is_empty() && word(&top.join(name)) != Some(own),
    };
    let names: &[&str] = match controller {
        // The second, of memory and swap together, is there where swap is counted.
        Controller::Memory => &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"],
        Controller::Pids => &["pids.max"],
        Controller::Devices => &["devices.list"],
        Controller::Cpuset => &["cpuset.cpus", "cpuset.mems"],
    };
    names.iter().any(|name| is_bound(name))
}

fn bounds_second(group: &Path) -> bool {
    FILES.iter().any(|file| is_bound(group, file)) || has_programs(group, &bpf::ASKED)
}

/// Whether a file of version 2 says something else than what bounds nothing.
fn is_bound(group: &Path, (name, free): &(&str, &str)) -> bool {
    word(&group.join(name)).is_some_and(|value| match *free {
        "" => !value.is_empty(),
        free => !value.starts_with(free),
    })
}

fn has_programs(group: &Path, kinds: &[u32]) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(place) = rustix::fs::open(group, flags, Mode::empty()) else {
        return false;
    };
    kinds.iter().any(|kind| {
        // A kernel without them has none.
        bpf::count(place.as_fd(), *kind).is_ok_and(|count| count > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files as the kernel's, in an ordinary directory.
    fn tree(version: Version, files: &[(&str, &str)]) -> (tempfile::TempDir, Hierarchy) {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = place.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let kind = match version {
            Version::V1 => "cgroup cgroup rw,memory",
            Version::V2 => "cgroup2 cgroup2 rw",
        };
        let line = format!("1 1 0:1 / {} rw - {kind}", place.path().display());
        let hierarchy = Hierarchy::all(&line).remove(0);
        (place, hierarchy)
    }

    #[test]
    fn limits_of_version_1() {
        let (place, hierarchy) = tree(
            Version::V1,
            &[
                ("cpuset.cpus", "0-3\n"),
                ("a/memory.limit_in_bytes", "9223372036854771712\n"),
                ("a/pids.max", "max\n"),
                ("a/devices.list", "a *:* rwm\n"),
                ("a/cpuset.cpus", "0-3\n"),
                ("a/b/memory.limit_in_bytes", "1048576\n"),
                ("a/b/pids.max", "12\n"),
                ("a/b/devices.list", "c 1:3 rwm\n"),
                ("a/b/cpuset.cpus", "0-1\n"),
            ],
        );
        for controller in Controller::ALL {
            let bounding = |group| bounding(&hierarchy, group, controller);
            assert_eq!(bounding(""), None);
            assert_eq!(bounding("/a"), None, "{controller:?}");
            assert_eq!(
                bounding("/a/b/c"),
                Some(place.path().join("a/b")),
                "{controller:?}"
            );
        }
    }

    #[test]
    fn slurms_groups_may_bound_nothing() {
        let none = "9223372036854771712\n";
        let all = [
            ("slurm/uid_1/memory.limit_in_bytes", none),
            ("slurm/uid_1/job_2/memory.limit_in_bytes", none),
            ("slurm/uid_1/job_2/devices.list", "a *:* rwm\n"),
            ("slurm/uid_1/job_2/cpuset.cpus", "0-3\n"),
            ("slurm/uid_1/job_3/memory.limit_in_bytes", "1048576\n"),
            ("slurm/uid_1/job_3/devices.list", "c 1:3 rwm\n"),
        ];
        let (_place, hierarchy) = tree(Version::V1, &all);
        let is_bound = |job: &str, controller| {
            let group = format!("/slurm/uid_1/{job}/step_0/task_0");
            is_bound_by_slurm(&hierarchy, &group, controller)
        };
        assert!(is_bound("job_2", Controller::Cpuset));
        for controller in [Controller::Memory, Controller::Devices] {
            assert!(!is_bound("job_2", controller), "{controller:?}");
            assert!(is_bound("job_3", controller), "{controller:?}");
        }
    }

    #[test]
    fn what_bounds_slurmd_is_not_slurms() {
        let scope = "system.slice/slurmstepd.scope/job_2";
        let limit = |part: &str, name: &str| format!("{part}/{name}");
        let own = [
            (limit("system.slice", "memory.max"), "1048576\n"),
            (limit("system.slice", "cpuset.cpus"), "0-3\n"),
            (limit(scope, "memory.max"), "max\n"),
            (limit(scope, "cpuset.cpus"), "1\n"),
        ];
        let own: Vec<_> = own
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let (_place, hierarchy) = tree(Version::V2, &own);
        let is_bound =
            |controller| is_bound_by_slurm(&hierarchy, &format!("/{scope}/step_0"), controller);
        assert!(is_bound(Controller::Cpuset));
        for controller in [Controller::Memory, Controller::Pids, Controller::Devices] {
            assert!(!is_bound(controller), "{controller:?}");
        }
    }

    #[test]
    fn swap_and_memory_nodes_of_version_1_count() {
        let free = [
            ("cpuset.cpus", "0-3\n"),
            ("cpuset.mems", "0-1\n"),
            ("a/cpuset.cpus", "0-3\n"),
            ("a/cpuset.mems", "0-1\n"),
            ("a/memory.limit_in_bytes", "9223372036854771712\n"),
            ("a/memory.memsw.limit_in_bytes", "9223372036854771712\n"),
        ];
        for (name, value, controller) in [
            (
                "a/memory.memsw.limit_in_bytes",
                "1048576\n",
                Controller::Memory,
            ),
            ("a/cpuset.mems", "1\n", Controller::Cpuset),
        ] {
            let (_free, hierarchy) = tree(Version::V1, &free);
            assert_eq!(bounding(&hierarchy, "/a", controller), None);
            let files: Vec<_> = free.into_iter().chain([(name, value)]).collect();
            let (place, hierarchy) = tree(Version::V1, &files);
            let found = bounding(&hierarchy, "/a", controller);
            assert_eq!(found, Some(place.path().join("a")), "{name}");
        }
    }

    #[test]
    fn any_limit_of_version_2_counts() {
        let free = [
            ("a/memory.max", "max\n"),
            ("a/cpu.max", "max 100000\n"),
            ("a/memory.swap.max", "max\n"),
            ("a/cpuset.cpus", "\n"),
            ("a/cpuset.mems", "\n"),
            ("a/io.max", ""),
        ];
        let (_free, hierarchy) = tree(Version::V2, &free);
        assert_eq!(bounding(&hierarchy, "/a", Controller::Pids), None);
        for (name, value) in [
            ("a/memory.high", "1048576\n"),
            ("a/memory.swap.max", "0\n"),
            ("a/cpuset.mems", "1\n"),
            ("a/cpu.max", "50000 100000\n"),
            ("a/cpuset.cpus", "1-3\n"),
            ("a/io.max", "8:0 rbps=1048576\n"),
        ] {
            let files: Vec<_> = free.into_iter().chain([(name, value)]).collect();
            let (place, hierarchy) = tree(Version::V2, &files);
            let found = bounding(&hierarchy, "/a", Controller::Devices);
            assert_eq!(found, Some(place.path().join("a")), "{name}");
        }
    }
}
