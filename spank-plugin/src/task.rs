//! One rank's way into the container, in slurmstepd's child.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Instant;

use runtime_core::enter::{self, Bounding};
use runtime_core::entry::{self, Entry, Order};
use runtime_core::environment::Change;
use runtime_core::path::{ContainerPath, HostPath};
use runtime_core::prepare::protocol::{ANY, Answer, Start, Times};
use runtime_core::sys::credentials;
use runtime_core::way::Way;

use crate::failure::{self, Failure};
use crate::ffi::{self, Spank};
use crate::frameworks;
use crate::hooks::TASK_FAILED;
use crate::lacking;
use crate::prologs;
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
    let give = |e| Failure::new("keeping the right to enter", e);
    match state().entry {
        Entry::Hook => {
            credentials::drop_bounding_set()
                .map_err(|e| Failure::new("dropping the bounding set", e))?;
            credentials::keep_permitted().map_err(give)?;
        }
        // The prologs come first, and may start what has capabilities of its own, as
        // without a container: the bounding set goes when the rank enters.
        Entry::Program => credentials::give_inheritable(entry::needed()).map_err(give)?,
        Entry::HookAfter { .. } => credentials::keep_permitted().map_err(give)?,
    }
    state().privileged = begun.elapsed();
    Ok(())
}

/// What a task may do after the hook.
pub(crate) enum Outcome {
    /// Go on: in the container, or without one because none was asked for.
    Run,
    /// End with this exit code. The user has been told, or another rank of the node
    /// tells him.
    End(i32),
    /// End well: nothing was to be run.
    Done,
}

