//! What the site's CDI specs say of the step's devices.
//!
//! The allocation picks them; a user may name more only among what was granted. No
//! hook is run: those that make links or tell the linker where libraries are come
//! down to a directory of links and LD_LIBRARY_PATH, which the image's own linker
//! heeds without a new cache.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use cdi_specs::hooks::{Native, Symlink, classify};
use cdi_specs::{DeviceNode, Edits, Kind, QualifiedName, Registry, Trust, Wanted};

use crate::config::Hooks;
use crate::path::{ContainerPath, HostPath};
use crate::plan::mounts::{Mount, Need, Source};
use crate::request::Create;
use crate::sys::mount::Attributes;

/// Where links that belong to devices are in a container.
const LINKS: &str = "/.oarlock/links";

/// Why a device's spec cannot be followed: one line.
#[derive(Debug, thiserror::Error)]
pub(in crate::prepare) enum CdiError {
    #[error("{0}; devices.cdi_hooks in oarlock.toml is for the admin to decide")]
    Hook(String),
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
    found.libraries = folders
        .iter()
        .filter_map(|folder| folder.to_str().map(str::to_owned))
        .collect();
    links_of(&links, &folders, &mut found);
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

/// Links to libraries are made in a directory of their own: the linker finds them
/// there, and nothing of the image is touched.
fn links_of(list: &[Symlink], folders: &BTreeSet<PathBuf>, found: &mut Found) {
    let mut links: Vec<(OsString, PathBuf)> = Vec::new();
    for Symlink { target, link } in list {
        let (Some(parent), Some(name)) = (link.parent(), link.file_name()) else {
            continue;
        };
        if folders.contains(parent) || is_of_libraries(parent) {
            links.push((name.to_owned(), parent.join(target)));
        } else {
            found
                .notes
                .push(format!("CDI: link {} is not made", link.display()));
        }
    }
    if links.is_empty() {
        return;
    }
    if let Ok(target) = ContainerPath::new(LINKS) {
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
}

fn is_of_libraries(directory: &Path) -> bool {
    let mut parts = directory.components().skip(1).map(Component::as_os_str);
    let first = match parts.next() {
        Some(usr) if usr == "usr" => parts.next(),
        first => first,
    };
    first.is_some_and(|name| name.to_string_lossy().starts_with("lib"))
}
