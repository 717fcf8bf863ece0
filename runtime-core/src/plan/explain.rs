//! A plan for people to read.

use std::fmt;

use super::Plan;
use super::devices::Node;
use super::mounts::Need;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mount in &self.mounts {
            let access = if mount.attributes.read_only {
                "ro"
            } else {
                "rw"
            };
            let need = match mount.need {
                Need::Asked => "",
                Need::IfPossible => " (where the node has it)",
            };
            writeln!(
                f,
                "bind {} at {} {access}{need}",
                mount.source, mount.target
            )?;
        }
        for node in &self.devices {
            match node {
                Node::Device(name) => writeln!(f, "device /dev/{name}")?,
                Node::Directory(name) => writeln!(f, "bind /dev/{name} at /dev/{name}")?,
                Node::Link(name, target) => writeln!(f, "link /dev/{name} to {target}")?,
            }
        }
        Ok(())
    }
}
