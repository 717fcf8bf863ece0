//! The private /dev: the nodes that every program needs, those that the step was
//! granted, and nothing else.

use std::path::{Component, Path, PathBuf};

/// One entry of /dev, by its name there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// The host's device of the same name, where it has one.
    Device(&'static str),
    /// The host's directory of the same name, where it has one: a mount of its own.
    Directory(&'static str),
    /// Shared memory of the container's own.
    Memory(&'static str),
    /// Message queues of the container's own IPC namespace.
    Queues(&'static str),
    /// A device that the step was granted, or that the site shows to all: this path of
    /// the host, below /dev, at the same place.
    Granted(PathBuf),
    /// A symbolic link.
    Link(&'static str, &'static str),
}

/// What belongs into every /dev, as in the Linux Standard Base and devtmpfs;
/// `own_ipc` where the container has an IPC namespace.
#[must_use]
pub fn basic(own_ipc: bool) -> Vec<Node> {
    let mut nodes: Vec<Node> = ["null", "zero", "full", "random", "urandom", "tty", "ptmx"]
        .map(Node::Device)
        .into();
    // Terminals are the host's: slurmstepd opened them. Shared memory and queues are
    // too, as MPI ranks meet there, unless the step's ranks are to meet nobody else.
    nodes.push(Node::Directory("pts"));
    nodes.extend(if own_ipc {
        [Node::Memory("shm"), Node::Queues("mqueue")]
    } else {
        [Node::Directory("shm"), Node::Directory("mqueue")]
    });
    nodes.extend([
        Node::Link("fd", "/proc/self/fd"),
        Node::Link("stdin", "/proc/self/fd/0"),
        Node::Link("stdout", "/proc/self/fd/1"),
        Node::Link("stderr", "/proc/self/fd/2"),
    ]);
    nodes
}

/// The devices in `paths` that can be shown: they lie below /dev, and where every /dev
/// has something else they are left out. Each once, in order.
#[must_use]
pub fn granted(paths: &[PathBuf], own_ipc: bool) -> Vec<Node> {
    let taken = basic(own_ipc);
    let is_taken = |name: &Path| {
        taken.iter().any(|node| match node {
            Node::Device(own)
            | Node::Directory(own)
            | Node::Memory(own)
            | Node::Queues(own)
            | Node::Link(own, _) => name.starts_with(own),
            Node::Granted(_) => false,
        })
    };
    let mut all: Vec<&PathBuf> = paths
        .iter()
        .filter(|path| {
            below_dev(path).is_some_and(|name| !is_taken(name) && name.components().count() > 0)
        })
        .collect();
    all.sort();
    all.dedup();
    all.into_iter().cloned().map(Node::Granted).collect()
}

/// A path's part below /dev, where it goes nowhere else.
#[must_use]
pub fn below_dev(path: &Path) -> Option<&Path> {
    let name = path.strip_prefix("/dev").ok()?;
    name.components()
        .all(|part| matches!(part, Component::Normal(_)))
        .then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_devices_below_dev_are_shown() {
        let paths: Vec<PathBuf> = [
            "/dev/nvidia1",
            "/dev/nvidia1",
            "/dev/dri/renderD128",
            "/dev/null",
            "/dev/shm/x",
            "/dev/../etc/shadow",
            "/etc/shadow",
            "/dev",
            "dev/nvidia0",
        ]
        .map(PathBuf::from)
        .into();
        assert_eq!(
            granted(&paths, false),
            ["/dev/dri/renderD128", "/dev/nvidia1"].map(|path| Node::Granted(path.into()))
        );
    }
}
