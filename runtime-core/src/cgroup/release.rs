//! The end of our control groups: with their step, at the job's epilog, at slurmd's
//! start, and by `oarlock gc`.
//!
//! Runs in slurmstepd and slurmd, too, and so has an end whatever the kernel holds. It
//! finds groups by their names and keeps no list. What it kills is in a group of ours,
//! asked again once a descriptor holds the process: never another that was given the
//! same number.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;

use super::hierarchy::Hierarchy;
use super::own::{self, Step};
use super::write_existing;
use crate::kept::Whose;
use crate::sys::process;

/// A killed process ends at once, unless the kernel holds it: for all groups together.
const PATIENCE: Duration = Duration::from_millis(500);
/// The same for those of a whole job.
const PATIENCE_WITH_JOB: Duration = Duration::from_secs(2);
/// The ranks of a step that begins join at once; none waits longer than ten minutes.
const BEGINNING: Duration = Duration::from_mins(10);
/// The time of a group whose step is over: none that a clock would say.
const OVER: SystemTime = SystemTime::UNIX_EPOCH;
const PAUSE: Duration = Duration::from_millis(2);
const MOST_PAUSE: Duration = Duration::from_millis(64);
/// Descriptors that are open at a time, a quarter of what may be: slurmstepd has others to
/// open. A group is read once for each lot of them, so that of a large one many are wanted.
const FEWEST_AT_A_TIME: usize = 64;
const MOST_AT_A_TIME: usize = 1 << 14;

/// How many of the step's processes the kernel has ended for want of memory.
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
    let hierarchies = Hierarchy::mounted()?;
    let groups = hierarchies.iter().map(|own| step.group(&own.place));
    let there: Vec<PathBuf> = groups.filter(|group| group.exists()).collect();
    if there.is_empty() {
        return Ok(());
    }
    let ended = end(there, PATIENCE, Over::Known);
    for hierarchy in &hierarchies {
        // Other steps may be there, or come just now: they make them anew.
        let _ = fs::remove_dir(step.job_group(&hierarchy.place));
        let _ = fs::remove_dir(step.tree(&hierarchy.place));
    }
    ended.map(drop)
}

/// Takes groups away: of one node where it is named. A job has ended: what is left in its
/// groups is ended, too. Where all are meant, that is done to what was there at the end of
/// a step or job and stayed, and else only what nobody is in goes, if it is no step's that
/// begins just now.
///
/// # Errors
/// What the kernel said of a group that should have gone and stays; the others are gone.
pub fn release(whose: Whose, node: Option<&str>) -> io::Result<usize> {
    let wanted = node.map(own::tree_of);
    let trees: Vec<PathBuf> = trees()?
        .into_iter()
        .filter(|tree| {
            let name = tree.file_name();
            wanted
                .as_deref()
                .is_none_or(|wanted| name == Some(wanted.as_ref()))
        })
        .collect();
    let jobs: Vec<PathBuf> = match whose {
        Whose::Job(job) => trees.iter().map(|tree| tree.join(own::job(job))).collect(),
        Whose::All => trees.iter().flat_map(|tree| directories(tree)).collect(),
    };
    let groups: Vec<PathBuf> = jobs.iter().flat_map(|job| directories(job)).collect();
    let ended = match whose {
        Whose::Job(_) => end(groups, PATIENCE_WITH_JOB, Over::Known),
        Whose::All => {
            let (over, others): (Vec<_>, Vec<_>) =
                groups.into_iter().partition(|group| is_over(group));
            let empty = others
                .iter()
                .filter(|group| !is_new(group) && fs::remove_dir(group).is_ok())
                .count();
            end(over, PATIENCE, Over::Marked).map(|ended| ended + empty)
        }
    };
    for directory in jobs.iter().chain(&trees) {
        let _ = fs::remove_dir(directory);
    }
    ended
}

/// Notes on a group when a step made it, or has come back to it under its number: the
/// kernel keeps no time of its own for it.
///
/// # Errors
/// What the kernel said.
pub fn mark_new(group: &Path) -> io::Result<()> {
    fs::File::open(group)?.set_modified(SystemTime::now())
}

/// Notes on a group that its step is over. Who is in it then may be killed by anybody, at
/// any time: what the kernel holds longer than an epilog waits, or was too much for it.
fn mark_over(group: &Path) -> io::Result<()> {
    fs::File::open(group)?.set_modified(OVER)
}

