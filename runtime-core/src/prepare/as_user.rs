//! Asking a child that has become the user, and its one answer.
//!
//! What a user has named is opened, and what he has written is read, by a process
//! that has his rights and no others. Its parent, which is root, gets one message,
//! and gives the child up where nobody waits for it any more.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::cgroup::Groups;
use crate::request::Identity;
use crate::sys;
use crate::sys::ipc::{self, Waited};
use crate::sys::process::Child;

/// First byte of an answer: what was asked for follows.
const FOUND: u8 = b'F';
/// First byte of an answer: a line for the user follows.
const REFUSED: u8 = b'X';
/// No refusal is longer, in bytes.
const MAX_REFUSAL: usize = 2048;

/// Who is asked, and who waits for it.
#[derive(Clone, Copy)]
pub(super) struct AsUser<'a> {
    /// Whom the child becomes.
    pub(super) who: &'a Identity,
    /// The task whose control groups the child joins. Before there is one it is where
    /// slurmstepd was when it started `oarlock-prepare`: Slurm makes the step's groups
    /// only later.
    pub(super) task: Option<&'a Groups>,
    /// The socket behind which somebody waits.
    pub(super) asker: BorrowedFd<'a>,
    /// The site's bound, in seconds.
    pub(super) seconds: u32,
}

/// What the child found: bytes of its own making, and descriptors.
#[derive(Debug)]
pub(super) struct Findings {
    /// Not to be believed.
    pub(super) bytes: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

/// Why there are no findings: one line for the user.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// What the child said.
    #[error("{0}")]
    Said(String),
    #[error("{subject}: no answer within {seconds} s; is the file system it lies on alive?")]
    Timeout { subject: String, seconds: u32 },
    /// It ended without a word, or its word was nonsense.
    #[error("{0}: the process that opens it ended unexpectedly; see the node's journal")]
    Died(String),
    #[error("the step ended before {0} was opened")]
    Unwanted(String),
    #[error("{subject}: starting the process that opens it: {error}")]
    Start { subject: String, error: io::Error },
}

impl AsUser<'_> {
    /// Asks; `subject` is what is opened, as in `image app.sif`, and begins the line
    /// that says why there is no answer. `open` runs in the child.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) fn ask<E: Display>(
        &self,
        subject: &str,
        open: impl FnOnce() -> Result<Findings, E>,
    ) -> Result<Findings, Unanswered> {
        self.ask_about(&[], subject, open)
    }

    /// As [`AsUser::ask`], of what is open already: the child has these descriptors.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) fn ask_about<E: Display>(
        &self,
        fds: &[BorrowedFd<'_>],
        subject: &str,
        open: impl FnOnce() -> Result<Findings, E>,
    ) -> Result<Findings, Unanswered> {
        self.start(fds, subject, open)?
            .answer(self.asker, self.seconds)
    }

    /// Asks, and goes on meanwhile.
    ///
    /// # Errors
    /// [`Unanswered::Start`].
    pub(super) fn start<E: Display>(
        &self,
        fds: &[BorrowedFd<'_>],
        subject: &str,
        open: impl FnOnce() -> Result<Findings, E>,
    ) -> Result<Asked, Unanswered> {
        let start = |error| Unanswered::Start {
            subject: subject.to_owned(),
            error,
        };
        let (ours, theirs) = ipc::pair().map_err(start)?;
        let child = sys::process::fork(|| {
            let mut keep = vec![theirs.as_fd()];
            keep.extend(fds);
            sys::process::close_all_but(&keep);
            let become_user = || {
                sys::credentials::become_user(self.who.uid, self.who.gid, &self.who.groups)?;
                sys::process::die_with_parent()
            };
            match become_user() {
                Ok(()) => u8::from(tell(theirs.as_fd(), open()).is_err()),
                Err(_) => 2,
            }
        })
        .map_err(start)?;
        if let Some(task) = self.task
            && let Err(error) = task.join(child.id())
        {
            tracing::warn!(%error, "{subject} is opened outside the task's control groups");
        }
        Ok(Asked {
            socket: ours,
            child: Some(child),
            subject: subject.to_owned(),
        })
    }
}

/// A child that was asked. It is given up where this goes without an answer.
#[derive(Debug)]
pub(super) struct Asked {
    socket: OwnedFd,
    /// Until it has answered.
    child: Option<Child>,
    subject: String,
}

impl Asked {
    /// For a child of this process that is to take the answer.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Waits for the answer, as long as somebody waits behind `asker`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) fn answer(
        mut self,
        asker: BorrowedFd<'_>,
        seconds: u32,
    ) -> Result<Findings, Unanswered> {
        let findings = answer_on(self.socket(), asker, &self.subject, seconds);
        if !matches!(
            findings,
            Err(Unanswered::Timeout { .. } | Unanswered::Unwanted(_))
        ) {
            // It ends by itself, and is reaped here.
            drop(self.child.take());
        }
        findings
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            child.abandon();
        }
    }
}

/// The answer that comes on an [`Asked::socket`]; `subject` is what was asked about.
///
/// # Errors
/// [`Unanswered`].
pub(super) fn answer_on(
    socket: BorrowedFd<'_>,
    asker: BorrowedFd<'_>,
    subject: &str,
    seconds: u32,
) -> Result<Findings, Unanswered> {
    let deadline = Instant::now() + Duration::from_secs(u64::from(seconds));
    let subject = || subject.to_owned();
    let start = |error| Unanswered::Start {
        subject: subject(),
        error,
    };
    match ipc::wait_answer(socket, asker, deadline).map_err(start)? {
        Waited::Ready => {}
        Waited::Deadline => {
            let subject = subject();
            return Err(Unanswered::Timeout { subject, seconds });
        }
        Waited::Unwanted => return Err(Unanswered::Unwanted(subject())),
    }
    let Some(message) = ipc::receive(socket).map_err(start)? else {
        return Err(Unanswered::Died(subject()));
    };
    match message.bytes.split_first() {
        Some((&FOUND, bytes)) => Ok(Findings {
            bytes: bytes.to_vec(),
            fds: message.fds,
        }),
        Some((&REFUSED, text)) => Err(Unanswered::Said(String::from_utf8_lossy(text).into_owned())),
        _ => Err(Unanswered::Died(subject())),
    }
}

/// In the child.
fn tell<E: Display>(socket: BorrowedFd<'_>, findings: Result<Findings, E>) -> io::Result<()> {
    let (kind, bytes, fds) = match findings {
        Ok(Findings { bytes, fds }) => (FOUND, bytes, fds),
        Err(error) => {
            let text = error.to_string().bytes().take(MAX_REFUSAL).collect();
            (REFUSED, text, Vec::new())
        }
    };
    let message: Vec<u8> = std::iter::once(kind).chain(bytes).collect();
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    ipc::send(socket, &message, &fds)
}
