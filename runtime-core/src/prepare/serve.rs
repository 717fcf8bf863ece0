//! The privileged parent: it reads the request, starts the halves, and answers
//! the ranks. It opens no path that a user named and parses nothing that a user
//! wrote.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use super::asked::Asked;
use super::debug;
use super::failure::{Failure, step};
use super::named::Named;
use super::node::{Built, Made};
use super::protocol::{self, Start, Times, ToPrepare};
use crate::apply::filesystem::Calls;
use crate::apply::identity::Inside;
use crate::cgroup::Groups;
use crate::config::SiteConfig;
use crate::entry::{self, Entry};
use crate::path::HostPath;
use crate::request::{ImageName, Request};
use crate::sys::namespaces::Kind;
use crate::sys::{self, ipc};
use crate::way::Ids;

/// A request is mostly the job's environment, which execve(2) bounds, in bytes.
const MAX_REQUEST: u64 = 64 << 20;

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
            tracing::error!(JOB_STEP = %request.label, IMAGE = %request.image(), "{failure}");
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
    let request = &resolved(request, &config);
    let wants_root = request.options.remap_root == Some(true);
    let allowed = &config.namespaces;
    allowed
        .allow(wants_root, request.options.unshare)
        .map_err(Failure::from)?;
    sys::mount::require_openat2().map_err(step("Oarlock needs Linux 5.6 or newer (openat2)"))?;
    let mut named = Named::look_up(request, &config).map_err(Failure::from)?;
    let asked = Asked {
        socket,
        request,
        config: &config,
        recorded: recorded_image(named.as_ref()),
        inside: wants_root
            .then(|| Inside::new(&request.identity))
            .transpose()
            .map_err(Failure::from)?,
    };
    let calls = Calls::detect(config.prepare.mount_calls);
    if request.options.debug {
        debug::begin();
    }
    if request.options.explain {
        return explain(&asked, calls, named);
    }
    // An absolute name needs nothing from the task: the work goes on beside
    // slurmstepd's own. A failure is not told yet, the task may see other files.
    let begun = Instant::now();
    let early_request = asked.early();
    let early = match &early_request {
        Some(request) if request.image().is_absolute() => {
            let node = asked.node(request, calls, named.take());
            let early = node.prepare_image().ok();
            named = node.named;
            early
        }
        _ => None,
    };
    let image = begun.elapsed();

    let (namespace, cwd, first_task) = wait_for_namespace(socket.as_fd())?;
    let expected = Start {
        cwd,
        mpi: request.mpi.iter().cloned().collect(),
    };
    let begun = Instant::now();
    let cwd = expected.cwd.as_ref();
    let request = asked.for_task(early_request, &namespace, cwd, &first_task)?;
    let mut node = asked.node(&request, calls, None);
    if let Some(named) = named {
        node.held = Some(named.hold(&request).map_err(Failure::from)?);
    }
    // Slurm has not put the task into all of its groups yet.
    let (mut first, early) = match node.request.options.unshare.cgroup {
        true => (None, early),
        false => (
            Some(node.make(early, &namespace, &expected, &first_task)),
            None,
        ),
    };
    let mut build = begun.elapsed();

    let (start, task) = wait_for_start(socket.as_fd())?;
    let begun = Instant::now();
    let again;
    if request.options.profile.is_some() && start.cwd != expected.cwd {
        // Of a profile too a part may be relative.
        again = asked.for_task(None, &namespace, start.cwd.as_ref(), &task)?;
        node.request = &again;
        first = None;
    }
    let made = match first {
        // Nothing is built before its copy is there.
        Some(Ok(made @ Made::Waits(_))) => made,
        Some(made) if node.is_as_expected(&expected, &start) => made?,
        made => {
            // Two must not write to one layer.
            drop(made);
            node.make(early, &namespace, &start, &task)?
        }
    };
    let mut built = match made {
        Made::Built(built) => *built,
        Made::Waits(waiting) => node.stage_and_build(*waiting, &namespace, &start, &task)?,
    };
    build = build.max(begun.elapsed());
    let target = node.save_target(&namespace, &start, &task)?;
    let groups = match built.groups.take() {
        Some(groups) => groups,
        None => node.make_groups(&task, &built.devices)?,
    };
    let task = groups.with(&task);
    built.container.way.groups = groups
        .processes()
        .map_err(step("copying the control groups' descriptors"))?;
    node.join_task(&built, &task)?;
    let times = Times {
        image: micros(image),
        build: micros(build),
    };
    tracing::info!(
        JOB_STEP = %request.label,
        IMAGE = %node.request.image(),
        IMAGE_MICROSECONDS = times.image,
        BUILD_MICROSECONDS = times.build,
        "container ready"
    );
    node.settle(&built)?;
    let ticket = match node.request.entry {
        Entry::Program => Some(ticket(node.request, &built)?),
        Entry::Hook | Entry::HookAfter { .. } => None,
    };
    give(socket, node.request, &built, ticket.as_ref(), times);
    // The ranks are on their way: what follows is for the steps after this one.
    node.look_ahead(&built, &task);
    if let Some(target) = target
        && wait_for_save(socket.as_fd())?
    {
        node.save(&target, &built, &namespace, &task);
    }
    Ok(())
}

