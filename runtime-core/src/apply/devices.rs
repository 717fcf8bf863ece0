//! The private /dev: a small tmpfs with the nodes of the plan, each a bind of the
//! host's own node.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::FileType;

use super::binds::open_source;
use super::filesystem::{Calls, Detached};
use super::namespaces::{message_queues, shared_memory};
use super::points::{self, Kind};
use super::rootfs::{SCRATCH, TMPFS, known_path, make_directory, new_file, tmpfs, unusable};
use super::{ApplyError, PlaceProblem, step};
use crate::plan::Plan;
use crate::plan::devices::{Node, below_dev};
use crate::sys::mount::{self, Attributes};

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
            Node::Memory(_) => {
                list.push((node.clone(), Some(shared_memory(calls)?)));
                continue;
            }
            Node::Queues(_) => {
                list.push((node.clone(), Some(message_queues(calls)?)));
                continue;
            }
            Node::Device(name) => (name, DEVICE),
            Node::Granted(path) => {
                if let Some(tree) = open_granted(path, calls)? {
                    list.push((node.clone(), Some(tree)));
                }
                continue;
            }
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

/// A device of the host's; `None`, and a word in the journal, where there is none.
fn open_granted(path: &Path, calls: Calls) -> Result<Option<Detached>, ApplyError> {
    let source = match open_source(path) {
        Ok(source) => source,
        Err(error) => {
            tracing::warn!(device = %path.display(), %error, "device left out");
            return Ok(None);
        }
    };
    let about = rustix::fs::fstat(&source).map_err(|e| step("looking at a device")(e.into()))?;
    let kind = FileType::from_raw_mode(about.st_mode);
    if kind != FileType::CharacterDevice {
        tracing::warn!(device = %path.display(), "not a character device, and left out");
        return Ok(None);
    }
    Detached::bind(source, DEVICE, calls)
        .map(Some)
        .map_err(step("copying a device"))
}

/// A mount point that a bind below /dev needs.
pub(super) struct Wanted {
    /// Its components below /dev.
    pub(super) names: Vec<Vec<u8>>,
    /// What it is for.
    pub(super) kind: Kind,
}

/// Builds the private /dev in the scratch tmpfs, where nobody else has a say,
/// with the mount points of the user's binds below it.
pub(super) fn build(
    scratch: &OwnedFd,
    devices: &[(Node, Option<Detached>)],
    wanted: &[Wanted],
    calls: Calls,
) -> Result<OwnedFd, ApplyError> {
    let point = make_directory(scratch, "dev")?;
    tmpfs("the private /dev", "1m", calls)?.attach(point.as_fd())?;
    let dev = mount::open_place(&Path::new(SCRATCH).join("dev"))
        .map_err(step("opening the private /dev"))?;
    let mut known: Vec<&[u8]> = Vec::new();
    for (node, tree) in devices {
        let (name, point) = match node {
            Node::Granted(path) => {
                let names: Vec<Vec<u8>> = below_dev(path)
                    .into_iter()
                    .flat_map(Path::components)
                    .map(|part| part.as_os_str().as_bytes().to_vec())
                    .collect();
                let what = step("making a place for a device");
                points::make_below(dev.as_fd(), &names, Kind::File).map_err(&what)?;
                let place = Path::new(SCRATCH).join(path.strip_prefix("/").unwrap_or(path));
                let point = mount::open_place(&place).map_err(&what)?;
                if let Some(tree) = tree {
                    tree.attach(point.as_fd())?;
                }
                continue;
            }
            Node::Link(name, target) => {
                rustix::fs::symlinkat(*target, &dev, *name)
                    .map_err(|e| step("making a link in /dev")(e.into()))?;
                (*name, None)
            }
            Node::Device(name) => (*name, Some(new_file(&dev, name)?.into())),
            Node::Directory(name) | Node::Memory(name) | Node::Queues(name) => {
                (*name, Some(make_directory(&dev, name)?))
            }
        };
        known.push(name.as_bytes());
        if let (Some(point), Some(tree)) = (point, tree) {
            let point: OwnedFd = point;
            tree.attach(point.as_fd())?;
        }
    }
    for Wanted { names, kind } in wanted {
        // What lies in the host's own shm, pts or mqueue must be there already.
        if names
            .first()
            .is_some_and(|name| !known.contains(&name.as_slice()))
        {
            points::make_below(dev.as_fd(), names, *kind)
                .map_err(step("making a mount point in /dev"))?;
        }
    }
    Ok(dev)
}

/// Moves the private /dev to its place in the new root.
pub(super) fn attach(dev: &OwnedFd, root: &OwnedFd, calls: Calls) -> Result<(), ApplyError> {
    let what = "attaching the private /dev";
    let target = points::resolve(root.as_fd(), &known_path("/dev")?)
        .map_err(|e| unusable("/dev", PlaceProblem::Covered, e))?;
    match calls {
        Calls::Descriptors => mount::attach(dev.as_fd(), target.as_fd()).map_err(step(what)),
        Calls::Old => {
            let from = Path::new(SCRATCH).join("dev");
            let to = mount::descriptor_path(target.as_fd());
            rustix::mount::mount_move(from.as_path(), to.as_str()).map_err(|e| step(what)(e.into()))
        }
    }
}
