//! Starting `oarlock-prepare` and talking to it.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use runtime_core::path::HostPath;
use runtime_core::prepare::protocol::{self, Answer, Start};
use runtime_core::request::Request;
use runtime_core::sys::{ipc, mount, process};

use crate::failure::{self, Failure};
use crate::ffi;
use crate::plugstack::Plugstack;

/// A rank waits this long at the most: `oarlock-prepare` has bounds of its own
/// and says which was met, unless the kernel holds it.
const PATIENCE: Duration = Duration::from_secs(600);

/// What `oarlock-prepare` does behind the ranks takes milliseconds.
const PATIENCE_WITH_PREPARE: Duration = Duration::from_millis(500);

/// A killed server ends at once, unless the kernel holds it.
const PATIENCE_WITH_SERVER: Duration = Duration::from_millis(500);

/// `oarlock-prepare` gives saving up after an hour, and says so.
const PATIENCE_WITH_SAVING: Duration = Duration::from_secs(3700);

/// The plugin's end of the connection, shared by all tasks of the node.
#[derive(Debug)]
pub(crate) struct Handoff {
    socket: OwnedFd,
}

impl Handoff {
    /// Starts `oarlock-prepare` with a request; does not wait for it.
    pub(crate) fn start(request: &Request, plugstack: &Plugstack) -> Result<Self, Failure> {
        let fail = |error: std::io::Error| Failure::new("starting oarlock-prepare", error);
        let bytes =
            postcard::to_stdvec(request).map_err(|e| Failure::new("writing the request", e))?;
        let memory = ipc::memory_file("oarlock-request", &bytes).map_err(fail)?;
        let (ours, theirs) = ipc::pair().map_err(fail)?;
        ipc::set_receive_timeout(ours.as_fd(), PATIENCE).map_err(fail)?;
        // Before anything is sent: the kernel notes a sender only for a receiver
        // that has asked.
        ipc::ask_for_credentials(theirs.as_fd()).map_err(fail)?;
        let text =
            |path: &std::path::Path| CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
        let (program, config) = (text(&plugstack.prepare), text(&plugstack.config));
        let missing = format!(
            "{} cannot be executed; is Oarlock installed on this node?",
            plugstack.prepare.display()
        );
        let missing = protocol::failure_message(protocol::ANY, missing.as_ref());
        let ranks = CString::new(request.ranks.to_string()).unwrap_or_default();
        ffi::spawn_detached(
            &program,
            &[&program, &config, &ranks],
            &theirs,
            &memory,
            &ffi::LastWords {
                text: &missing,
                times: request.ranks,
            },
        )
        .map_err(fail)?;
        Ok(Self { socket: ours })
    }

    /// Tells which mount namespace the task is in. Sent by root. A peer that is
    /// gone has left its answer in the socket, which says more.
    pub(crate) fn send_namespace(&self, cwd: Option<&HostPath>) -> Result<(), Failure> {
        let own = mount::open_own_namespace()
            .map_err(|e| Failure::new("opening the task's mount namespace", e))?;
        let _ = ipc::send(
            self.socket.as_fd(),
            &protocol::namespace_message(cwd),
            &[own.as_fd()],
        );
        Ok(())
    }

    /// Says that a task is about to start, and takes an answer: each rank takes
    /// one of as many equal ones; what comes before them is for the user. `None` where
    /// `oarlock-prepare` is gone.
    pub(crate) fn go(&self, start: &Start) -> Result<Option<Answer>, Failure> {
        let _ = ipc::send(self.socket.as_fd(), &start.encode(), &[]);
        loop {
            match self.receive()? {
                Some(Answer::Notice(text)) => failure::tell(&text),
                Some(Answer::Line(text)) => failure::print(&text),
                other => return Ok(other),
            }
        }
    }

    fn receive(&self) -> Result<Option<Answer>, Failure> {
        let message = ipc::receive(self.socket.as_fd()).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => Failure(format!(
                "no answer from oarlock-prepare within {} s; is the file system of the image alive?",
                PATIENCE.as_secs()
            )),
            _ => Failure::new("waiting for oarlock-prepare", error),
        })?;
        Ok(message.and_then(Answer::read))
    }

    /// The last rank has ended: has the container saved, and waits for it; what came of
    /// it is told. The job's time limit counts on.
    pub(crate) fn save(&self) {
        if ipc::send(self.socket.as_fd(), &protocol::save_message(), &[]).is_err() {
            return;
        }
        let mut servers = Vec::new();
        let until = Instant::now() + PATIENCE_WITH_SAVING;
        while Instant::now() < until {
            let message = match ipc::receive(self.socket.as_fd()) {
                Ok(Some(message)) => message,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Ok(None) | Err(_) => break,
            };
            match Answer::read(message) {
                Some(Answer::Saved(text, prepare)) => {
                    failure::tell(&text);
                    servers.extend(prepare);
                    break;
                }
                Some(Answer::Server(server)) => servers.push(server),
                // Answers of ranks that never took theirs.
                _ => {}
            }
        }
        for server in servers {
            end_helper(&server);
        }
    }

    /// The last rank has ended: ends the image's FUSE server, which would end by
    /// itself, but perhaps after Slurm has looked whether the step is empty, and
    /// Slurm looks again only a second later. And lets `oarlock-prepare` end, should
    /// it still wait or keep a mount for the next step: it is in the job's control
    /// group, which Slurm removes at once or never (`proctrack/cgroup` on version 1).
    /// Works on the connection, not on the descriptor, and so from a
    /// process that shares only memory, too.
    pub(crate) fn end(&self) {
        // It is told that nobody asks any more, and can still be heard.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write);
        let patience = Instant::now() + PATIENCE_WITH_PREPARE;
        while let Ok(Some(_)) = ipc::wait_readable(&[self.socket.as_fd()], Some(patience)) {
            let Ok(Some(message)) = ipc::receive(self.socket.as_fd()) else {
                break;
            };
            if let Some(Answer::Server(server)) = Answer::read(message) {
                end_helper(&server);
            }
        }
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}

fn end_helper(helper: &OwnedFd) {
    let _ = process::kill(helper.as_fd());
    let soon = Instant::now() + PATIENCE_WITH_SERVER;
    let _ = ipc::wait_readable(&[helper.as_fd()], Some(soon));
}
