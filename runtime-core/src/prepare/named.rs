//! A step's use of a container with a name: found, made, joined, and kept mounted so
//! that steps which run at once share one overlay.
//!
//! The user's lock is held from the decision until the container is built: no two
//! overlays may write to one layer.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::allocation::has_devices;
use crate::apply::image::Owner;
use crate::apply::writable::Changes;
use crate::config::SiteConfig;
use crate::containers::store::{self, Record, State};
use crate::containers::{Key, gone, live, names, release};
use crate::image::source::Source;
use crate::plan::containers::{self as plan, Refusal, Way};
use crate::request::{NameUse, NamedContainer, Request, Scope};
use crate::sys;

/// Another step of the user's, on this node, may be making a container just now.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a name cannot be used: one line for the user.
#[derive(Debug, thiserror::Error)]
pub(super) enum NamedError {
    #[error("container {name}: {refusal}")]
    Refused { name: String, refusal: Refusal },
    #[error(
        "container {name}: its image {image} was changed or replaced since it was made; put the image back, or remove the container: oarlock container rm {name}"
    )]
    Changed { name: String, image: String },
    #[error(
        "container {name}: another step writes to it through FUSE, and two cannot; join it (:exec), or wait for that step's end"
    )]
    Served { name: String },
    #[error("container {name}: another step holds it for more than {seconds} s; try again")]
    Busy { name: String, seconds: u64 },
    #[error(
        "container {name}: containers with names are not allowed here (writable.named in oarlock.toml)"
    )]
    NotAllowed { name: String },
    #[error("container {name}: {what}: {error}")]
    Step {
        name: String,
        what: &'static str,
        error: io::Error,
    },
}

/// A name, and what it stands for on this node.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) key: Key,
    wanted: NamedContainer,
    base: PathBuf,
    directory: PathBuf,
    /// What is recorded, where it exists.
    pub(super) record: Option<Record>,
}

/// A name that this step holds.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) named: Named,
    lock: Option<OwnedFd>,
    pub(super) way: HeldWay,
    /// A container that is being made.
    aside: Option<PathBuf>,
    /// Says that it is used until a rank is in it: others may not remove it.
    entered: Option<OwnedFd>,
}

/// Where its files come from.
#[derive(Debug)]
pub(super) enum HeldWay {
    /// From this layer.
    Layer(PathBuf),
    /// From the overlay that the node keeps mounted.
    Mounted,
    /// From this namespace of a running step.
    Join(OwnedFd),
}

impl Named {
    /// Looks a name up. Nothing is made or locked.
    ///
    /// # Errors
    /// [`NamedError::Step`], and [`NamedError::NotAllowed`] where the site has none.
    pub(super) fn look_up(
        request: &Request,
        config: &SiteConfig,
    ) -> Result<Option<Self>, NamedError> {
        let Some(wanted) = request.options.name.clone() else {
            return Ok(None);
        };
        if !config.writable.named && wanted.how != NameUse::Remove {
            return Err(NamedError::NotAllowed {
                name: wanted.name.clone(),
            });
        }
        let key = Key {
            uid: request.identity.uid,
            job: (request.scope == Scope::Job).then_some(request.job),
            name: wanted.name.clone(),
        };
        let base = config.writable.path.clone();
        let mut named = Self {
            directory: key.directory(&base),
            key,
            wanted,
            base,
            record: None,
        };
        named.read()?;
        // What a task of an array makes is that task's: the others make their own. One
        // that was there before them all is for all.
        if named.record.is_none()
            && named.key.job.is_none()
            && request.variable("SLURM_ARRAY_TASK_ID").is_some()
        {
            named.key.job = Some(request.job);
            named.directory = named.key.directory(&named.base);
            named.read()?;
        }
        Ok(Some(named))
    }

    fn read(&mut self) -> Result<(), NamedError> {
        let record = store::read(&self.directory);
        self.record = record.map_err(self.step("reading its record"))?;
        Ok(())
    }

