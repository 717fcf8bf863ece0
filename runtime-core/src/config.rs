//! The site's one file of policy, `/etc/oarlock/oarlock.toml`.
//!
//! Unknown keys are errors that name their line: a misspelt policy must not be
//! a silently ignored one. A missing file means the defaults; an unreadable or
//! wrong one is an error.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::path::HostPath;

mod cgroup;
mod devices;
mod images;
mod namespaces;
mod store;
mod writable;

pub use crate::profile::Profiles;
pub use cgroup::{Cgroup, Enforce};
pub use devices::{Devices, Driver, Hooks, Rdma};
pub use images::{Images, KernelMount, RequireSignature, Untrusted};
pub use namespaces::{Namespaces, NotAllowed, Separable};
pub use store::{Size, Store};
pub use writable::{Place, Writable};

/// No sensible policy is longer than this, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Ranks do not wait longer than some minutes, whatever the site says.
const MAX_TIMEOUT: u32 = 120;

/// Nor longer than this for a copy: with what follows it, the plugin gives up after
/// 600 seconds.
const MAX_STAGE_TIMEOUT: u32 = 150;

/// Why the site's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Somebody else than root may write the file.
    #[error("{}: only root may be able to write this file; chown root and chmod go-w it", .0.display())]
    Writable(PathBuf),
    /// The file is longer than a policy can be.
    #[error("{}: longer than 1 MiB", .0.display())]
    TooLong(PathBuf),
    /// A value of the right kind that makes no sense.
    #[error("{}: {key}: {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Section and key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{}: line {line}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
}

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SiteConfig {
    /// Which images, and how they are mounted.
    pub images: Images,
    /// Where a node keeps copies of images.
    pub store: Store,
    /// The file-system server for images that the kernel must not parse.
    pub fuse: Fuse,
    /// What every container sees of the host.
    pub mounts: Mounts,
    /// Where what containers write goes.
    pub writable: Writable,
    /// What every container shows of the node's hardware.
    pub devices: Devices,
    /// What holds a step to its allocation where Slurm does not.
    pub cgroup: Cgroup,
    /// What a step may have for itself.
    pub namespaces: Namespaces,
    /// Where the site's profiles are.
    pub profiles: Profiles,
    /// Bounds on the work before the first rank.
    pub prepare: Prepare,
}

/// `[fuse]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fuse {
    /// The program that serves squashfs on a `/dev/fuse` descriptor.
    pub server: PathBuf,
    /// The program that serves ext3 overlays of images that are not trusted, from
    /// e2fsprogs 1.47.1 on, with libfuse 3. Without it such images do not run.
    pub ext_server: PathBuf,
    /// The account that they run as: a system account of the node, or `job` for the
    /// job's user.
    pub user: String,
}

impl Fuse {
    /// The value that stands for the job's user.
    pub const JOB: &'static str = "job";
}

impl Default for Fuse {
    fn default() -> Self {
        Self {
            server: PathBuf::from("/usr/bin/squashfuse_ll"),
            ext_server: PathBuf::from("/usr/bin/fuse2fs"),
            user: "oarlock".to_owned(),
        }
    }
}

/// `[mounts]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mounts {
    /// The user's home directory.
    pub home: bool,
    /// `/tmp` and `/var/tmp`: the job's own where Slurm makes them private.
    pub tmp: bool,
    /// Further directories or files of the host, shown at their own paths where
    /// the node has them.
    pub host: Vec<PathBuf>,
}

impl Default for Mounts {
    fn default() -> Self {
        Self {
            home: true,
            tmp: true,
            host: Vec::new(),
        }
    }
}

/// `[prepare]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Prepare {
    /// Seconds after which an image or a mount that does not answer fails the
    /// step; 1 to 120.
    pub timeout: u32,
    /// Which mount calls are used: `auto`, or `old` for mount(2) alone, as on
    /// kernels before 5.12.
    pub mount_calls: MountCalls,
}

impl Default for Prepare {
    fn default() -> Self {
        Self {
            timeout: 60,
            mount_calls: MountCalls::Auto,
        }
    }
}

/// Which family of mount system calls is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountCalls {
    /// The descriptor-based calls where the kernel has them.
    #[default]
    Auto,
    /// mount(2) only.
    Old,
}

