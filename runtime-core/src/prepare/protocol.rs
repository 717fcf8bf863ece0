//! What the plugin and `oarlock-prepare` say to each other.
//!
//! One `SOCK_SEQPACKET` pair a node and step; all tasks share the plugin's end.
//! The first byte of a message is its kind. Answers are alike for all ranks, but
//! for a number, so that it does not matter which rank takes which.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::path::{ContainerPath, HostPath};
use crate::sys::ipc::{MAX_MESSAGE, Message};
use crate::visible::Shown;
use crate::way::Way;

/// The descriptor numbers that `oarlock-prepare` is started with.
pub const SOCKET_FD: i32 = 3;
/// The request, a memory file.
pub const REQUEST_FD: i32 = 4;

const NAMESPACE: u8 = b'N';
const GO: u8 = b'G';
const CONTAINER: u8 = b'C';
const FAILURE: u8 = b'F';
const SERVER: u8 = b'S';
const NOTICE: u8 = b'W';
const LINE: u8 = b'L';
const EXPLAINED: u8 = b'E';
const SAVE: u8 = b'V';
const SAVED: u8 = b'D';

/// Longest text of a failure, in bytes: one line.
const MAX_TEXT: usize = 2048;

/// The number of failures that are not counted.
pub const ANY: u32 = u32::MAX;

/// From a task to `oarlock-prepare`.
#[derive(Debug)]
pub enum ToPrepare {
    /// The task's mount namespace, sent by root in `task_init_privileged`, after
    /// `job_container` was joined, and the working directory that it will have; from
    /// the task of this process id.
    Namespace(OwnedFd, Option<HostPath>, u32),
    /// The task of this process id is about to start, and this is what it has. It
    /// waits for the answer.
    Go(Start, u32),
    /// From slurmstepd: the last rank of the node has ended, and the container may be
    /// saved.
    Save,
}

/// What only the starting task knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Start {
    /// Its working directory.
    pub cwd: Option<HostPath>,
    /// The directories in which its MPI library meets Slurm's server.
    pub mpi: Vec<HostPath>,
}

impl Start {
    /// As bytes, NUL between paths; an unknown working directory is empty.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![GO];
        out.extend_from_slice(self.cwd.as_ref().map_or(b"".as_slice(), HostPath::as_bytes));
        for path in &self.mpi {
            if out.len() + path.as_bytes().len() + 1 > MAX_MESSAGE {
                break;
            }
            out.push(0);
            out.extend_from_slice(path.as_bytes());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Self {
        let path = |b: &[u8]| HostPath::new(OsStr::from_bytes(b)).ok();
        let mut fields = bytes.split(|b| *b == 0);
        Self {
            cwd: fields.next().and_then(path),
            mpi: fields.filter_map(path).collect(),
        }
    }
}

/// The bytes that go with a namespace's descriptor.
#[must_use]
pub fn namespace_message(cwd: Option<&HostPath>) -> Vec<u8> {
    let mut out = vec![NAMESPACE];
    out.extend_from_slice(cwd.map_or(b"".as_slice(), HostPath::as_bytes));
    out
}

impl ToPrepare {
    /// Reads a task's message. A namespace counts only from root, as the kernel
    /// saw the sender: a user's namespace must not steer root.
    #[must_use]
    pub fn read(message: Message) -> Option<Self> {
        let (kind, rest) = message.bytes.split_first()?;
        match *kind {
            NAMESPACE if message.sender.is_some_and(|sender| sender.uid == 0) => {
                let task = message.sender?.pid;
                let cwd = HostPath::new(OsStr::from_bytes(rest)).ok();
                let fd = message.fds.into_iter().next()?;
                Some(Self::Namespace(fd, cwd, task))
            }
            SAVE if message.sender.is_some_and(|sender| sender.uid == 0) => Some(Self::Save),
            GO => Some(Self::Go(Start::decode(rest), message.sender?.pid)),
            _ => None,
        }
    }
}

/// From `oarlock-prepare` to a rank.
#[derive(Debug)]
pub enum Answer {
    /// The container is there.
    Container {
        /// Counts the answers of this node from 0.
        number: u32,
        /// What was measured.
        times: Times,
        /// The working directory that was asked for, by an option or by the profile.
        workdir: Option<ContainerPath>,
        /// What variables tell of its devices.
        shown: Shown,
        /// The container.
        way: Way,
        /// The environment's changes.
        changes: OwnedFd,
        /// For a rank that goes through `oarlock-enter`: [`crate::entry::ticket`].
        ticket: Option<OwnedFd>,
    },
    /// For slurmstepd itself, behind the ranks' answers: a helper that must not
    /// outlive the step (a FUSE server, a copying process), as a pidfd, to be ended
    /// when the last rank has.
    Server(OwnedFd),
    /// A line for the user, before the answer: whichever rank takes it, tells it and
    /// goes on waiting.
    Notice(String),
    /// The same for standard output: what the user has asked to be told.
    Line(String),
    /// All has been told that was to be told; nothing is run.
    Explained,
    /// For slurmstepd: saving has ended, and this is to be told; `oarlock-prepare`, as
    /// a pidfd, has nothing more to do.
    Saved(String, Option<OwnedFd>),
    /// There is no container.
    Failure {
        /// Counts the answers of this node from 0, so that one rank tells the
        /// user; [`ANY`] where they are not counted.
        number: u32,
        /// One line, without the node's name.
        text: String,
    },
}

/// How long the preparation took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times {
    /// Opening and mounting the image, beside slurmstepd's own work.
    pub image: u32,
    /// Building the container, while the first rank waits.
    pub build: u32,
}

