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
use crate::apply::scripts::{self, From};
use crate::apply::survey::{self, Surveyor};
use crate::apply::{ApplyError, FileAccess};
use crate::config::{ConfigError, SiteConfig};
use crate::image::trust;
use crate::path::HostPath;
use crate::plan::{NodeFacts, mounts};
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
    surveyor: Option<Surveyor>,
}

/// A container that no rank has yet.
struct Built {
    container: Container,
    /// The process that serves its image.
    server: Option<u32>,
    /// Reads ahead until this is dropped.
    _surveyor: Option<Surveyor>,
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

impl<T: Into<Failure>> std::convert::From<T> for Stop {
    fn from(failure: T) -> Self {
        Self::Failed(failure.into())
    }
}

fn serve(socket: &OwnedFd, request: &Request, config: &Path) -> Result<(), Stop> {
    let config = SiteConfig::load(config, true).map_err(Failure::from)?;
    sys::mount::require_openat2().map_err(step("Oarlock needs Linux 5.6 or newer (openat2)"))?;
    let node = Node {
        socket,
        request,
        config: &config,
        calls: Calls::detect(config.prepare.mount_calls),
    };
    // An absolute name needs nothing from the task: the work goes on beside
    // slurmstepd's own. A failure is not told yet, the task may see other files.
    let begun = Instant::now();
    let early = if request.options.image.is_absolute() {
        node.prepare_image(None).ok()
    } else {
        None
    };
    let image = begun.elapsed();

    let (namespace, cwd) = wait_for_namespace(socket.as_fd())?;
    let expected = Start {
        cwd,
        mpi: request.mpi.iter().cloned().collect(),
    };
    let begun = Instant::now();
    let mut built = node.build(early, &namespace, &expected);
    let mut build = begun.elapsed();

    let (start, task) = wait_for_start(socket.as_fd())?;
    if !node.is_as_expected(&expected, &start) {
        let begun = Instant::now();
        built = node.build(None, &namespace, &start);
        build = begun.elapsed();
    }
    let built = built?;
    node.join_task(&built, task)?;
    let times = Times {
        image: micros(image),
        build: micros(build),
    };
    tracing::info!(
        JOB_STEP = %request.label,
        IMAGE = %request.options.image,
        IMAGE_MICROSECONDS = times.image,
        BUILD_MICROSECONDS = times.build,
        "container ready"
    );
    give(socket, request.ranks, &built, times);
    Ok(())
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// One node's part of a step: what was asked, and what rules here.
struct Node<'a> {
    socket: &'a OwnedFd,
    request: &'a Request,
    config: &'a SiteConfig,
    calls: Calls,
}

impl Node<'_> {
    /// Builds the container as the task in `namespace` sees the host.
    fn build(
        &self,
        early: Option<Ready>,
        namespace: &OwnedFd,
        start: &Start,
    ) -> Result<Built, Failure> {
        let ready = match early {
            Some(ready) if is_own_namespace(namespace)? => ready,
            // job_container gave the task directories of its own, or the name is
            // relative: what counts is what the task sees.
            _ => in_task_view(namespace, || self.prepare_image(start.cwd.as_ref()))?,
        };
        let server = ready.mount.server();
        let copy = namespace
            .try_clone()
            .map_err(step("copying a descriptor"))?;
        let work = Work {
            image: ready.mount,
            request: self.request,
            config: self.config,
            facts: NodeFacts {
                home: ready.opened.home,
                cwd: start.cwd.clone(),
                mpi: start.mpi.clone(),
            },
            calls: self.calls,
            known: ready.opened.known,
            survey: ready.survey,
            namespace: copy,
        };
        let asker = self.socket.as_fd();
        let container = builder::build(work, asker, deadline(self.config))?;
        Ok(Built {
            container,
            server,
            _surveyor: ready.surveyor,
        })
    }

