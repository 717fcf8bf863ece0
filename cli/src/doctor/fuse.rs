//! FUSE: the device, the servers, the account that they run as, and the library that
//! is loaded into them.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use runtime_core::config::{Fuse, Untrusted};
use runtime_core::image::policy::uid_of;

use super::check::Findings;
use super::command::{PATIENCE, Silent, ask};
use super::node::Node;

/// What the oldest server of squashfs that Oarlock was tried with, 0.1.105, says of
/// itself.
const TRIED: (u32, u32, u32) = (0, 1, 104);

/// From here on squashfuse can be built with threads. What it says does not tell: libfuse
/// offers to switch them off in any case.
const THREADS: (u32, u32, u32) = (0, 2, 0);

/// What serves ext3 without writing to it.
const EXT: (u32, u32, u32) = (1, 47, 1);

pub(super) fn look(node: &Node, findings: &mut Findings) {
    device(node, findings);
    let fuse = &node.config.fuse;
    server(node, &fuse.server, findings);
    ext_server(node, &fuse.ext_server, findings);
    let uid = |name: &str| {
        if node.host.is_this() {
            uid_of(name)
        } else {
            None
        }
    };
    account(&fuse.user, uid(&fuse.user), findings);
    library(node, findings);
}

fn device(node: &Node, findings: &mut Findings) {
    const DEVICE: &str = "/dev/fuse";
    match node.host.metadata(Path::new(DEVICE)) {
        // 10:229 is the kernel's number of it, Documentation/admin-guide/devices.txt.
        Ok(about)
            if about.file_type().is_char_device()
                && about.rdev() == rustix::fs::makedev(10, 229) =>
        {
            findings.ok(DEVICE, "there");
        }
        Ok(_) => findings.failed(
            DEVICE,
            "it is something else",
            "remove it, and load the module fuse",
        ),
        Err(error) => findings.failed(
            DEVICE,
            format!("{error}: images that the kernel must not parse do not run"),
            "load the module fuse",
        ),
    }
}

/// The first version in a text: `squashfuse 0.5.2 (c) …`, `fuse2fs 1.47.2 (1-Jan-2025)`.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .find_map(|word| {
            let mut numbers = word
                .trim_matches('.')
                .split('.')
                .map(|number| number.parse().ok());
            let (major, minor) = (numbers.next()??, numbers.next()??);
            Some((major, minor, numbers.next().flatten().unwrap_or(0)))
        })
}

/// What a program says of itself, whatever its exit code.
fn words(node: &Node, program: &Path, argument: &str) -> Result<String, Silent> {
    let answer = ask(node, program, &[argument], PATIENCE);
    answer.map(|(text, _)| text)
}

fn server(node: &Node, program: &Path, findings: &mut Findings) {
    const NAME: &str = "fuse.server";
    let shown = program.display();
    match node.host.metadata(program) {
        Ok(about) if about.is_file() && about.mode() & 0o111 != 0 => {}
        other => {
            let why = other.map_or_else(|error| error.to_string(), |_| "not a program".to_owned());
            findings.failed(
                NAME,
                format!("{shown}: {why}: images that the kernel must not parse do not run"),
                "install squashfuse_ll (Debian: package squashfuse), or correct fuse.server",
            );
            return;
        }
    }
    let words = match words(node, program, "--help") {
        Ok(words) => words,
        Err(error) => {
            findings.warning(NAME, error.to_string(), error.advice("--help"));
            return;
        }
    };
    match version(&words) {
        Some(found @ (major, minor, patch)) if found < TRIED => findings.warning(
            NAME,
            format!("{shown}, {major}.{minor}.{patch}: older than any that Oarlock was tried with"),
            "install squashfuse 0.1.105 or newer, better 0.5",
        ),
        Some(found @ (major, minor, patch)) => {
            let threads = if found < THREADS {
                "; one thread, from 0.2 on there can be more"
            } else {
                ""
            };
            findings.ok(NAME, format!("{shown}, {major}.{minor}.{patch}{threads}"));
        }
        None => findings.ok(NAME, format!("{shown}; it does not say its version")),
    }
}

fn ext_server(node: &Node, program: &Path, findings: &mut Findings) {
    const NAME: &str = "fuse.ext_server";
    let shown = program.display();
    if !node.host.has(program) {
        findings.not_here(
            NAME,
            format!("{shown}: SIF files with ext3 overlays of others do not run"),
        );
        return;
    }
    match words(node, program, "-V").map(|words| version(&words)) {
        Ok(Some((major, minor, patch))) if (major, minor, patch) >= EXT => {
            findings.ok(NAME, format!("{shown}, {major}.{minor}.{patch}"));
        }
        Ok(Some((major, minor, patch))) => findings.warning(
            NAME,
            format!("{shown}, {major}.{minor}.{patch}: it does not serve what it must not write"),
            "install e2fsprogs 1.47.1 or newer",
        ),
        Ok(None) => findings.unknown(
            NAME,
            format!("{shown}: it does not say its version"),
            "run it with -V",
        ),
        Err(error) => findings.warning(NAME, error.to_string(), error.advice("-V")),
    }
}