impl SiteConfig {
    /// Parses the text of the file; `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError::Parse`] with the line.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let upto = error.span().map_or(0, |span| span.start).min(text.len());
            let line = text
                .as_bytes()
                .iter()
                .take(upto)
                .filter(|b| **b == b'\n')
                .count()
                + 1;
            ConfigError::Parse {
                path: path.to_owned(),
                line,
                message: error.message().replace('\n', " "),
            }
        })?;
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let wrong = |key, problem| ConfigError::Value {
            path: path.to_owned(),
            key,
            problem,
        };
        for host in &self.mounts.host {
            let host =
                HostPath::new(host).map_err(|error| wrong("mounts.host", error.to_string()))?;
            if host.as_bytes() == b"/" {
                return Err(wrong(
                    "mounts.host",
                    "\"/\" would cover the image".to_owned(),
                ));
            }
        }
        for path in &self.images.allow_paths {
            HostPath::new(path).map_err(|error| wrong("images.allow_paths", error.to_string()))?;
        }
        for path in &self.profiles.path {
            HostPath::new(path).map_err(|error| wrong("profiles.path", error.to_string()))?;
        }
        for (name, path) in &self.images.aliases {
            let checked = images::check_alias(name, path);
            checked.map_err(|problem| wrong("images.aliases", problem))?;
        }
        HostPath::new(&self.images.keyring)
            .map_err(|error| wrong("images.keyring", error.to_string()))?;
        HostPath::new(&self.store.path).map_err(|error| wrong("store.path", error.to_string()))?;
        if !(1..=MAX_STAGE_TIMEOUT).contains(&self.store.timeout) {
            return Err(wrong(
                "store.timeout",
                format!(
                    "{} is not between 1 and {MAX_STAGE_TIMEOUT} seconds",
                    self.store.timeout
                ),
            ));
        }
        HostPath::new(&self.fuse.server)
            .map_err(|error| wrong("fuse.server", error.to_string()))?;
        HostPath::new(&self.fuse.ext_server)
            .map_err(|error| wrong("fuse.ext_server", error.to_string()))?;
        HostPath::new(&self.writable.path)
            .map_err(|error| wrong("writable.path", error.to_string()))?;
        if matches!(self.writable.size, Size::Bytes(0) | Size::Percent(0)) {
            // To tmpfs it would mean: as much as there is.
            let problem = "0 leaves nothing to write to".to_owned();
            return Err(wrong("writable.size", problem));
        }
        if matches!(self.fuse.user.as_str(), "" | "root") {
            let problem = "give a system account without rights, or \"job\"".to_owned();
            return Err(wrong("fuse.user", problem));
        }
        if !(1..=MAX_TIMEOUT).contains(&self.prepare.timeout) {
            return Err(wrong(
                "prepare.timeout",
                format!(
                    "{} is not between 1 and {MAX_TIMEOUT} seconds",
                    self.prepare.timeout
                ),
            ));
        }
        Ok(())
    }

    /// Every key with its value, in the file's own form.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }

    /// Reads the file. Missing: the defaults. `owned_by_root` demands that
    /// nobody but root can have written it.
    ///
    /// # Errors
    /// Any [`ConfigError`].
    pub fn load(path: &Path, owned_by_root: bool) -> Result<Self, ConfigError> {
        let fail = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(fail(error)),
        };
        let meta = file.metadata().map_err(fail)?;
        if owned_by_root && (meta.uid() != 0 || meta.mode() & 0o022 != 0) {
            return Err(ConfigError::Writable(path.to_owned()));
        }
        if meta.len() > MAX_BYTES {
            return Err(ConfigError::TooLong(path.to_owned()));
        }
        let mut text = String::new();
        file.take(MAX_BYTES)
            .read_to_string(&mut text)
            .map_err(fail)?;
        Self::parse(&text, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_states_the_defaults() {
        let text = include_str!("../../etc/oarlock.toml");
        let shipped = SiteConfig::parse(text, Path::new("oarlock.toml")).unwrap();
        assert_eq!(shipped, SiteConfig::default());
        // Every key is in the shipped file, so that it documents them all.
        let all = toml::Value::try_from(SiteConfig::default()).unwrap();
        for (section, keys) in all.as_table().unwrap() {
            assert!(
                text.contains(&format!("[{section}]")),
                "[{section}] is not in etc/oarlock.toml"
            );
            for key in keys.as_table().unwrap().keys() {
                assert!(
                    text.lines()
                        .any(|line| line.starts_with(&format!("{key} = "))),
                    "{section}.{key} is not in etc/oarlock.toml"
                );
            }
        }
    }

    #[test]
    fn an_unknown_key_names_its_line() {
        let error = SiteConfig::parse(
            "[images]\nkernel_mount = \"never\"\nkernel = 1\n",
            Path::new("o.toml"),
        )
        .unwrap_err()
        .to_string();
        assert!(
            error.starts_with("o.toml: line 3: unknown field `kernel`"),
            "{error}"
        );
    }

    #[test]
    fn values_that_make_no_sense_name_their_key() {
        for (text, part) in [
            (
                "[mounts]\nhost = [\"scratch\"]",
                "o.toml: mounts.host: \"scratch\" is not an absolute path",
            ),
            (
                "[mounts]\nhost = [\"/scratch\", \"//.\"]",
                "o.toml: mounts.host: \"/\" would cover the image",
            ),
            (
                "[prepare]\ntimeout = 0",
                "o.toml: prepare.timeout: 0 is not between 1 and 120",
            ),
            (
                "[fuse]\nserver = \"squashfuse_ll\"",
                "o.toml: fuse.server: ",
            ),
            (
                "[writable]\nsize = \"0%\"",
                "o.toml: writable.size: 0 leaves nothing",
            ),
            (
                "[writable]\npath = \"var\"",
                "o.toml: writable.path: \"var\" is not an absolute path",
            ),
            (
                "[fuse]\nuser = \"root\"",
                "o.toml: fuse.user: give a system account without rights, or \"job\"",
            ),
        ] {
            let error = SiteConfig::parse(text, Path::new("o.toml"))
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(part), "{error}");
        }
    }

    #[test]
    fn a_wrong_value_names_its_line() {
        let error = SiteConfig::parse(
            "\n\n[images]\nkernel_mount = \"maybe\"\n",
            Path::new("o.toml"),
        )
        .unwrap_err()
        .to_string();
        assert!(error.starts_with("o.toml: line 4: "), "{error}");
        assert!(error.contains("`trusted`, `never`"), "{error}");
    }
}
