//! Versions of the specification, and what came with which.
//!
//! The table is that of the specification's "Released versions", and of the
//! reference's `MinimumRequiredVersion`: 0.8.0 and 1.0.0 brought no field.

use std::fmt;

use crate::error::{Problem, quoted};
use crate::raw;

/// A version that specs can declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u8,
    minor: u8,
}

impl Version {
    /// The newest that is known.
    pub const NEWEST: Self = Self::new(1, 1);

    /// All, from the oldest on. Older ones exist, and the reference refuses them.
    const KNOWN: [Self; 8] = [
        Self::new(0, 3),
        Self::new(0, 4),
        Self::new(0, 5),
        Self::new(0, 6),
        Self::new(0, 7),
        Self::new(0, 8),
        Self::new(1, 0),
        Self::NEWEST,
    ];

    const fn new(major: u8, minor: u8) -> Self {
        Self { major, minor }
    }

    /// Reads `0.6.0`, or `v0.6.0`, which the reference accepts, too.
    ///
    /// # Errors
    /// [`Problem::Version`].
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let plain = text.strip_prefix('v').unwrap_or(text);
        Self::KNOWN
            .into_iter()
            .find(|known| known.to_string() == plain)
            .ok_or_else(|| Problem::Version(quoted(text)))
    }

    /// Whether all that a spec uses is in this version.
    ///
    /// # Errors
    /// [`Problem::Newer`], for the newest thing; or a field that is no more.
    pub(crate) fn check(self, spec: &raw::Spec) -> Result<(), Problem> {
        let all = || {
            let devices = spec.devices.iter().map(|device| &device.container_edits);
            std::iter::once(&spec.container_edits).chain(devices)
        };
        let rdt = || all().filter_map(|edits| edits.intel_rdt.as_ref());
        if self >= Self::new(1, 1)
            && rdt().any(|rdt| rdt.enable_cmt.is_some() || rdt.enable_mbm.is_some())
        {
            return Err(Problem::Syntax {
                line: None,
                message: String::from("intelRdt: enableCMT and enableMBM are no more since 1.1.0"),
            });
        }
        let class = spec.kind.split_once('/').map_or("", |(_, class)| class);
        let digit = |device: &raw::Device| device.name.starts_with(|c: char| c.is_ascii_digit());
        let has_annotations = !spec.annotations.is_empty()
            || spec
                .devices
                .iter()
                .any(|device| !device.annotations.is_empty());
        let mut nodes = all().flat_map(|edits| &edits.device_nodes);
        let mut mounts = all().flat_map(|edits| &edits.mounts);
        let uses = [
            (
                1,
                1,
                "intelRdt.schemata",
                rdt().any(|rdt| rdt.schemata.is_some()),
            ),
            (
                1,
                1,
                "intelRdt.enableMonitoring",
                rdt().any(|rdt| rdt.enable_monitoring),
            ),
            (
                1,
                1,
                "netDevices",
                all().any(|edits| !edits.net_devices.is_empty()),
            ),
            (0, 7, "intelRdt", rdt().next().is_some()),
            (
                0,
                7,
                "additionalGids",
                all().any(|edits| !edits.additional_gids.is_empty()),
            ),
            (0, 6, "annotations", has_annotations),
            (0, 6, "a class with a dot", class.contains('.')),
            (
                0,
                5,
                "a device whose name starts with a digit",
                spec.devices.iter().any(digit),
            ),
            (
                0,
                5,
                "hostPath of a device node",
                nodes.any(|node| !node.host_path.is_empty()),
            ),
            (
                0,
                4,
                "type of a mount",
                mounts.any(|mount| !mount.kind.is_empty()),
            ),
        ];
        for (major, minor, feature, is_used) in uses {
            let needs = Self::new(major, minor);
            if is_used && self < needs {
                return Err(Problem::Newer {
                    feature,
                    needs,
                    declared: self,
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.0", self.major, self.minor)
    }
}
