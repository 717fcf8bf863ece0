//! The site's file, and what it names: is it there?

use std::path::Path;

use runtime_core::config::{RequireSignature, Untrusted};
use runtime_core::image::policy::uid_of;

use super::check::Findings;
use super::node::{Node, Unusable};
use super::text::many;

pub(super) fn look(node: &Node, findings: &mut Findings) {
    let path = node.config_file.path.display();
    match &node.config_file.content {
        Ok(Some(_)) => findings.ok("file", path.to_string()),
        Ok(None) => findings.ok(
            "file",
            format!("{path} is not there: the defaults are in force"),
        ),
        Err(error @ Unusable::Unseen(_)) => {
            findings.unknown("file", error.to_string(), "run oarlock doctor as root");
            return;
        }
        Err(error) => {
            findings.failed(
                "file",
                error.to_string(),
                "correct it: until then every step with a container fails",
            );
            return;
        }
    }
    keyring(node, findings);
    paths(node, findings);
    if node.host.is_this() {
        owners(
            &node.config.images.allow_owners,
            |name| uid_of(name).is_some(),
            findings,
        );
    }
}

/// The endings of files with keys, as sif-signature reads them.
const KEYS: [&str; 4] = ["asc", "gpg", "pgp", "pem"];

fn keyring(node: &Node, findings: &mut Findings) {
    const NAME: &str = "images.keyring";
    let images = &node.config.images;
    let shown = images.keyring.display().to_string();
    let is_key = |name: &std::ffi::OsString| {
        let kind = Path::new(name).extension();
        kind.is_some_and(|kind| KEYS.iter().any(|known| kind == *known))
    };
    let keys = node.host.list(&images.keyring);
    let keys = keys.map(|names| names.iter().filter(|name| is_key(name)).count());
    match (keys, images.require_signature) {
        (Ok(0) | Err(_), RequireSignature::All | RequireSignature::Untrusted) => findings.failed(
            NAME,
            format!("{shown} has no keys, and require_signature demands some: no image runs"),
            "put the public keys of those who sign there, as *.asc, *.gpg, *.pgp or *.pem",
        ),
        (Ok(0) | Err(_), RequireSignature::None) => {
            findings.not_here(NAME, format!("{shown} has no keys: no signature counts"));
        }
        (Ok(count), _) => match node.host.metadata(&images.keyring) {
            Ok(about) if node.host.is_roots(&about) => {
                findings.ok(NAME, format!("{shown}, {}", many(count, "file")));
            }
            _ => findings.failed(
                NAME,
                format!("{shown}: others than root can write to it"),
                "chown root and chmod go-w it",
            ),
        },
    }
}

/// Paths of the site's that may be missing on a node, but rarely are on purpose.
fn paths(node: &Node, findings: &mut Findings) {
    let config = &node.config;
    let aliases = config.images.aliases.values();
    let of_images = aliases.map(|path| ("images.aliases", path));
    let allowed = config
        .images
        .allow_paths
        .iter()
        .map(|path| ("images.allow_paths", path));
    let of_host = config.mounts.host.iter().map(|path| ("mounts.host", path));
    for (key, path) in of_images.chain(allowed).chain(of_host) {
        let Err(error) = node.host.metadata(path) else {
            continue;
        };
        let found = format!("{}: {error}", path.display());
        // Root may be nobody on a file server, where users see what is theirs.
        if error.kind() == std::io::ErrorKind::PermissionDenied {
            findings.unknown(key, found, "look as a user whose it is");
        } else {
            findings.warning(key, found, "make it there, or leave it out of oarlock.toml");
        }
    }
    for path in &config.profiles.path {
        if node.host.has(path) {
            findings.ok("profiles.path", path.display().to_string());
        } else {
            findings.not_here(
                "profiles.path",
                format!("{}: no profiles of the site's", path.display()),
            );
        }
    }
    let stages = config.images.untrusted != Untrusted::Fuse;
    for (key, path) in [
        ("store.path", &config.store.path),
        ("writable.path", &config.writable.path),
    ] {
        let above = path.ancestors().skip(1).find(|above| node.host.has(above));
        let above = above.and_then(|above| node.host.metadata(above).ok());
        match node.host.metadata(path) {
            Ok(about) if !about.is_dir() => findings.failed(
                key,
                format!("{} is not a directory", path.display()),
                "name a directory of root's on a disk of the node",
            ),
            Ok(_) => findings.ok(key, path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                findings.unknown(
                    key,
                    format!("{}: {error}", path.display()),
                    "run oarlock doctor as root",
                );
            }
            // It is made when it is needed, and its parents too.
            Err(_) if above.is_some_and(|above| above.is_dir()) => {
                findings.ok(key, format!("{}, made when it is needed", path.display()));
            }
            Err(error) => {
                let lost = if stages { "; no copies are made" } else { "" };
                findings.failed(
                    key,
                    format!("{}: {error}{lost}", path.display()),
                    "name another directory",
                );
            }
        }
    }
}

