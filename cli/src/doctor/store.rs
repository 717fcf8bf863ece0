//! Where copies and containers lie: whose it is, on what file system, how full; and
//! whether the times that are noted there can be believed.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use runtime_core::config::Place;
use runtime_core::image::sif::size::human;
use runtime_core::store::{Contents, contents};
use runtime_core::sys::clock;

use super::check::{Findings, Verdict};
use super::node::Node;

/// Clocks of one machine differ by less.
const SKEW: Duration = Duration::from_secs(60);

/// A build's clock and a machine's may differ by so much.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// With less left no layer can be made, in bytes.
const SCARCE: u64 = 1 << 30;

pub(super) fn look(node: &Node, findings: &mut Findings) {
    let now = SystemTime::now();
    let path = &node.config.store.path;
    if let Some(there) = place(node, "store", path, findings) {
        file_system(node, "store's disk", there, Use::Copies, findings);
        if there == path {
            held(node, now, findings);
        }
    }
    let writable = &node.config.writable;
    if !writable.named && writable.place == Place::Tmpfs {
        findings.not_here("containers", "writable.named is off, and none is on a disk");
    } else if let Some(there) = place(node, "containers", &writable.path, findings) {
        file_system(node, "containers' disk", there, Use::Overlays, findings);
        room(node, there, findings);
    }
    system_clock(now, findings);
}

/// Whose a directory is. Returns it, or the one that it will be made in, where there is
/// more to say of it.
fn place<'a>(node: &Node, name: &str, path: &'a Path, findings: &mut Findings) -> Option<&'a Path> {
    let shown = path.display();
    match node.host.metadata(path) {
        Ok(about) if !about.is_dir() || !node.host.is_roots(&about) => {
            findings.failed(
                name,
                format!("{shown}: not a directory of root's that only root can write"),
                "chown root and chmod go-w it, or name another in oarlock.toml",
            );
            None
        }
        Ok(about) if about.mode() & 0o007 != 0 => {
            findings.ok(
                name,
                format!(
                    "{shown}, mode {:o}: what is in it is root's alone",
                    about.mode() & 0o7777
                ),
            );
            Some(path)
        }
        Ok(_) => {
            findings.ok(name, shown.to_string());
            Some(path)
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            findings.unknown(
                name,
                format!("{shown}: {error}"),
                "run oarlock doctor as root",
            );
            None
        }
        Err(_) => {
            findings.not_here(name, format!("{shown} is not there yet"));
            path.ancestors().skip(1).find(|above| node.host.has(above))
        }
    }
}

/// What a directory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Copies of images.
    Copies,
    /// Layers of overlays.
    Overlays,
}

/// Kinds of file systems by their numbers, linux/magic.h; ext2 to ext4 have one.
const KINDS: [(i64, &str); 16] = [
    (0xEF53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683E, "btrfs"),
    (0xF2F5_2010, "f2fs"),
    (0x2FC1_2FC1, "zfs"),
    (0xCA45_1A4E, "bcachefs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58F6, "ramfs"),
    (0x794C_7630, "overlay"),
    (0x6969, "nfs"),
    (0x0BD0_0BD0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x1983_0326, "beegfs"),
    (0x00C3_6400, "ceph"),
    (0x6573_5546, "fuse"),
    (0xFF53_4D42, "cifs"),
];

fn kind(magic: i64) -> &'static str {
    let found = KINDS
        .iter()
        .find(|(number, _)| *number == magic & 0xFFFF_FFFF);
    found.map_or("of a kind that is not known here", |(_, name)| name)
}

fn file_system(node: &Node, name: &str, path: &Path, what: Use, findings: &mut Findings) {
    let about = node
        .host
        .handle(path)
        .and_then(|file| Ok(rustix::fs::fstatfs(file)?));
    let about = match about {
        Ok(about) => about,
        Err(error) => {
            findings.unknown(name, error.to_string(), "run oarlock doctor as root");
            return;
        }
    };
    #[allow(clippy::useless_conversion)] // the field's width differs by architecture
    let kind = kind(i64::from(about.f_type));
    let (verdict, found, advice) = judge(kind, what);
    findings.add(name, verdict, &found, advice);
}

