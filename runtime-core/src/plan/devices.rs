//! The private /dev: the nodes that every program needs, and nothing else.

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
