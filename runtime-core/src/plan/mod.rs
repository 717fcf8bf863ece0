//! What will be done, decided before anything is done.
//!
//! Architecture invariant: no system call in this folder. A plan is a function
//! of the request, the site's policy and a few facts of the node, so every rule
//! can be tested by a table, and `explain` can print it.

pub mod containers;
pub mod devices;
pub mod explain;
pub mod identity;
pub mod mounts;
pub mod subordinate;

use std::path::PathBuf;

use crate::config::SiteConfig;
use crate::path::HostPath;
use crate::request::{Request, Unshare};

/// What the node and the task say of themselves, as input to the plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeFacts {
    /// The user's home directory, from the passwd database.
    pub home: Option<HostPath>,
    /// The task's working directory.
    pub cwd: Option<HostPath>,
    /// Directories through which the MPI library reaches its server.
    pub mpi: Vec<HostPath>,
    /// Devices beside those of every /dev: what the step was granted, and what the
    /// site shows to all.
    pub devices: Vec<PathBuf>,
    /// What else those devices need of the host.
    pub device_mounts: Vec<mounts::Mount>,
    /// The control groups that are shown in place of the node's: where each is, and
    /// where its hierarchy is mounted.
    pub groups: Vec<(HostPath, HostPath)>,
}

/// Everything that makes one container, in the order in which it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Binds of the host, parents before children.
    pub mounts: Vec<mounts::Mount>,
    /// The nodes of the private /dev.
    pub devices: Vec<devices::Node>,
    /// The namespaces that the container does not share with the host.
    pub unshare: Unshare,
    /// What the profile's annotations say. Nothing of it has a meaning here.
    pub annotations: Vec<(String, String)>,
}

/// Decides.
#[must_use]
pub fn plan(request: &Request, config: &SiteConfig, facts: &NodeFacts) -> Plan {
    let own_ipc = request.options.unshare.ipc;
    let mut nodes = devices::basic(own_ipc);
    nodes.extend(devices::granted(&facts.devices, own_ipc));
    Plan {
        mounts: mounts::plan(request, config, facts),
        devices: nodes,
        unshare: request.options.unshare,
        annotations: request.options.annotations.clone(),
    }
}
