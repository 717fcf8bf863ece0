//! Asking another program something small: its version, its list. Bounded in time and
//! in length; where this is root, only root's programs are executed.

use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process_group};

use super::node::Node;

/// No answer is waited for longer. A program that hangs in the kernel is left to it.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// No answer is longer, in bytes; less than a pipe holds, so that nobody waits for us.
pub(super) const MAX_ANSWER: usize = 32 << 10;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Silent {
    #[error("{}: {error}", program.display())]
    Start {
        program: PathBuf,
        error: std::io::Error,
    },
    #[error("{}: others than root can write it, so it is not executed", .0.display())]
    NotRoots(PathBuf),
    #[error("{}: no answer within {} s", program.display(), patience.as_secs())]
    Late {
        program: PathBuf,
        patience: Duration,
    },
}

impl Silent {
    /// What to do about it; `argument` is what it was asked with.
    pub(super) fn advice(&self, argument: &str) -> String {
        match self {
            Self::NotRoots(program) => {
                let program = program.display();
                format!("if it is the right one: chown root and chmod go-w {program}")
            }
            Self::Start { .. } => "install it again".to_owned(),
            Self::Late { program, .. } => format!("try: {} {argument}", program.display()),
        }
    }
}

/// What a program of the node's writes, to its output and then to its errors; and
/// whether it succeeded.
pub(super) fn ask(
    node: &Node,
    program: &Path,
    arguments: &[&str],
    patience: Duration,
) -> Result<(String, bool), Silent> {
    let start = |error| Silent::Start {
        program: program.to_owned(),
        error,
    };
    let about = node.host.metadata(program).map_err(start)?;
    if node.is_root && !node.host.is_roots(&about) {
        return Err(Silent::NotRoots(program.to_owned()));
    }
    let began = Instant::now();
    let mut command = Command::new(node.host.place(program));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
        .env("LC_ALL", "C")
        .envs(std::env::var_os("SLURM_CONF").map(|path| ("SLURM_CONF", path)))
        .current_dir("/")
        // It may be a script: what it has started ends with it.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = loop {
        match command.spawn() {
            // It is just being written: installed anew.
            Err(error)
                if error.kind() == ErrorKind::ExecutableFileBusy && began.elapsed() < patience =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => break other.map_err(start)?,
        }
    };
    let success = loop {
        if let Some(status) = child.try_wait().map_err(start)? {
            break status.success();
        }
        if began.elapsed() > patience {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.try_wait();
            return Err(Silent::Late {
                program: program.to_owned(),
                patience,
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut text = child.stdout.take().map(held).unwrap_or_default();
    text.push_str(&child.stderr.take().map(held).unwrap_or_default());
    Ok((text, success))
}

/// What a pipe holds by now: a child of the program may have it open still.
fn held(pipe: impl Read + AsFd) -> String {
    if rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK).is_err() {
        return String::new();
    }
    let mut bytes = Vec::new();
    // "Would block" is the end of it.
    let _ = pipe.take(MAX_ANSWER as u64).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use runtime_core::host::Host;

    use super::*;

    #[test]
    fn what_a_program_has_started_ends_with_it() {
        let place = tempfile::tempdir().unwrap();
        let (program, number) = (place.path().join("p"), place.path().join("number"));
        let text = format!(
            "#!/bin/sh\nsleep 600 &\necho $! >{}\nwait\n",
            number.display()
        );
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let node = Node::of(Host::at(place.path()).unwrap(), None, None, true);
        let answer = ask(&node, Path::new("/p"), &[], Duration::from_secs(2));
        assert!(matches!(answer, Err(Silent::Late { .. })), "{answer:?}");
        let number = std::fs::read_to_string(number).unwrap();
        let state = || {
            let path = format!("/proc/{}/stat", number.trim());
            let stat = std::fs::read_to_string(path).unwrap_or_default();
            stat.split(' ').nth(2).map(str::to_owned)
        };
        let is_there = || state().is_some_and(|state| state != "Z");
        for _ in 0..100 {
            if is_there() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        assert!(!is_there(), "{:?}", state());
    }
}
