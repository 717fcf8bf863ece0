//! Which device nodes make a device, and which of them it shares with others.
//!
//! A spec does not say which of a device's nodes stand for it. One GPU may be there
//! by several names (`0`, `GPU-…`, `all`), with one node (`/dev/nvidia0`) or more
//! (`card0` and `renderD128`), and with nodes that every GPU needs (`/dev/kfd`).
//! So the devices of a kind are compared: nodes that are in just the same devices
//! make a *unit*. A unit that all devices have beside another one tells none of
//! them from the others: it is for control.
//!
//! Nothing is granted because it cannot be told: see [`Units::within`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::edits::Edits;
use crate::error::shown;
use crate::name::{Kind, QualifiedName};
use crate::registry::{Found, Registry};

/// Nodes that every program on such a GPU opens; AMD's generator writes them with
/// each device. They never stand for a device.
const CONTROL: [&str; 5] = [
    "/dev/kfd",
    "/dev/nvidiactl",
    "/dev/nvidia-modeset",
    "/dev/nvidia-uvm",
    "/dev/nvidia-uvm-tools",
];

/// A device does not lie within what was granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CDI device {device} is not within the allocation: {}", reason(nodes))]
pub struct NotWithin {
    /// Which.
    pub device: QualifiedName,
    /// Its nodes that were not granted; none where it has no node of its own.
    pub nodes: Vec<PathBuf>,
}

fn reason(nodes: &[PathBuf]) -> String {
    const SHOWN: usize = 4;
    if nodes.is_empty() {
        return String::from("it has no device node of its own that could be granted");
    }
    let mut names: Vec<String> = nodes.iter().take(SHOWN).map(|node| shown(node)).collect();
    if nodes.len() > SHOWN {
        names.push(format!("{} more", nodes.len() - SHOWN));
    }
    format!("it has {}", names.join(", "))
}

/// The devices of a kind, by their nodes.
pub(crate) struct Units<'a> {
    devices: Vec<Member<'a>>,
    units: Vec<Vec<&'a Path>>,
    /// The unit that tells no device from the others.
    control: Option<usize>,
}

/// A device.
pub(crate) struct Member<'a> {
    pub(crate) name: &'a QualifiedName,
    /// All nodes but those of the whole spec and of [`CONTROL`].
    pub(crate) nodes: BTreeSet<&'a Path>,
    /// In [`Units::units`].
    units: BTreeSet<usize>,
}

impl<'a> Units<'a> {
    pub(crate) fn of(registry: &'a Registry, kind: &Kind) -> Self {
        let found = registry.of_kind(kind);
        let common = common(found.iter().map(|(_, found)| *found));
        let mut devices: Vec<Member<'a>> = Vec::with_capacity(found.len());
        let mut members: BTreeMap<&'a Path, Vec<usize>> = BTreeMap::new();
        for (number, (name, found)) in found.into_iter().enumerate() {
            let nodes: BTreeSet<&'a Path> = nodes(&found.device.edits)
                .filter(|node| !common.contains(node))
                .collect();
            for node in &nodes {
                members.entry(*node).or_default().push(number);
            }
            let units = BTreeSet::new();
            devices.push(Member { name, nodes, units });
        }
        let mut places: HashMap<Vec<usize>, usize> = HashMap::new();
        let mut units: Vec<Vec<&'a Path>> = Vec::new();
        for (node, holders) in members {
            let place = *places.entry(holders).or_insert_with(|| {
                units.push(Vec::new());
                units.len() - 1
            });
            if let Some(unit) = units.get_mut(place) {
                unit.push(node);
            }
        }
        let mut control = None;
        for (holders, unit) in places {
            if holders.len() == devices.len() {
                control = Some(unit);
            }
            for holder in holders {
                if let Some(device) = devices.get_mut(holder) {
                    device.units.insert(unit);
                }
            }
        }
        if devices.iter().any(|device| device.units.len() < 2) {
            control = None;
        }
        Self {
            devices,
            units,
            control,
        }
    }

    pub(crate) fn devices(&self) -> &[Member<'a>] {
        &self.devices
    }

    /// A device's own nodes: those that tell it from others.
    pub(crate) fn own(&self, member: &Member<'a>) -> Vec<&'a Path> {
        let mut nodes: Vec<&Path> = self.own_units(member).flatten().copied().collect();
        nodes.sort_unstable();
        nodes
    }

    fn own_units(&self, member: &Member<'a>) -> impl Iterator<Item = &Vec<&'a Path>> {
        member
            .units
            .iter()
            .filter(|unit| self.control != Some(**unit))
            .filter_map(|unit| self.units.get(*unit))
    }

    /// Whether each unit of a device was granted, and it has one.
    ///
    /// # Errors
    /// The nodes that speak against it.
    pub(crate) fn within(
        &self,
        member: &Member<'a>,
        granted: &BTreeSet<&Path>,
    ) -> Result<(), NotWithin> {
        let missing = |unit: &&Vec<&'a Path>| !is_granted(unit, granted);
        let mut nodes: Vec<PathBuf> = self
            .own_units(member)
            .filter(missing)
            .flatten()
            .filter(|node| !granted.contains(**node))
            .map(|node| (*node).to_owned())
            .collect();
        if nodes.is_empty() && self.own_units(member).next().is_some() {
            return Ok(());
        }
        nodes.sort();
        Err(NotWithin {
            device: member.name.clone(),
            nodes,
        })
    }
}

/// Whether the nodes of a unit, which are granted together or not at all, are.
///
/// A scheduler names one file of a GPU (`renderD128`), the spec also its companions
/// (`card0`). They come with it, but only as many of one sort as there are granted
/// ones: where a spec has nothing but `all`, one GPU of it does not bring the next.
fn is_granted(unit: &[&Path], granted: &BTreeSet<&Path>) -> bool {
    // Of each sort: how many there are, and how many of them were granted.
    let mut sorts: HashMap<String, (usize, usize)> = HashMap::new();
    for node in unit {
        let (count, known) = sorts.entry(sort(node)).or_default();
        *count += 1;
        *known += usize::from(granted.contains(node));
    }
    let whole = sorts
        .values()
        .filter(|(count, known)| count == known)
        .map(|(count, _)| *count)
        .max();
    whole.is_some_and(|whole| sorts.values().all(|(count, _)| *count <= whole))
}

/// A path without its numbers: `/dev/nvidia0` and `/dev/nvidia1` are of one sort.
fn sort(node: &Path) -> String {
    let text = node.to_string_lossy();
    text.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// The nodes on the host that edits bring: device nodes, and what is shown of /dev.
fn nodes(edits: &Edits) -> impl Iterator<Item = &Path> {
    let mounts = edits.mounts.iter().map(|mount| mount.host_path.as_path());
    edits
        .device_nodes
        .iter()
        .map(|node| node.host_path.as_path())
        .chain(mounts.filter(|path| path.starts_with("/dev")))
}

/// What comes with any device of these specs.
fn common<'a>(found: impl Iterator<Item = Found<'a>>) -> BTreeSet<&'a Path> {
    let mut common: BTreeSet<&Path> = CONTROL.into_iter().map(Path::new).collect();
    let mut seen = HashSet::new();
    for found in found {
        if seen.insert(std::ptr::from_ref(found.spec)) {
            common.extend(nodes(&found.spec.edits));
        }
    }
    common
}

#[cfg(test)]
mod tests;
