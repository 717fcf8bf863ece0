//! What the kernel has: calls, file systems, namespaces.

use std::path::Path;

use runtime_core::config::KernelMount;
use runtime_core::sys::probe::{self, Calls, Has};

use super::check::Findings;
use super::node::Node;

/// A version of Linux.
type Version = (u32, u32);

/// Oarlock does not start without openat2(2).
const OLDEST: Version = (5, 6);

pub(super) fn look(node: &Node, findings: &mut Findings) {
    let release = node
        .host
        .word("/proc/sys/kernel/osrelease")
        .unwrap_or_default();
    let version = version(&release).unwrap_or((0, 0));
    if version >= OLDEST {
        findings.ok("version", &release);
    } else {
        findings.failed(
            "version",
            format!("Linux {release}"),
            "Oarlock needs Linux 5.6 or newer",
        );
    }
    calls(version, &probe::calls(), findings);
    file_systems(node, &release, findings);
    overlay(version, findings);
    user_namespaces(node, findings);
    subordinate_ids(node, findings);
}

/// `6.12.43+deb13-amd64` is 6.12.
fn version(release: &str) -> Option<Version> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What this process may not ask follows from the version.
fn has(asked: Has, version: Version, since: Version) -> bool {
    match asked {
        Has::Yes => true,
        Has::No => false,
        Has::Unknown => version >= since,
    }
}

fn calls(version: Version, calls: &Calls, findings: &mut Findings) {
    if has(calls.openat2, version, (5, 6)) {
        findings.ok("openat2", "there");
    } else {
        findings.failed(
            "openat2",
            "not there: no image can be opened safely",
            "use Linux 5.6 or newer; in a container, let its seccomp profile allow openat2",
        );
    }
    let mounts = [
        ("open_tree", calls.open_tree, (5, 2)),
        ("move_mount", calls.move_mount, (5, 2)),
        ("fsopen", calls.fsopen, (5, 2)),
        ("mount_setattr", calls.mount_setattr, (5, 12)),
    ];
    let missing: Vec<&str> = mounts
        .iter()
        .filter(|(_, asked, since)| !has(*asked, version, *since))
        .map(|(name, ..)| *name)
        .collect();
    if missing.is_empty() {
        findings.ok(
            "mount calls",
            "open_tree, move_mount, fsopen, mount_setattr (idmapped mounts)",
        );
    } else {
        findings.warning(
            "mount calls",
            format!("not there: {}; mount(2) is used", missing.join(", ")),
            "Linux 5.12 or newer is needed for --container-save and for files shown as another user's",
        );
    }
    if has(calls.pidfd, version, (5, 3)) {
        findings.ok("pidfd", "there");
    } else {
        findings.failed("pidfd", "pidfd_open is not there", "use Linux 5.6 or newer");
    }
    if has(calls.seccomp, version, (4, 14)) {
        findings.ok("seccomp", "filters");
    } else {
        findings.failed(
            "seccomp",
            "no filters: nothing can be confined, and no image is opened",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        );
    }
    match calls.landlock {
        Some(abi @ 6..) => findings.ok("landlock", format!("version {abi} of its interface")),
        Some(abi) => findings.ok(
            "landlock",
            format!(
                "version {abi} of its interface; from 6 on (Linux 6.12) signals are confined, too"
            ),
        ),
        None => findings.warning(
            "landlock",
            "off, or not there: readers and FUSE servers keep their account's rights to files",
            "use Linux 5.13 or newer with landlock in the list of the boot parameter lsm=",
        ),
    }
}

/// File systems, and what is lost without each.
const FILE_SYSTEMS: [(&str, &str); 4] = [
    ("squashfs", "every image is served by FUSE, also root's"),
    (
        "overlay",
        "no containers that can be written to, and no mount points that an image lacks",
    ),
    ("erofs", "no EROFS images"),
    ("ext4", "no ext3 overlay partitions by the kernel"),
];

fn file_systems(node: &Node, release: &str, findings: &mut Findings) {
    let listed = node.host.word("/proc/filesystems").unwrap_or_default();
    let by_kernel = node.config.images.kernel_mount != KernelMount::Never;
    let modules = Path::new("/lib/modules").join(release);
    let read = |name: &str| {
        let bytes = node.host.look_into(&modules.join(name), 8 << 20);
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    };
    let modules = read("modules.dep") + &read("modules.builtin");
    for (name, lost) in FILE_SYSTEMS {
        if is_listed(&listed, name) {
            findings.ok(name, "there");
        } else if has_module(&modules, name) {
            findings.ok(name, "a module, loaded when it is needed");
        } else if name == "overlay" || name == "squashfs" && by_kernel {
            let advice = format!("load or install the module {name}");
            findings.warning(name, format!("not there: {lost}"), advice);
        } else {
            findings.not_here(name, lost);
        }
    }
}

/// proc_filesystems(5): `nodev` or nothing, a tab, the name.
fn is_listed(listed: &str, name: &str) -> bool {
    listed
        .lines()
        .any(|line| line.split_whitespace().next_back() == Some(name))
}

/// modules.dep(5): `kernel/fs/squashfs/squashfs.ko.xz: …`.
fn has_module(modules: &str, name: &str) -> bool {
    modules.lines().any(|line| {
        let path = line.split(':').next().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or_default();
        file.split_once(".ko").is_some_and(|(stem, _)| stem == name)
    })
}

fn overlay(version: Version, findings: &mut Findings) {
    match version {
        (6.., 2..) | (7.., _) => findings.ok("writable images", "overlay with user.* attributes, and over squashfs shown as another user's"),
        (5, 11..) | (6, _) => findings.ok(
            "writable images",
            "overlay with user.* attributes; over squashfs shown as another user's from Linux 6.2 on",
        ),
        _ => findings.warning(
            "writable images",
            "overlay in user namespaces needs Linux 5.11",
            "use a newer kernel for --container-writable together with --container-remap-root",
        ),
    }
}

