//! From a spec as it is written to one that can be relied on.
//!
//! The rules are those of the reference's validation, and those for paths and
//! numbers that the crate's documentation tells. Nothing is looked up on the node.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU64;

use crate::edits::{
    Access, DeviceNode, Edits, Hook, IntelRdt, Mount, NetDevice, NodeKind, Stage, Variable,
};
use crate::error::{Problem, quoted};
use crate::{limits, path, raw};

/// What is wrong, and in which field.
type Wrong = (&'static str, String);

/// Checks the edits of a device, or of a whole spec.
///
/// # Errors
/// [`Problem::Edit`].
pub(crate) fn edits(raw: raw::Edits, device: Option<&str>) -> Result<Edits, Problem> {
    all(raw).map_err(|(field, problem)| Problem::Edit {
        device: device.map(quoted),
        field,
        problem,
    })
}

/// Checks annotations, which nobody needs afterwards.
///
/// # Errors
/// [`Problem::Annotation`], [`Problem::Annotations`].
pub(crate) fn annotations(all: &BTreeMap<String, String>) -> Result<(), Problem> {
    let size: usize = all.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size > limits::ANNOTATIONS {
        return Err(Problem::Annotations);
    }
    match all.keys().find(|key| !is_annotation(key)) {
        Some(key) => Err(Problem::Annotation(quoted(key))),
        None => Ok(()),
    }
}

/// Kubernetes' qualified name in any case: `name`, or `prefix.example/name`.
fn is_annotation(key: &str) -> bool {
    let is_edge = |c: char| c.is_ascii_alphanumeric();
    let is_word = |word: &str, others: &str| {
        word.starts_with(is_edge)
            && word.ends_with(is_edge)
            && word.chars().all(|c| is_edge(c) || others.contains(c))
    };
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_prefix =
        |prefix: &str| prefix.len() <= 253 && prefix.split('.').all(|label| is_word(label, "-"));
    name.len() <= 63 && is_word(name, "-_.") && prefix.is_none_or(is_prefix)
}

fn all(raw: raw::Edits) -> Result<Edits, Wrong> {
    let mut gids = raw.additional_gids;
    // The specification: "Values of 0 are ignored".
    gids.retain(|gid| *gid != 0);
    Ok(Edits {
        env: variables(&raw.env).map_err(|problem| ("env", problem))?,
        device_nodes: each("deviceNodes", raw.device_nodes, |raw| node(&raw))?,
        mounts: each("mounts", raw.mounts, mount)?,
        hooks: each("hooks", raw.hooks, hook)?,
        net_devices: net_devices(raw.net_devices).map_err(|problem| ("netDevices", problem))?,
        additional_gids: gids,
        intel_rdt: raw
            .intel_rdt
            .map(|rdt| intel_rdt(rdt).map_err(|problem| ("intelRdt", problem)))
            .transpose()?,
    })
}

fn each<A, B>(
    field: &'static str,
    all: Vec<A>,
    check: impl Fn(A) -> Result<B, String>,
) -> Result<Vec<B>, Wrong> {
    all.into_iter()
        .map(|one| check(one).map_err(|problem| (field, problem)))
        .collect()
}

fn variables(all: &[String]) -> Result<Vec<Variable>, String> {
    let one = |text: &String| match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => Ok(Variable {
            name: name.to_owned(),
            value: value.to_owned(),
        }),
        _ => Err(format!("{} is not of the form NAME=VALUE", quoted(text))),
    };
    all.iter().map(one).collect()
}

fn node(raw: &raw::DeviceNode) -> Result<DeviceNode, String> {
    let place = path::inside(&raw.path)?;
    let host_path = match raw.host_path.as_str() {
        "" => place.clone(),
        text => path::absolute(text)?,
    };
    let said = quoted(&raw.path);
    let kind = match raw.kind.as_str() {
        "" => None,
        "b" => Some(NodeKind::Block),
        "c" | "u" => Some(NodeKind::Character),
        "p" => Some(NodeKind::Fifo),
        other => {
            return Err(format!(
                "{said}: type {} is none of b, c, u, p",
                quoted(other)
            ));
        }
    };
    let number = |value: i64| {
        u32::try_from(value).map_err(|_| format!("{said}: {value} is no device's number"))
    };
    let (major, minor) = (number(raw.major)?, number(raw.minor)?);
    Ok(DeviceNode {
        path: place,
        host_path,
        kind,
        // Go does not tell 0 from nothing, and no device has major number 0.
        numbers: (major != 0).then_some((major, minor)),
        mode: raw.file_mode.map(|mode| mode & 0o777),
        access: access(&raw.permissions)
            .ok_or_else(|| format!("{said}: permissions {}", quoted(&raw.permissions)))?,
        uid: raw.uid,
        gid: raw.gid,
    })
}

