//! The privileged parent: it reads the request, starts the halves, and answers
//! the ranks. It opens no path that a user named and parses nothing that a user
//! wrote.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::thread::LinkNameSpaceType;

use super::builder::{self, BuildError, Work};
use super::half::{self, HalfError, Opened};
use super::protocol::{self, Start, Times, ToPrepare};
use crate::apply::filesystem::Calls;
use crate::apply::image::ImageMount;
use crate::apply::rootfs::Container;
use crate::apply::survey;
use crate::apply::{ApplyError, FileAccess};
use crate::config::{ConfigError, SiteConfig};
use crate::image::trust;
use crate::path::HostPath;
use crate::plan::NodeFacts;
use crate::request::{ImageName, Request};
use crate::sys::{self, ipc};

/// A request is mostly the job's environment, which execve(2) bounds, in bytes.
const MAX_REQUEST: u64 = 64 << 20;

/// Why no container was made: one line for the user.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("site configuration {0}")]
    Config(#[from] ConfigError),
    #[error(
        "the plugin's request cannot be read ({0}); are plugin and oarlock-prepare of one version?"
    )]
    Request(String),
    #[error(transparent)]
    Half(#[from] HalfError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("image {image}: {error}")]
    Image { image: ImageName, error: ApplyError },
    #[error("{what}: {error}")]
    Step {
        what: &'static str,
        error: std::io::Error,
    },
}

fn step(what: &'static str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::Step { what, error }
}

/// An image that is mounted, but nowhere yet.
struct Ready {
    opened: Opened,
    mount: ImageMount,
    survey: Option<survey::Pending>,
}

/// Serves one node of one step. The exit code is 0 where every rank was given a
/// container.
#[must_use]
pub fn run(socket: &OwnedFd, request: OwnedFd, config: &Path, ranks: u32) -> u8 {
    let request = match read_request(request) {
        Ok(request) => request,
        Err(failure) => return refuse(socket, ranks, &failure),
    };
    let code = match serve(socket, &request, config) {
        Ok(()) => 0,
        Err(Stop::Failed(failure)) => {
            tracing::error!(JOB_STEP = %request.label, IMAGE = %request.options.image, "{failure}");
            refuse(socket, request.ranks, &failure)
        }
        Err(Stop::Abandoned) => {
            tracing::debug!(JOB_STEP = %request.label, "the step ended before a rank started");
            0
        }
    };
    let _ = ipc::stop_listening(socket.as_fd());
    code
}

/// Why serving ended.
enum Stop {
    /// The ranks must be told.
    Failed(Failure),
    /// No rank is there any more to be told.
    Abandoned,
}

impl<T: Into<Failure>> From<T> for Stop {
    fn from(failure: T) -> Self {
        Self::Failed(failure.into())
    }
}

fn serve(socket: &OwnedFd, request: &Request, config: &Path) -> Result<(), Stop> {
    ipc::ask_for_credentials(socket.as_fd()).map_err(step("preparing the socket"))?;
    let config = SiteConfig::load(config, true).map_err(Failure::from)?;
    let calls = Calls::detect(config.prepare.mount_calls);
    let begun = Instant::now();
    // An absolute name needs nothing from the task: the work goes on beside
    // slurmstepd's own. A failure is not told yet, the task may see other files.
    let early = if request.options.image.is_absolute() {
        prepare_image(request, None, &config, calls).ok()
    } else {
        None
    };
    let image_time = begun.elapsed();

    let (namespace, start) = wait_for_start(socket.as_fd())?;
    let begun = Instant::now();
    let ready = match early {
        Some(ready) if is_own_namespace(&namespace)? => ready,
        // job_container gave the task directories of its own, or the name is
        // relative: what counts is what the task sees.
        _ => in_task_view(&namespace, || {
            prepare_image(request, start.cwd.as_ref(), &config, calls)
        })?,
    };
    let Ready {
        opened,
        mount,
        survey,
    } = ready;
    let facts = NodeFacts {
        home: opened.home,
        cwd: start.cwd,
        mpi: start.mpi,
    };
    let deadline = deadline(&config);
    let work = Work {
        image: mount,
        request,
        config: &config,
        facts,
        calls,
        known: opened.known,
        survey,
        namespace,
    };
    let container = builder::build(work, deadline).map_err(Failure::from)?;
    let micros = |d: Duration| u32::try_from(d.as_micros()).unwrap_or(u32::MAX);
    let times = Times {
        image: micros(image_time),
        build: micros(begun.elapsed()),
    };
    tracing::info!(
        JOB_STEP = %request.label,
        IMAGE = %request.options.image,
        IMAGE_MICROSECONDS = times.image,
        BUILD_MICROSECONDS = times.build,
        "container ready"
    );
    give(socket, request.ranks, &container, times);
    Ok(())
}

