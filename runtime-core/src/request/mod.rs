//! What was asked for: the options, and what is known of the asking task.
//!
//! Everything here is text that a user wrote: it is checked for form (twice: by
//! the client, so that a typo fails before the queue, and on the node, because
//! a client can be forged) and never opened here.

mod image;
mod mounts;
mod values;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::entry::Entry;
use crate::path::{ContainerPath, HostPath, PathError};

pub use image::ImageName;
pub use mounts::{Access, Create, MountProblem, MountSource, Propagation, UserMount};
pub use values::{
    DeviceName, NameUse, NamedContainer, Overlay, ProfileName, SavePath, Scope, Stage, Unshare,
    parse_switch, parse_variables, parse_workdir,
};

/// Why an option's value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// `--container-image=` with nothing behind it.
    #[error("no image is named; give a path, as in --container-image=/path/app.sif")]
    EmptyImage,
    /// An image named by a URL, which needs a registry.
    #[error(
        "image {0}: registries are not supported yet; make a file of the image first (as with: apptainer pull app.sif docker://...) and give its path, or ./NAME for a file of that name"
    )]
    Registry(String),
    /// A value that holds a NUL or newline.
    #[error("{0}: the value holds a control character")]
    Control(&'static str),
    /// One entry of `--container-mounts` is not `SRC:DST[:FLAGS]`.
    #[error("mount \"{entry}\": {problem}; the form is SOURCE:TARGET[:FLAG+FLAG...]")]
    Mount {
        /// The entry as typed.
        entry: String,
        /// What is wrong with it.
        problem: MountProblem,
    },
    /// `--container-stage` is neither of its words.
    #[error("--container-stage={0}: write off or node")]
    Stage(String),
    /// `--container-workdir` is not absolute.
    #[error("working directory {0}")]
    Workdir(PathError),
    /// A switch that is neither on nor off.
    #[error("{0}={1}: write 1, true, yes or y, or 0, false, no or n")]
    Switch(&'static str, String),
    /// `--container-name` is no file name.
    #[error(
        "container name \"{0}\": use up to 200 letters, digits and any of _-.+@, beginning with a letter, a digit or one of _+@"
    )]
    ContainerName(String),
    /// What follows the colon of `--container-name`.
    #[error("--container-name: \"{0}\" is none of auto, create, exec, no_exec and remove")]
    NameUse(String),
    /// `--container-save` names what can only be a directory.
    #[error("--container-save={0}: give the name of a file, as in --container-save=./new.sif")]
    Save(String),
    /// `--container-unshare` knows no such namespace.
    #[error("--container-unshare: \"{0}\" is none of net, ipc, uts, pid and cgroup")]
    Unshare(String),
    /// `--container-env` takes names only.
    #[error("--container-env: \"{0}\" is no name of a variable")]
    Variable(String),
    /// One entry of `--container-overlay`.
    #[error("overlay \"{entry}\": {error}; the form is PATH[:ro|:rw]")]
    Overlay {
        /// As typed.
        entry: String,
        /// What is wrong with it.
        error: PathError,
    },
    /// One entry of `--container-device`.
    #[error("--container-device: \"{0}\": the form is VENDOR/CLASS=NAME, as in nvidia.com/gpu=0")]
    Device(String),
    /// `--container-profile=` with nothing behind it.
    #[error("no profile is named; give a name or a path")]
    EmptyProfile,
}

/// The options that make a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `--container-image`; a named container that exists, and a profile, have their
    /// own.
    pub image: Option<ImageName>,
    /// `--container-mounts`.
    pub mounts: Vec<UserMount>,
    /// `--container-workdir`.
    pub workdir: Option<ContainerPath>,
    /// `--container-stage`; `None` for what the site says.
    pub stage: Option<Stage>,
    /// `--container-name`.
    pub name: Option<NamedContainer>,
    /// `--container-save`.
    pub save: Option<SavePath>,
    /// `--container-mount-home`; `None` for what the site says.
    pub mount_home: Option<bool>,
    /// `--container-remap-root`.
    pub remap_root: Option<bool>,
    /// `--container-entrypoint`; `None` for what the site says.
    pub entrypoint: Option<bool>,
    /// `--container-entrypoint-log`.
    pub entrypoint_log: Option<bool>,
    /// `--container-writable`, `--container-readonly`.
    pub writable: Option<bool>,
    /// `--container-env`: names.
    pub env: Vec<OsString>,
    /// `--container-unshare`.
    pub unshare: Unshare,
    /// `--container-overlay`, the lowest first.
    pub overlays: Vec<Overlay>,
    /// `--container-device`.
    pub devices: Vec<DeviceName>,
    /// `--container-profile`.
    pub profile: Option<ProfileName>,
    /// `--container-debug`.
    pub debug: bool,
    /// `--container-explain`.
    pub explain: bool,
    /// `[env]` of the profile: names, and values as templates
    /// (`profile::environment`).
    pub set: Vec<(String, String)>,
    /// `[annotations]` of the profile.
    pub annotations: Vec<(String, String)>,
}

/// Whose job it is: the host's ids, which the container keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids, as the task has them.
    pub groups: Vec<u32>,
}

/// What Slurm's own words for plugins tell of a step and its job on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The step's cores as Slurm counts them, `0-3,8`; empty where that is not known.
    pub cores: String,
    /// The job's.
    pub job_cores: String,
    /// The step's memory in MiB; 0 where it is not bounded.
    pub memory: u64,
    /// The job's.
    pub job_memory: u64,
}

/// What `oarlock-prepare` is asked to do for one node of one step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What the user asked for.
    pub options: Options,
    /// Who the user is.
    pub identity: Identity,
    /// The job's environment, `NAME=value`.
    pub environment: Vec<OsString>,
    /// The task's program as it was typed.
    pub program: Option<OsString>,
    /// The task's program where it is a batch script in Slurm's spool.
    pub script: Option<HostPath>,
    /// Where the step's PMIx server is expected to meet its clients, so that the
    /// container can be built before a task says so.
    pub mpi: Option<HostPath>,
    /// How long named containers live.
    pub scope: Scope,
    /// What the site says of entry points, where neither an option nor a profile does.
    pub execute_entrypoint: bool,
    /// Ranks on this node: as many answers are given.
    pub ranks: u32,
    /// What Slurm counts as the step's on this node.
    pub granted: Granted,
    /// The job's number; 0 where there is no job.
    pub job: u32,
    /// The node, as Slurm calls it; empty where that is not known.
    pub node: String,
    /// slurm.conf as slurmd tells its steps (`SLURM_CONF`); nothing where it says none.
    pub slurm_conf: Option<HostPath>,
    /// For the log: job and step, in Slurm's own notation.
    pub label: String,
    /// How the ranks enter.
    pub entry: Entry,
}

/// What [`Request::image`] gives where none is named.
static NO_IMAGE: ImageName = ImageName::NONE;

impl Request {
    /// The image's name, for use and for messages.
    #[must_use]
    pub fn image(&self) -> &ImageName {
        self.options.image.as_ref().unwrap_or(&NO_IMAGE)
    }

    /// Where slurm.conf is, as far as slurmd has said.
    #[must_use]
    pub fn slurm_conf(&self) -> Option<&Path> {
        self.slurm_conf.as_ref().map(HostPath::as_path)
    }

    /// The value of a variable in the job's environment.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.iter().find_map(|entry| {
            let rest = entry.as_bytes().strip_prefix(name.as_bytes())?;
            rest.strip_prefix(b"=").map(OsStr::from_bytes)
        })
    }
}
