//! The builder: a child that goes into a copy of the task's mount namespace and
//! turns it into the container. Its parent stays on the host, and outlives it if
//! it hangs in a file system that does not answer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use crate::apply::filesystem::Calls;
use crate::apply::identity::Inside;
use crate::apply::image::ImageMount;
use crate::apply::namespaces;
use crate::apply::rootfs::{self, Assembly, Container};
use crate::apply::survey;
use crate::apply::writable::Upper;
use crate::apply::{ApplyError, FileAccess, step};
use crate::cgroup::Groups;
use crate::config::SiteConfig;
use crate::image::layout::FilesystemKind;
use crate::plan::{self, NodeFacts};
use crate::request::{ImageName, Request};
use crate::sys;
use crate::sys::ipc::{self, Message, Waited};
use crate::sys::namespaces::{Kind, Namespace};
use crate::way::Way;

/// Why there is no container: one line for the user.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// What the builder said.
    #[error("{0}")]
    Said(String),
    /// It did not answer in time.
    #[error(
        "image {image}: the container was not built within {seconds} s; is every mounted file system alive?"
    )]
    Timeout {
        /// As typed.
        image: ImageName,
        /// The site's bound.
        seconds: u32,
    },
    /// It ended without a word.
    #[error(
        "image {0}: the process that builds the container ended unexpectedly; see the node's journal"
    )]
    Died(ImageName),
    /// The step ended meanwhile.
    #[error("the step ended before its container was built")]
    Unwanted,
    /// It could not be started.
    #[error("image {image}: starting the process that builds the container: {error}")]
    Start {
        /// As typed.
        image: ImageName,
        /// What the kernel said.
        error: std::io::Error,
    },
}

/// What the builder works on.
#[derive(Debug)]
pub struct Work<'a> {
    /// The prepared image.
    pub image: ImageMount,
    /// What was asked.
    pub request: &'a Request,
    /// The site's policy.
    pub config: &'a SiteConfig,
    /// What the node and the task say.
    pub facts: NodeFacts,
    /// The kernel's mount calls.
    pub calls: Calls,
    /// What the survey will need.
    pub known: OwnedFd,
    /// The survey of the image, where it could be started early.
    pub survey: Option<survey::Pending>,
    /// The task's mount namespace.
    pub namespace: OwnedFd,
    /// What makes the container writable, where it is to be.
    pub upper: Option<Upper>,
    /// The container that is joined, and not built.
    pub join: Option<OwnedFd>,
    /// Where the ranks are root: their user namespace.
    pub identity: Option<Inside>,
    /// Whether the image's files are shown as the user's.
    pub owned: bool,
    /// The groups that are all the container sees, where it does not see the node's.
    pub groups: Option<Groups>,
}

/// Builds the container in a process of its own, unless `asker` hangs up.
/// `meanwhile` runs here.
///
/// # Errors
/// Any [`BuildError`].
pub fn build(
    work: Work<'_>,
    asker: BorrowedFd<'_>,
    deadline: Instant,
    meanwhile: impl FnOnce(),
) -> Result<Container, BuildError> {
    let named = || work.request.image().clone();
    let start = |error| BuildError::Start {
        image: named(),
        error,
    };
    let seconds = work.config.prepare.timeout;
    let image = named();
    let (ours, theirs) = ipc::pair().map_err(start)?;
    let child = sys::process::fork(|| {
        let _ = sys::process::die_with_parent();
        u8::from(answer(work, theirs.as_fd()).is_err())
    })
    .map_err(|error| BuildError::Start {
        image: image.clone(),
        error,
    })?;
    drop(theirs);
    let start = |error| BuildError::Start {
        image: image.clone(),
        error,
    };
    meanwhile();
    match ipc::wait_answer(ours.as_fd(), asker, deadline).map_err(start)? {
        Waited::Ready => {}
        Waited::Deadline => {
            child.abandon();
            return Err(BuildError::Timeout { image, seconds });
        }
        Waited::Unwanted => {
            child.abandon();
            return Err(BuildError::Unwanted);
        }
    }
    let Some(message) = ipc::receive(ours.as_fd()).map_err(start)? else {
        return Err(BuildError::Died(image));
    };
    if message.fds.is_empty() {
        let text = String::from_utf8_lossy(&message.bytes).into_owned();
        return Err(BuildError::Said(text));
    }
    container(message).ok_or(BuildError::Died(image))
}

/// The builder's answer: whether there are scripts, the number of the first process or
/// 0, the way. What comes behind the way's descriptors are the files.
fn container(message: Message) -> Option<Container> {
    let (scripts, rest) = message.bytes.split_first()?;
    let (first, letters) = rest.split_first_chunk()?;
    let mut fds = message.fds.into_iter();
    Some(Container {
        changes: fds.next()?.into(),
        way: Way::from_parts(letters, &mut fds)?,
        files: fds.next(),
        scripts: *scripts != 0,
        first: Some(u32::from_le_bytes(*first)).filter(|first| *first != 0),
    })
}

fn container_message(container: &Container) -> Vec<u8> {
    let mut out = vec![u8::from(container.scripts)];
    out.extend_from_slice(&container.first.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&container.way.letters());
    out
}

/// In the child.
fn answer(work: Work<'_>, socket: BorrowedFd<'_>) -> std::io::Result<()> {
    let image = work.request.image().clone();
    match make(work) {
        Ok(made) => {
            let fds: Vec<BorrowedFd<'_>> = std::iter::once(made.changes.as_fd())
                .chain(made.way.descriptors())
                .chain(made.files.as_ref().map(AsFd::as_fd))
                .collect();
            ipc::send(socket, &container_message(&made), &fds)
        }
        Err(error) => {
            let text = match &error {
                ApplyError::MountSource { .. }
                | ApplyError::MountTarget { .. }
                | ApplyError::SpecSource { .. }
                | ApplyError::SpecTarget { .. } => error.to_string(),
                _ => format!("image {image}: {error}"),
            };
            ipc::send(socket, text.get(..2048).unwrap_or(&text).as_bytes(), &[])
        }
    }
}

fn make(work: Work<'_>) -> Result<Container, ApplyError> {
    if let Some(namespace) = work.join {
        let access = FileAccess::As(work.request.identity.clone());
        let kind = Kind::Mount;
        let namespace = Namespace {
            kind,
            fd: namespace,
        };
        return rootfs::join(namespace, &work.known, work.request, work.config, &access);
    }
    let groups = work.groups.as_ref().map(namespaces::of_groups).transpose();
    let groups = groups.map_err(step("making a namespace of the step's control groups"))?;
    rootfs::enter_copy_of(Some(work.namespace.as_fd()))?;
    let plan = plan::plan(work.request, work.config, &work.facts);
    let access = FileAccess::As(work.request.identity.clone());
    // Such a server ends, and then the survey of what it serves does.
    let owned = work.owned && !work.image.is_quick();
    let made = Assembly {
        image: work.image,
        plan: &plan,
        request: work.request,
        config: work.config,
        access: &access,
        calls: work.calls,
        known: work.known,
        survey: work.survey,
        upper: work.upper,
        identity: work.identity,
        groups,
    };
    made.build().map_err(|error| match error {
        // An old server does not know the option that it was given for that.
        ApplyError::ServerEnded | ApplyError::Survey if owned => ApplyError::Owners {
            kind: FilesystemKind::Squashfs,
            error: std::io::Error::other("its FUSE server ended before it answered"),
        },
        error => error,
    })
}
