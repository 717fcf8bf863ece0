//! One node's part of a step: from the image's name to a container that no rank
//! has yet.
//!
//! Works in the host's mount namespace; only what a task may see otherwise, the
//! image's name and directories, is looked up in the task's.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::as_user::{AsUser, Asked};
use super::builder::{self, BuildError, Work};
use super::choose::{self, Choice, Chosen, Wish};
use super::devices::driver::Seen;
use super::explain;
use super::failure::{Failure, step};
use super::groups;
use super::half::{self, Opened};
use super::named::{Held, Named};
use super::protocol::{self, Start};
use super::serve::leave_to_slurmstepd;
use super::staging::{self, Outcome};
use super::view::{in_task_view, is_own_namespace};
use crate::apply::filesystem::Calls;
use crate::apply::identity::Inside;
use crate::apply::image::ImageMount;
use crate::apply::rootfs::Container;
use crate::apply::scripts::{self, From};
use crate::apply::shared::Keepable;
use crate::apply::survey::{self, Surveyor};
use crate::apply::{ApplyError, FileAccess};
use crate::cgroup::Groups;
use crate::cgroup::devices::Rule;
use crate::cgroup::hold::StepGroups;
use crate::config::SiteConfig;
use crate::containers::gone;
use crate::containers::store::State;
use crate::image::layout::Role;
use crate::image::policy;
use crate::image::source::Source;
use crate::image::trust::Method;
use crate::kept::{self, Whose};
use crate::path::HostPath;
use crate::plan::{self, NodeFacts, mounts};
use crate::request::Request;
use crate::sys::ipc;
use crate::visible::Shown;

/// One node's part of a step: what was asked, and what rules here.
pub(super) struct Node<'a> {
    pub(super) socket: &'a OwnedFd,
    pub(super) request: &'a Request,
    pub(super) config: &'a SiteConfig,
    pub(super) calls: Calls,
    /// The container's name, where it has one: looked up, and then held.
    pub(super) named: Option<Named>,
    pub(super) held: Option<Held>,
    /// Where the ranks are root: their user namespace.
    pub(super) inside: Option<&'a Inside>,
}

/// An image that is opened.
pub(super) enum Prepared {
    /// It is mounted, but nowhere yet.
    Ready(Box<Ready>),
    /// It waits for its copy.
    Waits(Box<Waiting>),
}

/// An image that is mounted, but nowhere yet.
pub(super) struct Ready {
    mount: ImageMount,
    known: OwnedFd,
    home: Option<HostPath>,
    survey: Option<survey::Pending>,
    surveyor: Option<Surveyor>,
    behind: Option<(OwnedFd, Wish)>,
    opened: Original,
    /// Who looks at the image for the driver of the step's GPUs.
    asked: Option<Asked>,
}

/// The image's path and state, as it was opened.
type Original = Option<(PathBuf, State)>;

/// An image that waits for its copy.
pub(super) struct Waiting {
    source: Source,
    wish: Wish,
    known: OwnedFd,
    home: Option<HostPath>,
    opened: Original,
}

/// What came of making a container.
pub(super) enum Made {
    Built(Box<Built>),
    Waits(Box<Waiting>),
}

/// A container that no rank has yet.
pub(super) struct Built {
    pub(super) container: Container,
    /// The first of its process ids, where it has its own, and those that serve its
    /// image.
    pub(super) servers: Vec<u32>,
    /// What the node keeps of it for the job.
    keepable: Vec<Keepable>,
    /// The copy that is to be made while the step runs.
    behind: Option<(OwnedFd, Wish)>,
    /// Reads ahead until this is dropped.
    _surveyor: Option<Surveyor>,
    /// The image, as it was opened.
    pub(super) opened: Original,
    /// Whether nothing of its files ends with the step.
    pub(super) lasting: bool,
    /// What variables tell of its devices.
    pub(super) shown: Shown,
    /// The devices that are the step's.
    pub(super) devices: Vec<Rule>,
    /// Its control groups, where it was built with them.
    pub(super) groups: Option<StepGroups>,
}