/// Tells what would be done, and lets no rank run.
fn explain(asked: &Asked<'_>, calls: Calls, named: Option<Named>) -> Result<(), Stop> {
    let socket = asked.socket.as_fd();
    let (namespace, _, _) = wait_for_namespace(socket)?;
    let (start, task) = wait_for_start(socket)?;
    let request = asked.for_task(None, &namespace, start.cwd.as_ref(), &task)?;
    let lines = asked
        .node(&request, calls, named)
        .explain(&namespace, &start, &task)?;
    let ends = (0..request.ranks).map(|_| protocol::explained_message());
    let lines = lines
        .iter()
        .map(|line| protocol::line_message(line.as_ref()));
    for message in lines.chain(ends) {
        if ipc::send(socket, &message, &[]).is_err() {
            return Err(Stop::Abandoned);
        }
    }
    Ok(())
}

/// A container that exists has its own image.
fn recorded_image(named: Option<&Named>) -> Option<ImageName> {
    let record = named?.record.as_ref()?;
    ImageName::parse(record.image.as_os_str()).ok()
}

/// What the site decides where the user said nothing.
fn resolved(request: &Request, config: &SiteConfig) -> Request {
    let mut request = request.clone();
    request.options.mount_home.get_or_insert(config.mounts.home);
    request
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// Waits for the first task's namespace; also the working directory it will have
/// and its process id. There is no deadline here and below: how
/// long slurmstepd takes is Slurm's matter, and its end is seen.
fn wait_for_namespace(socket: BorrowedFd<'_>) -> Result<(OwnedFd, Option<HostPath>, Groups), Stop> {
    loop {
        if let ToPrepare::Namespace(fd, cwd, task) = next_message(socket)? {
            return Ok((fd, cwd, groups_of(socket, task)?));
        }
    }
}

/// Waits for the first task's start; also its control groups.
fn wait_for_start(socket: BorrowedFd<'_>) -> Result<(Start, Groups), Stop> {
    loop {
        if let ToPrepare::Go(start, task) = next_message(socket)? {
            return Ok((start, groups_of(socket, task)?));
        }
    }
}

/// The control groups of a task, in which its helpers belong: without them nothing is
/// started for it.
fn groups_of(socket: BorrowedFd<'_>, task: u32) -> Result<Groups, Failure> {
    let stepd = ipc::maker(socket).map_err(step("asking who made the socket"))?;
    Groups::of_child(task, stepd).map_err(|_| Failure::TaskGone)
}

/// Waits for the end of the last rank; whether there is a slurmstepd that wants the
/// container saved.
fn wait_for_save(socket: BorrowedFd<'_>) -> Result<bool, Stop> {
    loop {
        match next_message(socket) {
            Ok(ToPrepare::Save) => return Ok(true),
            Ok(_) => {}
            Err(Stop::Abandoned) => return Ok(false),
            Err(stop) => return Err(stop),
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

/// What a rank shows to `oarlock-enter`.
fn ticket(request: &Request, built: &Built) -> Result<OwnedFd, Failure> {
    let way = &built.container.way;
    // The program joins namespaces, and neither forks nor becomes anybody.
    let is_plain = way.ids == Ids::Host && way.of(Kind::Pid).is_none();
    let namespaces: Vec<BorrowedFd<'_>> = way.namespaces().iter().map(|n| n.fd.as_fd()).collect();
    if !is_plain {
        return Err(Failure::PrologInside);
    }
    entry::ticket(request.identity.uid, &namespaces)
        .map_err(step("writing the ranks' ticket into the container"))
}

/// Puts one answer a rank into the socket; ranks take them when they come.
fn give(
    socket: &OwnedFd,
    request: &Request,
    built: &Built,
    ticket: Option<&OwnedFd>,
    times: Times,
) {
    let container = &built.container;
    let workdir = request.options.workdir.as_ref();
    for number in 0..request.ranks {
        let bytes =
            protocol::container_message(number, times, &container.way, workdir, &built.shown);
        let fds: Vec<BorrowedFd<'_>> = std::iter::once(container.changes.as_fd())
            .chain(container.way.descriptors())
            .chain(ticket.map(AsFd::as_fd))
            .collect();
        if let Err(error) = ipc::send(socket.as_fd(), &bytes, &fds) {
            tracing::debug!(%error, "the step ended while its ranks were starting");
            return;
        }
    }
    for server in &built.servers {
        leave_to_slurmstepd(socket.as_fd(), *server);
    }
}

/// Puts a helper's pidfd behind the answers: slurmstepd ends it with the step. Where
/// it has ended that already, the helper is ended here.
pub(super) fn leave_to_slurmstepd(socket: BorrowedFd<'_>, helper: u32) {
    if let Ok(helper) = sys::process::pidfd_of(helper) {
        let message = protocol::server_message();
        if ipc::send(socket, &message, &[helper.as_fd()]).is_err() {
            let _ = sys::process::kill(helper.as_fd());
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
