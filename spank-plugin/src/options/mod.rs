//! The options: what was given, and whether it fits together.
//!
//! The same checks run in the client, so that a typo fails before the queue, and
//! on the node, because a client can be forged.

mod components;
mod inherited;
mod known;

use std::ffi::{OsStr, OsString, c_int};

use runtime_core::request::{
    DeviceName, ImageName, NamedContainer, Options, Overlay, ProfileName, RequestError, SavePath,
    Stage, Unshare, UserMount, parse_switch, parse_variables, parse_workdir,
};

pub(crate) use components::Components;
pub(crate) use inherited::{Environment, gather, handed_on};
pub(crate) use known::KNOWN;
use known::{Key, Sets};

/// Why options cannot be used together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OptionsError {
    #[error("{0}")]
    Value(#[from] RequestError),
    #[error("{variable}: {error}")]
    Variable {
        variable: String,
        error: Box<OptionsError>,
    },
    #[error("{0} needs a container; add --container-image=PATH")]
    NoImage(&'static str),
    #[error("{0} and its opposite are both given; leave one out")]
    Both(&'static str),
    #[error("{0} is given twice, with different values; leave one out")]
    Twice(&'static str),
    #[error(
        "the components of a heterogeneous job have different --container options, and Slurm hands on one set for all; give all the same, or start each by an srun of its own (srun --het-group=0 ...)"
    )]
    Components,
    #[error("option number {0} is unknown; are all parts of Oarlock of one version?")]
    Unknown(c_int),
}

/// The text of each key that has one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Values([Option<OsString>; Key::ALL.len()]);

impl Values {
    const NONE: Self = Self([const { None }; Key::ALL.len()]);

    fn get(&self, key: Key) -> Option<&OsStr> {
        self.0.get(key as usize)?.as_deref()
    }

    fn set(&mut self, key: Key, value: OsString) {
        if let Some(place) = self.0.get_mut(key as usize) {
            *place = Some(value);
        }
    }
}

/// What was given, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Given {
    /// On the command line. Slurm up to 23.11 calls back twice on the node.
    typed: Values,
    /// By the client's environment.
    inherited: Values,
    /// Whether one typed value took the place of another.
    replaced: bool,
}

/// Where an option is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// In a client: of two, the last was meant, as with all of Slurm's options.
    Client,
    /// On the node, which is not told which was last.
    Node,
}

impl Given {
    pub(crate) const NONE: Self = Self {
        typed: Values::NONE,
        inherited: Values::NONE,
        replaced: false,
    };

    /// Takes one option, after checking its value.
    pub(crate) fn take(
        &mut self,
        number: c_int,
        value: &OsStr,
        side: Side,
    ) -> Result<(), OptionsError> {
        let known = usize::try_from(number).ok().and_then(|n| KNOWN.get(n));
        let (key, value) = match known.ok_or(OptionsError::Unknown(number))?.sets {
            Sets::Inherited => {
                let mut values = Values::default();
                inherited::read(value, &mut values)?;
                for key in Key::ALL {
                    values.get(key).map_or(Ok(()), |value| check(key, value))?;
                }
                self.inherited = values;
                return Ok(());
            }
            Sets::Value(key) => (key, value),
            Sets::Word(key, word) => (key, OsStr::new(word)),
        };
        check(key, value)?;
        let differs = self.typed.get(key).is_some_and(|before| before != value);
        self.replaced |= differs;
        if side == Side::Node && differs {
            return Err(if key.is_switch() {
                OptionsError::Both(key.option())
            } else {
                OptionsError::Twice(key.option())
            });
        }
        self.typed.set(key, value.to_owned());
        Ok(())
    }

    /// Takes what sbatch has handed on to a job's environment. Slurm reads it there
    /// itself but for `--export-file`, whose variables take the place of its own.
    pub(crate) fn take_handed_on(&mut self, job: &[OsString]) -> Result<(), OptionsError> {
        let Some(list) = inherited::handed_on_to_job(job)? else {
            return Ok(());
        };
        let place = KNOWN.iter().position(|k| k.sets == Sets::Inherited);
        let number = place.and_then(|place| c_int::try_from(place).ok());
        self.take(number.unwrap_or(-1), &list, Side::Node)
    }

    /// What the client can tell its user before the job is queued, and the node
    /// would only find out later.
    pub(crate) fn check_in_client(&self) -> Result<(), OptionsError> {
        if let Some(image) = self.get(Key::Image) {
            ImageName::parse(image)?.must_be_a_path()?;
        }
        Ok(())
    }

    /// Whether a container was asked for, in order or not. A switch that a variable
    /// sets for good says what to do with a container, if there is one.
    pub(crate) fn asks(&self) -> bool {
        Key::ALL.into_iter().any(|key| self.is_asking(key))
    }

    fn is_asking(&self, key: Key) -> bool {
        self.typed.get(key).is_some() || !key.is_switch() && self.get(key).is_some()
    }

    fn get(&self, key: Key) -> Option<&OsStr> {
        self.typed.get(key).or_else(|| self.inherited.get(key))
    }

    fn switch(&self, key: Key) -> Result<Option<bool>, OptionsError> {
        let value = self.get(key);
        Ok(value.map(|v| parse_switch(key.option(), v)).transpose()?)
    }

