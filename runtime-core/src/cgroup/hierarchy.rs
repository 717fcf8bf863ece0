//! The hierarchies of control groups that this node shows, and where a process is in
//! each: cgroups(7), proc_pid_mountinfo(5), proc_pid_cgroup(5).
//!
//! Reads what the kernel says, and builds no path from what it does not.

use std::io;
use std::path::PathBuf;

/// The two kinds of hierarchies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One for each controller, or for a few.
    V1,
    /// One for all.
    V2,
}

/// A hierarchy, as it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where.
    pub place: PathBuf,
    /// The group that is shown there: `/`, or a container's own.
    root: String,
    /// Its kind.
    pub version: Version,
    /// Whether nobody can make a group there.
    pub read_only: bool,
    /// Controllers, or a name as `name=systemd`; for version 2 empty, as the mount does
    /// not tell them.
    pub controllers: Vec<String>,
}

/// Words among the options of a mount that name no controller.
const OPTIONS: [&str; 10] = [
    "rw",
    "ro",
    "none",
    "all",
    "xattr",
    "noprefix",
    "clone_children",
    "cpuset_v2_mode",
    "favordynmods",
    "nofavordynmods",
];

impl Hierarchy {
    /// Those of this process' mounts.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn mounted() -> io::Result<Vec<Self>> {
        // Names of mounts are anybody's bytes.
        let text = std::fs::read("/proc/self/mountinfo")?;
        Ok(Self::all(&String::from_utf8_lossy(&text)))
    }

    /// Those of a mountinfo; of one that is mounted twice, the first.
    #[must_use]
    pub fn all(mountinfo: &str) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for found in mountinfo.lines().filter_map(Self::of_line) {
            let is_known = all.iter().any(|known| {
                known.version == found.version && same(&known.controllers, &found.controllers)
            });
            if !is_known {
                all.push(found);
            }
        }
        all
    }

    fn of_line(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        let kind = right.next()?;
        let options = right.nth(1)?;
        let mut left = left.split(' ').skip(3);
        let (root, place) = (left.next()?.to_owned(), PathBuf::from(left.next()?));
        let is_read_only = |options: &str| options.split(',').any(|word| word == "ro");
        let read_only = is_read_only(left.next()?) || is_read_only(options);
        let (version, controllers) = match kind {
            "cgroup2" => (Version::V2, Vec::new()),
            "cgroup" => (Version::V1, controllers(options)),
            _ => return None,
        };
        Some(Self {
            place,
            root,
            version,
            read_only,
            controllers,
        })
    }

    /// Whether it is one of version 1 that has this controller.
    #[must_use]
    pub fn controls(&self, controller: &str) -> bool {
        self.controllers.iter().any(|own| own == controller)
    }

    /// The group of a process by its /proc/PID/cgroup, from [`Self::place`] on; `None`
    /// where it is outside of what is shown there.
    #[must_use]
    pub fn group_in<'a>(&self, groups: &'a str) -> Option<&'a str> {
        let group = groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, group) = (fields.next()?, fields.next()?);
            let names: Vec<String> = controllers
                .split(',')
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect();
            same(&names, &self.controllers).then_some(group)
        })?;
        let group = match self.root.as_str() {
            "/" => group,
            root => group
                .strip_prefix(root)
                .filter(|rest| rest.is_empty() || rest.starts_with('/'))?,
        };
        // A group outside of a control-group namespace is written with "..".
        (!group.split('/').any(|part| part == "..")).then_some(group)
    }

    /// The directory of such a group.
    #[must_use]
    pub fn directory(&self, group: &str) -> PathBuf {
        self.place.join(group.trim_start_matches('/'))
    }
}

fn controllers(options: &str) -> Vec<String> {
    options
        .split(',')
        .filter(|word| !OPTIONS.contains(word) && !word.starts_with("release_agent"))
        .map(str::to_owned)
        .collect()
}

/// Whether two lists name the same controllers, in whatever order.
fn same(one: &[String], other: &[String]) -> bool {
    one.len() == other.len() && one.iter().all(|name| other.contains(name))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) const MOUNTS: &str = "\
30 20 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 /docker/1 /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
34 30 0:30 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
35 30 0:30 / /elsewhere rw - cgroup cgroup rw,freezer";

    #[test]
    fn each_group_finds_its_hierarchy() {
        let groups = "9:freezer:/slurm/uid_1/job_2/step_0\n4:cpuacct,cpu:/a\n1:name=systemd:/docker/1/b\n0::/c\n7:rdma:/none\n";
        let found: Vec<String> = Hierarchy::all(MOUNTS)
            .iter()
            .filter_map(|own| {
                let group = own.group_in(groups)?;
                Some(own.directory(group).display().to_string())
            })
            .collect();
        assert_eq!(
            found,
            [
                "/sys/fs/cgroup/cpu,cpuacct/a",
                "/sys/fs/cgroup/systemd/b",
                "/sys/fs/cgroup/unified/c",
                "/sys/fs/cgroup/freezer/slurm/uid_1/job_2/step_0",
            ]
        );
    }

    #[test]
    fn a_mount_or_its_file_system_is_read_only() {
        for (line, expected) in [
            ("1 1 0:1 / /c rw,nosuid - cgroup cgroup rw,pids", false),
            ("1 1 0:1 / /c ro,nosuid - cgroup cgroup rw,pids", true),
            ("1 1 0:1 / /c rw,nosuid - cgroup2 cgroup2 ro", true),
        ] {
            assert_eq!(Hierarchy::all(line)[0].read_only, expected, "{line}");
        }
    }

    #[test]
    fn what_is_not_shown_has_no_path() {
        let all = Hierarchy::all(MOUNTS);
        let of = |name: &str| all.iter().find(|own| own.controls(name)).unwrap();
        assert_eq!(of("freezer").group_in("9:freezer:/../outside"), None);
        assert_eq!(
            of("name=systemd").group_in("1:name=systemd:/docker/12/b"),
            None
        );
        assert_eq!(
            of("name=systemd").group_in("1:name=systemd:/docker/1"),
            Some("")
        );
        assert_eq!(of("cpu").group_in("9:freezer:/a"), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        for hierarchy in Hierarchy::mounted().unwrap() {
            if let Some(group) = hierarchy.group_in(&groups) {
                assert!(hierarchy.directory(group).join("cgroup.procs").exists());
            }
        }
    }
}
