//! What the site's CDI specs say of the step's devices.
//!
//! The allocation picks them; a user may name more only among what was granted. No
//! hook is run: those that make links or have ldconfig do so come down to a directory
//! of links and LD_LIBRARY_PATH, which the image's own linker heeds without a new cache.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use cdi_specs::hooks::{Native, Symlink, classify};
use host_devices::libraries::elf::Elf;

use cdi_specs::{DeviceNode, Edits, Kind, QualifiedName, Registry, Trust, Wanted};

use crate::config::Hooks;
use crate::path::{ContainerPath, HostPath};
use crate::plan::mounts::{Mount, Need, Source};
use crate::request::Create;
use crate::sys::ipc;
use crate::sys::mount::Attributes;

/// Where links that belong to devices are in a container.
const LINKS: &str = "/.oarlock/links";

/// Variables are handed to every rank in one message, with much else.
const MAX_VARIABLES: usize = ipc::MAX_MESSAGE / 2;

/// Why a device's spec cannot be followed: one line.
#[derive(Debug, thiserror::Error)]
pub(in crate::prepare) enum CdiError {
    #[error("{0}; devices.cdi_hooks in oarlock.toml is for the admin to decide")]
    Hook(String),
    #[error("CDI: the devices' variables are longer than {} KiB; write shorter specs", MAX_VARIABLES >> 10)]
    Variables,
    #[error("CDI: {0}")]
    Resolve(#[from] cdi_specs::ResolveError),
}

/// What specs ask for.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) nodes: Vec<PathBuf>,
    pub(super) mounts: Vec<Mount>,
    pub(super) variables: Vec<(String, String)>,
    pub(super) libraries: Vec<String>,
    /// What is not done, for the journal.
    pub(super) notes: Vec<String>,
}

/// The site's specs.
pub(super) fn load(directories: &[PathBuf]) -> Registry {
    Registry::load(Path::new("/"), directories, Trust::ROOT)
}

/// The devices that stand for one GPU, of every kind that has one for it.
pub(super) fn standing_for(
    registry: &Registry,
    number: u32,
    uuid: Option<&str>,
    nodes: &[PathBuf],
) -> Vec<QualifiedName> {
    let wanted = Wanted {
        index: Some(number),
        uuid,
        mig: None,
        nodes,
    };
    let is_gpu = |kind: &&Kind| kind.class() == "gpu";
    registry
        .kinds()
        .into_iter()
        .filter(is_gpu)
        .filter_map(|kind| registry.choose(kind, &wanted).ok().cloned())
        .collect()
}

/// What all of `names` ask for together.
///
/// # Errors
/// [`CdiError`].
pub(super) fn resolve(
    registry: &Registry,
    names: &[QualifiedName],
    hooks: Hooks,
) -> Result<Found, CdiError> {
    let edits = registry.resolve(names)?;
    let mut found = Found::default();
    let mut links = Vec::new();
    let mut folders = BTreeSet::new();
    for hook in &edits.hooks {
        match classify(hook) {
            Ok(Native::Symlinks(list)) => links.extend(list),
            Ok(Native::LdConfig { folders: list } | Native::SonameLinks { folders: list }) => {
                folders.extend(list);
            }
            Ok(Native::Chmod { .. } | Native::NotNeeded { .. } | Native::CudaCompat { .. }) => {}
            Err(foreign) if hooks == Hooks::Ignore => found.notes.push(foreign.to_string()),
            Err(foreign) => return Err(CdiError::Hook(foreign.to_string())),
        }
    }
    nodes(&edits.device_nodes, &mut found);
    mounts(&edits, &mut found);
    found.variables = edits
        .env
        .iter()
        .map(|variable| (variable.name.clone(), variable.value.clone()))
        .collect();
    let length = |(name, value): &(String, String)| name.len() + value.len();
    if found.variables.iter().map(length).sum::<usize>() > MAX_VARIABLES {
        return Err(CdiError::Variables);
    }
    let mut names = sonames(&edits, &folders);
    names.extend(links_in(&links, &folders, &mut found.notes));
    show_links(names, &mut found);
    for (what, is_there) in [
        ("intelRdt", edits.intel_rdt.is_some()),
        ("netDevices", !edits.net_devices.is_empty()),
        ("additionalGids", !edits.additional_gids.is_empty()),
    ] {
        if is_there {
            found.notes.push(format!("CDI: {what} is not applied"));
        }
    }
    Ok(found)
}

fn nodes(list: &[DeviceNode], found: &mut Found) {
    for node in list {
        if node.path == node.host_path {
            found.nodes.push(node.path.clone());
        } else {
            found.notes.push(format!(
                "CDI: device {} is not shown as {}",
                node.host_path.display(),
                node.path.display()
            ));
        }
    }
}