    /// The container that was asked for, if any.
    pub(crate) fn resolve(&self) -> Result<Option<Options>, OptionsError> {
        let makes_one = |key| self.get(key).is_some();
        if ![Key::Image, Key::Name, Key::Profile]
            .into_iter()
            .any(makes_one)
        {
            return match Key::ALL.into_iter().find(|key| self.is_asking(*key)) {
                Some(key) => Err(OptionsError::NoImage(key.option())),
                None => Ok(None),
            };
        }
        let options = Options {
            image: self.get(Key::Image).map(ImageName::parse).transpose()?,
            mounts: self
                .get(Key::Mounts)
                .map(UserMount::parse_list)
                .transpose()?
                .unwrap_or_default(),
            workdir: self.get(Key::Workdir).map(parse_workdir).transpose()?,
            stage: self.get(Key::Stage).map(Stage::parse).transpose()?,
            name: self.get(Key::Name).map(NamedContainer::parse).transpose()?,
            save: self.get(Key::Save).map(SavePath::parse).transpose()?,
            mount_home: self.switch(Key::MountHome)?,
            remap_root: self.switch(Key::RemapRoot)?,
            entrypoint: self.switch(Key::Entrypoint)?,
            entrypoint_log: self.switch(Key::EntrypointLog)?,
            writable: self.switch(Key::Writable)?,
            env: self
                .get(Key::Env)
                .map(parse_variables)
                .transpose()?
                .unwrap_or_default(),
            unshare: self
                .get(Key::Unshare)
                .map(Unshare::parse)
                .transpose()?
                .unwrap_or_default(),
            overlays: self
                .get(Key::Overlay)
                .map(Overlay::parse_list)
                .transpose()?
                .unwrap_or_default(),
            devices: self
                .get(Key::Device)
                .map(DeviceName::parse_list)
                .transpose()?
                .unwrap_or_default(),
            profile: self.get(Key::Profile).map(ProfileName::parse).transpose()?,
            debug: self.switch(Key::Debug)?.unwrap_or(false),
            explain: self.switch(Key::Explain)?.unwrap_or(false),
            // Of a profile, which is read later.
            set: Vec::new(),
            annotations: Vec::new(),
        };
        Ok(Some(options))
    }
}

/// Whether a value can be used.
fn check(key: Key, value: &OsStr) -> Result<(), OptionsError> {
    match key {
        Key::Image => ImageName::parse(value).map(drop),
        Key::Mounts => UserMount::parse_list(value).map(drop),
        Key::Workdir => parse_workdir(value).map(drop),
        Key::Name => NamedContainer::parse(value).map(drop),
        Key::Save => SavePath::parse(value).map(drop),
        Key::Env => parse_variables(value).map(drop),
        Key::Unshare => Unshare::parse(value).map(drop),
        Key::Overlay => Overlay::parse_list(value).map(drop),
        Key::Device => DeviceName::parse_list(value).map(drop),
        Key::Profile => ProfileName::parse(value).map(drop),
        Key::Stage => Stage::parse(value).map(drop),
        Key::MountHome
        | Key::RemapRoot
        | Key::Entrypoint
        | Key::EntrypointLog
        | Key::Writable
        | Key::Debug
        | Key::Explain => parse_switch(key.option(), value).map(drop),
    }
    .map_err(OptionsError::Value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(name: &str) -> c_int {
        let place = KNOWN
            .iter()
            .position(|k| k.text.name.to_str() == Ok(name))
            .unwrap();
        c_int::try_from(place).unwrap()
    }

    fn given(side: Side, options: &[(&str, &str)]) -> Result<Option<Options>, OptionsError> {
        let mut given = Given::NONE;
        for (name, value) in options {
            given.take(number(name), OsStr::new(value), side)?;
        }
        given.resolve()
    }

    #[test]
    fn keys_have_their_own_places() {
        for (place, key) in Key::ALL.into_iter().enumerate() {
            assert_eq!(key as usize, place);
        }
    }

    #[test]
    fn the_command_line_wins_over_the_environment() {
        let options = given(
            Side::Node,
            &[
                ("container-readonly", ""),
                (
                    "container-inherited",
                    "IMAGE=/a.sif\x1fWRITABLE=yes\x1fWORKDIR=/w",
                ),
                ("container-workdir", "/v"),
            ],
        );
        let options = options.unwrap().unwrap();
        assert_eq!(options.writable, Some(false));
        assert_eq!(options.workdir, parse_workdir(OsStr::new("/v")).ok());
        assert_eq!(options.image, ImageName::parse(OsStr::new("/a.sif")).ok());
    }

    #[test]
    fn the_last_word_counts_where_it_is_known() {
        let both = [
            ("container-image", "/a.sif"),
            ("container-writable", ""),
            ("container-readonly", ""),
        ];
        let options = given(Side::Client, &both).unwrap().unwrap();
        assert_eq!(options.writable, Some(false));
        assert_eq!(
            given(Side::Node, &both),
            Err(OptionsError::Both("--container-writable"))
        );
    }

    #[test]
    fn an_option_without_a_container_is_an_error() {
        assert_eq!(
            given(Side::Node, &[("container-workdir", "/w")]),
            Err(OptionsError::NoImage("--container-workdir"))
        );
        assert_eq!(
            given(Side::Node, &[("container-writable", "")]),
            Err(OptionsError::NoImage("--container-writable"))
        );
        // A user may set such a switch for good.
        assert_eq!(
            given(Side::Node, &[("container-inherited", "DEBUG=1")]),
            Ok(None)
        );
        assert_eq!(given(Side::Node, &[]), Ok(None));
    }

    #[test]
    fn wrong_values_are_told_wherever_they_come_from() {
        assert!(given(Side::Node, &[("container-unshare", "mnt")]).is_err());
        assert!(
            given(
                Side::Node,
                &[("container-inherited", "IMAGE=/a\x1fUNSHARE=mnt")]
            )
            .is_err()
        );
    }
}
