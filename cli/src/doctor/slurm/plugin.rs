//! Oarlock's line of plugstack.conf, its file, and plugins that get in its way.

use std::path::Path;

use runtime_core::kept;
use runtime_core::slurm::library::{self, Release};
use runtime_core::slurm::plugstack::{Plugin, Plugstack};

use super::super::check::Findings;
use super::super::node::{Node, SLURMD};
use super::super::text::many;

/// No plugin is larger, in bytes.
const MAX_LIBRARY: u64 = 256 << 20;

/// How the line is written.
const LINE: &str = "required spank_oarlock.so";

/// Plugins that register options of the same names: Slurm takes the first one's.
const SAME_OPTIONS: [&str; 1] = ["pyxis"];

/// Others that change what a step runs in.
const OTHERS: [&str; 4] = ["enroot", "shifter", "singularity", "private-tmp"];

pub(super) fn look(node: &Node, release: Option<Release>, findings: &mut Findings) {
    let Some(found) = &node.plugstack else {
        return;
    };
    let all = match &found.content {
        Ok(all) => all,
        Err(error) => {
            let advice = format!(
                "write \"{LINE}\" to it, or to a file that it includes; then restart slurmd"
            );
            findings.failed("plugstack.conf", error.to_string(), advice);
            return;
        }
    };
    files(found.path.as_path(), all, findings);
    match node.oarlock() {
        Some(plugin) => {
            line(node, all, plugin, findings);
            library(node, release, plugin, findings);
            arguments(node, plugin, findings);
        }
        None => findings.failed(
            "plugin",
            format!("no line of Oarlock's in {}", found.path.display()),
            format!("write \"{LINE}\" to it, or to a file that it includes; then restart slurmd"),
        ),
    }
    others(all, findings);
}

fn files(path: &Path, all: &Plugstack, findings: &mut Findings) {
    match all.passed_over.first() {
        Some((file, number, text)) => findings.warning(
            "plugstack.conf",
            format!(
                "{}: line {number}: \"{text}\" is passed over by Slurm",
                file.display()
            ),
            "a line is required, optional or include, in small letters, and a path",
        ),
        None => findings.ok(
            "plugstack.conf",
            format!(
                "{}, {}, {}",
                path.display(),
                many(all.files.len(), "file"),
                many(all.plugins.len(), "plugin")
            ),
        ),
    }
}

fn line(node: &Node, all: &Plugstack, plugin: &Plugin, findings: &mut Findings) {
    let (file, number) = &plugin.at;
    let at = format!("{}: line {number}", file.display());
    let same = |other: &&Plugin| other.name().contains("oarlock");
    if all.plugins.iter().filter(same).count() > 1 {
        findings.warning(
            "plugin",
            format!("more than one line of Oarlock's; the first is {at}"),
            "leave one of them",
        );
    } else if plugin.is_required {
        findings.ok("plugin", format!("{at}, required"));
    } else {
        findings.warning(
            "plugin",
            format!("{at}, optional"),
            "write required: Slurm passes over an optional plugin that it cannot load, and says nothing",
        );
    }
    // slurmd that was started before the line was written does not have it.
    let has_mark = || node.host.has(&kept::epilog_mark());
    if node.is_root && node.processes(&SLURMD) > 0 && !has_mark() {
        findings.warning(
            "slurmd",
            "was started before the plugin was there",
            "restart slurmd: until then no mount is kept for a job's next step",
        );
    }
}

fn library(node: &Node, release: Option<Release>, plugin: &Plugin, findings: &mut Findings) {
    const NAME: &str = "plugin's file";
    let Some(path) = plugin.find(&node.host, &node.plugin_directories) else {
        let places: Vec<_> = node
            .plugin_directories
            .iter()
            .map(|dir| dir.display().to_string())
            .collect();
        let places = if plugin.path.is_absolute() || places.is_empty() {
            String::new()
        } else {
            format!(" in {}", places.join(", "))
        };
        let verdict = format!("{} is not there{places}", plugin.path.display());
        if plugin.path.is_absolute() || !node.plugin_directories.is_empty() {
            findings.failed(
                NAME,
                verdict,
                "install the plugin that was built for this Slurm",
            );
        } else {
            findings.unknown(
                NAME,
                verdict,
                "set PluginDir in slurm.conf, or write the whole path",
            );
        }
        return;
    };
    let shown = path.display().to_string();
    let bytes = match node.host.read(&path, MAX_LIBRARY) {
        Ok(bytes) => bytes,
        Err(error) => {
            findings.failed(NAME, error.to_string(), "install the plugin again");
            return;
        }
    };
    if !library::is_elf(&bytes) {
        findings.failed(
            NAME,
            format!("{shown}: not a library"),
            "install the plugin again",
        );
        return;
    }
    match (library::release(&bytes), release) {
        (Some(built), Some(release)) if built != release => findings.failed(
            NAME,
            format!("{shown} is for Slurm {built}, and this is {release}: it is not loaded"),
            format!("install the plugin that was built for Slurm {release}"),
        ),
        (Some(built), Some(_)) => findings.ok(NAME, format!("{shown}, for Slurm {built}")),
        (Some(built), None) => {
            findings.ok(
                NAME,
                format!("{shown}, for Slurm {built}; this Slurm's version is not known"),
            );
        }
        (None, _) => findings.unknown(
            NAME,
            format!("{shown}; which Slurm it is for is not told by its file"),
            "start a step with --container-image and see",
        ),
    }
}

/// The two that name files; others are the plugin's to judge.
fn arguments(node: &Node, plugin: &Plugin, findings: &mut Findings) {
    for name in ["prepare", "config"] {
        let Some(path) = plugin.argument(name) else {
            continue;
        };
        let label = format!("plugin's {name}=");
        let about = node.host.metadata(Path::new(path));
        match about {
            Ok(about) if !about.is_file() => {
                findings.failed(
                    &label,
                    format!("{path} is not a file"),
                    "correct plugstack.conf",
                );
            }
            Ok(_) => findings.ok(&label, path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && name == "config" => {
                findings.warning(
                    &label,
                    format!("{path} is not there: the defaults are in force"),
                    "write the file, or correct plugstack.conf",
                );
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                findings.unknown(
                    &label,
                    format!("{path}: {error}"),
                    "run oarlock doctor as root",
                );
            }
            Err(error) => {
                findings.failed(&label, format!("{path}: {error}"), "correct plugstack.conf");
            }
        }
    }
}

fn others(all: &Plugstack, findings: &mut Findings) {
    let named = |part: &str| {
        let mut plugins = all.plugins.iter();
        let found = plugins.find(|plugin| plugin.name().to_ascii_lowercase().contains(part));
        found.map(|plugin| (plugin.name(), plugin.at.clone()))
    };
    let mut clash = false;
    for part in SAME_OPTIONS {
        if let Some((name, (file, number))) = named(part) {
            clash = true;
            findings.failed(
                "other plugins",
                format!(
                    "{}: line {number}: {name} has options of the same names",
                    file.display()
                ),
                "leave out one of the two: jobs with containers are not submitted else",
            );
        }
    }
    for part in OTHERS {
        if let Some((name, (file, number))) = named(part) {
            clash = true;
            findings.warning(
                "other plugins",
                format!(
                    "{}: line {number}: {name} changes what steps run in, too",
                    file.display()
                ),
                "see that no job uses both",
            );
        }
    }
    if !clash {
        findings.ok("other plugins", "none that gets in the way");
    }
}
