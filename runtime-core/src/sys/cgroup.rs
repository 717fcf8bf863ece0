//! Putting a helper into the control groups of a task, cgroups(7).
//!
//! The groups are Slurm's: none is made, changed or removed here, and paths are
//! read from the kernel, never built.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where a hierarchy is mounted, and which one it is.
struct Hierarchy {
    place: PathBuf,
    /// The group that is shown there: `/`, or a container's own.
    root: String,
    /// Comma-separated controllers, as in /proc/PID/cgroup; empty for version 2.
    controllers: String,
}

/// The groups that a task was in, for helpers that join them, now or later, when its
/// number may be another's. A hierarchy that this node does not show is passed over: a
/// helper is then where slurmstepd is.
#[derive(Debug, Clone)]
pub struct Groups(Vec<PathBuf>);

impl Groups {
    /// The groups of a running child of `parent`. A user may kill his task and have
    /// another process of that number, but not one with root's slurmstepd as its
    /// parent; and of a process that has ended and is not waited for the kernel says
    /// that it is in the root groups.
    ///
    /// # Errors
    /// Where there is no such child, as when it has ended.
    pub fn of_child(task: u32, parent: u32) -> io::Result<Self> {
        let before = Birth::of(task)?;
        let groups = std::fs::read_to_string(format!("/proc/{task}/cgroup"))?;
        let after = Birth::of(task)?;
        if before != after || !before.is_alive || before.parent != parent {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let hierarchies = hierarchies(&mounts);
        Ok(Self(
            pairs(&hierarchies, &groups)
                .into_iter()
                .map(|(hierarchy, group)| {
                    hierarchy
                        .join(group.trim_start_matches('/'))
                        .join("cgroup.procs")
                })
                .collect(),
        ))
    }

    /// Puts a process into all of them. One that cannot be written because its file
    /// system is read-only here is passed over, too.
    ///
    /// # Errors
    /// Where one is there no longer, as its step has ended, or it takes no process; the
    /// helper is then in those that do.
    pub fn join(&self, helper: u32) -> io::Result<()> {
        let mut outcome = Ok(());
        for procs in &self.0 {
            if let Err(error) = write_existing(procs, &helper.to_string()) {
                tracing::debug!(group = %procs.display(), %error, "helper left outside");
                if error.kind() != io::ErrorKind::ReadOnlyFilesystem {
                    outcome = Err(error);
                }
            }
        }
        outcome
    }
}

/// What makes a process number one process, proc_pid_stat(5).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Birth {
    is_alive: bool,
    parent: u32,
    started: String,
}

impl Birth {
    fn of(process: u32) -> io::Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        Self::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The name, the second field, is in brackets and may hold anything.
    fn parse(stat: &str) -> Option<Self> {
        let (_, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        // The 22nd of all.
        let started = fields.nth(17)?.to_owned();
        Some(Self {
            is_alive: !matches!(state, "Z" | "X" | "x"),
            parent,
            started,
        })
    }
}

/// Writes to a file that is there: none is made, wherever a path leads.
fn write_existing(path: &Path, text: &str) -> io::Result<()> {
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)?
        .write_all(text.as_bytes())
}

/// The control-group mounts of a mountinfo, proc(5).
fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let mut right = right.split(' ');
            let kind = right.next()?;
            let options = right.nth(1)?;
            let mut left = left.split(' ').skip(3);
            let (root, place) = (left.next()?.to_owned(), PathBuf::from(left.next()?));
            match kind {
                "cgroup2" => Some(Hierarchy {
                    place,
                    root,
                    controllers: String::new(),
                }),
                "cgroup" => {
                    let controllers: Vec<&str> = options
                        .split(',')
                        .filter(|o| {
                            !matches!(
                                *o,
                                "rw" | "ro" | "none" | "xattr" | "noprefix" | "clone_children"
                            )
                        })
                        .filter(|o| !o.starts_with("release_agent"))
                        .collect();
                    Some(Hierarchy {
                        place,
                        root,
                        controllers: controllers.join(","),
                    })
                }
                _ => None,
            }
        })
        .collect()
}

/// The groups of a /proc/PID/cgroup, each with the place of its hierarchy.
fn pairs<'a>(hierarchies: &'a [Hierarchy], groups: &'a str) -> Vec<(&'a Path, &'a str)> {
    groups
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, group) = (fields.next()?, fields.next()?);
            let found = hierarchies
                .iter()
                .find(|h| same(&h.controllers, controllers))?;
            let group = match found.root.as_str() {
                "/" => group,
                root => group.strip_prefix(root)?,
            };
            // A group outside of what is shown here is written with "..".
            if group.split('/').any(|part| part == "..") {
                return None;
            }
            Some((found.place.as_path(), group))
        })
        .collect()
}

/// Whether two lists name the same controllers, in whatever order.
fn same(one: &str, other: &str) -> bool {
    let sorted = |list: &str| {
        let mut names: Vec<String> = list.split(',').map(str::to_owned).collect();
        names.sort_unstable();
        names
    };
    sorted(one) == sorted(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
30 20 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 /docker/1 /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
34 30 0:30 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer";

    #[test]
    fn a_process_is_known_by_parent_and_start() {
        let line = "42 (a) b) S 7 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 99887 1 1";
        let birth = Birth::parse(line).unwrap();
        assert_eq!((birth.is_alive, birth.parent), (true, 7));
        assert_eq!(birth.started, "99887");
        assert!(!Birth::parse(&line.replace(" S ", " Z ")).unwrap().is_alive);
        assert_eq!(Birth::parse("42 (a"), None);
    }

    #[test]
    fn only_a_living_child_has_groups() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        assert!(Groups::of_child(child.id(), own).is_ok());
        assert!(Groups::of_child(child.id(), own + 1).is_err());
        child.kill().unwrap();
        // Not waited for: a zombie, which the kernel shows in the root groups.
        let gone = (0..500).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            Groups::of_child(child.id(), own).is_err()
        });
        assert!(gone);
        child.wait().unwrap();
    }

    #[test]
    fn each_group_finds_its_hierarchy() {
        let groups = "9:freezer:/slurm/uid_1/job_2/step_0\n4:cpuacct,cpu:/a\n1:name=systemd:/docker/1/b\n0::/c\n7:rdma:/none\n9:freezer:/../outside\n";
        let found: Vec<String> = pairs(&hierarchies(MOUNTS), groups)
            .into_iter()
            .map(|(place, group)| format!("{}{group}", place.display()))
            .collect();
        assert_eq!(
            found,
            [
                "/sys/fs/cgroup/freezer/slurm/uid_1/job_2/step_0",
                "/sys/fs/cgroup/cpu,cpuacct/a",
                "/sys/fs/cgroup/systemd/b",
                "/sys/fs/cgroup/unified/c",
            ]
        );
    }
}
