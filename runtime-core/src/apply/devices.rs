//! The private /dev: a small tmpfs with the nodes of the plan, each a bind of the
//! host's own node.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use super::binds::open_source;
use super::filesystem::{Calls, Detached};
use super::rootfs::{TMPFS, known_path, make_directory, new_file, tmpfs};
use super::{ApplyError, points, step};
use crate::plan::Plan;
use crate::plan::devices::Node;
use crate::sys::mount::Attributes;

const DEVICE: Attributes = Attributes {
    read_only: false,
    nosuid: true,
    nodev: false,
    noexec: true,
};

/// Opens what the private /dev shows of the host's.
pub(super) fn open_devices(
    plan: &Plan,
    calls: Calls,
) -> Result<Vec<(Node, Option<Detached>)>, ApplyError> {
    let mut list = Vec::new();
    for node in &plan.devices {
        let (name, attributes) = match node {
            Node::Link(..) => {
                list.push((node.clone(), None));
                continue;
            }
            Node::Device(name) => (name, DEVICE),
            // Terminals are device nodes; shared memory and queues are not.
            Node::Directory("pts") => (&"pts", DEVICE),
            Node::Directory(name) => (name, TMPFS),
        };
        let source = match open_source(&Path::new("/dev").join(name)) {
            Ok(source) => source,
            Err(error) => {
                tracing::debug!(device = name, %error, "device left out");
                continue;
            }
        };
        let tree = Detached::bind(source, attributes, calls).map_err(step("copying a device"))?;
        list.push((node.clone(), Some(tree)));
    }
    Ok(list)
}

/// Builds the private /dev and attaches it.
pub(super) fn attach_device_tree(
    root: &OwnedFd,
    devices: Vec<(Node, Option<Detached>)>,
    calls: Calls,
) -> Result<(), ApplyError> {
    let find =
        |path| points::resolve(root.as_fd(), &known_path(path)?).map_err(step("finding /dev"));
    tmpfs("the private /dev", "1m", calls)?.attach(find("/dev")?.as_fd())?;
    let dev = find("/dev")?;
    for (node, tree) in devices {
        let point = match node {
            Node::Link(name, target) => {
                rustix::fs::symlinkat(target, &dev, name)
                    .map_err(|e| step("making a link in /dev")(e.into()))?;
                continue;
            }
            Node::Device(name) => new_file(&dev, name)?.into(),
            Node::Directory(name) => make_directory(&dev, name)?,
        };
        if let Some(tree) = tree {
            tree.attach(point.as_fd())?;
        }
    }
    Ok(())
}