fn account(user: &str, uid: Option<u32>, findings: &mut Findings) {
    const NAME: &str = "fuse.user";
    match uid {
        _ if user == Fuse::JOB => findings.ok(NAME, "the job's user"),
        Some(0) => findings.failed(
            NAME,
            format!("{user} has root's number"),
            "name a system account",
        ),
        Some(uid) => findings.ok(NAME, format!("{user}, {uid}")),
        None => findings.failed(
            NAME,
            format!(
                "there is no account \"{user}\": nothing is served by FUSE, and no copy is checked"
            ),
            "create it on this node: systemd-sysusers (sysusers.d/oarlock.conf)",
        ),
    }
}

fn library(node: &Node, findings: &mut Findings) {
    const NAME: &str = "preload library";
    if node.config.fuse.user == Fuse::JOB {
        findings.ok(NAME, "not needed where the job's user is the server's");
        return;
    }
    let path = node.prepare.with_file_name("liboarlock_fuse_open.so");
    let shown = path.display();
    match node.host.metadata(&path) {
        Ok(about) if node.host.is_roots(&about) && about.mode() & 0o444 == 0o444 => {
            findings.ok(NAME, shown.to_string());
        }
        Ok(_) => findings.failed(
            NAME,
            format!("{shown}: not root's alone, or not for all to read"),
            "install Oarlock again",
        ),
        Err(error) => {
            let lost = if node.config.images.untrusted == Untrusted::Stage {
                ""
            } else {
                ": nothing is served by FUSE"
            };
            findings.failed(
                NAME,
                format!("{shown}: {error}{lost}"),
                "install Oarlock again",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use runtime_core::host::Host;

    use super::super::check::{Check, Verdict};
    use super::*;

    fn checks(files: &[(&str, &str)]) -> Vec<Check> {
        let place = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
        let node = Node::of(Host::at(place.path()).unwrap(), None, None, true);
        let mut findings = Findings::new("fuse");
        look(&node, &mut findings);
        findings.checks
    }

    #[test]
    fn servers_say_what_they_are() {
        const SERVER: &str = "usr/bin/squashfuse_ll";
        const EXT: &str = "usr/bin/fuse2fs";
        for (files, name, verdict, part) in [
            (vec![], "/dev/fuse", Verdict::Failed, "No such file"),
            (
                vec![("dev/fuse", "")],
                "/dev/fuse",
                Verdict::Failed,
                "something else",
            ),
            (vec![], "fuse.server", Verdict::Failed, "do not run"),
            (
                vec![(SERVER, "text")],
                "fuse.server",
                Verdict::Failed,
                "not a program",
            ),
            (
                vec![(
                    SERVER,
                    "#!/bin/sh\necho squashfuse 0.5.2 '(c)' 2012 >&2; echo '-s disable multi-threaded operation'; exit 254",
                )],
                "fuse.server",
                Verdict::Ok,
                "0.5.2",
            ),
            (
                vec![(SERVER, "#!/bin/sh\necho squashfuse 0.1.104")],
                "fuse.server",
                Verdict::Ok,
                "one thread",
            ),
            (
                vec![(SERVER, "#!/bin/sh\necho squashfuse 0.1.100")],
                "fuse.server",
                Verdict::Warning,
                "older",
            ),
            (vec![], "fuse.ext_server", Verdict::NotHere, "ext3"),
            (
                vec![(EXT, "#!/bin/sh\necho fuse2fs 1.47.2 '(1-Jan-2025)' >&2")],
                "fuse.ext_server",
                Verdict::Ok,
                "1.47.2",
            ),
            (
                vec![(EXT, "#!/bin/sh\necho fuse2fs 1.47.0")],
                "fuse.ext_server",
                Verdict::Warning,
                "1.47.0",
            ),
            (
                vec![(EXT, "#!/bin/sh\n")],
                "fuse.ext_server",
                Verdict::Unknown,
                "does not say",
            ),
            (
                vec![],
                "fuse.user",
                Verdict::Failed,
                "no account \"oarlock\"",
            ),
            (
                vec![("etc/oarlock/oarlock.toml", "[fuse]\nuser = \"job\"")],
                "fuse.user",
                Verdict::Ok,
                "the job's user",
            ),
            (vec![], "preload library", Verdict::Failed, "No such file"),
            (
                vec![("usr/libexec/oarlock/liboarlock_fuse_open.so", "")],
                "preload library",
                Verdict::Ok,
                "fuse_open",
            ),
        ] {
            let found = checks(&files);
            let it = found.iter().find(|check| check.name == name).unwrap();
            assert!(it.verdict == verdict && it.found.contains(part), "{it:?}");
        }
    }

    #[test]
    fn versions_in_words() {
        for (text, wanted) in [
            ("squashfuse 0.5.2 (c) 2012", Some((0, 5, 2))),
            ("fuse2fs 1.47.1 (20-May-2024)", Some((1, 47, 1))),
            ("v1.2-rc3.", Some((1, 2, 0))),
            ("(c) 2012", None),
            ("", None),
        ] {
            assert_eq!(version(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_account_is_no_root() {
        let of = |user: &str, uid| {
            let mut findings = Findings::new("fuse");
            account(user, uid, &mut findings);
            findings.checks[0].verdict
        };
        assert_eq!(of("oarlock", Some(990)), Verdict::Ok);
        assert_eq!(of("toor", Some(0)), Verdict::Failed);
    }
}