fn is_over(group: &Path) -> bool {
    let marked = fs::metadata(group).and_then(|about| about.modified());
    marked.is_ok_and(|marked| marked == OVER)
}

/// Whether a step may have made it and have no rank in it yet.
fn is_new(group: &Path) -> bool {
    let made = fs::metadata(group).and_then(|about| about.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age < BEGINNING))
}

/// Jobs that have groups.
#[must_use]
pub fn jobs() -> Vec<u32> {
    let mut jobs: Vec<u32> = trees()
        .unwrap_or_default()
        .iter()
        .flat_map(|tree| directories(tree))
        .filter_map(|job| own::number(job.file_name()?.to_str()?))
        .collect();
    jobs.sort_unstable();
    jobs.dedup();
    jobs
}

/// Our trees in all hierarchies.
fn trees() -> io::Result<Vec<PathBuf>> {
    let is_ours = |tree: &PathBuf| {
        tree.file_name()
            .is_some_and(|name| own::is_tree(&name.to_string_lossy()))
    };
    let hierarchies = Hierarchy::mounted()?;
    let directories = hierarchies.iter().flat_map(|own| directories(&own.place));
    Ok(directories.filter(is_ours).collect())
}

fn directories(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(place) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| place.join(entry.file_name()))
        .collect()
}

/// Who says that the steps of groups are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    /// Slurm does, and so it is noted on them.
    Known,
    /// Their marks do, as long as they are there: a step may come back to its group.
    Marked,
}

impl Over {
    fn holds_for(self, group: &Path) -> bool {
        self == Self::Known || is_over(group)
    }
}

/// Takes groups away, whoever is in them; how many there were.
fn end(mut groups: Vec<PathBuf>, patience: Duration, over: Over) -> io::Result<usize> {
    let until = Instant::now() + patience;
    // Who forks by the thousand would leave this thread no time for it.
    let _urgent = process::Urgent::begin();
    let mut ended = 0;
    let mut pause = PAUSE;
    loop {
        let mut outcome = Ok(());
        groups.retain(|group| over.holds_for(group));
        groups.retain(|group| match rustix::fs::rmdir(group) {
            Ok(()) => {
                ended += 1;
                false
            }
            Err(Errno::NOENT) => false,
            Err(error) => {
                outcome = Err(error.into());
                true
            }
        });
        if groups.is_empty() {
            return Ok(ended);
        }
        if Instant::now() >= until {
            return outcome.map(|()| ended);
        }
        // All of them first: the groups of other controllers have the same processes.
        for group in &groups {
            if over == Over::Known {
                let _ = mark_over(group);
            }
            if over.holds_for(group) {
                stop(group);
            }
        }
        kill_all(&groups, until, over);
        std::thread::sleep(pause);
        pause = (pause * 2).min(MOST_PAUSE);
    }
}

/// Lets nobody in a group fork, where it has that controller: what forks faster than it is
/// killed would outlive any number of rounds. Of version 2 the kernel ends all by itself,
/// since Linux 5.14.
fn stop(group: &Path) {
    for (name, value) in [("pids.max", "0"), ("cgroup.kill", "1")] {
        // What is not there is done without.
        let _ = write_existing(&group.join(name), value);
    }
}

/// Kills who is in the groups, each process once.
fn kill_all(groups: &[PathBuf], until: Instant, over: Over) {
    let at_a_time = usize::try_from(process::descriptor_limit() / 4)
        .unwrap_or(usize::MAX)
        .clamp(FEWEST_AT_A_TIME, MOST_AT_A_TIME);
    let mut killed = HashSet::new();
    for group in groups {
        let mut all = processes(group);
        all.retain(|number| !killed.contains(number));
        for numbers in all.chunks(at_a_time) {
            if Instant::now() >= until {
                return;
            }
            let found: Vec<(u32, OwnedFd)> = numbers
                .iter()
                .filter_map(|number| Some((*number, process::pidfd_of(*number).ok()?)))
                .collect();
            // Who is still in it is who was opened.
            let now = processes(group);
            if !over.holds_for(group) {
                break;
            }
            for (number, process) in found {
                if now.binary_search(&number).is_ok() && process::kill(process.as_fd()).is_ok() {
                    killed.insert(number);
                }
            }
        }
    }
}

/// The numbers of the processes in a group, in order.
fn processes(group: &Path) -> Vec<u32> {
    let text = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut numbers: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
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
