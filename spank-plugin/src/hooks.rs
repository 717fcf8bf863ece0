//! The functions that Slurm calls, and nothing else.
//!
//! Each is behind `catch_unwind`: a panic through `extern "C"` would abort
//! slurmstepd and leave srun hanging. None but the clients' returns an error:
//! -1 from slurmstepd's early hooks drains nodes or looks like success (Slurm
//! 22.05), and an `optional` plugin's return code is discarded. What fails early
//! is kept, and a task tells it and ends itself: never an uncontained run.

use std::ffi::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use runtime_core::cgroup;
use runtime_core::containers;
use runtime_core::kept::{self, Whose};
use runtime_core::path::HostPath;
use runtime_core::runtime_directory;

use crate::client;
use crate::failure::{self, Failure};
use crate::ffi::{self, RawSpank, Spank, context};
use crate::groups;
use crate::handoff::Handoff;
use crate::options::{self, KNOWN, Side};
use crate::plugstack::Plugstack;
use crate::prologs;
use crate::state::{HANDOFF, state};
use crate::step;
use crate::task::{self, Outcome};

const OK: c_int = 0;
const REFUSED: c_int = -1;
const TASK_DONE: i32 = 0;
/// The exit code of a task that has no container.
pub(crate) const TASK_FAILED: i32 = 1;

fn is_client() -> bool {
    matches!(
        ffi::where_am_i(),
        context::S_CTX_LOCAL | context::S_CTX_ALLOCATOR
    )
}

fn is_step() -> bool {
    ffi::where_am_i() == context::S_CTX_REMOTE
}

/// Runs a hook of slurmstepd's main process; what goes wrong is kept for a task.
fn keep(hook: impl FnOnce() -> Result<(), Failure>) -> c_int {
    let result = catch_unwind(AssertUnwindSafe(hook)).unwrap_or_else(|_| Err(panicked()));
    if let Err(failure) = result {
        let mut state = state();
        state.failure.get_or_insert(failure);
    }
    OK
}

fn panicked() -> Failure {
    Failure("internal error in the plugin; please report it with slurmd's log".to_owned())
}

/// Registers the options; in clients, lets the user's variables stand for them.
///
/// # Safety
/// Called by Slurm with its own handle and the plugstack line's arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slurm_spank_init(
    spank: RawSpank,
    count: c_int,
    list: *mut *mut c_char,
) -> c_int {
    let result = catch_unwind(|| init(Spank::new(spank), count, list));
    match result.unwrap_or_else(|_| Err(panicked())) {
        Ok(()) => OK,
        Err(failure) if is_client() => {
            failure::tell_client(&failure.0);
            REFUSED
        }
        Err(failure) => {
            state().failure.get_or_insert(failure);
            OK
        }
    }
}

fn init(spank: Spank, count: c_int, list: *mut *mut c_char) -> Result<(), Failure> {
    if ffi::where_am_i() == context::S_CTX_SLURMD {
        // slurmd starts: what jobs of a former one left goes. Steps that run have
        // mounts of their own.
        release(|| Some(Whose::All));
        if let Ok(Err(error)) = catch_unwind(|| cgroup::release::release(Whose::All, None)) {
            ffi::log_error(&format!(
                "oarlock: the control groups of jobs that have ended: {error}; try: oarlock gc"
            ));
        }
        let _ = kept::announce_epilog();
    }
    if !is_client() && !is_step() {
        return Ok(());
    }
    let plugstack = Plugstack::parse(&ffi::plugstack_arguments(count, list))?;
    let is_off = !plugstack.sbatch_support && step::is_of_sbatch(spank);
    state().plugstack = Some(plugstack);
    if is_off {
        return Ok(());
    }
    if is_client() {
        options::gather(&mut ffi::OwnEnvironment).map_err(|e| Failure(e.to_string()))?;
    }
    for (number, known) in (0..).zip(&KNOWN) {
        spank
            .register(&known.text, number, option_callback)
            .map_err(|refused| {
                let name = known.text.name.to_string_lossy();
                Failure::new(
                    &format!("option --{name}"),
                    format!("{}; does another plugin have it?", refused.0),
                )
            })?;
    }
    prologs::register(spank, prolog_callback);
    Ok(())
}

