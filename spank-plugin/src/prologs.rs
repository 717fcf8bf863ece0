//! Slurm's task prologs: which a step has, and which way its ranks therefore enter.
//!
//! A rank that enters in the plugin's hook would leave the prologs, which Slurm runs
//! after it, to look for themselves in the container. So a step with a prolog enters
//! later, or has its prologs run earlier; one without loses nothing.
//!
//! What the client says of its user's prolog is the user's word: it steers nothing but
//! that user's own step.

use std::ffi::{OsStr, OsString, c_int};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use runtime_core::entry::{self, Entry};
use runtime_core::path::HostPath;
use runtime_core::prolog;
use runtime_core::request::Options;
use runtime_core::sys::file_capabilities;

use crate::failure::Failure;
use crate::ffi::{self, Callback, OptionText, OwnEnvironment, Spank, TaskProlog, context};
use crate::options::Environment;
use crate::plugstack::Plugstack;
use crate::state::state;

/// By this option srun's half of the plugin tells the nodes' half. It is known to srun
/// only where it has something to say, so that nobody sees it in the help.
const OPTION: OptionText = OptionText {
    name: c"oarlock-task-prolog",
    argument: Some(c"LIST"),
    usage: c"[oarlock] internal: what srun was told of a task prolog",
};

/// Its number, beyond those of the options that people use.
const NUMBER: c_int = 1000;

/// The variable by which a client gives it to itself; see `options::Known`.
const HANDED_ON: &str = "SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_oarlock_task_prolog";

/// All variables by which Slurm shows that to a rank; they mean nothing to it.
const SHOWN: [&str; 2] = [HANDED_ON, "_SLURM_SPANK_OPTION_oarlock_oarlock_task_prolog"];

/// srun's own variable for its option.
const VARIABLE: &str = "SLURM_TASK_PROLOG";

/// The prologs of a step, in the order in which Slurm runs them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Prologs {
    /// The site's, slurm.conf's TaskProlog.
    pub(crate) site: Option<OsString>,
    /// The user's, `srun --task-prolog`.
    pub(crate) user: Option<OsString>,
}

/// In srun: hands on what its command line says of a prolog. In slurmstepd: listens.
pub(crate) fn register(spank: Spank, callback: Callback) {
    match ffi::where_am_i() {
        context::S_CTX_LOCAL => {
            let list = std::fs::read("/proc/self/cmdline").unwrap_or_default();
            let words: Vec<OsString> = list
                .strip_suffix(b"\0")
                .unwrap_or(&list)
                .split(|b| *b == 0)
                .map(|word| OsString::from_vec(word.to_vec()))
                .collect();
            let variable = std::env::var_os(VARIABLE);
            let list = prolog::candidates(&words, variable.as_deref());
            if list.is_empty() {
                // It may be another srun's, in which this one was started.
                OwnEnvironment.remove(HANDED_ON);
                return;
            }
            OwnEnvironment.set(HANDED_ON, &prolog::encode(&list));
        }
        context::S_CTX_REMOTE => {}
        _ => return,
    }
    // Where it cannot be, prologs of users are not known; no step fails for that.
    let _ = spank.register(&OPTION, NUMBER, callback);
}

/// On the node: takes what srun's half says.
pub(crate) fn take(value: &OsStr) {
    state().client_prologs = prolog::decode(value);
}

/// In a task: takes out of its environment what srun's half has put there.
pub(crate) fn forget(spank: Spank) {
    if !state().client_prologs.is_empty() {
        for name in SHOWN {
            spank.remove_variable(OsStr::new(name));
        }
    }
}