    fn step(&self, what: &'static str) -> impl Fn(io::Error) -> NamedError + use<> {
        let name = self.wanted.name.clone();
        move |error| NamedError::Step {
            name: name.clone(),
            what,
            error,
        }
    }

    /// The image that was opened must be the one that the container was made of.
    ///
    /// # Errors
    /// [`NamedError::Changed`].
    pub(super) fn check(&self, source: &Source) -> Result<(), NamedError> {
        let Some(record) = &self.record else {
            return Ok(());
        };
        let now = State::of(source.fd.as_fd()).map_err(self.step("looking at its image"))?;
        if now == record.state {
            Ok(())
        } else {
            Err(NamedError::Changed {
                name: self.wanted.name.clone(),
                image: record.image.display().to_string(),
            })
        }
    }

    /// Locks the user's containers and decides what is done.
    ///
    /// # Errors
    /// Any [`NamedError`].
    pub(super) fn hold(mut self, request: &Request) -> Result<Held, NamedError> {
        if let Err(error) = store::sweep_once(&self.base) {
            tracing::warn!(%error, "what jobs of a former boot have left stays");
        }
        if let Err(error) = release::again() {
            tracing::warn!(%error, "what jobs that ended have left stays");
        }
        store::make_above(&self.base, &self.key).map_err(self.step("making its directory"))?;
        let lock = release::lock_of(&self.directory, PATIENCE);
        let lock = lock.map_err(|error| match error.raw_os_error() {
            Some(libc::EBUSY) => NamedError::Busy {
                name: self.wanted.name.clone(),
                seconds: PATIENCE.as_secs(),
            },
            _ => self.step("locking it")(error),
        })?;
        self.read()?;
        let running = live::namespace(&self.key).map_err(self.step("looking who runs it"))?;
        let state = plan::State {
            exists: self.record.is_some(),
            runs: running.is_some(),
            brings: brings(request),
            image: request.options.image.is_some(),
        };
        let way = plan::decide(self.wanted.how, state).map_err(|refusal| NamedError::Refused {
            name: self.wanted.name.clone(),
            refusal,
        })?;
        let mut held = Held {
            lock: Some(lock),
            way: HeldWay::Mounted,
            aside: None,
            entered: None,
            named: self,
        };
        held.way = match (way, running) {
            (Way::Join, Some(namespace)) => HeldWay::Join(namespace),
            (Way::Create, _) => held.make(request)?,
            _ => held.files()?,
        };
        if request.job != 0 {
            release::note(request.job, &held.named.key, &held.named.directory)
                .and_then(|()| match held.named.wanted.how {
                    NameUse::Remove => release::note_removal(request.job, &held.named.key),
                    _ => Ok(()),
                })
                .map_err(held.named.step("noting it for the job's end"))?;
        }
        Ok(held)
    }
}

/// Whether the step has what a running container lacks.
fn brings(request: &Request) -> bool {
    let mpi = request.mpi.as_ref();
    !request.options.mounts.is_empty()
        || has_devices(request)
        || request.script.is_some()
        || mpi.is_some_and(|place| place.as_path().exists())
}

impl Held {
    fn make(&mut self, request: &Request) -> Result<HeldWay, NamedError> {
        let who = &request.identity;
        let owner = Owner {
            uid: who.uid,
            gid: who.gid,
        };
        let named = &self.named;
        let aside = store::make(&named.directory, owner).map_err(named.step("making it"))?;
        self.aside = Some(aside.clone());
        Ok(HeldWay::Layer(aside))
    }

    fn files(&self) -> Result<HeldWay, NamedError> {
        let named = &self.named;
        if release::is_kept(&named.key) {
            return Ok(HeldWay::Mounted);
        }
        let used = release::is_mounted_by(named.key.uid, &named.key)
            .map_err(named.step("looking who runs it"))?;
        if used.is_some() {
            return Err(NamedError::Served {
                name: named.wanted.name.clone(),
            });
        }
        Ok(HeldWay::Layer(named.directory.clone()))
    }

