//! What the plugin remembers between hooks of one process.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use once_cell::sync::OnceCell;
use runtime_core::entry::Entry;
use runtime_core::path::HostPath;
use runtime_core::prolog::Candidate;
use runtime_core::request::Options;

use crate::failure::Failure;
use crate::handoff::Handoff;
use crate::options::{Components, Given};
use crate::plugstack::Plugstack;
use crate::prologs::Prologs;

/// Filled by the options' callbacks and the first hooks.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) plugstack: Option<Plugstack>,
    pub(crate) given: Given,
    /// In clients: what was given for the components before this one.
    pub(crate) components: Components,
    /// Whether any option of ours was given, in order or not.
    pub(crate) asked: bool,
    /// What was asked for, once it is known to be in order.
    pub(crate) options: Option<Options>,
    /// Why the step cannot run; told by a task.
    pub(crate) failure: Option<Failure>,
    /// The job's working directory, as the step's user found it.
    pub(crate) cwd: Option<HostPath>,
    /// What srun's half says of the user's prolog.
    pub(crate) client_prologs: Vec<Candidate>,
    /// How the ranks enter.
    pub(crate) entry: Entry,
    /// What must have run by then.
    pub(crate) prologs: Prologs,
    /// How long this task's privileged hook took.
    pub(crate) privileged: Duration,
    /// Tasks of this node that have ended.
    pub(crate) ended: u32,
    /// Tasks of this node.
    pub(crate) tasks: u32,
    /// Whether the container is saved after the last.
    pub(crate) saves: bool,
}

static STATE: Mutex<State> = Mutex::new(State {
    plugstack: None,
    given: Given::NONE,
    components: Components::NONE,
    asked: false,
    options: None,
    failure: None,
    cwd: None,
    client_prologs: Vec::new(),
    entry: Entry::Hook,
    prologs: Prologs {
        site: None,
        user: None,
    },
    privileged: Duration::ZERO,
    ended: 0,
    tasks: 0,
    saves: false,
});

/// The connection to `oarlock-prepare`, started once a step.
pub(crate) static HANDOFF: OnceCell<Handoff> = OnceCell::new();

/// The state; a panic elsewhere does not make it unusable.
pub(crate) fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}