fn user_namespaces(node: &Node, findings: &mut Findings) {
    const NAME: &str = "user namespaces";
    let number = |path: &str| node.host.word(path)?.parse::<u64>().ok();
    let switch = |path: &str| number(&format!("/proc/sys/kernel/{path}"));
    match number("/proc/sys/user/max_user_namespaces") {
        None => {
            findings.warning(
                NAME,
                "the kernel has none",
                "--container-remap-root, --container-writable and `oarlock exec` need CONFIG_USER_NS",
            );
            return;
        }
        Some(0) => {
            findings.warning(
                NAME,
                "user.max_user_namespaces is 0",
                "for --container-remap-root and --container-writable: sysctl user.max_user_namespaces=10000",
            );
            return;
        }
        Some(most) => findings.ok(NAME, format!("up to {most}")),
    }
    let restriction = if switch("unprivileged_userns_clone") == Some(0) {
        Some("kernel.unprivileged_userns_clone is 0")
    } else if switch("apparmor_restrict_unprivileged_userns") == Some(1) {
        Some("kernel.apparmor_restrict_unprivileged_userns is 1")
    } else {
        None
    };
    match restriction {
        // Slurm's steps do not need them: root makes theirs.
        Some(restriction) => findings.not_here(
            "unprivileged ones",
            format!("{restriction}: no `oarlock exec` for users on this machine; steps of Slurm are not concerned"),
        ),
        None => findings.ok("unprivileged ones", "users may make them, as `oarlock exec` does"),
    }
}

fn subordinate_ids(node: &Node, findings: &mut Findings) {
    let ranges = |path: &str| {
        let bytes = node
            .host
            .read(Path::new(path), 16 << 20)
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.lines()
            .filter(|line| line.split(':').count() == 3)
            .count()
    };
    let (users, groups) = (ranges("/etc/subuid"), ranges("/etc/subgid"));
    if users > 0 && groups > 0 {
        findings.ok(
            "subordinate ids",
            format!("{users} ranges in /etc/subuid, {groups} in /etc/subgid"),
        );
    } else {
        findings.not_here(
            "subordinate ids",
            "none in /etc/subuid and /etc/subgid: root in a container is the only user there",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    const ALL: Calls = Calls {
        openat2: Has::Yes,
        open_tree: Has::Yes,
        move_mount: Has::Yes,
        fsopen: Has::Yes,
        mount_setattr: Has::Yes,
        pidfd: Has::Yes,
        seccomp: Has::Yes,
        landlock: Some(6),
    };

    fn verdicts(version: Version, asked: &Calls) -> Vec<(String, Verdict)> {
        let mut findings = Findings::new("kernel");
        calls(version, asked, &mut findings);
        let checks = findings.checks.into_iter();
        checks.map(|check| (check.name, check.verdict)).collect()
    }

    #[test]
    fn what_is_missing_is_told_by_how_much_it_matters() {
        assert!(
            verdicts((6, 12), &ALL)
                .iter()
                .all(|(_, v)| *v == Verdict::Ok)
        );
        for (asked, name, verdict) in [
            (
                Calls {
                    openat2: Has::No,
                    ..ALL
                },
                "openat2",
                Verdict::Failed,
            ),
            (
                Calls {
                    seccomp: Has::No,
                    ..ALL
                },
                "seccomp",
                Verdict::Failed,
            ),
            (
                Calls {
                    pidfd: Has::No,
                    ..ALL
                },
                "pidfd",
                Verdict::Failed,
            ),
            (
                Calls {
                    fsopen: Has::No,
                    ..ALL
                },
                "mount calls",
                Verdict::Warning,
            ),
            (
                Calls {
                    mount_setattr: Has::No,
                    ..ALL
                },
                "mount calls",
                Verdict::Warning,
            ),
            (
                Calls {
                    landlock: None,
                    ..ALL
                },
                "landlock",
                Verdict::Warning,
            ),
        ] {
            let found = verdicts((6, 12), &asked);
            let others = found.iter().filter(|(_, v)| *v != Verdict::Ok).count();
            assert!(
                found.contains(&(name.to_owned(), verdict)) && others == 1,
                "{found:?}"
            );
        }
    }

    #[test]
    fn what_may_not_be_asked_follows_from_the_version() {
        let asked = Calls {
            mount_setattr: Has::Unknown,
            ..ALL
        };
        assert!(
            verdicts((5, 12), &asked)
                .iter()
                .all(|(_, v)| *v == Verdict::Ok)
        );
        let found = verdicts((5, 11), &asked);
        assert!(found.contains(&("mount calls".to_owned(), Verdict::Warning)));
        assert_eq!(version("6.12.43+deb13-amd64"), Some((6, 12)));
        assert_eq!(version("5.14.0-503.el9"), Some((5, 14)));
        assert_eq!(version("linux"), None);
    }

    #[test]
    fn file_systems_are_there_or_modules() {
        let listed = "nodev\tsysfs\n\tsquashfs\nnodev\toverlay\n";
        assert!(is_listed(listed, "squashfs") && is_listed(listed, "overlay"));
        assert!(!is_listed(listed, "nodev") && !is_listed(listed, "quashfs"));
        let modules = "kernel/fs/erofs/erofs.ko.xz: kernel/lib/lz4.ko.xz\nkernel/fs/ext4/ext4.ko\n";
        assert!(has_module(modules, "erofs") && has_module(modules, "ext4"));
        assert!(!has_module(modules, "lz4") && !has_module(modules, "ext"));
    }
}
