//! What a test leaves on the machines: mounts, loop devices, processes, mount
//! namespaces, control groups, files, and nodes that Slurm no longer uses.
//!
//! What a node keeps on purpose, and for how long, is no leftover: a lock file, an
//! index of copies, marks, and directories for them. A container with a name is one:
//! a test removes what it has made. Nor is what slurmd writes when it ends.
//!
//! Two looks are compared. The kernel frees a loop device, and Slurm a node, a
//! moment after the job's end: differences count only if they stay.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, NODES};

/// How long what is on its way out may take.
const PATIENCE: Duration = Duration::from_secs(12);

/// How long jobs that are not the tests' own may take.
const OTHERS_PATIENCE: Duration = Duration::from_secs(90);

/// One line for each thing on a machine. The shells' own short-lived processes
/// are root's and have plain names.
const LOOK: &str = r#"
sed 's/^/mount /' /proc/1/mountinfo
for file in /sys/block/loop*/loop/backing_file; do
    [ -e "$file" ] && echo "loop ${file:11:6} $(cat "$file" 2>/dev/null)"
done
own=$(readlink /proc/1/ns/mnt)
for link in /proc/[0-9]*/ns/mnt; do
    there=$(readlink "$link" 2>/dev/null) || continue
    [ "$there" = "$own" ] || echo "namespace $there"
done
ps -eo uid=,pid=,comm= | while read -r uid pid comm; do
    case $(hostname):$uid:$comm in
    *:oarlock* | *:squashfuse* | *:fusermount* | *:slurmstepd*) echo "process $pid $comm" ;;
    node*:100[01]:*) echo "process $pid $comm of uid $uid" ;;
    esac
done
find /tmp /var/tmp /run /dev/shm /dev/mqueue /var/spool/slurmd -xdev -mindepth 1 -maxdepth 3 \
    -not -path '/tmp/oarlock-tests-agent.*' -not -path '/tmp/ompi.*' \
    -not -path /run/oarlock -not -path /run/oarlock/loop.lock -not -path /run/oarlock/kept -not -path /run/oarlock/epilog \
    -not -path /run/oarlock/live -not -path /run/oarlock/jobs -not -path /run/oarlock/swept -not -path /run/oarlock-names \
    -not -path '/run/oarlock/index*' -not -path '/var/spool/slurmd/cred_state*' 2>/dev/null | sed 's/^/entry /'
find /var/lib/oarlock/containers -xdev -mindepth 3 -maxdepth 3 2>/dev/null | sed 's/^/entry /'
find / /etc /home /root /opt /mnt /srv /var /var/lib -xdev -mindepth 1 -maxdepth 1 2>/dev/null | sed 's/^/entry /'
find /sys/fs/cgroup -mindepth 1 -maxdepth 5 -path '*/oarlock*' -type d 2>/dev/null | sed 's/^/cgroup /'
find /sys/fs/cgroup/*/slurm* -maxdepth 3 -name 'job_*' 2>/dev/null | sed 's/^/cgroup /'
ls /dev | sed 's/^/device /'
true
"#;

/// What was there at one moment: `MACHINE: KIND …` lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    /// Looks at the nodes and the login node, and asks Slurm about nodes and jobs.
    ///
    /// # Panics
    /// Where a machine cannot be looked at.
    #[must_use]
    #[track_caller]
    pub fn take(cluster: &Cluster) -> Self {
        let mut lines = BTreeSet::new();
        for machine in NODES.into_iter().chain(["login"]) {
            let seen = cluster.root(machine, LOOK).succeeds();
            lines.extend(seen.stdout.lines().map(|line| format!("{machine}: {line}")));
        }
        let slurm = "sinfo -h -N -o 'node %N is %T' && squeue -h -o 'job %i is %T'";
        let seen = cluster.root("login", slurm).succeeds();
        lines.extend(seen.stdout.lines().map(|line| format!("Slurm: {line}")));
        Self(lines)
    }

    /// Looks when no job is left and both nodes are idle: whoever else uses the
    /// cluster is given time to finish.
    ///
    /// # Panics
    /// Where a machine cannot be looked at.
    #[must_use]
    #[track_caller]
    pub fn take_when_idle(cluster: &Cluster) -> Self {
        let deadline = Instant::now() + OTHERS_PATIENCE;
        loop {
            let snapshot = Self::take(cluster);
            if snapshot.is_idle() || Instant::now() > deadline {
                return snapshot;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn is_idle(&self) -> bool {
        self.0
            .iter()
            .filter(|line| line.starts_with("Slurm: "))
            .all(|line| line.ends_with(" is idle"))
    }

    /// Waits until everything is as it was, or patience ends; says what differs.
    #[must_use]
    #[track_caller]
    pub fn compare_when_quiet(&self, cluster: &Cluster) -> Vec<String> {
        self.compare_within(cluster, PATIENCE)
    }

    /// The same with another bound.
    #[must_use]
    #[track_caller]
    pub fn compare_within(&self, cluster: &Cluster, patience: Duration) -> Vec<String> {
        let deadline = Instant::now() + patience;
        loop {
            let differences = self.differences(&Self::take(cluster));
            if differences.is_empty() || Instant::now() > deadline {
                return differences;
            }
            std::thread::sleep(Duration::from_millis(150));
        }
    }

    /// What is new, and which mounts, devices and files are gone; each node must be
    /// idle whatever it was before.
    fn differences(&self, later: &Self) -> Vec<String> {
        let new = later.0.difference(&self.0);
        let new = new
            .filter(|line| !line.ends_with(" is idle"))
            .map(|line| format!("+ {line}"));
        let gone = self.0.difference(&later.0).filter(|line| {
            [": mount ", ": device ", ": entry "]
                .iter()
                .any(|kind| line.contains(kind))
        });
        let gone = gone.map(|line| format!("- {line}"));
        let idle = later
            .0
            .iter()
            .filter(|line| line.starts_with("Slurm: node ") && !line.ends_with(" is idle"))
            .map(|line| format!("! {line}"));
        new.chain(gone).chain(idle).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Snapshot;

    fn snapshot(lines: &[&str]) -> Snapshot {
        Snapshot(lines.iter().map(|line| (*line).to_owned()).collect())
    }

    #[test]
    fn what_is_new_or_gone_is_found() {
        let before = snapshot(&[
            "node1: mount 1 /",
            "node1: process 7 slurmstepd",
            "Slurm: node node1 is idle",
        ]);
        assert!(before.differences(&before).is_empty());
        let after = snapshot(&["node1: loop loop0/ /x.sif", "Slurm: node node1 is drained"]);
        assert_eq!(
            before.differences(&after),
            [
                "+ Slurm: node node1 is drained",
                "+ node1: loop loop0/ /x.sif",
                "- node1: mount 1 /",
                "! Slurm: node node1 is drained",
            ]
        );
    }

    #[test]
    fn a_node_that_became_idle_is_no_difference() {
        let before = snapshot(&["Slurm: node node1 is mixed"]);
        assert!(!before.is_idle());
        let after = snapshot(&["Slurm: node node1 is idle"]);
        assert!(after.is_idle());
        assert!(before.differences(&after).is_empty());
    }

    #[test]
    fn a_process_that_ended_is_no_difference() {
        let before = snapshot(&["node1: process 7 squashfuse_ll"]);
        assert!(before.differences(&snapshot(&[])).is_empty());
    }
}