/// Takes an option's value. In a client a wrong one is told at once.
unsafe extern "C" fn option_callback(number: c_int, value: *const c_char, remote: c_int) -> c_int {
    let taken = catch_unwind(|| {
        let value = ffi::option_value(value).unwrap_or_default();
        let mut state = state();
        // Whatever becomes of it, a container was asked for.
        let before = std::mem::replace(&mut state.asked, true);
        let side = if remote == 0 {
            Side::Client
        } else {
            Side::Node
        };
        let taken = state.given.take(number, &value, side);
        if taken.is_ok() {
            state.asked = before || state.given.asks();
        }
        let checked = match remote {
            0 => taken.and_then(|()| state.given.check_in_client()),
            _ => taken,
        };
        checked.map_err(|e| Failure(e.to_string()))
    });
    match taken.unwrap_or_else(|_| Err(panicked())) {
        Ok(()) => OK,
        Err(failure) if remote == 0 => {
            failure::tell_client(&failure.0);
            REFUSED
        }
        Err(failure) => {
            state().failure.get_or_insert(failure);
            OK
        }
    }
}

/// Takes what srun's half of the plugin says of its user's prolog, on the node.
unsafe extern "C" fn prolog_callback(_: c_int, value: *const c_char, remote: c_int) -> c_int {
    if remote != 0 {
        let _ = catch_unwind(|| prologs::take(&ffi::option_value(value).unwrap_or_default()));
    }
    OK
}

/// In clients, checks that the options fit together, and the profile, and sees to nodes
/// that have no plugin. In slurmstepd, starts `oarlock-prepare`.
///
/// # Safety
/// Called by Slurm with its own handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slurm_spank_init_post_opt(
    spank: RawSpank,
    _: c_int,
    _: *mut *mut c_char,
) -> c_int {
    if is_client() {
        let ready = catch_unwind(client::ready);
        return match ready.unwrap_or_else(|_| Err(panicked())) {
            Ok(()) => OK,
            Err(failure) => {
                failure::tell_client(&failure.0);
                // Nothing is queued yet. Behind `optional` a return code would be
                // thrown away.
                ffi::end_client()
            }
        };
    }
    if !is_step() {
        return OK;
    }
    keep(|| step::take_guard(Spank::new(spank)).and_then(|()| prepare(Spank::new(spank))))
}

fn prepare(spank: Spank) -> Result<(), Failure> {
    let mut state = state();
    if state.failure.is_some() {
        return Ok(());
    }
    let plugstack = state
        .plugstack
        .clone()
        .ok_or_else(|| Failure("the plugin was not initialised".to_owned()))?;
    if !state.asked && plugstack.sbatch_support && step::is_batch_script(spank) {
        let job = step::environment(spank)?;
        let taken = state.given.take_handed_on(&job);
        state.asked = taken.is_err() || state.given.asks();
        taken.map_err(|e| Failure(e.to_string()))?;
    }
    let Some(options) = state.given.resolve().map_err(|e| Failure(e.to_string()))? else {
        return Ok(());
    };
    state.options = Some(options.clone());
    drop(state);
    let mut request = step::request(spank, options, &plugstack)?;
    let words = spank.arguments().map_or(0, |words| words.len());
    let (entry, prologs) = prologs::choose(words, &request.options, &plugstack)?;
    request.entry = entry.clone();
    let mut state = self::state();
    state.tasks = request.ranks;
    state.saves = request.options.save.is_some();
    state.entry = entry;
    state.prologs = prologs;
    drop(state);
    HANDOFF
        .get_or_try_init(|| Handoff::start(&request, &plugstack))
        .map(|_| ())
}

/// In slurmstepd, with the user's rights, in the job's working directory, which
/// is noted for the container.
///
/// # Safety
/// Called by Slurm with its own handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slurm_spank_user_init(
    _: RawSpank,
    _: c_int,
    _: *mut *mut c_char,
) -> c_int {
    keep(|| {
        state().cwd = std::env::current_dir()
            .ok()
            .and_then(|path| HostPath::new(path).ok());
        Ok(())
    })
}