fn access(text: &str) -> Option<Access> {
    let has = |letter| text.is_empty() || text.contains(letter);
    match text {
        "none" => Some(Access {
            read: false,
            write: false,
            mknod: false,
        }),
        _ if text.chars().all(|c| "rwm".contains(c)) => Some(Access {
            read: has('r'),
            write: has('w'),
            mknod: has('m'),
        }),
        _ => None,
    }
}

fn mount(raw: raw::Mount) -> Result<Mount, String> {
    let host_path = path::absolute(&raw.host_path).map_err(|problem| format!("host: {problem}"))?;
    let container_path =
        path::inside(&raw.container_path).map_err(|problem| format!("container: {problem}"))?;
    let words = raw.options.iter().chain([&raw.kind]);
    if let Some(word) = words
        .into_iter()
        .find(|word| word.chars().any(char::is_control))
    {
        return Err(format!("{} has control characters", quoted(word)));
    }
    Ok(Mount {
        host_path,
        container_path,
        options: raw.options,
        kind: raw.kind,
    })
}

fn hook(raw: raw::Hook) -> Result<Hook, String> {
    let stage = Stage::parse(&raw.hook_name)
        .ok_or_else(|| format!("hookName {} is none", quoted(&raw.hook_name)))?;
    if raw.args.iter().any(|arg| arg.contains('\0')) {
        return Err(format!("{}: an argument with NUL", quoted(&raw.path)));
    }
    let timeout = match raw.timeout {
        None => None,
        Some(seconds) => Some(
            u64::try_from(seconds)
                .ok()
                .and_then(NonZeroU64::new)
                .ok_or_else(|| format!("timeout {seconds} must be greater than zero"))?,
        ),
    };
    Ok(Hook {
        stage,
        path: path::inside(&raw.path)?,
        args: raw.args,
        env: variables(&raw.env)?,
        timeout,
    })
}

fn net_devices(all: Vec<raw::NetDevice>) -> Result<Vec<NetDevice>, String> {
    let (mut hosts, mut names) = (HashSet::new(), HashSet::new());
    let mut checked = Vec::with_capacity(all.len());
    for raw in all {
        for (name, seen) in [
            (&raw.host_interface_name, &mut hosts),
            (&raw.name, &mut names),
        ] {
            // dev_valid_name() in the kernel; 15 bytes are IFNAMSIZ without its NUL.
            let is_name = !matches!(name.as_str(), "" | "." | "..")
                && name.len() <= 15
                && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c == '\0');
            if !is_name {
                return Err(format!("{} is no interface's name", quoted(name)));
            }
            if !seen.insert(name.clone()) {
                return Err(format!("{} is there twice", quoted(name)));
            }
        }
        checked.push(NetDevice {
            host_name: raw.host_interface_name,
            name: raw.name,
        });
    }
    Ok(checked)
}

fn intel_rdt(raw: raw::IntelRdt) -> Result<IntelRdt, String> {
    let id = &raw.clos_id;
    let is_name = id.len() < limits::PATH && id != "." && id != ".." && !id.contains(['/', '\n']);
    if id != "/" && !is_name {
        return Err(format!("closID {} is no file's name", quoted(id)));
    }
    let is_monitored = raw.enable_monitoring
        || raw.enable_cmt.unwrap_or_default()
        || raw.enable_mbm.unwrap_or_default();
    Ok(IntelRdt {
        clos_id: raw.clos_id,
        l3_cache_schema: raw.l3_cache_schema,
        mem_bw_schema: raw.mem_bw_schema,
        schemata: raw.schemata.unwrap_or_default(),
        is_monitored,
    })
}
