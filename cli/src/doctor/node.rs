//! The machine that is looked at: its files, its Slurm's configuration, the site's file.
//! Read once, for all sections.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use runtime_core::CONFIG_PATH;
use runtime_core::config::{ConfigError, SiteConfig};
use runtime_core::host::{Host, ReadError};
use runtime_core::image::policy::uid_of;
use runtime_core::slurm::conf::{Conf, ConfError};
use runtime_core::slurm::place;
use runtime_core::slurm::plugstack::{self, Plugin, Plugstack, PlugstackError};

/// Where oarlock-prepare lies unless plugstack.conf says otherwise.
const PREPARE: &str = "/usr/libexec/oarlock/oarlock-prepare";

/// Where programs of the node are looked for.
const PROGRAM_DIRECTORIES: [&str; 6] = [
    "/usr/bin",
    "/usr/sbin",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/opt/slurm/bin",
    "/opt/slurm/sbin",
];

/// slurmd's process; Debian gives it a second name.
pub(super) const SLURMD: [&str; 2] = ["slurmd", "slurmd-wlm"];

/// No site's file is longer, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// A configuration file, and what is in it.
#[derive(Debug)]
pub(super) struct Found<T, E> {
    pub(super) path: PathBuf,
    pub(super) content: Result<T, E>,
}

/// Why the site's file is not in force.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// This process may not read it.
    #[error("{0}")]
    Unseen(ReadError),
    /// The plugin would not take it.
    #[error("{0}")]
    Read(ReadError),
    #[error("{}: not UTF-8", .0.display())]
    NoText(PathBuf),
    #[error(transparent)]
    Wrong(#[from] ConfigError),
}

/// The machine.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) host: Host,
    /// Its name, without a domain.
    pub(super) name: String,
    /// Whether this process can see what only root sees.
    pub(super) is_root: bool,
    /// slurm.conf; `None` where there is none.
    pub(super) slurm: Option<Found<Conf, ConfError>>,
    /// Slurm's directories of plugins.
    pub(super) plugin_directories: Vec<PathBuf>,
    /// plugstack.conf; `None` where there is no slurm.conf either.
    pub(super) plugstack: Option<Found<Plugstack, PlugstackError>>,
    /// The site's file: what it says, the defaults where it is not there (`Ok(None)`),
    /// or why it cannot be used.
    pub(super) config_file: Found<Option<SiteConfig>, Unusable>,
    /// What is in force.
    pub(super) config: SiteConfig,
    /// oarlock-prepare; the other programs are beside it.
    pub(super) prepare: PathBuf,
}

impl Node {
    /// Reads what is to be read. `config` is the site's file where it is not the one
    /// that the plugin reads.
    pub(super) fn of(
        host: Host,
        config: Option<&Path>,
        slurm_conf: Option<&Path>,
        is_root: bool,
    ) -> Self {
        let slurm = place::configuration(&host, slurm_conf).map(|path| Found {
            content: Conf::look_into(&host, &path),
            path,
        });
        let none = Conf::default();
        let conf = slurm.as_ref().and_then(|slurm| slurm.content.as_ref().ok());
        let plugin_directories = place::plugin_directories(&host, conf.unwrap_or(&none));
        let plugstack = slurm.as_ref().map(|slurm| {
            let beside = slurm.path.with_file_name("plugstack.conf");
            let path = conf.and_then(|conf| conf.get("PlugStackConfig"));
            let path = path.map_or(beside, PathBuf::from);
            Found {
                content: plugstack::look_into(&host, &path),
                path,
            }
        });
        let oarlock = plugstack
            .as_ref()
            .and_then(|all| oarlock(all.content.as_ref().ok()?));
        let argument = |name| oarlock.and_then(|plugin| plugin.argument(name));
        let config_path = config
            .or(argument("config").map(Path::new))
            .unwrap_or(Path::new(CONFIG_PATH))
            .to_owned();
        let content = read_config(&host, &config_path);
        let in_force = content.as_ref().ok().cloned().flatten();
        let prepare = PathBuf::from(argument("prepare").unwrap_or(PREPARE));
        let name = host.word("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            name: name.split('.').next().unwrap_or_default().to_owned(),
            is_root,
            slurm,
            plugin_directories,
            plugstack,
            config: in_force.unwrap_or_default(),
            config_file: Found {
                path: config_path,
                content,
            },
            prepare,
            host,
        }
    }