/// In the task, as root, in the namespace that `job_container` gave it.
///
/// # Safety
/// Called by Slurm with its own handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slurm_spank_task_init_privileged(
    _: RawSpank,
    _: c_int,
    _: *mut *mut c_char,
) -> c_int {
    keep(task::privileged)
}

/// In the task, as the user, before its program starts.
///
/// # Safety
/// Called by Slurm with its own handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slurm_spank_task_init(
    spank: RawSpank,
    _: c_int,
    _: *mut *mut c_char,
) -> c_int {
    let outcome = catch_unwind(|| task::enter_container(Spank::new(spank)));
    match outcome {
        Ok(Outcome::Run) => OK,
        Ok(Outcome::Done) => end_task(TASK_DONE),
        Ok(Outcome::End(code)) => end_task(code),
        Err(_) => {
            failure::tell(&panicked().0);
            end_task(TASK_FAILED)
        }
    }
}

/// The task must not go on whatever Slurm makes of a return code.
fn end_task(code: i32) -> ! {
    // SAFETY: _exit takes a number and does not return; this is a child of
    // slurmstepd that has nothing to clean up.
    unsafe { libc::_exit(code) }
}

/// In slurmstepd, after each task's end: after the last, `oarlock-prepare` is
/// not needed, should it still wait.
///
/// # Safety
/// Called by Slurm with its own handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slurm_spank_task_exit(
    spank: RawSpank,
    _: c_int,
    _: *mut *mut c_char,
) -> c_int {
    keep(|| {
        let mut state = state();
        state.ended += 1;
        let is_last = state.ended >= state.tasks;
        let saves = std::mem::take(&mut state.saves);
        if !is_last {
            state.saves = saves;
        }
        drop(state);
        if is_last && let Some(handoff) = HANDOFF.get() {
            if saves {
                handoff.save();
            }
            handoff.end();
            groups::tell_of_memory(Spank::new(spank));
        }
        Ok(())
    })
}

/// At the end of the step, when Slurm has ended its processes.
///
/// # Safety
/// Called by Slurm with its own handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slurm_spank_exit(spank: RawSpank, _: c_int, _: *mut *mut c_char) -> c_int {
    keep(|| {
        if let Some(handoff) = HANDOFF.get() {
            handoff.end();
            groups::end(Spank::new(spank));
        }
        Ok(())
    })
}

/// After a job, on each of its nodes, in a process of its own: what was kept for
/// its steps goes.
///
/// # Safety
/// Called by Slurm with its own handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn slurm_spank_job_epilog(
    spank: RawSpank,
    _: c_int,
    _: *mut *mut c_char,
) -> c_int {
    let spank = Spank::new(spank);
    release(|| {
        let job = spank.job_id().ok()?;
        // Who is left of a step whose slurmstepd was killed uses his container: he is ended
        // before it is looked who does.
        if let Err(error) = cgroup::release::release(Whose::Job(job), own_node().as_deref()) {
            ffi::log_error(&format!(
                "oarlock: the control groups of job {job}: {error}; try: oarlock gc"
            ));
        }
        if let Err(error) = containers::release::job(job) {
            ffi::log_error(&format!("oarlock: the containers of job {job}: {error}"));
        }
        Some(Whose::Job(job))
    })
}

/// What Slurm calls the node, in an epilog's environment: prolog and epilog guide.
fn own_node() -> Option<String> {
    std::env::var("SLURMD_NODENAME").ok()
}

/// Never an error: a node is not drained for a mount that stays.
fn release(whose: impl FnOnce() -> Option<Whose>) -> c_int {
    let released = catch_unwind(AssertUnwindSafe(|| whose().map(kept::release)));
    match released {
        Ok(Some(Err(error))) => ffi::log_error(&format!(
            "oarlock: {}: {error}; try: oarlock gc",
            runtime_directory::PATH
        )),
        Ok(_) => {}
        Err(_) => ffi::log_error(&format!("oarlock: {}", panicked().0)),
    }
    OK
}