/// What a file system is good for.
fn judge(kind: &str, what: Use) -> (Verdict, String, Option<&'static str>) {
    let shared = matches!(
        kind,
        "nfs" | "lustre" | "gpfs" | "beegfs" | "ceph" | "cifs" | "fuse"
    );
    match (what, kind) {
        (Use::Copies, _) if shared => (
            Verdict::Warning,
            format!("{kind}: not the node's own; its server's clock decides what is the oldest"),
            Some("name a directory on a disk of the node in store.path"),
        ),
        // A node without such containers is none that does not work.
        (Use::Overlays, _) if shared => (
            Verdict::Warning,
            format!(
                "{kind}: cannot carry the upper layer of an overlay: no containers with a name"
            ),
            Some("name a directory on a disk of the node in writable.path"),
        ),
        (Use::Overlays, "overlay") => (
            Verdict::Warning,
            "overlay: cannot carry the upper layer of another: no containers with a name"
                .to_owned(),
            Some("name a directory on a disk of the node in writable.path"),
        ),
        (Use::Copies, "tmpfs" | "ramfs") => (
            Verdict::Warning,
            format!("{kind}: copies take the node's memory"),
            Some("name a directory on a disk, or set images.untrusted = \"fuse\""),
        ),
        (Use::Overlays, "tmpfs" | "ramfs") => (
            Verdict::Warning,
            format!(
                "{kind}: containers with a name take the node's memory, and are gone with a boot"
            ),
            Some("name a directory on a disk of the node in writable.path"),
        ),
        (Use::Overlays, kind) => (Verdict::Ok, kind.to_owned(), None),
        (Use::Copies, kind) => {
            let mut able = Vec::new();
            if matches!(kind, "xfs" | "btrfs" | "bcachefs" | "zfs") {
                able.push("copies may share blocks with their original");
            }
            if matches!(kind, "ext4" | "btrfs" | "f2fs" | "xfs") {
                able.push("fs-verity where it was made so");
            }
            let able = if able.is_empty() {
                String::new()
            } else {
                format!(": {}", able.join("; "))
            };
            (Verdict::Ok, format!("{kind}{able}"), None)
        }
    }
}

fn held(node: &Node, now: SystemTime, findings: &mut Findings) {
    let mut config = node.config.store.clone();
    config.path = node.host.place(&config.path);
    match contents(&config) {
        Ok(Some(found)) => {
            findings.ok("images", images(&found));
            if found.free < SCARCE && found.bytes < found.bound {
                findings.warning(
                    "free",
                    format!("{} on the store's disk", human(found.free)),
                    "make room on it, or give the store another in store.path",
                );
            } else {
                findings.ok("free", human(found.free));
            }
            times(&found, now, findings);
        }
        Ok(None) => {}
        Err(error) => findings.unknown("images", error.to_string(), "run oarlock doctor as root"),
    }
}

fn images(found: &Contents) -> String {
    let under_way = match found.under_way {
        0 => String::new(),
        count => format!(", {count} being copied"),
    };
    format!(
        "{}, {} of {}{under_way}",
        found.images,
        human(found.bytes),
        human(found.bound)
    )
}

/// What was used last cannot have been used in the future.
fn times(found: &Contents, now: SystemTime, findings: &mut Findings) {
    let ahead = found.ahead(now);
    if ahead > SKEW {
        findings.warning(
            "times in the store",
            format!(
                "the newest is {} s in the future: a clock was wrong, or is",
                ahead.as_secs()
            ),
            "set the clock; what was noted with the wrong one is dropped too late",
        );
    } else {
        findings.ok("times in the store", "none in the future");
    }
}

fn room(node: &Node, path: &Path, findings: &mut Findings) {
    let about = node
        .host
        .handle(path)
        .and_then(|file| Ok(rustix::fs::fstatvfs(file)?));
    let Ok(about) = about else {
        return;
    };
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    if free < SCARCE {
        findings.warning(
            "containers' room",
            format!("{} free", human(free)),
            "make room: oarlock container rm, or name another disk in writable.path",
        );
    } else {
        findings.ok("containers' room", format!("{} free", human(free)));
    }
}

fn system_clock(now: SystemTime, findings: &mut Findings) {
    let own = std::fs::metadata("/proc/self/exe").and_then(|about| about.modified());
    is_sane(now, own.ok(), findings);
    match clock::is_synchronised() {
        Ok(true) => findings.ok("time service", "keeps the clock"),
        Ok(false) => findings.warning(
            "time service",
            "the kernel was not told that anything keeps the clock",
            "run an NTP client (chronyd, systemd-timesyncd) on the node",
        ),
        Err(error) => findings.unknown("time service", error.to_string(), "look at timedatectl"),
    }
}

/// The program was there before now.
fn is_sane(now: SystemTime, program: Option<SystemTime>, findings: &mut Findings) {
    let behind = program
        .and_then(|made| made.duration_since(now).ok())
        .unwrap_or_default();
    if behind > DAY {
        findings.failed(
            "clock",
            format!(
                "{} days before this program was made",
                behind.as_secs() / DAY.as_secs()
            ),
            "set the clock",
        );
    } else {
        findings.ok("clock", super::super::inspect::time(seconds(now)));
    }
}

fn seconds(time: SystemTime) -> i64 {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