    /// The namespace of the container that is joined.
    pub(super) fn joined(&self) -> Option<io::Result<OwnedFd>> {
        match &self.way {
            HeldWay::Join(namespace) => Some(namespace.try_clone()),
            HeldWay::Layer(_) | HeldWay::Mounted => None,
        }
    }

    /// What takes the container's changes; not for one that is joined.
    ///
    /// # Errors
    /// [`NamedError::Step`].
    pub(super) fn changes(&self) -> Result<Option<Changes>, NamedError> {
        let named = &self.named;
        match &self.way {
            HeldWay::Join(_) => Ok(None),
            HeldWay::Mounted => release::open_kept(&named.key)
                .map(|mount| Some(Changes::Mounted(mount)))
                .map_err(named.step("opening its files")),
            HeldWay::Layer(directory) => store::open(directory)
                .map(|directory| Some(Changes::Directory(directory)))
                .map_err(named.step("opening its files")),
        }
    }

    /// The container is built: from now on it exists. Its overlay is kept mounted
    /// where `lasting` says that it does not end with this step; then others may
    /// have the lock.
    ///
    /// # Errors
    /// [`NamedError::Step`].
    pub(super) fn settle(
        &mut self,
        image: &(PathBuf, State),
        overlay: Option<&OwnedFd>,
        lasting: bool,
    ) -> Result<(), NamedError> {
        let named = &self.named;
        if let Some(aside) = self.aside.take() {
            let created = SystemTime::now().duration_since(UNIX_EPOCH);
            let record = Record {
                image: image.0.clone(),
                state: image.1.clone(),
                created: created.map_or(0, |since| since.as_secs()),
                boot: store::boot(),
            };
            store::publish(&aside, &named.directory, &record)
                .map_err(named.step("writing its record"))?;
            if let Err(error) = names::show(&named.key, &record.image, record.created) {
                tracing::warn!(%error, "its user does not find the container in a list");
            }
        }
        if let (HeldWay::Layer(_), Some(overlay), true) = (&self.way, overlay, lasting)
            && let Err(error) = keep(&named.key, overlay)
        {
            tracing::warn!(%error, "no other step can use the container while this one runs");
        }
        let entered = release::enter(&named.directory);
        self.entered = Some(entered.map_err(named.step("entering it"))?);
        self.lock = None;
        Ok(())
    }
}

/// A directory for the changes of a container without a name, which goes with the job.
///
/// # Errors
/// What the kernel said; `Unsupported` where nobody would remove it.
pub(super) fn on_disk(request: &Request, config: &SiteConfig, owner: Owner) -> io::Result<OwnedFd> {
    if request.job == 0 || !crate::kept::is_released_at_epilog() {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let base = &config.writable.path;
    if let Err(error) = store::sweep_once(base) {
        tracing::warn!(%error, "what jobs of a former boot have left stays");
    }
    let key = Key {
        uid: request.identity.uid,
        job: Some(request.job),
        name: format!("step-{}-{}", request.label, std::process::id()),
    };
    let directory = store::make_above(base, &key)?;
    // Never given the name that others look for.
    let aside = store::make(&directory, owner)?;
    release::note(request.job, &key, &aside)?;
    store::open(&aside)
}

impl Drop for Held {
    /// What was not finished is nobody's.
    fn drop(&mut self) {
        if let Some(aside) = self.aside.take() {
            let _ = gone::put_aside(&self.named.base, &aside);
        }
    }
}

fn keep(key: &Key, overlay: &OwnedFd) -> io::Result<()> {
    let place = crate::runtime_directory::make(&Path::new("live").join(key.to_string()))?;
    let target = sys::mount::open_place(&place)?;
    sys::mount::attach(overlay.as_fd(), target.as_fd())
}
