//! Putting a helper into the control groups of a task.

use std::io;
use std::path::{Path, PathBuf};

use super::hierarchy::{Hierarchy, Version};
use super::write_existing;

/// The file of a group that takes processes.
const PROCESSES: &str = "cgroup.procs";

/// The groups that a task is in, for helpers that join them, now or later, when its
/// number may be another's. A hierarchy that this node does not show is passed over: a
/// helper is then where slurmstepd is.
#[derive(Debug, Clone)]
pub struct Groups {
    /// /proc/PID/cgroup of the task.
    text: String,
    hierarchies: Vec<Hierarchy>,
    /// Each group's directory, by the place of its hierarchy.
    directories: Vec<(PathBuf, PathBuf)>,
}

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
        let text = std::fs::read_to_string(format!("/proc/{task}/cgroup"))?;
        let after = Birth::of(task)?;
        if before != after || !before.is_alive || before.parent != parent {
            return Err(io::ErrorKind::NotFound.into());
        }
        let hierarchies = Hierarchy::mounted()?;
        let directories = hierarchies
            .iter()
            .filter_map(|own| Some((own.place.clone(), own.directory(own.group_in(&text)?))))
            .collect();
        Ok(Self {
            text,
            hierarchies,
            directories,
        })
    }

    /// The hierarchies that this node shows.
    #[must_use]
    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// What the kernel says of the task, proc_pid_cgroup(5).
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Each group's directory, and the place of its hierarchy.
    pub fn directories(&self) -> impl Iterator<Item = (&Path, &Path)> {
        self.directories
            .iter()
            .map(|(place, directory)| (place.as_path(), directory.as_path()))
    }

    /// With another group in one of the hierarchies: the one that the task goes to.
    #[must_use]
    pub fn with(mut self, place: &Path, directory: &Path) -> Self {
        self.directories.retain(|(other, _)| other != place);
        self.directories
            .push((place.to_owned(), directory.to_owned()));
        self
    }

    /// The groups of the task's step. Slurm of version 1 has one for each task in it; in
    /// version 2 no process can be but where the task is.
    #[must_use]
    pub fn of_step(&self) -> Self {
        let mut all = self.clone();
        for (place, directory) in &mut all.directories {
            let is_first = self
                .hierarchies
                .iter()
                .any(|own| own.place == *place && own.version == Version::V1);
            let is_tasks = directory
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"task_"));
            if is_first && is_tasks {
                directory.pop();
            }
        }
        all
    }

    /// Has what the next process that changes its groups would have to wait for: a grace
    /// period of RCU, some 10 ms, unless somebody else did so just before
    /// (`cgroup_threadgroup_rwsem` in kernel/cgroup/cgroup.c). This process "goes" to the
    /// group that it is in, at a time when it has nothing else to do.
    pub fn wait_for_the_kernel(&self) {
        let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = self
            .hierarchies
            .iter()
            .find_map(|own| Some(own.directory(own.group_in(&text)?)));
        if let Some(own) = own {
            // Whatever comes of it: it is the wait that was wanted.
            let _ = write_existing(&own.join(PROCESSES), "0");
        }
    }

    /// Puts a process into all of them. One that cannot be written because its file
    /// system is read-only here is passed over, too.
    ///
    /// # Errors
    /// Where one is there no longer, as its step has ended, or it takes no process; the
    /// helper is then in those that do.
    pub fn join(&self, helper: u32) -> io::Result<()> {
        let mut outcome = Ok(());
        for (_, directory) in &self.directories {
            let procs = directory.join(PROCESSES);
            if let Err(error) = write_existing(&procs, &helper.to_string()) {
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_step_is_above_its_tasks_where_a_process_can_be() {
        let groups = Groups {
            text: String::new(),
            hierarchies: Hierarchy::all(
                "1 1 0:1 / /c/memory rw - cgroup cgroup rw,memory\n2 1 0:2 / /c/u rw - cgroup2 cgroup2 rw",
            ),
            directories: vec![
                ("/c/memory".into(), "/c/memory/step_0/task_0".into()),
                ("/c/u".into(), "/c/u/step_0/user/task_0".into()),
            ],
        };
        let of_step = groups.of_step();
        let all: Vec<&Path> = of_step.directories().map(|(_, group)| group).collect();
        assert_eq!(
            all,
            [
                Path::new("/c/memory/step_0"),
                Path::new("/c/u/step_0/user/task_0")
            ]
        );
    }

    #[test]
    fn a_group_of_ours_takes_the_place_of_one() {
        let groups = Groups {
            text: String::new(),
            hierarchies: Vec::new(),
            directories: vec![("/c/pids".into(), "/c/pids/a".into())],
        };
        let groups = groups.with(Path::new("/c/pids"), Path::new("/c/pids/oarlock"));
        let all: Vec<&Path> = groups
            .directories()
            .map(|(_, directory)| directory)
            .collect();
        assert_eq!(all, [Path::new("/c/pids/oarlock")]);
    }
}
