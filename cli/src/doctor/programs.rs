//! Oarlock's own programs, beside oarlock-prepare: there, root's, of this version, and
//! with what their files must carry.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use runtime_core::entry;
use runtime_core::sys::file_capabilities::{self, Unable};

use super::check::Findings;
use super::command::{PATIENCE, ask};
use super::node::Node;

/// A program: its name, the bits that its mode must have, whether it says its version,
/// and what is lost without it.
struct Program {
    name: &'static str,
    mode: u32,
    says_version: bool,
    lost: &'static str,
}

const PROGRAMS: [Program; 4] = [
    Program {
        name: "oarlock-prepare",
        mode: 0o111,
        says_version: true,
        lost: "every step with a container fails",
    },
    Program {
        name: "oarlock-check",
        // Executed by its account, not read.
        mode: 0o111,
        says_version: true,
        lost: "no copy of an image is checked, and none of others' is mounted by the kernel",
    },
    Program {
        name: "oarlock-enter",
        mode: 0o111,
        says_version: false,
        lost: "with a task prolog ranks take the older way into their container",
    },
    Program {
        name: "oarlock-nothing",
        mode: 0o111,
        says_version: false,
        lost: "steps with a task prolog fail where oarlock-enter cannot be used",
    },
];

pub(super) fn look(node: &Node, findings: &mut Findings) {
    for program in &PROGRAMS {
        // By its own name, also where plugstack.conf calls oarlock-prepare otherwise.
        let path = match program.name {
            "oarlock-prepare" => node.prepare.clone(),
            name => node.prepare.with_file_name(name),
        };
        one(node, program, &path, findings);
    }
    capabilities(node, findings);
}

fn one(node: &Node, program: &Program, path: &Path, findings: &mut Findings) {
    let shown = path.display();
    let about = match node.host.metadata(path) {
        Ok(about) => about,
        Err(error) => {
            let found = format!("{shown}: {error}: {}", program.lost);
            // There is another way without it.
            if program.name == "oarlock-enter" {
                findings.warning(program.name, found, "install Oarlock again");
            } else {
                findings.failed(program.name, found, "install Oarlock again");
            }
            return;
        }
    };
    if !about.is_file()
        || !node.host.is_roots(&about)
        || about.mode() & program.mode != program.mode
    {
        findings.failed(
            program.name,
            format!("{shown}: not a program of root's that only root can write and all execute"),
            "install Oarlock again",
        );
        return;
    }
    if program.name == "oarlock-check" && about.mode() & 0o044 != 0 {
        findings.warning(
            program.name,
            format!("{shown}: others can read it, and so trace it before it says not to"),
            format!("chmod 0711 {shown}"),
        );
        return;
    }
    if !program.says_version {
        findings.ok(program.name, shown.to_string());
        return;
    }
    let own = env!("CARGO_PKG_VERSION");
    match ask(node, path, &["--version"], PATIENCE) {
        Ok((text, true)) => {
            let version = text.split_whitespace().nth(1).unwrap_or_default();
            if version == own {
                findings.ok(program.name, format!("{shown}, {own}"));
            } else {
                findings.failed(
                    program.name,
                    format!("{shown} is {version}, and this is oarlock {own}"),
                    "install all of Oarlock in the same version",
                );
            }
        }
        Ok((_, false)) => findings.failed(
            program.name,
            format!("{shown} does not say its version: it is older than oarlock {own}"),
            "install all of Oarlock in the same version",
        ),
        Err(error) => findings.failed(program.name, error.to_string(), error.advice("--version")),
    }
}

fn capabilities(node: &Node, findings: &mut Findings) {
    const NAME: &str = "file capabilities";
    let path = node.prepare.with_file_name("oarlock-enter");
    match file_capabilities::redeems(&node.host.place(&path), entry::needed()) {
        Ok(()) => findings.ok(NAME, "oarlock-enter has those that it needs"),
        // That is told above.
        Err(Unable::Look(_) | Unable::NotRoots) => {}
        Err(Unable::NoNewPrivileges) => findings.unknown(
            NAME,
            "this process runs with no_new_privs, and cannot tell of slurmstepd's",
            "run oarlock doctor in a shell without it",
        ),
        Err(error) => findings.warning(
            NAME,
            format!(
                "{}: {error}: task prologs run by the older way",
                path.display()
            ),
            format!(
                "setcap cap_setpcap,cap_sys_chroot,cap_sys_admin=ei {}",
                path.display()
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use runtime_core::host::Host;

    use super::super::check::{Check, Verdict};
    use super::*;

    fn checks(files: &[(&str, &str, u32)]) -> Vec<Check> {
        let place = tempfile::tempdir().unwrap();
        for (name, text, mode) in files {
            let path = place.path().join("usr/libexec/oarlock").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
        }
        let node = Node::of(Host::at(place.path()).unwrap(), None, None, true);
        let mut findings = Findings::new("programs");
        look(&node, &mut findings);
        findings.checks
    }

    #[test]
    fn programs_are_whole_or_told() {
        let prepare = "oarlock-prepare";
        let same = concat!(
            "#!/bin/sh\necho oarlock-prepare ",
            env!("CARGO_PKG_VERSION")
        );
        let same_check = concat!("#!/bin/sh\necho oarlock-check ", env!("CARGO_PKG_VERSION"));
        for (files, name, verdict, part) in [
            (
                vec![],
                prepare,
                Verdict::Failed,
                "every step with a container fails",
            ),
            (vec![], "oarlock-enter", Verdict::Warning, "the older way"),
            (vec![], "oarlock-nothing", Verdict::Failed, "steps with"),
            (
                vec![(prepare, same, 0o755)],
                prepare,
                Verdict::Ok,
                env!("CARGO_PKG_VERSION"),
            ),
            (
                vec![(prepare, same, 0o775)],
                prepare,
                Verdict::Failed,
                "only root can write",
            ),
            (
                vec![(prepare, same, 0o644)],
                prepare,
                Verdict::Failed,
                "all execute",
            ),
            (
                vec![(prepare, "#!/bin/sh\necho oarlock-prepare 0.0.1", 0o755)],
                prepare,
                Verdict::Failed,
                "is 0.0.1",
            ),
            (
                vec![(prepare, "#!/bin/sh\nexit 1", 0o755)],
                prepare,
                Verdict::Failed,
                "older than",
            ),
            (
                vec![("oarlock-check", same_check, 0o755)],
                "oarlock-check",
                Verdict::Warning,
                "others can read it",
            ),
            (
                vec![("oarlock-check", same_check, 0o700 | 0o011)],
                "oarlock-check",
                Verdict::Ok,
                env!("CARGO_PKG_VERSION"),
            ),
            (
                vec![("oarlock-nothing", "", 0o755)],
                "oarlock-nothing",
                Verdict::Ok,
                "oarlock-nothing",
            ),
        ] {
            let found = checks(&files);
            let it = found.iter().find(|check| check.name == name).unwrap();
            assert!(it.verdict == verdict && it.found.contains(part), "{it:?}");
        }
    }
}