fn deadline(config: &SiteConfig) -> Instant {
    Instant::now() + Duration::from_secs(u64::from(config.prepare.timeout))
}

/// Opens the image with the user's rights, decides who may parse it, mounts it.
fn prepare_image(
    request: &Request,
    cwd: Option<&HostPath>,
    config: &SiteConfig,
    calls: Calls,
) -> Result<Ready, Failure> {
    let image = &request.options.image;
    let seconds = config.prepare.timeout;
    let opened = half::open_as_user(image, cwd, &request.identity, deadline(config), seconds)?;
    let (method, doubt) = trust::method(config.images.kernel_mount, opened.source.fd.as_fd());
    tracing::debug!(?method, ?doubt, IMAGE = %image, "trust");
    let access = FileAccess::As(request.identity.clone());
    let mount =
        ImageMount::new(&opened.source, method, config, &access, calls).map_err(|error| {
            Failure::Image {
                image: image.clone(),
                error,
            }
        })?;
    // The image can be read while slurmstepd goes on.
    let survey = mount
        .root()
        .map(|root| survey::start(root, &opened.known, request, &access, seconds))
        .transpose()
        .map_err(|error| Failure::Image {
            image: image.clone(),
            error,
        })?;
    Ok(Ready {
        opened,
        mount,
        survey,
    })
}

const MOUNT: Option<LinkNameSpaceType> = Some(LinkNameSpaceType::Mount);

fn own_namespace() -> Result<OwnedFd, Failure> {
    sys::mount::open_own_namespace().map_err(step("opening the host's mount namespace"))
}

/// Whether the task is in this process' mount namespace. A namespace is known by
/// its device and inode, namespaces(7).
fn is_own_namespace(namespace: &OwnedFd) -> Result<bool, Failure> {
    let id = |fd: &OwnedFd| {
        rustix::fs::fstat(fd)
            .map(|stat| (stat.st_dev, stat.st_ino))
            .map_err(|e| step("looking at a mount namespace")(e.into()))
    };
    Ok(id(namespace)? == id(&own_namespace()?)?)
}

/// Runs `work` in the task's mount namespace, then comes back to the host's.
fn in_task_view<T>(
    namespace: &OwnedFd,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let own = own_namespace()?;
    rustix::thread::move_into_link_name_space(namespace.as_fd(), MOUNT)
        .map_err(|e| step("joining the task's mount namespace")(e.into()))?;
    let result = work();
    rustix::thread::move_into_link_name_space(own.as_fd(), MOUNT)
        .map_err(|e| step("returning to the host's mount namespace")(e.into()))?;
    result
}

/// Waits for a task's namespace and for the first task's start. There is no
/// deadline: how long slurmstepd takes is Slurm's matter, and its end is seen.
fn wait_for_start(socket: BorrowedFd<'_>) -> Result<(OwnedFd, Start), Stop> {
    let mut namespace = None;
    let mut start = None;
    loop {
        if let (Some(_), Some(_)) = (&namespace, &start) {
            break;
        }
        match ipc::receive(socket).map_err(step("listening to the tasks"))? {
            None => return Err(Stop::Abandoned),
            Some(message) => match ToPrepare::read(message) {
                Some(ToPrepare::Namespace(fd)) if namespace.is_none() => namespace = Some(fd),
                Some(ToPrepare::Go(go)) if start.is_none() => start = Some(go),
                _ => {}
            },
        }
    }
    match (namespace, start) {
        (Some(namespace), Some(start)) => Ok((namespace, start)),
        _ => Err(Stop::Abandoned),
    }
}

/// Puts one answer a rank into the socket; ranks take them when they come.
fn give(socket: &OwnedFd, ranks: u32, container: &Container, times: Times) {
    for number in 0..ranks {
        let bytes = protocol::container_message(number, times);
        let fds = [container.namespace.as_fd(), container.changes.as_fd()];
        if let Err(error) = ipc::send(socket.as_fd(), &bytes, &fds) {
            tracing::debug!(%error, "the step ended while its ranks were starting");
            return;
        }
    }
}

fn refuse(socket: &OwnedFd, ranks: u32, failure: &Failure) -> u8 {
    let text = failure.to_string();
    for number in 0..ranks {
        let bytes = protocol::failure_message(number, OsStr::new(&text));
        if ipc::send(socket.as_fd(), &bytes, &[]).is_err() {
            break;
        }
    }
    1
}

fn read_request(file: OwnedFd) -> Result<Request, Failure> {
    let mut bytes = Vec::new();
    File::from(file)
        .take(MAX_REQUEST)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::Request(e.to_string()))?;
    postcard::from_bytes(&bytes).map_err(|e| Failure::Request(e.to_string()))
}
