//! The image's environment scripts: sourced by the image's own shell, as the
//! user, in the finished container, once for all ranks of a node.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::inside::has_locale;
use super::survey::become_user;
use super::{ApplyError, FileAccess, step};
use crate::environment;
use crate::request::Request;
use crate::sys;

/// Seconds for the image's environment scripts.
const SECONDS: u32 = 30;

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

/// Where the scripts are run from.
#[derive(Debug, Clone, Copy)]
pub enum From<'a> {
    /// This process is in the container.
    Inside,
    /// This process is root on the host: the container's namespace, and a task
    /// in whose control groups the scripts belong.
    Host(BorrowedFd<'a>, u32),
}

/// Sources the image's environment scripts in its own shell, once for all ranks
/// of the node, and writes the changes.
///
/// The scripts are the user's code, run before his program: they get a process
/// id namespace of their own, so that nothing of them outlives this call, and
/// the control groups of the task.
///
/// # Errors
/// [`ApplyError::Scripts`].
pub fn run_scripts(
    from: From<'_>,
    changes: &File,
    request: &Request,
    access: &FileAccess,
) -> Result<(), ApplyError> {
    let what = "running the image's environment scripts";
    let child = sys::process::fork(|| {
        let outcome = sys::process::die_with_parent()
            .and_then(|()| go_there(from))
            .and_then(|()| {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWPID)?;
                sys::process::fork(|| {
                    let done = become_user(access)
                        .and_then(|()| sys::process::die_with_parent())
                        .and_then(|()| run_in_child(changes, request));
                    u8::from(done.is_err())
                })
            })
            .and_then(|mut first| first.wait());
        u8::from(!matches!(outcome, Ok(0)))
    })
    .map_err(step(what))?;
    let ended = child.pidfd().map_err(step(what))?;
    let deadline = Instant::now() + Duration::from_secs(u64::from(SECONDS) + 1);
    match sys::ipc::wait_readable(&[ended.as_fd()], Some(deadline)).map_err(step(what))? {
        None => {
            child.abandon();
            Err(ApplyError::Scripts)
        }
        Some(_) => {
            let mut child = child;
            match child.wait().map_err(step(what))? {
                0 => Ok(()),
                _ => Err(ApplyError::Scripts),
            }
        }
    }
}

/// Root opens no path after this: in the container every path is the user's,
/// /proc too.
fn go_there(from: From<'_>) -> io::Result<()> {
    let From::Host(namespace, task) = from else {
        return Ok(());
    };
    sys::cgroup::join(task, std::process::id())?;
    let mount = Some(rustix::thread::LinkNameSpaceType::Mount);
    Ok(rustix::thread::move_into_link_name_space(namespace, mount)?)
}

/// What the image's shell is told: its own noise goes nowhere, the result alone
/// to the pipe.
const SOURCE_ALL: &str = "exec 3>&1 >/dev/null 2>&1\n\
    for f in /.singularity.d/env/*.sh; do [ -f \"$f\" ] && . \"$f\" 3>&-; done\n\
    export -p >&3\n";

fn run_in_child(changes: &File, request: &Request) -> io::Result<()> {
    let root = sys::mount::open_place(std::path::Path::new("/"))?;
    let given = script_environment(&request.environment);
    let output = run_shell(&given)?;
    let image: Vec<(OsString, OsString)> = environment::parse_exports(&output)
        .into_iter()
        .filter(|(name, value)| {
            !given
                .iter()
                .any(|entry| environment::split(entry) == Some((name.as_bytes(), value.as_bytes())))
                || name == "PATH"
        })
        .collect();
    let list = environment::changes(&request.environment, &image, |name| {
        has_locale(root.as_fd(), name)
    });
    let mut changes = changes;
    changes.rewind()?;
    changes.write_all(&environment::encode(&list))
}

/// The scripts see what always comes from the job, and a plain PATH: what they
/// export is then the image's own word.
fn script_environment(job: &[OsString]) -> Vec<OsString> {
    let mut out: Vec<OsString> = job
        .iter()
        .filter(|entry| {
            environment::split(entry).is_some_and(|(name, _)| environment::is_from_job(name))
        })
        .cloned()
        .collect();
    out.push(OsString::from(format!(
        "PATH={}",
        environment::DEFAULT_PATH
    )));
    out
}

fn run_shell(environment: &[OsString]) -> io::Result<Vec<u8>> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let text = |s: &[u8]| CString::new(s).unwrap_or_default();
    let program = text(b"/bin/sh");
    let arguments = [text(b"sh"), text(b"-c"), text(SOURCE_ALL.as_bytes())];
    let environment: Vec<CString> = environment.iter().map(|e| text(e.as_bytes())).collect();
    let mut shell = sys::process::fork(|| {
        let null = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty());
        let ready = null.map_err(io::Error::from).and_then(|null| {
            sys::process::reset_signals();
            let writer = rustix::io::fcntl_dupfd_cloexec(&writer, 16)?;
            sys::process::place_descriptor(null.as_fd(), 0)?;
            sys::process::place_descriptor(writer.as_fd(), 1)?;
            sys::process::place_descriptor(null.as_fd(), 2)?;
            sys::process::close_from(3);
            std::mem::forget((null, writer));
            Ok(())
        });
        if ready.is_ok() {
            sys::process::end_after(SECONDS);
            let _ = sys::process::execute(&program, &arguments, &environment);
        }
        127
    })?;
    drop(writer);
    let mut output = Vec::new();
    File::from(reader)
        .take(environment::MAX_BYTES + 1)
        .read_to_end(&mut output)?;
    let code = shell.wait()?;
    if code != 0 || output.len() as u64 > environment::MAX_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(output)
}
