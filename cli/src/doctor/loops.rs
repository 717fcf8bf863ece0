//! Loop devices: the control device, those in use, and which of them are Oarlock's.

use std::path::{Path, PathBuf};

use runtime_core::config::KernelMount;
use runtime_core::host::Host;
use runtime_core::sys::loopdev;
use runtime_core::sys::probe::{self, Has};

use super::check::Findings;
use super::node::Node;

/// A device in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) number: u32,
    /// Its file, as sysfs names it.
    pub(super) file: String,
    /// Whether the file has no name any more.
    pub(super) is_deleted: bool,
}

/// The devices in use, by /sys/block: what anybody may read.
pub(super) fn devices(host: &Host) -> Vec<Device> {
    let mut found: Vec<Device> = host
        .list(Path::new("/sys/block"))
        .unwrap_or_default()
        .into_iter()
        .filter_map(|name| {
            let name = name.into_string().ok()?;
            let number = name.strip_prefix("loop")?.parse().ok()?;
            let file = host.word(&format!("/sys/block/{name}/loop/backing_file"))?;
            let (file, is_deleted) = match file.strip_suffix(" (deleted)") {
                Some(file) => (file.to_owned(), true),
                None => (file, false),
            };
            Some(Device {
                number,
                file,
                is_deleted,
            })
        })
        .collect();
    found.sort_by_key(|device| device.number);
    found
}

/// Of these, the ones that carry Oarlock's mark; only root sees it.
pub(super) fn marked(node: &Node) -> Option<Vec<u32>> {
    (node.is_root && node.host.is_this()).then(loopdev::marked)
}

pub(super) fn look(node: &Node, findings: &mut Findings) {
    const CONTROL: &str = "/dev/loop-control";
    if node.host.has(Path::new(CONTROL)) {
        findings.ok(CONTROL, "there");
    } else if node.config.images.kernel_mount == KernelMount::Never {
        findings.not_here(CONTROL, "not needed with images.kernel_mount = \"never\"");
    } else {
        findings.warning(
            CONTROL,
            "not there: every image is served by FUSE, or does not run",
            "load the module loop",
        );
    }
    let devices = devices(&node.host);
    let most = node.host.word("/sys/module/loop/parameters/max_loop");
    let most = most.and_then(|text| text.parse::<usize>().ok());
    let bound = match most {
        None | Some(0) => "made as they are needed".to_owned(),
        Some(most) => format!("{most} at the start, more as they are needed"),
    };
    findings.ok("devices", format!("{} in use; {bound}", devices.len()));
    match marked(node) {
        Some(marked) => findings.ok("oarlock's", ours(&devices, &marked)),
        None => findings.unknown(
            "oarlock's",
            "only root sees whose a device is",
            "run oarlock doctor as root",
        ),
    }
    configure(node, findings);
}

fn ours(devices: &[Device], marked: &[u32]) -> String {
    let ours: Vec<&Device> = devices
        .iter()
        .filter(|device| marked.contains(&device.number))
        .collect();
    let deleted = ours.iter().filter(|device| device.is_deleted).count();
    match (ours.len(), deleted) {
        (0, _) => "none".to_owned(),
        (count, 0) => format!("{count}"),
        (count, deleted) => {
            format!("{count}, {deleted} of them for files that have no name any more")
        }
    }
}

fn configure(node: &Node, findings: &mut Findings) {
    let names = node.host.list(Path::new("/dev")).unwrap_or_default();
    let is_device = |name: &&std::ffi::OsString| {
        let number = name.to_str().and_then(|name| name.strip_prefix("loop"));
        // Opening one that the kernel does not have would make it.
        number.is_some_and(|number| {
            let block = format!("/sys/block/loop{number}");
            number.parse::<u32>().is_ok() && node.host.has(Path::new(&block))
        })
    };
    let Some(name) = names.iter().find(is_device).filter(|_| node.host.is_this()) else {
        return;
    };
    match probe::loop_configure(&PathBuf::from("/dev").join(name)) {
        Has::Yes => findings.ok("LOOP_CONFIGURE", "there"),
        Has::No => findings.ok(
            "LOOP_CONFIGURE",
            "not there, before Linux 5.8: two calls are used",
        ),
        Has::Unknown => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read_from_sysfs() {
        let place = tempfile::tempdir().unwrap();
        for (name, file) in [
            ("loop10", "/a b.sif"),
            ("loop2", "/x (deleted)"),
            ("loopx", "/y"),
            ("sda", ""),
        ] {
            let path = place.path().join("sys/block").join(name).join("loop");
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("backing_file"), format!("{file}\n")).unwrap();
        }
        std::fs::create_dir_all(place.path().join("sys/block/loop0")).unwrap();
        let host = Host::at(place.path()).unwrap();
        let found = devices(&host);
        let shown: Vec<_> = found
            .iter()
            .map(|d| (d.number, d.file.as_str(), d.is_deleted))
            .collect();
        assert_eq!(shown, [(2, "/x", true), (10, "/a b.sif", false)]);
        assert_eq!(
            ours(&found, &[2, 10]),
            "2, 1 of them for files that have no name any more"
        );
        assert_eq!(ours(&found, &[10, 11]), "1");
        assert_eq!(ours(&found, &[]), "none");
    }
}
