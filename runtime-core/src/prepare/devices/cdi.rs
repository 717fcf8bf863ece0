//! What the site's CDI specs say of the step's devices.
//!
//! The allocation picks them; a user may name more only among what was granted. No
//! hook is run: those that make links or have ldconfig do so come down to a directory
//! of links and LD_LIBRARY_PATH, which the image's own linker heeds without a new cache.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

use cdi_specs::hooks::{Native, Symlink, classify};
use host_devices::gpu::Gpus;
use host_devices::libraries::elf::Elf;

use cdi_specs::{Device, DeviceNode, Edits, Kind, QualifiedName, Registry, Spec, Trust, Wanted};

use crate::allocation::gpus::Gpu;
use crate::config::Hooks;
use crate::path::{ContainerPath, HostPath};
use crate::plan::mounts::{Mount, Need, Source};
use crate::prepare::protocol::MAX_SHOWN;
use crate::request::Create;
use crate::sys::mount::Attributes;

/// Where links that belong to devices are in a container.
const LINKS: &str = "/.oarlock/links";

/// Why a device's spec cannot be followed: one line.
#[derive(Debug, thiserror::Error)]
pub(in crate::prepare) enum CdiError {
    #[error("{0}; devices.cdi_hooks in oarlock.toml is for the admin to decide")]
    Hook(String),
    #[error("CDI: the devices' variables are longer than {} KiB in all; write shorter specs", MAX_SHOWN >> 10)]
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
    /// What is not done, for the journal and for who asks.
    pub(super) notes: Vec<String>,
}

/// The site's specs.
pub(super) fn load(directories: &[PathBuf]) -> Registry {
    Registry::load(Path::new("/"), directories, Trust::ROOT)
}

/// The devices that stand for one GPU or a part of one, of every kind that has one for
/// it, and why others have none.
pub(super) fn standing_for(
    registry: &Registry,
    gpu: &Gpu,
    found: &Gpus,
    nodes: &[PathBuf],
) -> (Vec<QualifiedName>, Vec<String>) {
    let known = gpu.known(found);
    let part = gpu.part(found);
    let wanted = Wanted {
        index: Some(known.map_or(gpu.number, |known| known.index)),
        // A part is not to be found by the name of its GPU.
        uuid: known
            .filter(|_| part.is_none())
            .and_then(|known| known.uuid.as_deref()),
        mig: part.as_deref(),
        nodes,
    };
    let is_gpu = |kind: &&Kind| kind.class() == "gpu";
    let (mut names, mut reasons) = (Vec::new(), Vec::new());
    for kind in registry.kinds().into_iter().filter(is_gpu) {
        match registry.choose(kind, &wanted) {
            Ok(name) => names.push(name.clone()),
            Err(why) => reasons.push(why.to_string()),
        }
    }
    if names.is_empty() && reasons.is_empty() {
        reasons.push("no CDI spec of this node has devices of a class gpu".to_owned());
    }
    (names, reasons)
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
            Ok(Native::CudaCompat { .. }) => found.notes.push(
                "CDI: the image's CUDA compatibility libraries are not put before the driver's; LD_LIBRARY_PATH=/usr/local/cuda/compat does it"
                    .to_owned(),
            ),
            Ok(Native::Chmod { .. } | Native::NotNeeded { .. }) => {}
            Err(foreign) if hooks == Hooks::Ignore => found.notes.push(foreign.to_string()),
            Err(foreign) => return Err(CdiError::Hook(foreign.to_string())),
        }
    }
    nodes(&edits.device_nodes, &mut found);
    mounts(&edits, &specs_of(registry, names), &mut found);
    found.variables = edits
        .env
        .iter()
        .map(|variable| (variable.name.clone(), variable.value.clone()))
        .collect();
    let mut names = sonames(&edits, &folders);
    links.retain(|link| !add_link_of_dev(link, &mut found.nodes));
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

/// The specs that have these devices.
fn specs_of<'a>(registry: &'a Registry, names: &[QualifiedName]) -> Vec<(&'a Spec, &'a Device)> {
    let found = names.iter().filter_map(|name| registry.find(name).ok());
    found.map(|found| (found.spec, found.device)).collect()
}