/// What variables tell of devices, in bytes as it is sent: a message has room for the
/// longest working directory beside it, for the numbers and for a letter of each
/// descriptor.
pub const MAX_SHOWN: usize = MAX_MESSAGE - crate::path::MAX_LENGTH - 64;

/// Whether a container's answer has room for this.
#[must_use]
pub fn fits(shown: &Shown) -> bool {
    postcard::to_stdvec(shown).is_ok_and(|bytes| bytes.len() <= MAX_SHOWN)
}

/// The bytes that go with the descriptors of a container: the environment's changes,
/// then those of the way, then the ticket where one is needed.
#[must_use]
pub fn container_message(
    number: u32,
    times: Times,
    way: &Way,
    workdir: Option<&ContainerPath>,
    shown: &Shown,
) -> Vec<u8> {
    let mut out = vec![CONTAINER];
    let shown = postcard::to_stdvec(shown).unwrap_or_default();
    let length = u32::try_from(shown.len()).unwrap_or_default();
    for word in [number, times.image, times.build, length] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&shown);
    out.extend_from_slice(&way.letters());
    // No letter is a slash, with which the path begins.
    out.extend_from_slice(workdir.map_or(b"".as_slice(), ContainerPath::as_bytes));
    out
}

/// The byte that goes with a server's pidfd.
#[must_use]
pub fn server_message() -> Vec<u8> {
    vec![SERVER]
}

/// The byte by which slurmstepd asks for the container to be saved.
#[must_use]
pub fn save_message() -> Vec<u8> {
    vec![SAVE]
}

/// The bytes by which saving ends: a line for the user.
#[must_use]
pub fn saved_message(text: &OsStr) -> Vec<u8> {
    let mut out = vec![SAVED];
    out.extend(one_line(text));
    out
}

/// The bytes of a failure: one line, no control characters.
#[must_use]
pub fn failure_message(number: u32, text: &OsStr) -> Vec<u8> {
    let mut out = vec![FAILURE];
    out.extend_from_slice(&number.to_le_bytes());
    out.extend(one_line(text));
    out
}

/// The bytes of a notice: one line, no control characters.
#[must_use]
pub fn notice_message(text: &OsStr) -> Vec<u8> {
    let mut out = vec![NOTICE];
    out.extend(one_line(text));
    out
}

/// The bytes of a line for standard output.
#[must_use]
pub fn line_message(text: &OsStr) -> Vec<u8> {
    let mut out = vec![LINE];
    out.extend(one_line(text));
    out
}

/// The byte that ends a rank which was to run nothing.
#[must_use]
pub fn explained_message() -> Vec<u8> {
    vec![EXPLAINED]
}

fn one_line(text: &OsStr) -> impl Iterator<Item = u8> {
    text.as_bytes()
        .iter()
        .take(MAX_TEXT)
        .map(|b| if b.is_ascii_control() { b' ' } else { *b })
}

