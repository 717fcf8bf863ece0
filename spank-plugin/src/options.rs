//! The options: their names, help, environment forms, and what was given.
//!
//! The same checks run in the client, so that a typo fails before the queue, and
//! on the node, because a client can be forged.

use std::ffi::{OsStr, OsString, c_int};

use runtime_core::request::{ImageName, Options, RequestError, Stage, UserMount, parse_workdir};

use crate::ffi::OptionText;

/// One option, and the variable that may stand for it.
pub(crate) struct Known {
    /// As Slurm shows it.
    pub(crate) text: OptionText,
    /// The user's variable.
    pub(crate) variable: &'static str,
    /// The variable by which Slurm's clients hand the option on to each other:
    /// spank.c, `_opt_env_name`, with the prefix of `spank_process_env_options`.
    pub(crate) handed_on: &'static str,
}

/// All options; a callback is told the place in this table.
pub(crate) static KNOWN: [Known; 4] = [
    Known {
        text: OptionText {
            name: c"container-image",
            argument: c"PATH",
            usage: c"[oarlock] run in this container: a SIF file, a squashfs file or a directory with a root file system",
        },
        variable: "OARLOCK_CONTAINER_IMAGE",
        handed_on: "SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_container_image",
    },
    Known {
        text: OptionText {
            name: c"container-mounts",
            argument: c"SOURCE:TARGET[:ro|rw],...",
            usage: c"[oarlock] show files and directories of the node in the container",
        },
        variable: "OARLOCK_CONTAINER_MOUNTS",
        handed_on: "SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_container_mounts",
    },
    Known {
        text: OptionText {
            name: c"container-workdir",
            argument: c"PATH",
            usage: c"[oarlock] start in this directory of the container; default: the job's working directory",
        },
        variable: "OARLOCK_CONTAINER_WORKDIR",
        handed_on: "SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_container_workdir",
    },
    Known {
        text: OptionText {
            name: c"container-stage",
            argument: c"off|node",
            usage: c"[oarlock] node: copy the image to each node's own disk first and run from there; off: run it from where it lies; default: as the site says",
        },
        variable: "OARLOCK_CONTAINER_STAGE",
        handed_on: "SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_container_stage",
    },
];

/// What was given, as text. Slurm up to 23.11 calls back twice on the node: the
/// last word counts, which is the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    image: Option<OsString>,
    mounts: Option<OsString>,
    workdir: Option<OsString>,
    stage: Option<OsString>,
}

/// Why options cannot be used together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionsError {
    #[error("{0}")]
    Value(#[from] RequestError),
    #[error("--{0} needs a container; add --container-image=PATH")]
    NoImage(&'static str),
    #[error("option number {0} is unknown; are all parts of Oarlock of one version?")]
    Unknown(c_int),
}

impl Given {
    pub(crate) const NONE: Self = Self {
        image: None,
        mounts: None,
        workdir: None,
        stage: None,
    };

    /// Takes the value of one option, after checking it.
    pub(crate) fn take(&mut self, number: c_int, value: &OsStr) -> Result<(), OptionsError> {
        let place = match number {
            0 => {
                ImageName::parse(value)?;
                &mut self.image
            }
            1 => {
                UserMount::parse_list(value)?;
                &mut self.mounts
            }
            2 => {
                parse_workdir(value)?;
                &mut self.workdir
            }
            3 => {
                Stage::parse(value)?;
                &mut self.stage
            }
            other => return Err(OptionsError::Unknown(other)),
        };
        *place = Some(value.to_owned());
        Ok(())
    }

    /// What the client can tell its user before the job is queued, and the node
    /// would only find out later.
    pub(crate) fn check_in_client(&self) -> Result<(), OptionsError> {
        if let Some(image) = &self.image {
            ImageName::parse(image)?.must_be_a_path()?;
        }
        Ok(())
    }

    /// The container that was asked for, if any.
    pub(crate) fn resolve(&self) -> Result<Option<Options>, OptionsError> {
        let Some(image) = &self.image else {
            let needing = [
                (&self.mounts, "container-mounts"),
                (&self.workdir, "container-workdir"),
                (&self.stage, "container-stage"),
            ];
            return match needing.into_iter().find(|(value, _)| value.is_some()) {
                Some((_, name)) => Err(OptionsError::NoImage(name)),
                None => Ok(None),
            };
        };
        Ok(Some(Options {
            image: ImageName::parse(image)?,
            mounts: self
                .mounts
                .as_deref()
                .map(UserMount::parse_list)
                .transpose()?
                .unwrap_or_default(),
            workdir: self.workdir.as_deref().map(parse_workdir).transpose()?,
            stage: self.stage.as_deref().map(Stage::parse).transpose()?,
        }))
    }
}
