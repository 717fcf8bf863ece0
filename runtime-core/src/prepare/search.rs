//! Searches with an end: slurm.conf, gres.conf and CDI specs may lie on a file system that
//! does not answer, and root reads them.
//!
//! A child searches, and tells what it is at; its parent takes the answer, or gives it up
//! when the site's time is over. Then the step fails: without what is searched for it is
//! not the step that was asked for.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::as_user::Unanswered;
use super::failure::Failure;
use super::node::Node;
use super::protocol::Answer;
use crate::sys::ipc::{self, Waited};
use crate::sys::process;

/// First byte of a message: what is looked at from now on follows.
const AT: u8 = b'A';
/// First byte of a message: a memory file with what was found comes along.
const FOUND: u8 = b'F';
/// First byte of a message: a line for the user follows.
const REFUSED: u8 = b'X';
/// No refusal is longer, in bytes.
const MAX_REFUSAL: usize = 2048;
/// No search finds more, in bytes: a spec has some 100 mounts.
const MAX_FOUND: u64 = 16 << 20;

/// Says what is looked at, to whom would have to tell where it does not go on.
#[derive(Clone, Copy)]
pub(super) struct Progress<'a>(Option<BorrowedFd<'a>>);

impl Progress<'_> {
    /// Of a search whose end nobody watches over.
    pub(super) const UNWATCHED: Progress<'static> = Progress(None);

    /// For people: files or directories.
    pub(super) fn at(self, what: &str) {
        if let Some(socket) = self.0 {
            let message: Vec<u8> = std::iter::once(AT)
                .chain(what.bytes().take(MAX_REFUSAL))
                .collect();
            let _ = ipc::send(socket, &message, &[]);
        }
    }

    pub(super) fn at_file(self, path: &Path) {
        self.at(&path.display().to_string());
    }
}

impl Node<'_> {
    /// What `work` finds in a child, which has the descriptors `keep`; `subject` begins
    /// the line that says why there is no answer.
    ///
    /// # Errors
    /// What `work` says, and [`Unanswered`].
    pub(super) fn search<T: Serialize + DeserializeOwned>(
        &self,
        subject: &str,
        keep: &[BorrowedFd<'_>],
        work: impl FnOnce(&Node<'_>, Progress<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let start = |error| Unanswered::Start {
            subject: subject.to_owned(),
            error,
        };
        let seconds = self.config.prepare.timeout;
        let deadline = Instant::now() + Duration::from_secs(u64::from(seconds));
        let (ours, theirs) = ipc::pair().map_err(start)?;
        let child = process::fork(|| u8::from(self.search_in_child(&theirs, keep, work).is_err()))
            .map_err(start)?;
        drop(theirs);
        let mut at = String::from("slurm.conf");
        loop {
            match ipc::wait_answer(ours.as_fd(), self.socket.as_fd(), deadline).map_err(start)? {
                Waited::Ready => {}
                Waited::Deadline => {
                    child.abandon();
                    let subject = format!("{subject}: {at}");
                    return Err(Unanswered::Timeout { subject, seconds }.into());
                }
                Waited::Unwanted => {
                    child.abandon();
                    return Err(Unanswered::Unwanted(subject.to_owned()).into());
                }
            }
            let died = || Unanswered::Died(format!("{subject}: {at}"));
            let message = ipc::receive(ours.as_fd())
                .map_err(start)?
                .ok_or_else(died)?;
            match message.bytes.split_first() {
                Some((&AT, text)) => at = String::from_utf8_lossy(text).into_owned(),
                Some((&REFUSED, text)) => {
                    let text = String::from_utf8_lossy(text).into_owned();
                    return Err(Unanswered::Said(text).into());
                }
                Some((&FOUND, _)) => {
                    let file = message.fds.into_iter().next().ok_or_else(died)?;
                    return Ok(read(file).ok_or_else(died)?);
                }
                _ => match Answer::read(message) {
                    Some(Answer::Notice(text)) => self.tell(&text),
                    _ => return Err(died().into()),
                },
            }
        }
    }

    /// Its notices go to its parent, which alone speaks with the ranks: a child that does
    /// not end must not keep their socket open.
    fn search_in_child<T: Serialize>(
        &self,
        parent: &OwnedFd,
        keep: &[BorrowedFd<'_>],
        work: impl FnOnce(&Node<'_>, Progress<'_>) -> Result<T, Failure>,
    ) -> io::Result<()> {
        let keep: Vec<BorrowedFd<'_>> = keep.iter().copied().chain([parent.as_fd()]).collect();
        process::close_all_but_the_log_and(&keep);
        process::die_with_parent()?;
        let own = Node {
            socket: parent,
            request: self.request,
            config: self.config,
            calls: self.calls,
            named: None,
            held: None,
            inside: None,
        };
        match work(&own, Progress(Some(parent.as_fd()))) {
            Ok(found) => {
                let bytes = postcard::to_stdvec(&found).map_err(io::Error::other)?;
                let file = ipc::memory_file("found", &bytes)?;
                ipc::send(parent.as_fd(), &[FOUND], &[file.as_fd()])
            }
            Err(failure) => {
                let text = failure.to_string();
                let message: Vec<u8> = std::iter::once(REFUSED)
                    .chain(text.bytes().take(MAX_REFUSAL))
                    .collect();
                ipc::send(parent.as_fd(), &message, &[])
            }
        }
    }
}

fn read<T: DeserializeOwned>(file: OwnedFd) -> Option<T> {
    let mut bytes = Vec::new();
    let mut file = File::from(file).take(MAX_FOUND + 1);
    let length = file.read_to_end(&mut bytes).ok()?;
    if u64::try_from(length).ok()? > MAX_FOUND {
        return None;
    }
    postcard::from_bytes(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::{ContainerPath, HostPath};
    use crate::plan::mounts::{Mount, Need, Source};
    use crate::prepare::devices::Devices;
    use crate::request::Create;
    use crate::sys::mount::Attributes;

    #[test]
    fn what_is_found_goes_through_a_file() {
        let mount = |source| Mount {
            source,
            target: ContainerPath::new("/b").unwrap(),
            attributes: Attributes {
                read_only: true,
                nosuid: true,
                nodev: true,
                noexec: false,
            },
            propagation: None,
            create: Create::Auto,
            need: Need::Asked,
        };
        let path = HostPath::new("/a").unwrap();
        let devices = Devices {
            nodes: vec!["/dev/x".into()],
            mounts: vec![
                mount(Source::Spec(path.clone(), "/etc/cdi/a.yaml".into())),
                mount(Source::Host(path)),
                mount(Source::Links(vec![("l".into(), "/t".into())])),
            ],
            lines: vec!["granted: no GPU".to_owned()],
            ..Devices::default()
        };
        let bytes = postcard::to_stdvec(&devices).unwrap();
        let file = |bytes: &[u8]| ipc::memory_file("x", bytes).unwrap();
        assert_eq!(read(file(&bytes)), Some(devices));
        assert_eq!(read::<Devices>(file(&bytes[1..])), None);
        assert_eq!(read::<Devices>(file(b"")), None);
    }
}
