//! The image's environment scripts, and its entry point: run by the image's own
//! shell, as the user, in the finished container, once for all ranks of a node.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::survey::{self, become_user, with_profile};
use super::{ApplyError, FileAccess, step};
use crate::cgroup::Groups;
use crate::environment::{self, Change};
use crate::limits;
use crate::request::Request;
use crate::sys;
use crate::sys::namespaces::{Kind, Namespace};
use crate::way::Way;

/// Seconds for the image's environment scripts.
const SECONDS: u32 = 30;

/// No more of what an entry point prints is shown, in bytes and lines.
const MAX_LOG: u64 = 64 << 10;
const MAX_LINES: usize = 200;

/// Where Apptainer keeps them, relative to the root.
const SCRIPTS: &str = ".singularity.d/env";

pub(super) fn has_scripts(image: BorrowedFd<'_>) -> bool {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(image, SCRIPTS, flags, Mode::empty(), inside)
        .and_then(rustix::fs::Dir::new)
        .is_ok_and(|dir| {
            dir.take(10_000)
                .flatten()
                .any(|entry| entry.file_name().to_bytes().ends_with(b".sh"))
        })
}

/// Whether anything of the image is to be run before the ranks: its environment
/// scripts, which the survey has `found`, or its entry point.
#[must_use]
pub fn is_wanted(found: bool, request: &Request) -> bool {
    found || request.options.entrypoint == Some(true)
}

/// Where the scripts are run from.
#[derive(Debug, Clone, Copy)]
pub enum From<'a> {
    /// This process is in the container.
    Inside,
    /// This process is root on the host: the way into the container, and a task
    /// in whose control groups the scripts belong.
    Host(&'a Way, &'a Groups),
}

/// Sources the image's environment scripts in its own shell and runs its entry point
/// where that is asked for, once for all ranks of the node, and writes the changes.
/// Returns what the entry point has printed.
///
/// Both are the user's code, run before his program: they get a process
/// id namespace of their own, so that nothing of them outlives this call, and
/// the control groups of the task.
///
/// # Errors
/// [`ApplyError::Scripts`], [`ApplyError::EntryPoint`].
pub fn run_scripts(
    from: From<'_>,
    changes: &File,
    request: &Request,
    access: &FileAccess,
) -> Result<Vec<String>, ApplyError> {
    let what = "running the image's environment scripts";
    let log = sys::ipc::memory_file("oarlock-entry-point", b"")
        .map(File::from)
        .map_err(step(what))?;
    let child = sys::process::fork(|| {
        let outcome = sys::process::die_with_parent()
            .and_then(|()| go_there(from))
            .and_then(|has_pids| {
                let run = || run_as_user(changes, &log, request, access);
                if !has_pids {
                    return run();
                }
                // Only a child is among the container's process ids.
                sys::process::fork(|| {
                    let done = sys::process::die_with_parent().and_then(|()| run());
                    u8::from(!matches!(done, Ok(0)))
                })?
                .wait()
            });
        u8::from(!matches!(outcome, Ok(0)))
    })
    .map_err(step(what))?;
    let ended = child.pidfd().map_err(step(what))?;
    let deadline = Instant::now() + Duration::from_secs(u64::from(SECONDS) + 1);
    let failed = || {
        if request.options.entrypoint == Some(true) {
            let last = lines_of(&log)
                .pop()
                .map(|line| format!("; it said last: {line}"));
            ApplyError::EntryPoint(last.unwrap_or_default())
        } else {
            ApplyError::Scripts
        }
    };
    match sys::ipc::wait_readable(&[ended.as_fd()], Some(deadline)).map_err(step(what))? {
        None => {
            child.abandon();
            Err(failed())
        }
        Some(_) => {
            let mut child = child;
            match child.wait().map_err(step(what))? {
                0 => Ok(lines_of(&log)),
                _ => Err(failed()),
            }
        }
    }
}

/// What was printed, as far as anybody wants to read it.
fn lines_of(log: &File) -> Vec<String> {
    let mut log = log;
    let mut text = Vec::new();
    let read = log
        .rewind()
        .and_then(|()| log.take(MAX_LOG).read_to_end(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().map(str::trim_end).filter(|l| !l.is_empty());
    lines.take(MAX_LINES).map(str::to_owned).collect()
}

/// Root opens no path after this: in the container every path is the user's,
/// /proc too. Returns whether the container has process ids of its own. The scripts
/// are the user's on the host: what they export does not hang on being root.
fn go_there(from: From<'_>) -> io::Result<bool> {
    let From::Host(way, task) = from else {
        return Ok(false);
    };
    task.join(std::process::id())?;
    way.namespaces()
        .iter()
        .filter(|namespace| namespace.kind != Kind::User)
        .try_for_each(Namespace::join)?;
    Ok(way.of(Kind::Pid).is_some())
}

/// In a process id namespace that ends with this; the exit code.
fn run_as_user(
    changes: &File,
    log: &File,
    request: &Request,
    access: &FileAccess,
) -> io::Result<i32> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID)?;
    sys::process::fork(|| {
        let done = become_user(access)
            .and_then(|()| sys::process::die_with_parent())
            .map(|()| limits::apply(&limits::of_job(&request.environment)))
            .and_then(|()| run_in_child(changes, log, request));
        u8::from(done.is_err())
    })?
    .wait()
}