    /// What belongs to the task's control groups goes there, now that the task is
    /// in its own: the FUSE server, and the image's scripts, which are run only
    /// now. The task waits for its answer, so its process id is its own.
    fn join_task(&self, built: &Built, task: u32) -> Result<(), Failure> {
        if let Some(server) = built.server
            && let Err(error) = sys::cgroup::join(task, server)
        {
            tracing::warn!(%error, "the FUSE server is left outside the task's control groups");
        }
        if built.container.scripts {
            let from = From::Host(built.container.namespace.as_fd(), task);
            let access = FileAccess::As(self.request.identity.clone());
            scripts::run_scripts(from, &built.container.changes, self.request, &access).map_err(
                |error| Failure::Image {
                    image: self.request.options.image.clone(),
                    error,
                },
            )?;
        }
        Ok(())
    }

    /// Whether the container that was built for `expected` does for a task that
    /// says `start`: the same working directory, and every directory of its MPI
    /// library in sight.
    fn is_as_expected(&self, expected: &Start, start: &Start) -> bool {
        let facts = NodeFacts {
            home: None,
            cwd: None,
            mpi: expected.mpi.clone(),
        };
        let shown = mounts::plan(self.request, self.config, &facts);
        expected.cwd == start.cwd && start.mpi.iter().all(|path| mounts::shows(&shown, path))
    }

    /// Opens the image with the user's rights, decides who may parse it, mounts it.
    fn prepare_image(&self, cwd: Option<&HostPath>) -> Result<Ready, Failure> {
        let (request, config) = (self.request, self.config);
        let image = &request.options.image;
        let seconds = config.prepare.timeout;
        let opened = half::open_as_user(
            image,
            cwd,
            &request.identity,
            self.socket.as_fd(),
            deadline(config),
            seconds,
        )?;
        let (method, doubt) = trust::method(config.images.kernel_mount, opened.source.fd.as_fd());
        tracing::debug!(?method, ?doubt, IMAGE = %image, "trust");
        let access = FileAccess::As(request.identity.clone());
        let mount = ImageMount::new(&opened.source, method, config, &access, self.calls).map_err(
            |error| Failure::Image {
                image: image.clone(),
                error,
            },
        )?;
        // The image can be read while slurmstepd goes on.
        let survey = mount
            .root()
            .map(|root| survey::start(root, &opened.known, request, &access, seconds))
            .transpose()
            .map_err(|error| Failure::Image {
                image: image.clone(),
                error,
            })?;
        let (surveyor, survey) = survey.unzip();
        Ok(Ready {
            opened,
            mount,
            survey,
            surveyor,
        })
    }
}

fn deadline(config: &SiteConfig) -> Instant {
    Instant::now() + Duration::from_secs(u64::from(config.prepare.timeout))
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

/// Waits for the first task's namespace. There is no deadline here and below: how
/// long slurmstepd takes is Slurm's matter, and its end is seen.
fn wait_for_namespace(socket: BorrowedFd<'_>) -> Result<(OwnedFd, Option<HostPath>), Stop> {
    loop {
        if let ToPrepare::Namespace(fd, cwd) = next_message(socket)? {
            return Ok((fd, cwd));
        }
    }
}

/// Waits for the first task's start; also its process id.
fn wait_for_start(socket: BorrowedFd<'_>) -> Result<(Start, u32), Stop> {
    loop {
        if let ToPrepare::Go(start, task) = next_message(socket)? {
            return Ok((start, task));
        }
    }
}

fn next_message(socket: BorrowedFd<'_>) -> Result<ToPrepare, Stop> {
    loop {
        match ipc::receive(socket).map_err(step("listening to the tasks"))? {
            None => return Err(Stop::Abandoned),
            Some(message) => {
                if let Some(message) = ToPrepare::read(message) {
                    return Ok(message);
                }
            }
        }
    }
}

/// Puts one answer a rank into the socket; ranks take them when they come.
fn give(socket: &OwnedFd, ranks: u32, built: &Built, times: Times) {
    let container = &built.container;
    for number in 0..ranks {
        let bytes = protocol::container_message(number, times);
        let fds = [container.namespace.as_fd(), container.changes.as_fd()];
        if let Err(error) = ipc::send(socket.as_fd(), &bytes, &fds) {
            tracing::debug!(%error, "the step ended while its ranks were starting");
            return;
        }
    }
    let server = built.server.map(sys::process::pidfd_of);
    if let Some(Ok(server)) = server {
        let _ = ipc::send(
            socket.as_fd(),
            &protocol::server_message(),
            &[server.as_fd()],
        );
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
