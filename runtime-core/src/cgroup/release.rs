//! The end of our control groups: with their step, at the job's epilog, at slurmd's
//! start, and by `oarlock gc`.
//!
//! Runs in slurmstepd and slurmd, too. It finds groups by their names and keeps no list.
//! What it kills is in a group of ours, asked again once a descriptor holds the process:
//! never another that was given the same number.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::hierarchy::Hierarchy;
use super::own::{self, Step};
use crate::kept::Whose;
use crate::sys::process;

/// A killed process ends at once, unless the kernel holds it.
const PATIENCE: Duration = Duration::from_millis(500);
/// The ranks of a step that begins join at once; none waits longer than ten minutes.
const BEGINNING: Duration = Duration::from_mins(10);
const PAUSE: Duration = Duration::from_millis(2);

/// How many processes the kernel has ended because the step's group had reached its
/// limit of memory.
#[must_use]
pub fn killed_for_memory(step: &Step) -> u64 {
    let hierarchies = Hierarchy::mounted().unwrap_or_default();
    hierarchies
        .iter()
        .map(|hierarchy| {
            let group = step.group(&hierarchy.place);
            // Version 1, and version 2.
            ["memory.oom_control", "memory.events"]
                .iter()
                .filter_map(|name| fs::read_to_string(group.join(name)).ok())
                .find_map(|text| count(&text))
                .unwrap_or(0)
        })
        .sum()
}

/// The figure `oom_kill` of a group.
fn count(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Ends what is left in the step's groups, and takes them away.
///
/// # Errors
/// What the kernel said of one that stays; the others are gone.
pub fn step(step: &Step) -> io::Result<()> {
    let mut outcome = Ok(());
    for hierarchy in Hierarchy::mounted()? {
        let group = step.group(&hierarchy.place);
        if !group.exists() {
            continue;
        }
        if let Err(error) = end(&group) {
            outcome = Err(error);
        }
        // Other steps may be there, or come just now: they make them anew.
        let _ = fs::remove_dir(step.job_group(&hierarchy.place));
        let _ = fs::remove_dir(step.tree(&hierarchy.place));
    }
    outcome
}

/// Takes groups away. A job has ended: what is left in its groups is ended, too. Where
/// all are meant, only what nobody is in, and what is no step's that begins just now.
///
/// # Errors
/// What the kernel said of a job's group that stays; the others are gone.
pub fn release(whose: Whose) -> io::Result<usize> {
    let mut released = 0;
    let mut outcome = Ok(());
    for hierarchy in Hierarchy::mounted()? {
        for tree in directories(&hierarchy.place) {
            if !tree
                .file_name()
                .is_some_and(|name| own::is_tree(&name.to_string_lossy()))
            {
                continue;
            }
            let jobs = match whose {
                Whose::Job(job) => vec![tree.join(own::job(job))],
                Whose::All => directories(&tree),
            };
            for job in jobs {
                for group in directories(&job) {
                    let ended = match whose {
                        Whose::Job(_) => end(&group),
                        Whose::All if is_new(&group) => continue,
                        Whose::All => fs::remove_dir(&group),
                    };
                    match ended {
                        Ok(()) => released += 1,
                        // Somebody is in it.
                        Err(_) if whose == Whose::All => {}
                        Err(error) => outcome = Err(error),
                    }
                }
                let _ = fs::remove_dir(&job);
            }
            let _ = fs::remove_dir(&tree);
        }
    }
    outcome.map(|()| released)
}

/// Whether a step may have made it and have no rank in it yet.
fn is_new(group: &Path) -> bool {
    let made = fs::metadata(group).and_then(|about| about.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age < BEGINNING))
}

/// Jobs that have groups.
#[must_use]
pub fn jobs() -> Vec<u32> {
    let mut jobs: Vec<u32> = Hierarchy::mounted()
        .unwrap_or_default()
        .iter()
        .flat_map(|hierarchy| directories(&hierarchy.place))
        .filter(|tree| {
            tree.file_name()
                .is_some_and(|name| own::is_tree(&name.to_string_lossy()))
        })
        .flat_map(|tree| directories(&tree))
        .filter_map(|job| {
            job.file_name()?
                .to_str()?
                .strip_prefix("job_")?
                .parse()
                .ok()
        })
        .collect();
    jobs.sort_unstable();
    jobs.dedup();
    jobs
}

fn directories(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(place) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| place.join::<OsString>(entry.file_name()))
        .collect()
}

/// Takes a group away, whoever is in it.
fn end(group: &Path) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::rmdir(group) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY) if Instant::now() < until => {}
            Err(error) => return Err(error.into()),
        }
        kill_all(group);
        std::thread::sleep(PAUSE);
    }
}

fn kill_all(group: &Path) {
    let found: Vec<(u32, OwnedFd)> = processes(group)
        .into_iter()
        .filter_map(|number| Some((number, process::pidfd_of(number).ok()?)))
        .collect();
    // Who is still in it is who was opened.
    let now = processes(group);
    for (number, process) in found {
        if now.contains(&number) {
            let _ = process::kill(process.as_fd());
        }
    }
}

fn processes(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_are_counted() {
        let v1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        let v2 = "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 1\n";
        assert_eq!(count(v1), Some(3));
        assert_eq!(count(v2), Some(1));
        assert_eq!(count("oom_kill_disable 0"), None);
    }
}