/// What the image's shell is told: the scripts' noise goes nowhere, the result alone
/// to descriptor 3.
const SOURCE_ALL: &str = "exec >/dev/null 2>&1\n\
    for f in /.singularity.d/env/*.sh; do [ -f \"$f\" ] && . \"$f\" 3>&-; done\n\
    export -p >&3\n";

/// The same, and then the entry point, which is given a command to run as Docker's
/// are: Apptainer's `runscript`, or the `rc` of images that enroot has made. What it
/// says goes to descriptor 4, and the command tells the environment that it has.
const ENTER: &str = "exec >&4 2>&4\n\
    for f in /.singularity.d/env/*.sh; do [ -f \"$f\" ] && . \"$f\" 3>&- >/dev/null 2>&1; done\n\
    for f in /.singularity.d/runscript /etc/rc; do\n\
    [ -x \"$f\" ] && exec \"$f\" /bin/sh -c 'export -p >&3' 4>&-\n\
    done\n\
    echo 'the image has no entry point (/.singularity.d/runscript or /etc/rc)'\n\
    exit 1\n";

fn run_in_child(changes: &File, log: &File, request: &Request) -> io::Result<()> {
    let root = sys::mount::open_place(std::path::Path::new("/"))?;
    let plain = script_environment(&request.environment, &request.options.env);
    // What the image's configuration says is known already, where there is one.
    let mut given = plain.clone();
    for change in known_changes(changes)? {
        if let Change::Set(name, value) = change {
            let mut entry = name;
            entry.push("=");
            entry.push(value);
            given.push(entry);
        }
    }
    let output = if request.options.entrypoint == Some(true) {
        run_shell(ENTER, &given, log)?
    } else {
        run_shell(SOURCE_ALL, &given, log)?
    };
    let exported = environment::parse_exports(&output);
    if exported.is_empty() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let image: Vec<(OsString, OsString)> = exported
        .into_iter()
        .filter(|(name, value)| {
            !plain
                .iter()
                .any(|entry| environment::split(entry) == Some((name.as_bytes(), value.as_bytes())))
                || name == "PATH"
        })
        .collect();
    let list = survey::changes(root.as_fd(), &image, request);
    let mut changes = changes;
    changes.set_len(0)?;
    changes.rewind()?;
    changes.write_all(&with_profile(list, request))
}

/// What the survey has written, if anything.
fn known_changes(file: &File) -> io::Result<Vec<Change>> {
    let mut file = file;
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(environment::MAX_BYTES * 2)
        .read_to_end(&mut bytes)?;
    Ok(environment::decode(&bytes))
}

/// The scripts see what always comes from the job, and a plain PATH: what they
/// export is then the image's own word.
fn script_environment(job: &[OsString], chosen: &[OsString]) -> Vec<OsString> {
    let mut out: Vec<OsString> = job
        .iter()
        .filter(|entry| {
            environment::split(entry).is_some_and(|(name, _)| {
                environment::is_from_job(name) || chosen.iter().any(|c| c.as_bytes() == name)
            })
        })
        .cloned()
        .collect();
    out.push(OsString::from(format!(
        "PATH={}",
        environment::DEFAULT_PATH
    )));
    out
}

/// Runs a script in the image's shell; returns what it wrote to descriptor 3.
///
/// That is a memory file and no pipe: what the entry point leaves running may hold it
/// as long as it likes.
fn run_shell(script: &str, environment: &[OsString], log: &File) -> io::Result<Vec<u8>> {
    let result = File::from(sys::ipc::memory_file("oarlock-exports", b"")?);
    let text = |s: &[u8]| CString::new(s).unwrap_or_default();
    let program = text(b"/bin/sh");
    let arguments = [text(b"sh"), text(b"-c"), text(script.as_bytes())];
    let environment: Vec<CString> = environment.iter().map(|e| text(e.as_bytes())).collect();
    let mut shell = sys::process::fork(|| {
        let null = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty());
        let ready = null.map_err(io::Error::from).and_then(|null| {
            sys::process::reset_signals();
            let result = rustix::io::fcntl_dupfd_cloexec(&result, 16)?;
            let log = rustix::io::fcntl_dupfd_cloexec(log, 16)?;
            for number in 0..=2 {
                sys::process::place_descriptor(null.as_fd(), number)?;
            }
            sys::process::place_descriptor(result.as_fd(), 3)?;
            sys::process::place_descriptor(log.as_fd(), 4)?;
            sys::process::close_from(5);
            std::mem::forget((null, result, log));
            Ok(())
        });
        if ready.is_ok() {
            sys::process::end_after(SECONDS);
            let _ = sys::process::execute(&program, &arguments, &environment);
        }
        127
    })?;
    let code = shell.wait()?;
    let mut output = Vec::new();
    let mut result = result;
    result.rewind()?;
    result
        .take(environment::MAX_BYTES + 1)
        .read_to_end(&mut output)?;
    if code != 0 || output.len() as u64 > environment::MAX_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(output)
}
