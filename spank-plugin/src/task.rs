//! One rank's way into the container, in slurmstepd's child.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use runtime_core::enter;
use runtime_core::environment::Change;
use runtime_core::path::HostPath;
use runtime_core::prepare::protocol::{ANY, Answer, Start, Times};
use runtime_core::sys::credentials;

use crate::failure::{self, Failure};
use crate::ffi::Spank;
use crate::state::{HANDOFF, state};
use crate::step;

/// As root, before the task becomes the user: tells `oarlock-prepare` where the
/// task is, and lets the task keep what it needs to enter.
pub(crate) fn privileged() -> Result<(), Failure> {
    let Some(handoff) = HANDOFF.get() else {
        return Ok(());
    };
    handoff.send_namespace()?;
    credentials::keep_permitted().map_err(|e| Failure::new("keeping the right to enter", e))
}

/// What a task may do after the hook.
pub(crate) enum Outcome {
    /// Go on: in the container, or without one because none was asked for.
    Run,
    /// End. The user has been told, or another rank of the node tells him.
    End,
}

/// As the user, before the program starts.
pub(crate) fn enter_container(spank: Spank) -> Outcome {
    let (failure, asked) = {
        let state = state();
        (state.failure.clone(), state.asked)
    };
    // Whatever is wrong with the plugin is no matter of a step without a container.
    if !asked {
        return Outcome::Run;
    }
    let first = spank.local_id().unwrap_or(0) == 0;
    if let Some(failure) = failure {
        if first {
            failure::tell(&failure.0);
        }
        return Outcome::End;
    }
    match enter_as_asked(spank) {
        Ok(()) => Outcome::Run,
        Err(Refusal { text, number }) => {
            if number.map_or(first, |n| n == 0) {
                failure::tell(&text);
            }
            Outcome::End
        }
    }
}

/// Why this rank does not enter. `number` counts the ranks of the node that were
/// told the same.
struct Refusal {
    text: String,
    number: Option<u32>,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            text: failure.0,
            number: None,
        }
    }
}

impl From<enter::EnterError> for Refusal {
    fn from(error: enter::EnterError) -> Self {
        Self {
            text: error.to_string(),
            number: None,
        }
    }
}

fn enter_as_asked(spank: Spank) -> Result<(), Refusal> {
    let handoff = HANDOFF
        .get()
        .ok_or_else(|| Failure("oarlock-prepare was not started".to_owned()))?;
    let environment = spank
        .environment()
        .map_err(|refused| Failure::new("the task's environment", refused.0))?;
    let cwd = std::env::current_dir()
        .ok()
        .and_then(|path| HostPath::new(path).ok());
    let start = Start {
        cwd: cwd.clone(),
        mpi: step::mpi_directories(&environment),
    };
    let answer = handoff.go(&start)?;
    let begun = Instant::now();
    let (times, namespace, changes) = match answer {
        Some(Answer::Container {
            times,
            namespace,
            changes,
            ..
        }) => (times, namespace, changes),
        Some(Answer::Failure { number, text }) => {
            return Err(Refusal {
                text,
                number: (number != ANY).then_some(number),
            });
        }
        None => {
            return Err(Failure(
                "oarlock-prepare ended without an answer; see the node's journal".to_owned(),
            )
            .into());
        }
    };
    let changes = enter::changes(&changes)?;
    let home = step::variable(&environment, "HOME").map(|h| Path::new(OsStr::from_bytes(h)));
    let asked = state().options.as_ref().and_then(|o| o.workdir.clone());
    enter::enter(&namespace)?;
    enter::change_directory(asked.as_ref(), cwd.as_ref(), home)?;
    drop(namespace);
    set_environment(spank, &changes, &environment, asked.is_some());
    if step::variable(&environment, "OARLOCK_TIMING").is_some() {
        tell_times(times, begun);
    }
    Ok(())
}

fn set_environment(
    spank: Spank,
    changes: &[Change],
    environment: &[std::ffi::OsString],
    moved: bool,
) {
    for change in changes {
        match change {
            Change::Set(name, value) => {
                if let Err(refused) = spank.set_variable(name, value) {
                    failure::tell(&format!(
                        "variable {}: {}",
                        name.to_string_lossy(),
                        refused.0
                    ));
                }
            }
            Change::Unset(name) => spank.remove_variable(name),
        }
    }
    if (moved || step::variable(environment, "PWD").is_some())
        && let Ok(here) = std::env::current_dir()
    {
        let _ = spank.set_variable(OsStr::new("PWD"), here.as_os_str());
    }
}

/// For measuring: `OARLOCK_TIMING` in the job's environment.
fn tell_times(times: Times, begun: Instant) {
    failure::tell(&format!(
        "timing: image {} us, build {} us, entry {} ns",
        times.image,
        times.build,
        begun.elapsed().as_nanos()
    ));
}