fn mounts(edits: &Edits, specs: &[(&Spec, &Device)], found: &mut Found) {
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
        // Intel's specs bind devices by their place on the bus, and a bind opens no device.
        if mount.container_path == mount.host_path && is_device(&mount.host_path) {
            found.nodes.push(mount.host_path.clone());
            continue;
        }
        if !mount.is_bind() {
            found
                .notes
                .push(format!("CDI: {target}: only binds are made"));
            continue;
        }
        let spec = specs.iter().find(|(spec, device)| {
            spec.edits.mounts.contains(mount) || device.edits.mounts.contains(mount)
        });
        let asks = |word: &str| mount.options.iter().any(|option| option == word);
        found.mounts.push(Mount {
            source: match spec {
                Some((spec, _)) => Source::Spec(from, spec.path.clone()),
                None => Source::Host(from),
            },
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

/// A link to a device that is shown, as those below /dev/dri/by-path: where the node has
/// the same, it is that device under one more name.
fn add_link_of_dev(Symlink { target, link }: &Symlink, nodes: &mut Vec<PathBuf>) -> bool {
    let Some(parent) = link.parent().filter(|_| is_below_dev(link)) else {
        return false;
    };
    let device = parent.join(target).canonicalize();
    let is_same = device.is_ok_and(|device| {
        nodes.contains(&device) && link.canonicalize().is_ok_and(|other| other == device)
    });
    if is_same {
        nodes.push(link.clone());
    }
    is_same
}

/// Whether a path below /dev leads to a device that programs read and write.
fn is_device(path: &Path) -> bool {
    let kind = || std::fs::metadata(path).map(|about| about.file_type());
    is_below_dev(path) && kind().is_ok_and(|kind| kind.is_char_device())
}

fn is_below_dev(path: &Path) -> bool {
    path.starts_with("/dev") && !path.components().any(|part| part == Component::ParentDir)
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
    use cdi_specs::Format;

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
    fn why_no_device_stands_for_a_gpu() {
        let text = "cdiVersion: 0.6.0\nkind: site.org/gpu\ndevices:\n- name: '0'\n  containerEdits:\n    deviceNodes: [{path: /dev/a}]\n";
        let spec = Spec::parse(text.as_bytes(), Format::Yaml, Path::new("/etc/cdi/a.yaml"));
        let mut registry = Registry::default();
        let gpu = |file: &str| Gpu {
            number: 3,
            name: None,
            files: vec![file.into()],
        };
        let ask = |registry: &Registry, file: &str| {
            standing_for(registry, &gpu(file), &Gpus::default(), &[file.into()])
        };
        assert_eq!(
            ask(&registry, "/dev/a").1,
            ["no CDI spec of this node has devices of a class gpu"]
        );
        registry.add(spec.unwrap(), 0);
        let (names, reasons) = ask(&registry, "/dev/a");
        assert_eq!((names.len(), reasons.len()), (1, 0));
        let (names, reasons) = ask(&registry, "/dev/b");
        assert!(names.is_empty());
        assert_eq!(
            reasons,
            ["no CDI device of kind site.org/gpu stands for number 3, /dev/b"]
        );
    }

    #[test]
    fn a_part_of_a_gpu_has_its_own_device() {
        let node = |cap: u32| format!("/dev/nvidia-caps/nvidia-cap{cap}");
        let device = |name: &str, caps: &[u32]| {
            let caps: String = caps
                .iter()
                .map(|cap| format!(", {{path: {}}}", node(*cap)))
                .collect();
            format!(
                "- name: '{name}'\n  containerEdits:\n    deviceNodes: [{{path: /dev/nvidia0}}{caps}]\n"
            )
        };
        let text = format!(
            "cdiVersion: 0.6.0\nkind: nvidia.com/gpu\ndevices:\n{}{}{}{}",
            device("0", &[]),
            device("0:0", &[21, 22]),
            device("0:1", &[30, 31]),
            device("all", &[21, 22, 30, 31]),
        );
        let spec = Spec::parse(text.as_bytes(), Format::Yaml, Path::new("/etc/cdi/a.yaml"));
        let mut registry = Registry::default();
        registry.add(spec.unwrap(), 0);
        let part = |cap: u32| host_devices::gpu::MigInstance {
            gpu_instance: cap,
            compute_instance: 0,
            gpu_node: node(cap).into(),
            compute_node: node(cap + 1).into(),
        };
        let found = Gpus {
            all: vec![host_devices::gpu::Gpu {
                vendor: host_devices::gpu::Vendor::Nvidia,
                index: 0,
                nodes: vec!["/dev/nvidia0".into()],
                uuid: Some("GPU-aa".to_owned()),
                bus: None,
                model: None,
                mig: vec![part(21), part(30)],
                shared: vec!["/dev/nvidiactl".into()],
            }],
            problems: Vec::new(),
        };
        for (name, expected) in [
            (None, "0:1"),
            (Some("MIG-x"), "0:1"),
            (Some("GPU-aa"), "0:1"),
        ] {
            let gpu = Gpu {
                number: 5,
                name: name.map(str::to_owned),
                files: vec!["/dev/nvidia0".into(), node(30).into(), node(31).into()],
            };
            let nodes = found.nodes_for(&gpu.files);
            let (names, reasons) = standing_for(&registry, &gpu, &found, &nodes);
            let names: Vec<&str> = names.iter().map(QualifiedName::device).collect();
            assert_eq!(names, [expected], "{reasons:?}");
        }
    }

    #[test]
    fn a_mount_has_its_spec() {
        let text = "cdiVersion: 0.6.0\nkind: site.org/gpu\ndevices:\n- name: '0'\n  containerEdits:\n    mounts: [{hostPath: /a, containerPath: /b}]\n";
        let spec = Spec::parse(text.as_bytes(), Format::Yaml, Path::new("/etc/cdi/a.yaml"));
        let mut registry = Registry::default();
        registry.add(spec.unwrap(), 0);
        let names = ["site.org/gpu=0".parse().unwrap()];
        let found = resolve(&registry, &names, Hooks::Refuse).unwrap();
        let path = HostPath::new("/a").unwrap();
        assert_eq!(
            found.mounts[0].source,
            Source::Spec(path, "/etc/cdi/a.yaml".into())
        );
    }
}
