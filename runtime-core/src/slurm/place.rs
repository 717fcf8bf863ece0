//! Where a node's Slurm has its configuration and its plugins.
//!
//! As Slurm looks for them, but for what was compiled into it: that is guessed from
//! the places that distributions and sites use.

use std::path::{Path, PathBuf};

use super::conf::Conf;
use crate::host::Host;

/// Where slurm.conf lies: packages, then sites, then what slurmd fetched from the
/// controller ("configless"): slurmd keeps a link at the first of those.
const CONFIGURATIONS: [&str; 7] = [
    "/etc/slurm/slurm.conf",
    "/etc/slurm-llnl/slurm.conf",
    "/opt/slurm/etc/slurm.conf",
    "/usr/local/etc/slurm.conf",
    "/usr/local/etc/slurm/slurm.conf",
    "/run/slurm/conf/slurm.conf",
    "/var/spool/slurmd/conf-cache/slurm.conf",
];

/// Where Slurm's plugins lie, where slurm.conf has no `PluginDir`.
const PLUGINS: [&str; 8] = [
    "/usr/lib/*-linux-gnu/slurm-wlm",
    "/usr/lib/*-linux-gnu/slurm",
    "/usr/lib64/slurm",
    "/usr/lib/slurm",
    "/opt/slurm/lib64/slurm",
    "/opt/slurm/lib/slurm",
    "/usr/local/lib64/slurm",
    "/usr/local/lib/slurm",
];

/// The node's slurm.conf: the one that was asked for (`SLURM_CONF`), else the first
/// that is there.
#[must_use]
pub fn configuration(host: &Host, asked: Option<&Path>) -> Option<PathBuf> {
    if let Some(asked) = asked {
        return Some(asked.to_owned());
    }
    let mut places = CONFIGURATIONS.iter().map(PathBuf::from);
    places.find(|place| host.has(place))
}

/// Whether slurmd fetched it from the controller.
#[must_use]
pub fn is_configless(path: &Path) -> bool {
    path.starts_with("/run/slurm/conf")
        || path.parent().is_some_and(|dir| dir.ends_with("conf-cache"))
}

/// The directories of plugins that are there: those of `PluginDir`, else those that
/// hold a plugin that every Slurm has.
#[must_use]
pub fn plugin_directories(host: &Host, conf: &Conf) -> Vec<PathBuf> {
    if let Some(list) = conf.get("PluginDir") {
        let listed = list.split(':').filter(|dir| !dir.is_empty());
        return listed
            .map(PathBuf::from)
            .filter(|dir| host.has(dir))
            .collect();
    }
    let found = PLUGINS.iter().flat_map(|place| host.glob(Path::new(place)));
    found
        .filter(|dir| host.has(&dir.join("auth_munge.so")) || host.has(&dir.join("mpi_pmi2.so")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> (tempfile::TempDir, Host) {
        let place = tempfile::tempdir().unwrap();
        for path in files {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
        }
        let host = Host::at(place.path()).unwrap();
        (place, host)
    }

    #[test]
    fn the_site_s_file_comes_before_a_fetched_one() {
        let (_place, host) = tree(&["run/slurm/conf/slurm.conf"]);
        let found = configuration(&host, None).unwrap();
        assert!(is_configless(&found), "{found:?}");
        let (_place, host) = tree(&["run/slurm/conf/slurm.conf", "etc/slurm/slurm.conf"]);
        let found = configuration(&host, None).unwrap();
        assert_eq!(found, Path::new("/etc/slurm/slurm.conf"));
        assert!(!is_configless(&found));
        let asked = Path::new("/x/slurm.conf");
        assert_eq!(configuration(&host, Some(asked)).unwrap(), asked);
        assert_eq!(configuration(&tree(&[]).1, None), None);
    }

    #[test]
    fn plugins_are_where_slurm_s_own_are() {
        let (_place, host) = tree(&[
            "usr/lib/x86_64-linux-gnu/slurm-wlm/mpi_pmi2.so",
            "usr/lib/slurm/readme",
            "opt/a/x",
        ]);
        let guessed = plugin_directories(&host, &Conf::default());
        assert_eq!(guessed, [Path::new("/usr/lib/x86_64-linux-gnu/slurm-wlm")]);
        let mut conf = Conf::default();
        conf.lines.push(super::super::conf::Line {
            file: PathBuf::new(),
            number: 1,
            entries: vec![("plugindir".into(), "/opt/a:/opt/b".into())],
        });
        assert_eq!(plugin_directories(&host, &conf), [Path::new("/opt/a")]);
    }
}