impl Node<'_> {
    /// Opens the image with the user's rights, decides who may parse it, mounts it.
    pub(super) fn prepare_image(&self) -> Result<Prepared, Failure> {
        self.mount(self.open(None, None)?, None)
    }

    /// Builds the container as the task in `namespace` sees the host.
    pub(super) fn make(
        &self,
        early: Option<Prepared>,
        namespace: &OwnedFd,
        start: &Start,
        task: &Groups,
    ) -> Result<Made, Failure> {
        let prepared = match early {
            Some(prepared) if is_own_namespace(namespace)? => prepared,
            // job_container gave the task directories of its own, or the name is
            // relative: what counts is what the task sees.
            _ => {
                let opened = in_task_view(namespace, || self.open(start.cwd.as_ref(), Some(task)))?;
                self.mount(opened, Some(task))?
            }
        };
        match prepared {
            Prepared::Waits(waiting) => Ok(Made::Waits(waiting)),
            Prepared::Ready(ready) => self
                .build(*ready, namespace, start, task)
                .map(|built| Made::Built(Box::new(built))),
        }
    }

    /// What would be done for a task in `namespace`, in lines for people.
    pub(super) fn explain(
        &self,
        namespace: &OwnedFd,
        start: &Start,
        task: &Groups,
    ) -> Result<Vec<String>, Failure> {
        let opened = in_task_view(namespace, || self.open(start.cwd.as_ref(), Some(task)))?;
        let chosen = self.choose(opened.source)?;
        let devices = self.devices(namespace, None)?;
        let facts = NodeFacts {
            home: opened.home,
            cwd: start.cwd.clone(),
            mpi: start.mpi.clone(),
            devices: devices.nodes,
            device_mounts: devices.mounts,
            groups: Vec::new(),
        };
        let plan = plan::plan(self.request, self.config, &facts);
        let mut lines = devices.lines;
        lines.extend(self.held_lines(task, &devices.own)?);
        lines.extend(explain::lines(&chosen, &plan, self.request, self.config));
        Ok(lines)
    }

    /// Waits for the image's copy in the control groups of `task`, then builds the
    /// container from it. Without a copy it runs from where it lies, and the user
    /// is told why, unless the site wants a copy.
    pub(super) fn stage_and_build(
        &self,
        waiting: Waiting,
        namespace: &OwnedFd,
        start: &Start,
        task: &Groups,
    ) -> Result<Built, Failure> {
        let Waiting {
            source,
            wish,
            known,
            home,
            opened,
        } = waiting;
        let image = self.request.image();
        let outcome = staging::stage_first(
            source.fd.as_fd(),
            &wish,
            image,
            task,
            self.config,
            self.socket.as_fd(),
            &mut |text| self.tell(text),
        )
        .map_err(step("starting the process that copies the image"))?;
        let why = match outcome {
            Outcome::Done => None,
            Outcome::Failed(why) => Some(why),
            Outcome::Unwanted => return Err(BuildError::Unwanted.into()),
        };
        let (source, method) = match (why, self.choose(source)?.choice) {
            (None, Choice::Run(source, method)) => (source, method),
            (why, Choice::Run(source, _) | Choice::StageFirst(source, _)) => {
                let why = why.unwrap_or_else(|| "the copy is gone again".to_owned());
                if wish.required {
                    return Err(Failure::NoCopy {
                        image: image.clone(),
                        why,
                    });
                }
                self.tell(&format!(
                    "image {image}: it is not staged and runs from where it lies: {why}"
                ));
                (source, wish.method)
            }
        };
        let mut ready = self.mount_source(&source, method, known, (home, None), Some(task))?;
        ready.opened = opened;
        self.build(ready, namespace, start, task)
    }

    /// What belongs to the task's control groups goes there, now that the task is
    /// in its own: the FUSE server, and the image's scripts, which are run only
    /// now. The task waits for its answer, so its process id is its own.
    pub(super) fn join_task(&self, built: &Built, task: &Groups) -> Result<(), Failure> {
        for server in &built.servers {
            if let Err(error) = task.join(*server) {
                tracing::warn!(%error, "the FUSE server is left outside the task's control groups");
            }
        }
        if scripts::is_wanted(built.container.scripts, self.request) {
            let from = From::Host(&built.container.way, task);
            let access = FileAccess::As(self.request.identity.clone());
            let said = scripts::run_scripts(from, &built.container.changes, self.request, &access)
                .map_err(|error| self.failed(error))?;
            if self.request.options.entrypoint_log == Some(true) {
                for line in said {
                    self.tell(&format!("entry point: {line}"));
                }
            }
        }
        Ok(())
    }

    /// For the steps after this one: keeps the image mounted for the job, and
    /// begins its copy. Nothing of it can fail this step.
    pub(super) fn look_ahead(&self, built: &Built, groups: &Groups) {
        // slurmstepd says that the step has ended, and hears this process out then.
        if ipc::is_gone(self.socket.as_fd()) {
            return;
        }
        if self.request.job != 0 && kept::is_released_at_epilog() {
            for keepable in &built.keepable {
                if let Err(error) = keepable.keep(self.request.job, self.calls) {
                    tracing::warn!(%error, "the image is not kept for the job's next step");
                }
            }
            // It does not wait for ever, and perhaps the job's epilog is over.
            if ipc::is_gone(self.socket.as_fd()) {
                let _ = kept::release(Whose::Job(self.request.job));
                return;
            }
        }
        if ipc::is_hung_up(self.socket.as_fd()) {
            return;
        }
        if self.held.is_some() {
            // A step leaves no process: what is not deleted at its end, another begins
            // again.
            let base = &self.config.writable.path;
            let join = || groups.join(std::process::id());
            if let Err(error) = gone::delete_behind(base, join) {
                tracing::warn!(%error, "what containers have left is not deleted");
            }
        }
        if let Some((source, wish)) = &built.behind {
            let image = self.request.image();
            match staging::stage_behind(source, wish, image, groups, self.config) {
                Ok(helper) => leave_to_slurmstepd(self.socket.as_fd(), helper),
                Err(error) => tracing::warn!(%error, "no copy is made for later steps"),
            }
        }
    }

    /// Whether the container that was built for `expected` does for a task that
    /// says `start`: the same working directory, and every directory of its MPI
    /// library in sight.
    pub(super) fn is_as_expected(&self, expected: &Start, start: &Start) -> bool {
        let facts = NodeFacts {
            mpi: expected.mpi.clone(),
            ..NodeFacts::default()
        };
        let shown = mounts::plan(self.request, self.config, &facts);
        expected.cwd == start.cwd && start.mpi.iter().all(|path| mounts::shows(&shown, path))
    }

    pub(super) fn failed(&self, error: ApplyError) -> Failure {
        Failure::Image {
            image: self.request.image().clone(),
            error,
        }
    }

    /// One of the waiting ranks says so to the user.
    pub(super) fn tell(&self, text: &str) {
        let message = protocol::notice_message(text.as_ref());
        let _ = ipc::send(self.socket.as_fd(), &message, &[]);
    }

    /// With the user's rights, and where there is a task in its control groups.
    fn open(&self, cwd: Option<&HostPath>, task: Option<&Groups>) -> Result<Opened, Failure> {
        if let Some(name) = self.request.image().in_registry() {
            policy::allows_registry(&self.config.images, &name).map_err(|denial| {
                Failure::Choice {
                    image: self.request.image().clone(),
                    error: denial.into(),
                }
            })?;
        }
        self.request.image().must_be_a_path()?;
        let image = self.request.image();
        Ok(half::open(image, Role::Image, cwd, self.user(task))?)
    }

    /// The user, where something is opened for him.
    pub(super) fn user<'a>(&'a self, task: Option<&'a Groups>) -> AsUser<'a> {
        AsUser {
            who: &self.request.identity,
            task,
            asker: self.socket.as_fd(),
            seconds: self.config.prepare.timeout,
        }
    }

    fn choose(&self, source: Source) -> Result<Chosen, Failure> {
        choose::choose(source, self.request, self.config).map_err(|error| Failure::Choice {
            image: self.request.image().clone(),
            error,
        })
    }

    fn mount(&self, opened: Opened, task: Option<&Groups>) -> Result<Prepared, Failure> {
        let Opened {
            source,
            known,
            home,
        } = opened;
        if let Some(named) = self.name() {
            named.check(&source)?;
        }
        let opened = State::of(source.fd.as_fd())
            .ok()
            .map(|state| (source.path.clone(), state));
        let Chosen { choice, behind } = self.choose(source)?;
        match choice {
            Choice::StageFirst(source, wish) => Ok(Prepared::Waits(Box::new(Waiting {
                source,
                wish,
                known,
                home,
                opened,
            }))),
            Choice::Run(source, method) => {
                let mut ready = self.mount_source(&source, method, known, (home, behind), task)?;
                ready.opened = opened;
                Ok(Prepared::Ready(Box::new(ready)))
            }
        }
    }

    fn mount_source(
        &self,
        source: &Source,
        method: Method,
        known: OwnedFd,
        (home, behind): (Option<HostPath>, Option<Wish>),
        task: Option<&Groups>,
    ) -> Result<Ready, Failure> {
        let access = FileAccess::As(self.request.identity.clone());
        let mount = ImageMount::new(
            source,
            method,
            self.owner(),
            self.map(),
            self.config,
            &access,
            self.calls,
        )
        .map_err(|error| self.failed(error))?;
        let seconds = self.config.prepare.timeout;
        // The image can be read while slurmstepd goes on; what a container with a
        // name has made of it cannot.
        let survey = mount
            .root()
            .filter(|_| self.name().is_none() && self.request.options.overlays.is_empty())
            .map(|root| survey::start(root, &known, self.request, &access, seconds))
            .transpose()
            .map_err(|error| self.failed(error))?;
        let (surveyor, survey) = survey.unzip();
        let behind = behind.and_then(|wish| Some((source.fd.try_clone().ok()?, wish)));
        Ok(Ready {
            asked: self.ask_early(&mount, &known, task),
            mount,
            known,
            home,
            survey,
            surveyor,
            behind,
            opened: None,
        })
    }

    fn build(
        &self,
        mut ready: Ready,
        namespace: &OwnedFd,
        start: &Start,
        task: &Groups,
    ) -> Result<Built, Failure> {
        let overlays = self.overlays(namespace, start, task)?;
        ready.mount = ready.mount.below(overlays.layers);
        let mut servers = ready.mount.servers();
        let keepable = ready.mount.keepable();
        let lasting = ready.mount.is_quick();
        let copy = namespace
            .try_clone()
            .map_err(step("copying a descriptor"))?;
        let join = self.joined()?;
        let seen = Seen {
            root: ready.mount.lowest(),
            known: ready.known.as_fd(),
            task,
            asked: ready.asked.as_ref().map(Asked::socket),
        };
        let devices = match &join {
            Some(_) => self.devices_of_joined(namespace),
            None => self.devices(namespace, Some(seen))?,
        };
        let (made, apart) = self.groups_apart(&join, task, &devices)?.unzip();
        let work = Work {
            image: ready.mount,
            request: self.request,
            config: self.config,
            facts: NodeFacts {
                home: ready.home,
                cwd: start.cwd.clone(),
                mpi: start.mpi.clone(),
                devices: devices.nodes,
                device_mounts: devices.mounts,
                groups: apart.as_ref().map(groups::shown).unwrap_or_default(),
            },
            groups: apart,
            calls: self.calls,
            known: ready.known,
            survey: ready.survey,
            namespace: copy,
            upper: self.upper(overlays.own)?,
            join,
            identity: self.inside()?,
            owned: self.owner().is_some(),
        };
        let deadline = deadline(self.config);
        let container = builder::build(work, self.socket.as_fd(), deadline, || {
            if self.will_hold(task) {
                task.wait_for_the_kernel();
            }
        })?;
        // With it end all that might still use the image.
        servers.splice(0..0, container.first);
        Ok(Built {
            container,
            servers,
            keepable,
            behind: ready.behind,
            _surveyor: ready.surveyor,
            opened: ready.opened,
            lasting,
            shown: devices.shown,
            devices: devices.own,
            groups: made,
        })
    }
}

fn deadline(config: &SiteConfig) -> Instant {
    Instant::now() + Duration::from_secs(u64::from(config.prepare.timeout))
}
