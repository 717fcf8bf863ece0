//! A plan for people to read.

use std::fmt;

use super::Plan;
use super::devices::Node;
use super::mounts::{Mount, Need, Source};

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mount in &self.mounts {
            let what = match &mount.source {
                Source::Host(path) | Source::Spec(path, _) | Source::Groups(path) => {
                    format!("bind {path}")
                }
                Source::Tmpfs { .. } => "tmpfs".to_owned(),
                Source::Links(links) => format!("{} links", links.len()),
            };
            writeln!(f, "{what} at {} {}", mount.target, how(mount))?;
        }
        for node in &self.devices {
            match node {
                Node::Device(name) => writeln!(f, "device /dev/{name}")?,
                Node::Directory(name) => writeln!(f, "bind /dev/{name} at /dev/{name}")?,
                Node::Memory(name) => writeln!(f, "own tmpfs at /dev/{name}")?,
                Node::Queues(name) => writeln!(f, "own message queues at /dev/{name}")?,
                Node::Granted(path) => writeln!(f, "device {}", path.display())?,
                Node::Link(name, target) => writeln!(f, "link /dev/{name} to {target}")?,
            }
        }
        let unshared = [
            (self.unshare.net, "network"),
            (self.unshare.ipc, "IPC"),
            (self.unshare.uts, "UTS"),
            (self.unshare.pid, "process id"),
            (self.unshare.cgroup, "control group"),
        ];
        for (_, name) in unshared.into_iter().filter(|(own, _)| *own) {
            writeln!(f, "own {name} namespace, one for all ranks of the node")?;
        }
        for (name, value) in &self.annotations {
            writeln!(f, "annotation {name} = {value} (no effect)")?;
        }
        Ok(())
    }
}

/// What is particular about a mount.
fn how(mount: &Mount) -> String {
    let mut text = if mount.attributes.read_only {
        "ro".to_owned()
    } else {
        "rw".to_owned()
    };
    if mount.attributes.noexec {
        text.push_str(" noexec");
    }
    if let Source::Tmpfs { size, mode } = &mount.source {
        for (name, value) in [("size", size), ("mode", mode)] {
            if let Some(value) = value {
                text.push_str(&format!(" {name}={value}"));
            }
        }
    }
    if let Source::Spec(_, spec) = &mount.source {
        text.push_str(&format!(" (by {})", spec.display()));
    }
    if mount.need == Need::IfPossible {
        text.push_str(" (where the node has it)");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use crate::config::SiteConfig;
    use crate::plan::{NodeFacts, plan};
    use crate::request::{ImageName, Options, Request, UserMount};

    #[test]
    fn every_mount_is_a_line() {
        let list = "/data:/d:ro+noexec,tmpfs:/x:size=1g+mode=0700,/y:/y:nofail";
        let request = Request {
            options: Options {
                image: ImageName::parse(OsStr::new("/x.sif")).ok(),
                mounts: UserMount::parse_list(OsStr::new(list)).unwrap(),
                ..Options::default()
            },
            ..Request::default()
        };
        let text = plan(&request, &SiteConfig::default(), &NodeFacts::default()).to_string();
        for line in [
            "bind /proc at /proc rw noexec (where the node has it)\n",
            "bind /data at /d ro noexec\n",
            "tmpfs at /x rw size=1g mode=0700\n",
            "bind /y at /y rw (where the node has it)\n",
            "device /dev/null\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
