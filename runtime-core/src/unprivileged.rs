//! The core's other constructor: a container for this very process, made by its
//! user in a user namespace, without any privilege on the host.
//!
//! The user keeps the uid and gid; the image is served by FUSE, because only
//! root may have the kernel parse one. The process ends up in the container.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sched::CloneFlags;

use crate::apply::filesystem::Calls;
use crate::apply::image::ImageMount;
use crate::apply::known::Known;
use crate::apply::rootfs::{self, Assembly, Container};
use crate::apply::scripts::{self, From};
use crate::apply::survey;
use crate::apply::{ApplyError, FileAccess};
use crate::config::SiteConfig;
use crate::image::layout::Role;
use crate::image::policy::{self, Denial};
use crate::image::source::{self, Layout, Source, SourceError};
use crate::image::trust::{self, Method};
use crate::path::HostPath;
use crate::plan::{self, NodeFacts, Plan};
use crate::prepare::explain;
use crate::request::{ImageName, Request, RequestError};
use crate::sys;

/// Why there is no container.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The image's name cannot be used.
    #[error(transparent)]
    Name(#[from] RequestError),
    /// The image cannot be used.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The site does not allow it.
    #[error("image {image}: {denial}")]
    Denied {
        /// As typed.
        image: ImageName,
        /// The rule.
        denial: Denial,
    },
    /// The container could not be built.
    #[error("image {image}: {error}")]
    Apply {
        /// As typed.
        image: ImageName,
        /// What failed.
        error: ApplyError,
    },
    /// The kernel or the site forbids user namespaces.
    #[error(
        "making a user namespace: {0}; ask your admin whether user namespaces are allowed (sysctl user.max_user_namespaces, AppArmor)"
    )]
    UserNamespace(io::Error),
    /// The working directory.
    #[error("the working directory: {0}")]
    WorkingDirectory(io::Error),
}

/// What the container is made of.
struct Looked {
    image: ImageName,
    source: Source,
    known: Known,
    method: Method,
    plan: Plan,
}

/// What would be done, in lines for people: opens the image, and makes nothing.
///
/// # Errors
/// Any [`LocalError`].
pub fn explain(request: &Request, config: &SiteConfig) -> Result<Vec<String>, LocalError> {
    let looked = look(request, config)?;
    let (source, plan) = (&looked.source, &looked.plan);
    Ok(explain::of_own(
        source,
        looked.method,
        plan,
        request,
        config,
    ))
}

fn look(request: &Request, config: &SiteConfig) -> Result<Looked, LocalError> {
    let alias = config.images.alias(request.image());
    let image = alias.as_ref().unwrap_or_else(|| request.image());
    image.must_be_a_path()?;
    let here = sys::mount::open_place(Path::new(".")).map_err(LocalError::WorkingDirectory)?;
    let found = source::open(image, Role::Image, here.as_fd())?;
    let source = found.source;
    let owner = rustix::fs::fstat(&source.fd).map_or(u32::MAX, |about| about.st_uid);
    policy::allows_file(&config.images, &source.path, owner, &policy::uid_of).map_err(
        |denial| LocalError::Denied {
            image: image.clone(),
            denial,
        },
    )?;
    let cwd = std::env::current_dir()
        .ok()
        .and_then(|path| HostPath::new(path).ok());
    let (home, known) = Known::gather(&request.identity);
    let known = known.with_environment(found.environment);
    let facts = NodeFacts {
        home: home.and_then(|home| HostPath::new(home).ok()),
        cwd,
        ..NodeFacts::default()
    };
    let method = match &source.layout {
        Layout::File(layout) if rustix::process::geteuid().is_root() => {
            let trusted = trust::doubt(source.fd.as_fd()).is_none();
            trust::method(&config.images, layout, trusted)
        }
        Layout::File(_) | Layout::Directory => Method::Fuse,
    };
    Ok(Looked {
        image: image.clone(),
        source,
        known,
        method,
        plan: plan::plan(request, config, &facts),
    })
}

/// Builds the container around this process, which must have one thread.
///
/// # Errors
/// Any [`LocalError`]; the process must then end.
pub fn contain_self(request: &Request, config: &SiteConfig) -> Result<Container, LocalError> {
    let Looked {
        image,
        source: opened,
        known,
        method,
        plan,
    } = look(request, config)?;
    if !rustix::process::geteuid().is_root() {
        enter_user_namespace(request).map_err(LocalError::UserNamespace)?;
    }
    let calls = Calls::detect(config.prepare.mount_calls);
    let build = || {
        rootfs::enter_copy_of(None)?;
        let image = ImageMount::new(&opened, method, None, None, config, &FileAccess::Own, calls)?;
        let known = known.to_memory_file().map_err(|error| ApplyError::Step {
            what: "making a memory file",
            error,
        })?;
        let seconds = config.prepare.timeout;
        let survey = image
            .root()
            .map(|root| survey::start(root, &known, request, &FileAccess::Own, seconds))
            .transpose()?;
        let (surveyor, survey) = survey.unzip();
        let container = Assembly {
            image,
            plan: &plan,
            request,
            config,
            access: &FileAccess::Own,
            calls,
            known,
            survey,
            upper: None,
            identity: None,
            groups: None,
        }
        .build()?;
        drop(surveyor);
        if scripts::is_wanted(container.scripts, request) {
            scripts::run_scripts(From::Inside, &container.changes, request, &FileAccess::Own)?;
        }
        Ok(container)
    };
    build().map_err(|error| LocalError::Apply { image, error })
}

/// A user namespace in which the user is the same user, and nobody else exists,
/// user_namespaces(7).
fn enter_user_namespace(request: &Request) -> io::Result<()> {
    let (uid, gid) = (request.identity.uid, request.identity.gid);
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER)?;
    // Without this the kernel accepts no map of groups from a user.
    std::fs::write("/proc/self/setgroups", b"deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}