    /// slurm.conf, where it could be read.
    pub(super) fn slurm_conf(&self) -> Option<&Conf> {
        self.slurm.as_ref()?.content.as_ref().ok()
    }

    /// Those of Slurm's files that somebody could write whom it does not concern: neither
    /// root nor SlurmUser, who may command every node anyway.
    pub(super) fn foreign(&self) -> Vec<&Path> {
        let user = self.slurm_conf().and_then(|conf| conf.get("SlurmUser"));
        let user = user.filter(|_| self.host.is_this()).and_then(uid_of);
        let plugstack = self
            .plugstack
            .as_ref()
            .and_then(|all| all.content.as_ref().ok());
        let mut files: Vec<&PathBuf> = self
            .slurm_conf()
            .map_or(Vec::new(), |conf| conf.files.iter().collect());
        files.extend(plugstack.iter().flat_map(|all| &all.files));
        files.retain(|file| {
            self.host.metadata(file).is_ok_and(|about| {
                let is_theirs = about.uid() == self.host.root_uid() || Some(about.uid()) == user;
                !is_theirs || about.mode() & 0o022 != 0
            })
        });
        files.into_iter().map(PathBuf::as_path).collect()
    }

    /// A file of Slurm's beside slurm.conf, where it is there.
    pub(super) fn beside_slurm_conf(&self, name: &str) -> Option<Found<Conf, ConfError>> {
        let path = self.slurm.as_ref()?.path.with_file_name(name);
        match Conf::look_into(&self.host, &path) {
            Err(ConfError::Read(error)) if error.is_missing() => None,
            content => Some(Found { path, content }),
        }
    }

    /// Oarlock's line of plugstack.conf.
    pub(super) fn oarlock(&self) -> Option<&Plugin> {
        oarlock(self.plugstack.as_ref()?.content.as_ref().ok()?)
    }

    /// How many processes have one of these names.
    pub(super) fn processes(&self, names: &[&str]) -> usize {
        self.numbers_of(names).len()
    }

    /// The processes that have one of these names, proc_pid_comm(5).
    pub(super) fn numbers_of(&self, names: &[&str]) -> Vec<u32> {
        let entries = self.host.list(Path::new("/proc")).unwrap_or_default();
        let is_it = |number: &u32| {
            let comm = self.host.word(&format!("/proc/{number}/comm"));
            comm.is_some_and(|comm| names.contains(&comm.as_str()))
        };
        entries
            .iter()
            .filter_map(|entry| entry.to_str()?.parse().ok())
            .filter(is_it)
            .collect()
    }

    /// A program of Slurm's by its name: in the usual places, and where a site has all of
    /// Slurm, at PREFIX/bin and PREFIX/sbin beside its plugins at PREFIX/lib/slurm.
    pub(super) fn program(&self, name: &str) -> Option<PathBuf> {
        let usual = PROGRAM_DIRECTORIES.iter().map(PathBuf::from);
        let prefixes = self
            .plugin_directories
            .iter()
            .filter_map(|dir| dir.ancestors().nth(2));
        let beside = prefixes.flat_map(|prefix| [prefix.join("bin"), prefix.join("sbin")]);
        let mut places = usual.chain(beside).map(|dir| dir.join(name));
        places.find(|place| self.host.metadata(place).is_ok_and(|about| about.is_file()))
    }
}

/// By the name that it is installed with.
fn oarlock(plugstack: &Plugstack) -> Option<&Plugin> {
    let mut plugins = plugstack.plugins.iter();
    plugins.find(|plugin| plugin.name().contains("oarlock"))
}

fn read_config(host: &Host, path: &Path) -> Result<Option<SiteConfig>, Unusable> {
    let bytes = match host.read(path, MAX_CONFIG) {
        Ok(bytes) => bytes,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) if error.is_denied() => return Err(Unusable::Unseen(error)),
        Err(error) => return Err(Unusable::Read(error)),
    };
    let text = String::from_utf8(bytes).map_err(|_| Unusable::NoText(path.to_owned()))?;
    Ok(Some(SiteConfig::parse(&text, path)?))
}
