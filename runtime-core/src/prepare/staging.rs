//! Copying an image into the node's store and having it checked, by a process of
//! its own in the job's control groups.
//!
//! Root copies bytes between descriptors and parses none of them; what is in the
//! copy is told by [`super::checker`].

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::checker;
use super::choose::Wish;
use crate::cgroup::Groups;
use crate::config::SiteConfig;
use crate::image::keyring;
use crate::request::ImageName;
use crate::store::{Copied, Digest, Key, Record, Store, StoreError};
use crate::sys;
use crate::sys::ipc::{self, Waited};

/// How often a waiting user hears how far the copy is.
const PERIOD: Duration = Duration::from_secs(5);

/// Another step's copy is waited for so long at a time.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub(super) enum StagingError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The checking process.
    #[error(transparent)]
    Check(#[from] checker::CheckError),
    /// A step of the work.
    #[error("{what}: {error}")]
    Step {
        what: &'static str,
        error: io::Error,
    },
}

fn step(what: &'static str) -> impl Fn(io::Error) -> StagingError {
    move |error| StagingError::Step { what, error }
}

/// How waiting for a copy ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is there.
    Done,
    /// It could not be made: why, in words for the user.
    Failed(String),
    /// The step ended meanwhile.
    Unwanted,
}

const DONE: u8 = b'D';
const FAILED: u8 = b'F';
const PROGRESS: u8 = b'P';

/// Makes the copy while the ranks wait, in the control groups of `task`. `tell`
/// hears how far it is.
///
/// # Errors
/// Where no process could be started.
pub(super) fn stage_first(
    source: BorrowedFd<'_>,
    wish: &Wish,
    image: &ImageName,
    task: &Groups,
    config: &SiteConfig,
    asker: BorrowedFd<'_>,
    tell: &mut dyn FnMut(&str),
) -> io::Result<Outcome> {
    let (ours, theirs) = ipc::pair()?;
    let child = sys::process::fork(|| {
        sys::process::reset_signals();
        let _ = sys::process::die_with_parent();
        let _ = task.join(std::process::id());
        let say = |kind: u8, text: &str| {
            let mut bytes = vec![kind];
            bytes.extend_from_slice(text.as_bytes());
            let _ = ipc::send(theirs.as_fd(), &bytes, &[]);
        };
        let outcome = make(source, wish, config, PATIENCE, &mut |text| {
            say(PROGRESS, text);
        });
        match outcome {
            Ok(()) => say(DONE, ""),
            Err(error) => say(FAILED, &error.to_string()),
        }
        0
    })?;
    drop(theirs);
    let seconds = config.store.timeout;
    let deadline = Instant::now() + Duration::from_secs(u64::from(seconds));
    loop {
        match ipc::wait_answer(ours.as_fd(), asker, deadline)? {
            Waited::Ready => {}
            Waited::Deadline => {
                child.abandon();
                return Ok(Outcome::Failed(format!(
                    "the copy was not there after {seconds} s (store.timeout)"
                )));
            }
            Waited::Unwanted => {
                child.abandon();
                return Ok(Outcome::Unwanted);
            }
        }
        let message = ipc::receive(ours.as_fd())?;
        let said = message.as_ref().and_then(|m| m.bytes.split_first());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match said {
            Some((&DONE, _)) => return Ok(Outcome::Done),
            Some((&FAILED, why)) => return Ok(Outcome::Failed(text(why))),
            Some((&PROGRESS, how)) => tell(&format!("image {image}: {}", text(how))),
            _ => {
                return Ok(Outcome::Failed(
                    "the copying process ended unexpectedly; see the node's journal".to_owned(),
                ));
            }
        }
    }
}

/// Makes the copy beside the running step, at idle priority, in these control
/// groups. Returns the process id; who ends the step ends it, and the next step
/// goes on with what was copied.
///
/// # Errors
/// Where no process could be started.
pub(super) fn stage_behind(
    source: &OwnedFd,
    wish: &Wish,
    image: &ImageName,
    groups: &Groups,
    config: &SiteConfig,
) -> io::Result<u32> {
    sys::process::fork_orphan(
        || Ok(()),
        || {
            sys::process::reset_signals();
            let _ = rustix::process::setsid();
            sys::process::close_all_but_the_log_and(&[source.as_fd()]);
            // A copy that the job does not pay for is not made.
            if groups.join(std::process::id()).is_err() {
                return 1;
            }
            if let Err(error) = sys::idle::give_way() {
                tracing::debug!(%error, "copying at ordinary priority");
            }
            match make(source.as_fd(), wish, config, Duration::ZERO, &mut |_| {}) {
                Ok(()) => 0,
                Err(StagingError::Store(StoreError::Busy)) => 0,
                Err(error) => {
                    tracing::warn!(%error, IMAGE = %image, "no copy for later steps");
                    1
                }
            }
        },
    )
}

