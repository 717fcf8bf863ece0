//! One rank's way into the container, in slurmstepd's child.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
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
use crate::frameworks;
use crate::lacking;
use crate::state::{HANDOFF, state};
use crate::step;

/// As root, before the task becomes the user: tells `oarlock-prepare` where the
/// task is, gives up what no later program may have, and lets the task keep what
/// it needs to enter.
///
/// The bounding set goes here, not on the way in: Slurm is still starting the
/// other ranks, and nobody waits.
pub(crate) fn privileged() -> Result<(), Failure> {
    let Some(handoff) = HANDOFF.get() else {
        return Ok(());
    };
    let begun = Instant::now();
    let cwd = state().cwd.clone();
    handoff.send_namespace(cwd.as_ref())?;
    credentials::drop_bounding_set().map_err(|e| Failure::new("dropping the bounding set", e))?;
    credentials::keep_permitted().map_err(|e| Failure::new("keeping the right to enter", e))?;
    state().privileged = begun.elapsed();
    Ok(())
}

/// What a task may do after the hook.
pub(crate) enum Outcome {
    /// Go on: in the container, or without one because none was asked for.
    Run,
    /// End. The user has been told, or another rank of the node tells him.
    End,
    /// End well: nothing was to be run.
    Done,
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
        Ok(Entered::Container) => Outcome::Run,
        Ok(Entered::Nothing) => Outcome::Done,
        Err(Refusal { text, teller }) => {
            let tell = match teller {
                Teller::ThisRank => true,
                Teller::FirstRank => first,
                Teller::Counted(number) => number == 0,
            };
            if tell {
                failure::tell(&text);
            }
            Outcome::End
        }
    }
}

/// What came of entering.
enum Entered {
    Container,
    /// The container was only to be explained.
    Nothing,
}

/// Why this rank does not enter, and who tells the user: one line a node where
/// all ranks have the same to say.
struct Refusal {
    text: String,
    teller: Teller,
}

enum Teller {
    /// What went wrong may be this rank's alone.
    ThisRank,
    /// All ranks of the node have met it.
    FirstRank,
    /// All ranks were answered so, and this is the number of the answer.
    Counted(u32),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            text: failure.0,
            teller: Teller::FirstRank,
        }
    }
}

impl From<enter::EnterError> for Refusal {
    fn from(error: enter::EnterError) -> Self {
        let teller = match &error {
            enter::EnterError::Workdir { .. } | enter::EnterError::Environment(_) => {
                Teller::FirstRank
            }
            enter::EnterError::Step { .. } => Teller::ThisRank,
        };
        Self {
            text: error.to_string(),
            teller,
        }
    }
}

fn enter_as_asked(spank: Spank) -> Result<Entered, Refusal> {
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
    let begun = Clock::start();
    let (times, workdir, way, changes) = match answer {
        Some(Answer::Container {
            times,
            workdir,
            way,
            changes,
            ..
        }) => (times, workdir, way, changes),
        Some(Answer::Failure { number, text }) => {
            return Err(Refusal {
                text,
                teller: match number {
                    ANY => Teller::FirstRank,
                    number => Teller::Counted(number),
                },
            });
        }
        Some(Answer::Explained) => return Ok(Entered::Nothing),
        Some(
            Answer::Server(_) | Answer::Notice(_) | Answer::Line(_) | Answer::Saved(..),
        )
        | None => {
            return Err(Failure(
                "oarlock-prepare ended without an answer; see the node's journal".to_owned(),
            )
            .into());
        }
    };
    let changes = enter::changes(changes.as_fd())?;
    let home =
        step::variable(&environment, OsStr::new("HOME")).map(|h| Path::new(OsStr::from_bytes(h)));
    enter::enter(&way, step::pass_on(spank))?;
    enter::change_directory(workdir.as_ref(), cwd.as_ref(), home)?;
    drop(way);
    set_environment(spank, &changes, &environment);
    for (name, value) in frameworks::rank_variables(&changes, &environment) {
        let _ = spank.set_variable(name.as_ref(), value.as_ref());
    }
    if spank.local_id().unwrap_or(0) == 0 {
        lacking::tell(spank, path(&changes, &environment));
    }
    if step::variable(&environment, OsStr::new("OARLOCK_TIMING")).is_some() {
        tell_times(times, &begun);
    }
    Ok(Entered::Container)
}

/// Each variable costs some ten microseconds in Slurm: what stays as it is is
/// left alone.
fn set_environment(spank: Spank, changes: &[Change], environment: &[OsString]) {
    let set = |name: &OsStr, value: &OsStr| {
        let now = step::variable(environment, name);
        if now != Some(value.as_bytes())
            && let Err(refused) = spank.set_variable(name, value)
        {
            failure::tell(&format!(
                "variable {}: {}",
                name.to_string_lossy(),
                refused.0
            ));
        }
    };
    for change in changes {
        match change {
            Change::Set(name, value) => set(name, value),
            Change::Unset(name) => spank.remove_variable(name),
        }
    }
    if let Ok(here) = std::env::current_dir() {
        set(OsStr::new("PWD"), here.as_os_str());
    }
}

/// The `PATH` that the program will have.
fn path<'a>(changes: &'a [Change], environment: &'a [OsString]) -> Option<&'a OsStr> {
    let changed = changes.iter().rev().find_map(|change| match change {
        Change::Set(name, value) if name == "PATH" => Some(Some(value.as_os_str())),
        Change::Unset(name) if name == "PATH" => Some(None),
        _ => None,
    });
    changed
        .unwrap_or_else(|| step::variable(environment, OsStr::new("PATH")).map(OsStr::from_bytes))
}

/// For measuring: `OARLOCK_TIMING` in the job's environment.
fn tell_times(times: Times, begun: &Clock) {
    failure::tell(&format!(
        "timing: image {} us, build {} us, privileged {} ns, entry {} ns, processor {} ns",
        times.image,
        times.build,
        state().privileged.as_nanos(),
        begun.wall.elapsed().as_nanos(),
        Clock::processor_time().saturating_sub(begun.processor),
    ));
}

/// When a rank's entry began, by the clock and by its own processor time.
struct Clock {
    wall: Instant,
    processor: i128,
}

impl Clock {
    fn start() -> Self {
        Self {
            wall: Instant::now(),
            processor: Self::processor_time(),
        }
    }

    /// Nanoseconds that this thread has run.
    fn processor_time() -> i128 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    }
}