/// Names of users that nobody has.
fn owners(owners: &[String], exists: impl Fn(&str) -> bool, findings: &mut Findings) {
    let unknown: Vec<&str> = owners
        .iter()
        .map(String::as_str)
        .filter(|name| name.parse::<u32>().is_err() && !exists(name))
        .collect();
    if !unknown.is_empty() {
        findings.warning(
            "images.allow_owners",
            format!("no such account: {}", unknown.join(", ")),
            "correct the name, or give the number",
        );
    } else if !owners.is_empty() {
        findings.ok("images.allow_owners", owners.join(", "));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use runtime_core::host::Host;

    use super::super::check::Verdict;
    use super::*;

    fn checks(files: &[(&str, &str)]) -> Vec<(String, Verdict, String)> {
        let place = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            let mode = if text.contains("writable by all") {
                0o666
            } else {
                0o644
            };
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        }
        let node = Node::of(Host::at(place.path()).unwrap(), None, None, true);
        let mut findings = Findings::new("config");
        look(&node, &mut findings);
        let checks = findings.checks.into_iter();
        checks
            .map(|check| (check.name, check.verdict, check.found))
            .collect()
    }

    const FILE: &str = "etc/oarlock/oarlock.toml";

    #[test]
    fn each_key_that_names_nothing_is_told() {
        for (files, name, verdict, part) in [
            (vec![], "file", Verdict::Ok, "the defaults are in force"),
            (vec![], "images.keyring", Verdict::NotHere, "no keys"),
            (vec![], "store.path", Verdict::Ok, "made when it is needed"),
            (
                vec![(FILE, "[images]\nx = 1")],
                "file",
                Verdict::Failed,
                "line 2: unknown field",
            ),
            (
                vec![(FILE, "# writable by all")],
                "file",
                Verdict::Failed,
                "only root",
            ),
            (
                vec![(FILE, "[images]\nrequire_signature = \"all\"")],
                "images.keyring",
                Verdict::Failed,
                "no image runs",
            ),
            (
                vec![(FILE, ""), ("etc/oarlock/keys.d/a.pem", "")],
                "images.keyring",
                Verdict::Ok,
                "1 file",
            ),
            (
                vec![(FILE, "[images]\nallow_paths = [\"/none\"]")],
                "images.allow_paths",
                Verdict::Warning,
                "/none",
            ),
            (
                vec![(FILE, "[mounts]\nhost = [\"/none\"]")],
                "mounts.host",
                Verdict::Warning,
                "/none",
            ),
            (
                vec![(FILE, "[images.aliases]\n\"a/b\" = \"/none\"")],
                "images.aliases",
                Verdict::Warning,
                "/none",
            ),
            (
                vec![(FILE, "[store]\npath = \"/f\""), ("f", "")],
                "store.path",
                Verdict::Failed,
                "not a directory",
            ),
            (
                vec![(FILE, "[store]\npath = \"/f/g\""), ("f", "")],
                "store.path",
                Verdict::Failed,
                "no copies are made",
            ),
        ] {
            let found = checks(&files);
            let it = found.iter().find(|check| check.0 == name);
            let it = it.unwrap_or_else(|| panic!("{name}: {found:?}"));
            assert!(it.1 == verdict && it.2.contains(part), "{it:?}");
        }
    }

    #[test]
    fn owners_are_accounts_or_numbers() {
        let mut findings = Findings::new("config");
        let names = ["alice", "bobb", "1000"].map(str::to_owned);
        owners(&names, |name| name == "alice", &mut findings);
        assert_eq!(findings.checks[0].found, "no such account: bobb");
        let mut findings = Findings::new("config");
        owners(&names, |_| true, &mut findings);
        assert_eq!(findings.checks[0].verdict, Verdict::Ok);
    }
}