/// In the copying process.
fn make(
    source: BorrowedFd<'_>,
    wish: &Wish,
    config: &SiteConfig,
    patience: Duration,
    say: &mut dyn FnMut(&str),
) -> Result<(), StagingError> {
    let store = Store::open(&config.store)?;
    let key = &wish.key;
    let keyring = keyring::state(&config.images.keyring).unwrap_or_default();
    let is_there = || {
        store
            .find(key)
            .is_some_and(|object| object.record.is_current(&config.images, &keyring))
    };
    let begun = Instant::now();
    let copying = loop {
        match store.begin(key, patience.min(PERIOD)) {
            Ok(copying) => break copying,
            // Another step is at it: for a user who waits, its copy is as good.
            Err(StoreError::Busy) if begun.elapsed() < patience => {
                if is_there() {
                    return Ok(());
                }
                say("waiting for another step's copy");
            }
            Err(error) => return Err(error.into()),
        }
    };
    let mut said = Instant::now();
    let copied = copying.copy(source, &mut |have| {
        if said.elapsed() >= PERIOD {
            said = Instant::now();
            say(&format!(
                "copying to {}: {} of {}",
                config.store.path.display(),
                size(have),
                size(key.size)
            ));
        }
    })?;
    let digest = match settle(&store, &copied, wish, config, &keyring, begun, say) {
        Ok(digest) => digest,
        Err(error) => {
            // A copy that nobody can vouch for is not gone on with.
            if let Err(error) = store.discard(&copied) {
                tracing::warn!(%error, "removing a copy");
            }
            return Err(error);
        }
    };
    point(key, source, &digest)
}

/// Finds out what is in a finished copy, and puts it in its place.
fn settle(
    store: &Store,
    copied: &Copied,
    wish: &Wish,
    config: &SiteConfig,
    keyring: &str,
    begun: Instant,
    say: &mut dyn FnMut(&str),
) -> Result<Digest, StagingError> {
    let digest = copied.digest().map_err(step("reading the copy"))?;
    let known = store
        .record(&digest)
        .filter(|record| record.is_current(&config.images, keyring))
        .filter(|record| record.trusted || !wish.trusted);
    let record = match known {
        Some(record) => record,
        None => {
            if begun.elapsed() >= PERIOD {
                say("checking the copy");
            }
            let check = checker::check(copied.file.as_fd(), config)?;
            if let Some(reason) = &check.invalid {
                tracing::info!(%digest, reason, "the copy is not well-formed: FUSE serves the image");
            }
            let record = Record {
                size: wish.key.size,
                trusted: wish.trusted,
                keyring: keyring.to_owned(),
                check,
            };
            store.note(&digest, &record)?;
            record
        }
    };
    if !wish.kept && !record.may_be_mounted(&config.images, keyring) {
        store.discard(copied)?;
    } else {
        store.publish(copied, &digest)?;
    }
    Ok(digest)
}

/// The index says which copy is this file's, once a further change of the file
/// would show.
fn point(key: &Key, source: BorrowedFd<'_>, digest: &Digest) -> Result<(), StagingError> {
    std::thread::sleep(key.unsettled());
    let failed = step("noting the copy in the index");
    if Key::of(source, key.uid()).map_err(&failed)? != *key {
        return Err(StoreError::Changed.into());
    }
    key.point_to(digest).map_err(failed)
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    UNITS
        .iter()
        .find(|(_, shift)| bytes >= 1 << shift)
        .map_or_else(
            || format!("{bytes} B"),
            |(unit, shift)| {
                let tenths = (u128::from(bytes) * 10) >> shift;
                format!("{}.{} {unit}", tenths / 10, tenths % 10)
            },
        )
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_for_people() {
        assert_eq!(size(17), "17 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(3 << 30), "3.0 GiB");
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
    }
}
