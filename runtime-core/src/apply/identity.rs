//! Root inside: a user namespace of the step, in which the job's user is root.
//!
//! One for all ranks of a node, so that they may read each other's memory. It is
//! root's on the host, not the user's: whoever is the user outside has no right in it.

use crate::sys::namespaces::Namespace;
use crate::way::Ids;

/// Who the ranks are inside, and the user namespace in which they are that.
#[derive(Debug)]
pub struct Inside {
    /// The namespace.
    pub namespace: Namespace,
    /// Which ids there are.
    pub ids: Ids,
}
