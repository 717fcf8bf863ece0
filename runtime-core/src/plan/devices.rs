//! The private /dev: the nodes that every program needs, and nothing else.

/// One entry of /dev, by its name there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// The host's device of the same name, where it has one.
    Device(&'static str),
    /// The host's directory of the same name, where it has one: a mount of its own.
    Directory(&'static str),
    /// A symbolic link.
    Link(&'static str, &'static str),
}

/// What belongs into every /dev, as in the Linux Standard Base and devtmpfs.
#[must_use]
pub fn basic() -> Vec<Node> {
    let mut nodes: Vec<Node> = ["null", "zero", "full", "random", "urandom", "tty", "ptmx"]
        .map(Node::Device)
        .into();
    // Shared memory and queues are the host's: MPI ranks meet there. Terminals
    // are the host's too: slurmstepd opened them.
    nodes.extend(["shm", "pts", "mqueue"].map(Node::Directory));
    nodes.extend([
        Node::Link("fd", "/proc/self/fd"),
        Node::Link("stdin", "/proc/self/fd/0"),
        Node::Link("stdout", "/proc/self/fd/1"),
        Node::Link("stderr", "/proc/self/fd/2"),
    ]);
    nodes
}
