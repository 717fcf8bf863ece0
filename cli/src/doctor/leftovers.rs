//! What jobs left behind that have ended: kept mounts, loop devices, unfinished copies,
//! containers that nobody has a name for any more.

use std::collections::BTreeSet;
use std::time::Duration;

use runtime_core::cgroup::release;
use runtime_core::containers::gone;
use runtime_core::runtime_directory;
use runtime_core::store::contents;

use super::check::Findings;
use super::command::{MAX_ANSWER, ask};
use super::loops;
use super::node::Node;

/// Processes of steps; Debian gives Slurm's a second name.
const STEPS: [&str; 3] = ["slurmstepd", "slurmstepd-wlm", "oarlock-prepare"];

/// What takes all of it away.
const CLEAN: &str = "run `oarlock gc` as root";

/// slurmctld may be busy; less than a section has.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn look(node: &Node, findings: &mut Findings) {
    if !node.is_root {
        findings.unknown(
            "all",
            "only root sees what is kept",
            "run oarlock doctor as root",
        );
        return;
    }
    jobs(node, findings);
    devices(node, findings);
    copies(node, findings);
    to_be_deleted(node, findings);
}

/// The jobs that have control groups of ours.
fn groups(node: &Node) -> BTreeSet<u32> {
    if node.host.is_this() {
        release::jobs().into_iter().collect()
    } else {
        BTreeSet::new()
    }
}

/// The jobs that something is kept for, below a directory of /run/oarlock.
fn kept(node: &Node, directory: &str) -> BTreeSet<u32> {
    let path = runtime_directory::path(directory);
    let names = node.host.list(&path).unwrap_or_default();
    let numbers = names.iter().filter_map(|name| name.to_str()?.parse().ok());
    numbers.collect()
}

fn jobs(node: &Node, findings: &mut Findings) {
    let everything = || -> BTreeSet<u32> {
        let (mounts, containers) = (kept(node, "kept"), kept(node, "jobs"));
        mounts
            .into_iter()
            .chain(containers)
            .chain(groups(node))
            .collect()
    };
    let all = everything();
    if all.is_empty() {
        findings.ok("jobs", "nothing is kept for any");
        return;
    }
    match running(node) {
        Some(running) => {
            // A job that ended while Slurm was asked has taken its own away meanwhile.
            let now = everything();
            let still = all.intersection(&now).copied().collect();
            of_ended(&still, &running, findings);
        }
        None => findings.unknown(
            "jobs",
            format!(
                "something is kept for {}; whether they run is not known",
                list(&all)
            ),
            "see squeue; what ended jobs left: oarlock gc",
        ),
    }
}

fn of_ended(all: &BTreeSet<u32>, running: &BTreeSet<u32>, findings: &mut Findings) {
    let ended: BTreeSet<u32> = all.difference(running).copied().collect();
    if ended.is_empty() {
        findings.ok(
            "jobs",
            format!("something is kept for {} that run", all.len()),
        );
    } else {
        let found = format!(
            "mounts, containers or control groups are there of jobs that have ended: {}",
            list(&ended)
        );
        findings.warning("jobs", found, CLEAN);
    }
}

/// The first of them.
fn list(jobs: &BTreeSet<u32>) -> String {
    let mut shown: Vec<String> = jobs.iter().take(8).map(u32::to_string).collect();
    if jobs.len() > shown.len() {
        shown.push(format!("and {} more", jobs.len() - shown.len()));
    }
    shown.join(", ")
}

/// The jobs that have not ended yet, by the controller.
fn running(node: &Node) -> Option<BTreeSet<u32>> {
    let squeue = node.program("squeue")?;
    let here = format!("--nodelist={}", node.name);
    let all = ["--noheader", "--all", "--format=%A", &here];
    // A node may have another name with Slurm than with itself. Where nobody answers at
    // all, nobody is asked twice.
    let (mut text, mut success) = ask(node, &squeue, &all, PATIENCE).ok()?;
    if !success {
        (text, success) = ask(node, &squeue, all.get(..3)?, PATIENCE).ok()?;
    }
    // What is cut off is not known.
    (success && text.len() < MAX_ANSWER).then(|| {
        let words = text.split_whitespace();
        words.filter_map(|word| word.parse().ok()).collect()
    })
}

fn devices(node: &Node, findings: &mut Findings) {
    let marked = loops::marked(node).unwrap_or_default();
    let devices = loops::devices(&node.host);
    let deleted = devices
        .iter()
        .filter(|device| device.is_deleted && marked.contains(&device.number))
        .count();
    let steps = node.processes(&STEPS);
    if deleted > 0 && steps == 0 {
        findings.warning(
            "loop devices",
            format!("{deleted} serve files that have no name any more, and no step runs"),
            CLEAN,
        );
    } else if deleted > 0 {
        findings.ok(
            "loop devices",
            format!("{deleted} serve files that have no name any more, while steps run"),
        );
    } else {
        findings.ok(
            "loop devices",
            "none of Oarlock's serves a file without a name",
        );
    }
}