fn mounts(edits: &Edits, found: &mut Found) {
    for mount in &edits.mounts {
        let (Ok(from), Ok(target)) = (
            HostPath::new(&mount.host_path),
            ContainerPath::new(&mount.container_path),
        ) else {
            found.notes.push(format!(
                "CDI: mount {} is left out: its path cannot be used",
                mount.container_path.display()
            ));
            continue;
        };
        if !mount.is_bind() {
            found
                .notes
                .push(format!("CDI: {target}: only binds are made"));
            continue;
        }
        let asks = |word: &str| mount.options.iter().any(|option| option == word);
        found.mounts.push(Mount {
            source: Source::Host(from),
            target,
            attributes: Attributes {
                read_only: asks("ro"),
                nosuid: true,
                nodev: true,
                noexec: asks("noexec"),
            },
            propagation: None,
            create: Create::Auto,
            need: Need::Asked,
        });
    }
}

/// What ldconfig would make: for each library that a spec shows in one of the
/// directories, a link by its SONAME.
fn sonames(edits: &Edits, folders: &BTreeSet<PathBuf>) -> Vec<(OsString, PathBuf)> {
    let is_in = |path: &Path| path.parent().is_some_and(|parent| folders.contains(parent));
    let soname = |mount: &cdi_specs::Mount| {
        let file = File::open(&mount.host_path).ok()?;
        let soname = Elf::read(&file).ok()?.soname?;
        // A name, and no way to somewhere else.
        let is_name =
            !soname.is_empty() && !soname.contains('/') && soname != "." && soname != "..";
        is_name.then(|| (OsString::from(soname), mount.container_path.clone()))
    };
    edits
        .mounts
        .iter()
        .filter(|mount| is_in(&mount.container_path))
        .filter_map(soname)
        .collect()
}

/// The links that a spec asks for, where they are to libraries.
fn links_in(
    list: &[Symlink],
    folders: &BTreeSet<PathBuf>,
    notes: &mut Vec<String>,
) -> Vec<(OsString, PathBuf)> {
    let mut links = Vec::new();
    for Symlink { target, link } in list {
        let (Some(parent), Some(name)) = (link.parent(), link.file_name()) else {
            continue;
        };
        if folders.contains(parent) || is_of_libraries(parent) {
            links.push((name.to_owned(), parent.join(target)));
        } else {
            notes.push(format!("CDI: link {} is not made", link.display()));
        }
    }
    links
}

/// Links to libraries are in a directory of their own, which is all that the linker is
/// told: the directories themselves may be the image's own.
fn show_links(links: Vec<(OsString, PathBuf)>, found: &mut Found) {
    let Ok(target) = ContainerPath::new(LINKS) else {
        return;
    };
    if links.is_empty() {
        return;
    }
    found.mounts.push(Mount {
        source: Source::Links(links),
        target,
        attributes: Attributes {
            read_only: true,
            nosuid: true,
            nodev: true,
            noexec: false,
        },
        propagation: None,
        create: Create::Auto,
        need: Need::IfPossible,
    });
    found.libraries.push(LINKS.to_owned());
}

fn is_of_libraries(directory: &Path) -> bool {
    let mut parts = directory.components().skip(1).map(Component::as_os_str);
    let first = match parts.next() {
        Some(usr) if usr == "usr" => parts.next(),
        first => first,
    };
    first.is_some_and(|name| name.to_string_lossy().starts_with("lib"))
}

#[cfg(test)]
mod tests {
    use cdi_specs::{Format, Spec};

    use super::*;

    fn resolved(value: &str, hooks: Hooks) -> Result<Found, CdiError> {
        let text = format!(
            "cdiVersion: 0.6.0\nkind: site.org/gpu\ndevices:\n- name: '0'\n  containerEdits:\n    env: ['A={value}']\n    hooks:\n    - {{hookName: createContainer, path: /bin/sh, args: [sh, -c, x]}}\n"
        );
        let spec = Spec::parse(text.as_bytes(), Format::Yaml, Path::new("/etc/cdi/a.yaml"));
        let mut registry = Registry::default();
        registry.add(spec.unwrap(), 0);
        resolve(&registry, &["site.org/gpu=0".parse().unwrap()], hooks)
    }

    #[test]
    fn a_hook_is_refused_or_left_out_and_noted() {
        let error = resolved("b", Hooks::Refuse).unwrap_err().to_string();
        assert!(
            error.starts_with("createContainer hook /bin/sh: "),
            "{error}"
        );
        let found = resolved("b", Hooks::Ignore).unwrap();
        assert_eq!(found.variables, [("A".to_owned(), "b".to_owned())]);
        assert_eq!(found.notes.len(), 1);
    }

    #[test]
    fn variables_fit_an_answer() {
        let fits = "x".repeat(MAX_VARIABLES - 1);
        assert!(resolved(&fits, Hooks::Ignore).is_ok());
        let error = resolved(&format!("{fits}x"), Hooks::Ignore).unwrap_err();
        assert_eq!(
            error.to_string(),
            "CDI: the devices' variables are longer than 8 KiB; write shorter specs"
        );
    }
}
