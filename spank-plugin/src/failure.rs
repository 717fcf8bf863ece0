//! Failures: kept until somebody can be told, told once a node, in one line.

use std::io::Write;

use runtime_core::message::for_people;

/// Why a step has no container: one line without the node's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(pub(crate) String);

impl Failure {
    pub(crate) fn new(what: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {why}"))
    }
}

/// Writes the line to the user, with the node's name, by one write(2), so that
/// the lines of several nodes do not mix.
pub(crate) fn tell(text: &str) {
    let node = node_name();
    let line = format!("oarlock: {node}: {}\n", for_people(text));
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Writes a line that the user has asked for to standard output.
pub(crate) fn print(text: &str) {
    let line = format!("{}: {}\n", node_name(), for_people(text));
    let _ = std::io::stdout().write_all(line.as_bytes());
    let _ = std::io::stdout().flush();
}

/// Writes the line of a client, which is on one machine only.
pub(crate) fn tell_client(text: &str) {
    let _ = std::io::stderr().write_all(format!("oarlock: {}\n", for_people(text)).as_bytes());
}

fn node_name() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    name.split('.').next().unwrap_or_default().to_owned()
}
