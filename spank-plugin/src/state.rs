//! What the plugin remembers between hooks of one process.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use once_cell::sync::OnceCell;
use runtime_core::path::HostPath;
use runtime_core::request::Options;

use crate::failure::Failure;
use crate::handoff::Handoff;
use crate::options::Given;

/// Where the parts of Oarlock lie; plugstack.conf may say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) prepare: PathBuf,
    pub(crate) config: PathBuf,
}

/// Filled by the options' callbacks and the first hooks.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) places: Option<Places>,
    pub(crate) given: Given,
    /// Whether any option of ours was given, in order or not.
    pub(crate) asked: bool,
    /// What was asked for, once it is known to be in order.
    pub(crate) options: Option<Options>,
    /// Why the step cannot run; told by a task.
    pub(crate) failure: Option<Failure>,
    /// The job's working directory, as the step's user found it.
    pub(crate) cwd: Option<HostPath>,
    /// How long this task's privileged hook took.
    pub(crate) privileged: Duration,
    /// Tasks of this node that have ended.
    pub(crate) ended: u32,
    /// Tasks of this node.
    pub(crate) tasks: u32,
}

static STATE: Mutex<State> = Mutex::new(State {
    places: None,
    given: Given::NONE,
    asked: false,
    options: None,
    failure: None,
    cwd: None,
    privileged: Duration::ZERO,
    ended: 0,
    tasks: 0,
});

/// The connection to `oarlock-prepare`, started once a step.
pub(crate) static HANDOFF: OnceCell<Handoff> = OnceCell::new();

/// The state; a panic elsewhere does not make it unusable.
pub(crate) fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    /// Reads the arguments of the plugstack line.
    pub(crate) fn parse(arguments: &[std::ffi::OsString]) -> Result<Self, Failure> {
        use std::os::unix::ffi::{OsStrExt, OsStringExt};
        let mut places = Self {
            prepare: PathBuf::from("/usr/libexec/oarlock/oarlock-prepare"),
            config: PathBuf::from(runtime_core::CONFIG_PATH),
        };
        for argument in arguments {
            let path = |value: &[u8]| PathBuf::from(std::ffi::OsString::from_vec(value.to_vec()));
            let bytes = argument.as_bytes();
            if let Some(value) = bytes.strip_prefix(b"prepare=") {
                places.prepare = path(value);
            } else if let Some(value) = bytes.strip_prefix(b"config=") {
                places.config = path(value);
            } else {
                return Err(Failure(format!(
                    "plugstack.conf: unknown argument \"{}\"; known are prepare=PATH and config=PATH",
                    argument.to_string_lossy()
                )));
            }
        }
        Ok(places)
    }
}