/// Chooses a step's way. `words` is the length of its command.
pub(crate) fn choose(
    words: usize,
    options: &Options,
    places: &Plugstack,
) -> Result<(Entry, Prologs), Failure> {
    let client = state().client_prologs.clone();
    let site = ffi::task_prolog();
    let user = prolog::of_the_step(&client, words).map(|one| one.program.clone());
    let prologs = Prologs {
        site: match &site {
            TaskProlog::Is(program) => Some(program.clone()),
            TaskProlog::None | TaskProlog::Unknown => None,
        },
        user,
    };
    let known = prologs.site.is_some() || prologs.user.is_some();
    if !known && client.is_empty() && site == TaskProlog::None {
        return Ok((Entry::Hook, prologs));
    }
    let is_plain = !options.unshare.pid && options.remap_root != Some(true);
    let unable = match (ffi::can_prepend(), &places.enter) {
        // It joins namespaces, and neither forks nor becomes anybody.
        (true, _) if !is_plain => "process ids and root of its own need the hook".to_owned(),
        (true, program) => match file_capabilities::redeems(program, entry::needed()) {
            Ok(()) => return Ok((Entry::Program, prologs)),
            Err(unable) => format!("{}: {unable}", program.display()),
        },
        (false, _) => "this Slurm is older than 23.11".to_owned(),
    };
    if !known {
        return Ok((Entry::Hook, prologs));
    }
    let nothing = HostPath::new(&places.nothing)
        .ok()
        .filter(|path| path.as_path().is_file())
        .ok_or_else(|| {
            Failure(format!(
                "the step has a task prolog, and no way to run it before the container: {unable}, \
                 and {} is missing; is all of Oarlock installed on this node?",
                places.nothing.display()
            ))
        })?;
    let programs = [&prologs.site, &prologs.user].into_iter().flatten();
    let entry = Entry::HookAfter {
        nothing,
        // One that is not absolute Slurm refuses to run.
        prologs: programs.filter_map(|p| HostPath::new(p).ok()).collect(),
    };
    Ok((entry, prologs))
}

/// What Slurm calls one of them in its messages.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    /// In the messages of what runs it.
    script: &'static str,
    /// In the message of its failure.
    failed: &'static str,
}

impl Prologs {
    fn in_order(&self) -> impl Iterator<Item = (&OsStr, Names)> {
        let site = Names {
            script: "slurm task_prolog",
            failed: "TaskProlog",
        };
        let user = Names {
            script: "user task_prolog",
            failed: "--task-prolog",
        };
        [(&self.site, site), (&self.user, user)]
            .into_iter()
            .filter_map(|(program, names)| Some((program.as_deref()?, names)))
    }

    /// Runs them in the task, as Slurm would: on the host, with the user's rights and
    /// no capability, one after the other; what they say is done. Returns the
    /// variables that they have set or removed, or the exit code with which the task
    /// ends.
    pub(crate) fn run(&self, spank: Spank) -> Result<Vec<OsString>, i32> {
        let mut named = Vec::new();
        for (program, names) in self.in_order() {
            let code = run_one(spank, program, names, &mut named);
            if code != 0 {
                ffi::log_error(&format!("{} failed status={code}", names.failed));
                return Err(code);
            }
        }
        Ok(named)
    }
}

/// Runs one prolog: `_run_script_and_set_env` and `run_command` of Slurm.
fn run_one(spank: Spank, program: &OsStr, names: Names, named: &mut Vec<OsString>) -> i32 {
    const FAILED: i32 = 1;
    let shown = program.to_string_lossy();
    let not_run = |why: String| {
        ffi::log_error(&format!("run_command: {why}"));
        ffi::log_error(&format!(
            "{} did not exit normally. reason: Run command failed - configuration error",
            names.script
        ));
        FAILED
    };
    let context = (
        OsStr::new("SLURM_SCRIPT_CONTEXT"),
        OsStr::new("prolog_task"),
    );
    let _ = spank.set_variable(context.0, context.1);
    if !Path::new(program).is_absolute() {
        return not_run(format!(
            "{} is not fully qualified pathname ({shown})",
            names.script
        ));
    }
    let access = rustix::fs::Access::READ_OK | rustix::fs::Access::EXEC_OK;
    if let Err(error) = rustix::fs::access(program, access) {
        return not_run(format!(
            "{} can not be executed ({shown}) {}",
            names.script,
            ffi::strerror(error.raw_os_error())
        ));
    }
    let environment = spank.environment().unwrap_or_default();
    let ran = match ffi::run_as_slurm_does(program, &environment) {
        Ok(ran) => ran,
        Err(error) => return not_run(format!("{}: {error}", names.script)),
    };
    let Some(code) = ran.code else {
        ffi::log_error(&format!(
            "{} did not exit normally. reason: {}",
            names.script,
            String::from_utf8_lossy(&ran.output)
        ));
        return FAILED;
    };
    for said in prolog::said(&ran.output) {
        match said {
            prolog::Said::Print(text) => write_all(&text),
            prolog::Said::Export(name, value) => {
                let _ = spank.set_variable(&name, &value);
                named.push(name);
            }
            prolog::Said::Unset(name) => {
                spank.remove_variable(&name);
                named.push(name);
            }
        }
    }
    code
}

/// To the rank's standard output, past any buffer.
fn write_all(mut text: &[u8]) {
    let out = std::io::stdout();
    while let Ok(written @ 1..) = rustix::io::retry_on_intr(|| rustix::io::write(&out, text)) {
        text = text.get(written..).unwrap_or_default();
    }
}