/// As the user, before the program starts.
pub(crate) fn enter_container(spank: Spank) -> Outcome {
    let (failure, asked) = {
        let state = state();
        (state.failure.clone(), state.asked)
    };
    prologs::forget(spank);
    // Whatever is wrong with the plugin is no matter of a step without a container.
    if !asked {
        return Outcome::Run;
    }
    let first = spank.local_id().unwrap_or(0) == 0;
    if let Some(failure) = failure {
        if first {
            failure::tell(&failure.0);
        }
        return Outcome::End(TASK_FAILED);
    }
    match enter_as_asked(spank) {
        Ok(Entered::Container) => Outcome::Run,
        Ok(Entered::Nothing) => Outcome::Done,
        Err(Refusal::Prolog(code)) => Outcome::End(code),
        Err(Refusal::Told { text, teller }) => {
            let tell = match teller {
                Teller::ThisRank => true,
                Teller::FirstRank => first,
                Teller::Counted(number) => number == 0,
            };
            if tell {
                failure::tell(&text);
            }
            Outcome::End(TASK_FAILED)
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
enum Refusal {
    Told {
        text: String,
        teller: Teller,
    },
    /// A prolog failed, and the user has been told as Slurm tells it: the exit code.
    Prolog(i32),
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
        Self::Told {
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
        Self::Told {
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
    let (times, given) = match answer {
        Some(Answer::Container {
            times,
            workdir,
            mut way,
            changes,
            ticket,
            shown,
            ..
        }) => {
            way.join_groups()
                .map_err(|e| Failure::new("joining the step's control groups", e))?;
            let mut changes = enter::changes(changes.as_fd())?;
            let of_rank = frameworks::rank_variables(&changes, &environment);
            let of_rank = of_rank
                .into_iter()
                .map(|(name, value)| Change::Set(name.into(), value));
            changes.extend(of_rank);
            let look = |name: &str| {
                let value = step::variable(&environment, OsStr::new(name))?;
                Some(OsStr::from_bytes(value).to_owned())
            };
            let of_devices = shown.changes(&changes, look);
            changes.extend(of_devices);
            let given = Given {
                way,
                workdir,
                changes,
                ticket,
                cwd,
                environment,
            };
            (times, given)
        }
        Some(Answer::Failure { number, text }) => {
            return Err(Refusal::Told {
                text,
                teller: match number {
                    ANY => Teller::FirstRank,
                    number => Teller::Counted(number),
                },
            });
        }
        Some(Answer::Explained) => return Ok(Entered::Nothing),
        Some(Answer::Server(_) | Answer::Notice(_) | Answer::Line(_) | Answer::Saved(..))
        | None => {
            return Err(Failure(
                "oarlock-prepare ended without an answer; see the node's journal".to_owned(),
            )
            .into());
        }
    };
    let timing = step::variable(&given.environment, OsStr::new("OARLOCK_TIMING")).is_some();
    let entry = state().entry.clone();
    match entry {
        Entry::Hook => given.enter(spank, Bounding::Empty)?,
        Entry::Program => given.leave_to_program(spank)?,
        Entry::HookAfter { nothing, .. } => given.enter_after_prologs(spank, &nothing)?,
    }
    if timing {
        tell_times(times, &begun);
    }
    Ok(Entered::Container)
}

/// What a rank enters with.
struct Given {
    way: Way,
    /// The working directory that was asked for.
    workdir: Option<ContainerPath>,
    changes: Vec<Change>,
    ticket: Option<OwnedFd>,
    /// Where the task is, on the host.
    cwd: Option<HostPath>,
    /// The task's, on the host.
    environment: Vec<OsString>,
}

impl Given {
    fn home(&self) -> Option<&Path> {
        step::variable(&self.environment, OsStr::new("HOME"))
            .map(|home| Path::new(OsStr::from_bytes(home)))
    }

    /// Enters here and now.
    fn enter(self, spank: Spank, bounding: Bounding) -> Result<(), Refusal> {
        enter::enter(&self.way, || step::pass_on(spank), bounding)?;
        enter::change_directory(self.workdir.as_ref(), self.cwd.as_ref(), self.home())?;
        set_environment(spank, &self.changes, &self.environment);
        if spank.local_id().unwrap_or(0) == 0 {
            lacking::tell(spank, path(&self.changes, &self.environment));
        }
        Ok(())
    }

    /// Runs the prologs, then enters. What they say of a variable stands, whatever the
    /// image says of it.
    fn enter_after_prologs(mut self, spank: Spank, nothing: &HostPath) -> Result<(), Refusal> {
        let prologs = state().prologs.clone();
        let named = prologs.run(spank).map_err(Refusal::Prolog)?;
        self.changes
            .retain(|change| !named.iter().any(|name| name == change.name()));
        self.environment = spank
            .environment()
            .map_err(|refused| Failure::new("the task's environment", refused.0))?;
        ffi::replace_script_launcher(nothing.as_path())
            .map_err(|e| Failure::new("keeping Slurm from running the prologs again", e))?;
        self.enter(spank, Bounding::Full)
    }

    /// Has Slurm start `oarlock-enter` after the prologs, which enters.
    fn leave_to_program(self, spank: Spank) -> Result<(), Refusal> {
        let failed = |e: std::io::Error| Failure::new("preparing the entry after the prologs", e);
        let ticket = self
            .ticket
            .as_ref()
            .ok_or_else(|| Failure("oarlock-prepare wrote no ticket".to_owned()))?;
        let order = Order {
            asked: self.workdir.as_ref(),
            was: self.cwd.as_ref(),
            home: self.home(),
            broadcast: &step::broadcast_name(spank, &self.environment),
            changes: &self.changes,
            environment: &self.environment,
        }
        .write()
        .map_err(failed)?;
        let namespaces: Vec<BorrowedFd<'_>> =
            self.way.namespaces().iter().map(|n| n.fd.as_fd()).collect();
        let argument = entry::argument(ticket.as_fd(), order.as_fd(), &namespaces);
        let program = state().plugstack.clone().map(|places| places.enter);
        let program = program.unwrap_or_default();
        spank
            .prepend(&[program.as_os_str(), OsStr::new(&argument)])
            .map_err(|refused| Failure::new("starting oarlock-enter", refused.0))?;
        for fd in namespaces
            .into_iter()
            .chain([ticket.as_fd(), order.as_fd()])
        {
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())
                .map_err(|e| failed(e.into()))?;
        }
        // Slurm's execve hands them on by their numbers.
        std::mem::forget((order, self.way, self.ticket));
        Ok(())
    }
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
