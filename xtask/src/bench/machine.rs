//! What a run was measured on.
//!
//! Whatever cannot be found out is called unknown: it is not worth a failure.

use std::path::Path;

use super::candidates::{self, DEMO};
use crate::engine::Engine;
use crate::job::Job;
use crate::layout::Layout;

/// Describes the host, the cluster and what is installed on it.
pub(crate) fn describe(layout: &Layout, engine: &Engine) -> Vec<(&'static str, String)> {
    let inside = |machine: &str, argv: &[&str]| {
        known(engine.exec(
            machine,
            "root",
            "describe the cluster",
            argv.iter().copied(),
        ))
    };
    let host = |argv: &[&str]| known(Job::new("describe this host", argv).dir(&layout.root));
    let package = |name: &str| inside("login", &["dpkg-query", "-W", "-f", "${Version}", name]);
    let load = read("/proc/loadavg");
    vec![
        ("date", host(&["date", "-u", "+%F"])),
        (
            "Oarlock",
            format!(
                "{}, {}",
                inside("login", &["oarlock", "--version"]).trim_start_matches("oarlock "),
                commit(&host)
            ),
        ),
        (
            "processors",
            format!(
                "{} × {}",
                host(&["nproc"]),
                field(&read("/proc/cpuinfo"), "model name")
            ),
        ),
        ("memory", field(&read("/proc/meminfo"), "MemTotal")),
        ("kernel", kernel_version(&host(&["uname", "-r"]))),
        (
            "load average before",
            load.split(' ').next().unwrap_or_default().to_owned(),
        ),
        (
            "engine",
            format!(
                "Docker {}",
                known(engine.docker(
                    "describe the engine",
                    ["version", "-f", "{{.Server.Version}}"]
                ))
            ),
        ),
        (
            "machines",
            format!(
                "{}; {}",
                inside(
                    "login",
                    &["sed", "-n", "s/^PRETTY_NAME=//p", "/etc/os-release"]
                )
                .replace('"', ""),
                inside("node1", &["cat", "/run/cluster-cgroup"])
            ),
        ),
        ("Slurm", package("slurmd")),
        ("Apptainer", package("apptainer")),
        ("Charliecloud", package("charliecloud")),
        ("squashfuse", package("squashfuse")),
        (
            "image",
            format!(
                "a Debian root file system with Python and Open MPI, {} MB as SIF, packed by oarlock build",
                inside("login", &["stat", "-c", "%s", &candidates::fuse_sif(DEMO)])
                    .parse::<u64>()
                    .map_or("unknown".into(), |bytes| (bytes / 1_000_000).to_string())
            ),
        ),
    ]
}

/// The commit, and whether anything but the page that is written here differs
/// from it: a run in parts would otherwise call its second part dirty.
fn commit(host: &impl Fn(&[&str]) -> String) -> String {
    let id = host(&["git", "describe", "--always"]);
    let changed = host(&[
        "git",
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        ":!docs/benchmarks.md",
    ]);
    match changed.as_str() {
        "" => id,
        _ => format!("{id}-dirty"),
    }
}

fn known(job: Job) -> String {
    job.capture()
        .map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first `name : value` line.
fn field(text: &str, name: &str) -> String {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map_or("unknown".into(), |(_, value)| value.trim().to_owned())
}

/// The version without what a distributor or a site has added to it.
fn kernel_version(release: &str) -> String {
    release.split('-').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_are_found() {
        let text = "processor\t: 0\nmodel name\t: Fast CPU\nmodel name\t: Other\n";
        assert_eq!(field(text, "model name"), "Fast CPU");
        assert_eq!(field(text, "MemTotal"), "unknown");
    }
}
