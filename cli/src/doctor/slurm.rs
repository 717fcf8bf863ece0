//! Slurm on this machine: its version and files, the plugin, what else there is.
//!
//! Files are read; of programs only those that answer without a daemon are asked.

mod plugin;

use runtime_core::entry;
use runtime_core::slurm::library::Release;
use runtime_core::slurm::place::is_configless;
use runtime_core::sys::file_capabilities::{self, Unable};

use super::check::Findings;
use super::command::{PATIENCE, Silent, ask};
use super::node::{Node, SLURMD};
use super::text::many;

/// The oldest that Oarlock is built and tested with.
const OLDEST: Release = Release {
    major: 22,
    minor: 5,
};

/// From here on a prolog can come before the container.
const LATE_ENTRY: Release = Release {
    major: 23,
    minor: 11,
};

pub(super) fn look(node: &Node, findings: &mut Findings) {
    let release = version(node, findings);
    let Some(slurm) = &node.slurm else {
        if node.processes(&SLURMD) > 0 {
            findings.warning(
                "slurm.conf",
                "none in the usual places, and slurmd runs",
                "say where it is: SLURM_CONF=FILE oarlock doctor",
            );
        } else {
            findings.not_here(
                "slurm.conf",
                "none in the usual places; `oarlock exec` needs none. Elsewhere: set SLURM_CONF",
            );
        }
        return;
    };
    match &slurm.content {
        Ok(conf) => {
            let whose = if is_configless(&slurm.path) {
                ", fetched from the controller"
            } else {
                ""
            };
            findings.ok(
                "slurm.conf",
                format!(
                    "{}{whose}, {}",
                    slurm.path.display(),
                    many(conf.files.len(), "file")
                ),
            );
        }
        Err(error) => findings.warning(
            "slurm.conf",
            error.to_string(),
            "correct the file; what follows from it is guessed",
        ),
    }
    owners(node, findings);
    plugin::look(node, release, findings);
    mpi(node, findings);
    task_prolog(node, release, findings);
    job_container(node, findings);
}

/// Who writes these files commands slurmd.
fn owners(node: &Node, findings: &mut Findings) {
    if let Some(file) = node.foreign().first() {
        findings.warning(
            "owners",
            format!(
                "{}: others than root and SlurmUser can write it",
                file.display()
            ),
            "chown root and chmod go-w it: what it says slurmd does as root",
        );
    }
}

fn version(node: &Node, findings: &mut Findings) -> Option<Release> {
    const NAME: &str = "version";
    let programs = [("slurmd", "-V"), ("scontrol", "-V"), ("srun", "-V")];
    let mut silent = None;
    for (program, argument) in programs {
        let Some(path) = node.program(program) else {
            continue;
        };
        match ask(node, &path, &[argument], PATIENCE) {
            Ok((text, _)) => {
                let Some(release) = Release::of_words(&text) else {
                    continue;
                };
                let line = text.lines().next().unwrap_or_default().trim();
                if release < OLDEST {
                    let advice = format!("Oarlock is for Slurm {OLDEST} and newer");
                    findings.failed(NAME, line, advice);
                } else {
                    findings.ok(NAME, format!("{line} ({})", path.display()));
                }
                return Some(release);
            }
            Err(error) => {
                // The others lie where this one lies, and would hang as it does.
                let hangs = matches!(error, Silent::Late { .. });
                silent = Some(error);
                if hangs {
                    break;
                }
            }
        }
    }
    match silent {
        Some(error) => findings.unknown(NAME, error.to_string(), error.advice("-V")),
        None => findings.not_here(NAME, "no slurmd, scontrol or srun in the usual places"),
    }
    None
}

/// The kinds of `srun --mpi=`, by the plugins that are there.
fn mpi(node: &Node, findings: &mut Findings) {
    let mut kinds: Vec<String> = node
        .plugin_directories
        .iter()
        .flat_map(|directory| node.host.list(directory).unwrap_or_default())
        .filter_map(|name| {
            let name = name.into_string().ok()?;
            Some(name.strip_prefix("mpi_")?.strip_suffix(".so")?.to_owned())
        })
        .collect();
    kinds.sort();
    kinds.dedup();
    let default = node.slurm_conf().and_then(|conf| conf.get("MpiDefault"));
    let default = default.unwrap_or("none");
    let shown = kinds.join(", ");
    if kinds.is_empty() {
        findings.unknown(
            "mpi",
            "Slurm's directory of plugins was not found",
            "ask `srun --mpi=list`",
        );
    } else if default != "none" && !kinds.iter().any(|kind| kind == default) {
        findings.failed(
            "mpi",
            format!("MpiDefault={default} is not among {shown}"),
            "install Slurm's plugin for it, or change MpiDefault in slurm.conf",
        );
    } else if kinds.iter().any(|kind| kind.starts_with("pmi")) {
        findings.ok("mpi", format!("{shown}; default {default}"));
    } else {
        findings.warning(
            "mpi",
            format!("only {shown}"),
            "for MPI in containers install Slurm's plugins pmix or pmi2",
        );
    }
}

/// A task prolog has ranks enter by a program, whose file needs capabilities.
fn task_prolog(node: &Node, release: Option<Release>, findings: &mut Findings) {
    const NAME: &str = "task prolog";
    let prolog = node.slurm_conf().and_then(|conf| conf.get("TaskProlog"));
    let Some(prolog) = prolog else {
        findings.ok(NAME, "none in slurm.conf: ranks enter by the shortest way");
        return;
    };
    if release.is_some_and(|release| release < LATE_ENTRY) {
        findings.ok(
            NAME,
            format!("{prolog}; the plugin runs it itself before Slurm {LATE_ENTRY}"),
        );
        return;
    }
    let program = node.prepare.with_file_name("oarlock-enter");
    let redeems = file_capabilities::redeems(&node.host.place(&program), entry::needed());
    match redeems {
        Ok(()) => findings.ok(NAME, format!("{prolog}; runs on the host, then ranks enter")),
        // Of this process, which says nothing of slurmstepd's.
        Err(Unable::NoNewPrivileges) => findings.unknown(
            NAME,
            format!("{prolog}; this process runs with no_new_privs"),
            "run oarlock doctor in a shell without it",
        ),
        Err(error) => findings.warning(
            NAME,
            format!("{prolog}; {}: {error}", program.display()),
            format!(
                "so that it runs on the host as ever: setcap cap_setpcap,cap_sys_chroot,cap_sys_admin=ei {}",
                program.display()
            ),
        ),
    }
}

fn job_container(node: &Node, findings: &mut Findings) {
    let Some(conf) = node.slurm_conf() else {
        return;
    };
    let kind = conf.get("NamespaceType").or(conf.get("JobContainerType"));
    match kind {
        Some(kind) if !kind.eq_ignore_ascii_case("job_container/none") => {
            findings.ok(
                "job container",
                format!("{kind}: containers see the job's own directories"),
            );
        }
        _ => findings.ok("job container", "none: containers see the node's /tmp"),
    }
}

#[cfg(test)]
mod tests;
