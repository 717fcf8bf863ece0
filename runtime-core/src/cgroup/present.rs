//! Limits of the group that a step is in already, where that is none of Slurm's: what a
//! site sets for slurmd, to keep something for the node itself. A step that went to a
//! group of ours would leave them.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::hierarchy::{Hierarchy, Version};
use super::plan::Controller;
use crate::sys::bpf;

/// Beyond this a limit of memory is none: the kernel writes the largest number of pages.
const UNBOUNDED: u64 = 1 << 60;

/// Files of version 2, and how each begins that bounds nothing. A step leaves all of them
/// at once.
const FILES: [(&str, &str); 6] = [
    ("memory.max", "max"),
    ("memory.high", "max"),
    ("pids.max", "max"),
    ("cpu.max", "max"),
    ("io.max", ""),
    ("cpuset.cpus", ""),
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

fn word(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn bounds_first(top: &Path, group: &Path, controller: Controller) -> bool {
    let (name, is_bound): (&str, fn(&str) -> bool) = match controller {
        Controller::Memory => ("memory.limit_in_bytes", |limit| {
            limit.parse::<u64>().is_ok_and(|limit| limit < UNBOUNDED)
        }),
        Controller::Pids => ("pids.max", |limit| limit != "max"),
        Controller::Devices => ("devices.list", |list| !list.starts_with("a *:* rwm")),
        Controller::Cpuset => {
            let (all, own) = (top.join("cpuset.cpus"), group.join("cpuset.cpus"));
            return word(&own).is_some_and(|own| !own.is_empty() && word(&all) != Some(own));
        }
    };
    word(&group.join(name)).is_some_and(|value| is_bound(&value))
}

fn bounds_second(group: &Path) -> bool {
    let is_bound = |(name, free): &(&str, &str)| {
        word(&group.join(name)).is_some_and(|value| match *free {
            "" => !value.is_empty(),
            free => !value.starts_with(free),
        })
    };
    FILES.iter().any(is_bound) || has_programs(group)
}

fn has_programs(group: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(place) = rustix::fs::open(group, flags, Mode::empty()) else {
        return false;
    };
    bpf::ASKED.iter().any(|kind| {
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
    fn any_limit_of_version_2_counts() {
        let free = [
            ("a/memory.max", "max\n"),
            ("a/cpu.max", "max 100000\n"),
            ("a/cpuset.cpus", "\n"),
            ("a/io.max", ""),
        ];
        let (_free, hierarchy) = tree(Version::V2, &free);
        assert_eq!(bounding(&hierarchy, "/a", Controller::Pids), None);
        for (name, value) in [
            ("a/memory.high", "1048576\n"),
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