impl Answer {
    /// Reads an answer; `None` where it is none.
    #[must_use]
    pub fn read(message: Message) -> Option<Self> {
        let (kind, rest) = message.bytes.split_first()?;
        let word = |place: usize| -> Option<u32> {
            let bytes = rest.get(place * 4..place * 4 + 4)?;
            bytes.try_into().ok().map(u32::from_le_bytes)
        };
        if *kind == SERVER {
            return message.fds.into_iter().next().map(Self::Server);
        }
        let text = |bytes: &[u8]| {
            let text = OsString::from_vec(bytes.to_vec());
            text.to_string_lossy().into_owned()
        };
        match *kind {
            NOTICE => return Some(Self::Notice(text(rest))),
            LINE => return Some(Self::Line(text(rest))),
            EXPLAINED => return Some(Self::Explained),
            _ => {}
        }
        if *kind == SAVED {
            return Some(Self::Saved(text(rest), message.fds.into_iter().next()));
        }
        let number = word(0)?;
        match *kind {
            CONTAINER => {
                let mut fds = message.fds.into_iter();
                let length = usize::try_from(word(3)?).ok()?;
                let (shown, rest) = rest.get(4 * 4..)?.split_at_checked(length)?;
                let (letters, path) = split_at_slash(rest);
                Some(Self::Container {
                    number,
                    times: Times {
                        image: word(1)?,
                        build: word(2)?,
                    },
                    workdir: ContainerPath::new(OsStr::from_bytes(path)).ok(),
                    shown: postcard::from_bytes(shown).ok()?,
                    changes: fds.next()?,
                    way: Way::from_parts(letters, fds.by_ref())?,
                    ticket: fds.next(),
                })
            }
            FAILURE => Some(Self::Failure {
                number,
                text: text(rest.get(4..)?),
            }),
            _ => None,
        }
    }
}

/// What stands before the first slash, and the rest.
fn split_at_slash(bytes: &[u8]) -> (&[u8], &[u8]) {
    let place = bytes.iter().position(|b| *b == b'/');
    bytes.split_at(place.unwrap_or(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ipc::Sender;

    fn message(bytes: Vec<u8>) -> Message {
        Message {
            bytes,
            fds: vec![],
            sender: Some(Sender { pid: 7, uid: 1000 }),
        }
    }

    #[test]
    fn a_start_round_trips() {
        let path = |p: &str| HostPath::new(p).unwrap();
        for start in [
            Start::default(),
            Start {
                cwd: Some(path("/home/a")),
                mpi: vec![],
            },
            Start {
                cwd: None,
                mpi: vec![path("/p"), path("/q r")],
            },
        ] {
            match ToPrepare::read(message(start.encode())) {
                Some(ToPrepare::Go(got, 7)) => assert_eq!(got, start),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_namespace_from_a_user_is_not_heard() {
        assert!(ToPrepare::read(message(namespace_message(None))).is_none());
    }

    #[test]
    fn only_root_asks_for_saving() {
        assert!(ToPrepare::read(message(save_message())).is_none());
        let mut from_root = message(save_message());
        from_root.sender = Some(Sender { pid: 7, uid: 0 });
        assert!(matches!(ToPrepare::read(from_root), Some(ToPrepare::Save)));
        match Answer::read(message(saved_message(OsStr::new("a\nb")))) {
            Some(Answer::Saved(text, None)) => assert_eq!(text, "a b"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_longest_answer_is_a_message() {
        let workdir = format!("/{}", "w".repeat(crate::path::MAX_LENGTH - 1));
        let workdir = ContainerPath::new(&workdir).unwrap();
        // Many small ones take more in the message than they are long.
        let shown = |count| Shown {
            variables: vec![("A".to_owned(), String::new()); count],
            ..Shown::default()
        };
        let counts: Vec<usize> = (0..MAX_MESSAGE).collect();
        let most = counts.partition_point(|count| fits(&shown(*count))) - 1;
        assert!(most > 1000, "{most}");
        let way = Way::new(Vec::new(), crate::way::Ids::Host, None);
        let longest = container_message(
            u32::MAX,
            Times::default(),
            &way,
            Some(&workdir),
            &shown(most),
        );
        let descriptors = crate::sys::ipc::MAX_FDS;
        assert!(
            longest.len() + descriptors <= MAX_MESSAGE,
            "{}",
            longest.len()
        );
        match Answer::read(message(longest)) {
            // Without its descriptors it is none.
            None => {}
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_failure_is_one_line() {
        match Answer::read(message(failure_message(3, OsStr::new("a\nb")))) {
            Some(Answer::Failure { number: 3, text }) => assert_eq!(text, "a b"),
            other => panic!("{other:?}"),
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes: Vec<u8>) {
            let _ = ToPrepare::read(message(bytes.clone()));
            let _ = Answer::read(message(bytes));
        }
    }
}
