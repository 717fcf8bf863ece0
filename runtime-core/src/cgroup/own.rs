//! What our groups are called: `oarlock/job_J/step_S` in each hierarchy, as Slurm names
//! its own.

use std::path::{Path, PathBuf};

/// The top of our tree in a hierarchy.
pub const TREE: &str = "oarlock";

/// A step of a job on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    tree: String,
    job: u32,
    step: String,
}

impl Step {
    /// By job and step in Slurm's notation (`7.0`, `7.batch`), and what Slurm calls the
    /// node. Where several slurmds share a machine, as on test systems, each has a tree
    /// of its own.
    #[must_use]
    pub fn new(node: &str, job: u32, label: &str) -> Self {
        let step = label.rsplit('.').next().unwrap_or_default();
        Self {
            tree: tree_of(node),
            job,
            step: only_name(step),
        }
    }

    /// The top of the tree in the hierarchy that is mounted at `place`.
    #[must_use]
    pub fn tree(&self, place: &Path) -> PathBuf {
        place.join(&self.tree)
    }

    /// The job's group, which has no processes of its own.
    #[must_use]
    pub fn job_group(&self, place: &Path) -> PathBuf {
        self.tree(place).join(job(self.job))
    }

    /// The step's group.
    #[must_use]
    pub fn group(&self, place: &Path) -> PathBuf {
        self.job_group(place).join(format!("step_{}", self.step))
    }
}

/// What the tree of a node is called.
pub(super) fn tree_of(node: &str) -> String {
    tree_on(node, &rustix::system::uname().nodename().to_string_lossy())
}

fn tree_on(node: &str, host: &str) -> String {
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    if node.is_empty() || short(node) == short(host) {
        TREE.to_owned()
    } else {
        format!("{TREE}_{}", only_name(node))
    }
}

/// The job that a group's name says.
pub(super) fn number(name: &str) -> Option<u32> {
    name.strip_prefix("job_")?.parse().ok()
}

/// What a job's group is called.
pub(super) fn job(number: u32) -> String {
    format!("job_{number}")
}

/// Whether a directory at the top of a hierarchy is one of our trees.
pub(super) fn is_tree(name: &str) -> bool {
    name.strip_prefix(TREE)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

/// Slurm's names have nothing else in them; and no way to somewhere else.
fn only_name(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || c == '-' => c,
            _ => '_',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_a_place() {
        for (node, label, expected) in [
            ("", "7.0", "/c/oarlock/job_7/step_0"),
            ("", "7.batch", "/c/oarlock/job_7/step_batch"),
            ("no host", "7.3/..", "/c/oarlock_no_host/job_7/step_"),
        ] {
            let place = Step::new(node, 7, label).group(Path::new("/c"));
            assert_eq!(place, Path::new(expected), "{node} {label}");
        }
        for (node, host, expected) in [
            ("node1", "node1.site.org", "oarlock"),
            ("node1.site.org", "node1", "oarlock"),
            ("virtual2", "node1", "oarlock_virtual2"),
            ("../x", "node1", "oarlock____x"),
        ] {
            assert_eq!(tree_on(node, host), expected, "{node}");
        }
        assert_eq!((number("job_7"), number("step_7")), (Some(7), None));
    }

    #[test]
    fn our_trees_are_known_by_name() {
        assert!(is_tree("oarlock") && is_tree("oarlock_a"));
        assert!(!is_tree("oarlocks") && !is_tree("slurm"));
    }
}