fn copies(node: &Node, findings: &mut Findings) {
    let mut config = node.config.store.clone();
    config.path = node.host.place(&config.path);
    match contents(&config) {
        Ok(Some(found)) if found.stale > 0 => {
            findings.warning(
                "copies",
                format!("{} unfinished, and nobody goes on with them", found.stale),
                CLEAN,
            );
        }
        Ok(Some(found)) if found.unfinished > 0 => {
            findings.ok(
                "copies",
                format!(
                    "{} unfinished; a next step may go on with them",
                    found.unfinished
                ),
            );
        }
        Ok(_) => findings.ok("copies", "none unfinished"),
        Err(error) => findings.unknown("copies", error.to_string(), CLEAN),
    }
}

fn to_be_deleted(node: &Node, findings: &mut Findings) {
    let path = node.config.writable.path.join(gone::PLACE);
    let left = node.host.list(&path).map_or(0, |names| names.len());
    if left == 0 {
        findings.ok("containers", "none to be deleted");
    } else if node.processes(&["oarlock-gone"]) > 0 {
        findings.ok("containers", format!("{left} are being deleted"));
    } else if node.processes(&STEPS) > 0 {
        findings.ok(
            "containers",
            format!("{left} to be deleted, while steps run"),
        );
    } else {
        findings.warning(
            "containers",
            format!("{left} to be deleted, and nobody is at it"),
            CLEAN,
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use runtime_core::host::Host;

    use super::super::check::{Check, Verdict};
    use super::*;

    fn checks(directories: &[&str], squeue: Option<&str>, is_root: bool) -> Vec<Check> {
        let place = tempfile::tempdir().unwrap();
        for path in directories {
            std::fs::create_dir_all(place.path().join(path)).unwrap();
        }
        if let Some(text) = squeue {
            let path = place.path().join("usr/bin/squeue");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        let node = Node::of(Host::at(place.path()).unwrap(), None, None, is_root);
        let mut findings = Findings::new("leftovers");
        look(&node, &mut findings);
        findings.checks
    }

    #[test]
    fn what_is_kept_for_jobs_that_have_ended() {
        let kept = [
            "run/oarlock/kept/7",
            "run/oarlock/jobs/8",
            "run/oarlock/jobs/8.ended",
        ];
        for (directories, squeue, verdict, part) in [
            (&kept[..0], None, Verdict::Ok, "nothing is kept"),
            (
                &kept[..],
                Some("#!/bin/sh\necho 7; echo 8"),
                Verdict::Ok,
                "2 that run",
            ),
            (
                &kept[..],
                Some("#!/bin/sh\necho 8"),
                Verdict::Warning,
                "have ended: 7",
            ),
            (
                &kept[..],
                Some("#!/bin/sh\nexit 1"),
                Verdict::Unknown,
                "kept for 7, 8",
            ),
            (&kept[..], None, Verdict::Unknown, "not known"),
            (
                &kept[..],
                Some("#!/bin/sh\ncase $* in *nodelist*) exit 1; esac; echo 7; echo 8"),
                Verdict::Ok,
                "2 that run",
            ),
            (
                &kept[..],
                Some("#!/bin/sh\nhead -c 40000 /dev/zero | tr '\\0' 7"),
                Verdict::Unknown,
                "not known",
            ),
        ] {
            let found = checks(directories, squeue, true);
            let it = found.iter().find(|check| check.name == "jobs").unwrap();
            assert!(it.verdict == verdict && it.found.contains(part), "{it:?}");
        }
    }

    #[test]
    fn containers_that_nobody_deletes() {
        let gone = "var/lib/oarlock/containers/.gone/x";
        let verdict = |directories: &[&str]| {
            let found = checks(directories, None, true);
            found
                .iter()
                .find(|check| check.name == "containers")
                .unwrap()
                .verdict
        };
        assert_eq!(verdict(&[gone]), Verdict::Warning);
        assert_eq!(verdict(&[]), Verdict::Ok);
        let partial = "var/lib/oarlock/store/partial/000-left";
        let found = checks(&[partial], None, true);
        let copies = found.iter().find(|check| check.name == "copies").unwrap();
        assert_eq!(copies.verdict, Verdict::Warning, "{copies:?}");
    }

    #[test]
    fn without_root_nothing_is_said() {
        let found = checks(&["run/oarlock/kept/7"], None, false);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].verdict, Verdict::Unknown);
    }
}
