//! Building the container's root file system in a mount namespace of its own.
//!
//! All sources are opened first, with the user's rights, as the container's
//! view of the host; then a small tmpfs covers /tmp (in this namespace only) to
//! build in; at the end the new root takes the place of the old one, which is
//! gone with everything that was only needed for building. Nothing on the
//! host's file systems is created, and the namespace is held by descriptors
//! alone: when the last rank and descriptor go, all of it goes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::binds::{self, attach_bind, refuse_target};
use super::devices::{self, Wanted};
use super::filesystem::{Calls, Detached, Filesystem};
use super::generated;
use super::identity::{self, Inside};
use super::image::{IMAGE, ImageMount, explain_lookup};
use super::layers;
use super::namespaces::{self, First};
use super::points::{self, Kind, LastLink};
use super::survey::{self, Surveyor};
use super::writable::Upper;
use super::{ApplyError, FileAccess, PlaceProblem, step};
use crate::config::SiteConfig;
use crate::path::ContainerPath;
use crate::plan::Plan;
use crate::request::Request;
use crate::sys;
use crate::sys::mount::{self, Attributes};
use crate::sys::namespaces::{self as kinds, Namespace};
use crate::way::{Ids, Way};

/// Where the scratch tmpfs is put, in the container's own namespace: a directory
/// that every Linux has.
pub(crate) const SCRATCH: &str = "/tmp";

pub(super) const TMPFS: Attributes = Attributes {
    read_only: false,
    nosuid: true,
    nodev: true,
    noexec: false,
};

/// All that goes into one container.
#[derive(Debug)]
pub struct Assembly<'a> {
    /// The image, prepared.
    pub image: ImageMount,
    /// What to do.
    pub plan: &'a Plan,
    /// What was asked.
    pub request: &'a Request,
    /// The site's policy.
    pub config: &'a SiteConfig,
    /// Whose rights open files.
    pub access: &'a FileAccess,
    /// The kernel's mount calls.
    pub calls: Calls,
    /// What the survey will need, from [`super::known::Known`].
    pub known: OwnedFd,
    /// The survey, where it could be started early.
    pub survey: Option<survey::Pending>,
    /// What makes it writable, where it is to be.
    pub upper: Option<Upper>,
    /// Where the ranks are root: their user namespace.
    pub identity: Option<Inside>,
    /// The control group namespace, where its roots are not this process' own groups.
    pub groups: Option<Namespace>,
}

/// A finished container.
#[derive(Debug)]
pub struct Container {
    /// What a rank enters it by.
    pub way: Way,
    /// The environment's changes, a memory file of [`crate::environment::encode`].
    pub changes: File,
    /// Whether the image's scripts must still be run, to write those changes:
    /// [`super::scripts::run_scripts`].
    pub scripts: bool,
    /// The image and the changes, without the host's mounts, attached nowhere.
    pub files: Option<OwnedFd>,
    /// The number of the first process of its process ids, where it has its own.
    pub first: Option<u32>,
}

/// Looks at a container that runs, for another step to join it. This process ends up
/// in it, and opens nothing there but its root.
///
/// # Errors
/// Any [`ApplyError`].
pub fn join(
    namespace: Namespace,
    known: &OwnedFd,
    request: &Request,
    config: &SiteConfig,
    access: &FileAccess,
) -> Result<Container, ApplyError> {
    namespace
        .join()
        .map_err(step("joining the running container"))?;
    let root = mount::open_place(Path::new("/")).map_err(step("opening the container's root"))?;
    let files = mount::clone_one(root.as_fd()).ok();
    let seconds = config.prepare.timeout;
    let (_surveyor, survey) = survey::start(root.as_fd(), known, request, access, seconds)?;
    let surveyed = survey.wait()?;
    Ok(Container {
        way: Way::new(vec![namespace], Ids::Host, None),
        changes: surveyed.changes,
        scripts: surveyed.scripts,
        files,
        first: None,
    })
}

/// Goes into a copy of the namespace of `task` (or of this process' own) that
/// nobody else is in.
///
/// # Errors
/// [`ApplyError::Step`].
pub fn enter_copy_of(task: Option<BorrowedFd<'_>>) -> Result<(), ApplyError> {
    if let Some(task) = task {
        rustix::thread::move_into_link_name_space(
            task,
            Some(rustix::thread::LinkNameSpaceType::Mount),
        )
        .map_err(|e| step("joining the task's mount namespace")(e.into()))?;
    }
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
        .map_err(|e| step("making a mount namespace")(e.into()))?;
    mount::receive_only_from_host().map_err(step("separating the mount namespace from the host's"))
}

/// The scratch tmpfs, and what is in it.
struct Site {
    scratch: OwnedFd,
    image: OwnedFd,
    ground: Ground,
}

/// Where mount points are made that the image lacks.
enum Ground {
    /// Beside it, in a tmpfs that is laid over it.
    Skeleton {
        image_place: Vec<u8>,
        skeleton: OwnedFd,
        root_point: OwnedFd,
    },
    /// In it, with the user's rights; it is shown there where only root writes.
    Writable {
        access: FileAccess,
        read_only: Option<OwnedFd>,
    },
}

impl Assembly<'_> {
    /// Builds the container; this process ends up in it.
    ///
    /// # Errors
    /// Any [`ApplyError`]; the process must then end, its namespace is undefined.
    pub fn build(mut self) -> Result<Container, ApplyError> {
        // Now, while /proc is the host's: later every path is the user's word.
        let namespace = Namespace::own(kinds::Kind::Mount)
            .map_err(step("opening the container's namespace"))?;
        let first = self.plan.unshare.pid.then(|| First::start(self.access));
        let first = first.transpose()?;
        let mut own = namespaces::leave(self.plan.unshare, self.groups.take())?;
        self.image.open_directory(self.access, self.calls)?;
        if let Some(upper) = &mut self.upper {
            upper.open_directory(self.access, self.calls)?;
        }
        let opened =
            binds::open_sources(self.plan, self.access, &self.request.identity, self.calls)?;
        let devices = devices::open_devices(self.plan, self.calls)?;
        let (plan, access, calls) = (self.plan, self.access, self.calls);

        let quick = self.image.is_quick();
        let identity = self.identity.take();
        let who = &self.request.identity;
        let (site, _surveyor, survey) = self.make_site()?;
        let surveyed = survey.wait()?;
        // Before anything of the host's is mounted in it.
        let files = match calls {
            Calls::Descriptors => mount::clone_one(site.image.as_fd())
                .map(Some)
                .map_err(step("copying the mount of the container's files"))?,
            Calls::Old => None,
        };
        let generated = generated::show(
            &site.scratch,
            &surveyed,
            |target, file| site.write(target, file),
            calls,
        )?;

        if identity.is_some() {
            site.let_apt_be_root();
        }
        let mut made = site.ensure_known("/dev", Kind::Directory)?;
        if first.is_some() {
            made |= site.ensure_known("/proc", Kind::Directory)?;
        }
        for (target, _) in &generated {
            made |= site.ensure_known(target, Kind::File)?;
        }
        let mut usable = Vec::new();
        for bind in opened {
            if !binds::is_below_another(bind.mount, &plan.mounts) {
                match site.ensure(&bind.mount.target, bind.kind, binds::last_link(&bind)) {
                    Ok(new) => made |= new,
                    Err(error) => {
                        refuse_target(&bind, error)?;
                        continue;
                    }
                }
            }
            usable.push(bind);
        }

        let below_dev: Vec<Wanted> = usable.iter().filter_map(binds::wanted_below_dev).collect();
        let dev = devices::build(&site.scratch, &devices, &below_dev, calls)?;

        if let (Some(_), Ground::Skeleton { skeleton, .. }) = (&identity, &site.ground) {
            identity::give(skeleton, who)
                .map_err(step("giving the mount points to root inside"))?;
        }
        let root = site.root(made, access, calls)?;
        if let Ground::Skeleton { skeleton, .. } = &site.ground
            && made
            && quick
        {
            super::plain::bind(&site.image, skeleton, &root, access, calls)?;
        }
        devices::attach(&dev, &root, calls)?;
        if let Some(first) = &first {
            let point = points::resolve(root.as_fd(), &known_path("/proc")?)
                .map_err(|e| unusable("/proc", PlaceProblem::Covered, e))?;
            first.mount_proc(point.as_fd(), calls)?;
        }
        for (target, tree) in generated {
            let path = known_path(target)?;
            let point = points::resolve(root.as_fd(), &path)
                .map_err(|e| unusable(target, PlaceProblem::Covered, e))?;
            tree.attach(point.as_fd())?;
        }
        for bind in usable {
            attach_bind(&root, &bind)?;
        }

        mount::pivot_into(root.as_fd()).map_err(step("changing to the new root"))?;
        own.push(namespace);
        let (life, process) = first
            .map(|first| {
                own.push(first.namespace);
                (first.life, first.process)
            })
            .unzip();
        let ids = identity.as_ref().map_or(Ids::Host, |inside| inside.ids);
        own.extend(identity.map(|inside| inside.namespace));
        Ok(Container {
            way: Way::new(own, ids, life),
            changes: surveyed.changes,
            scripts: surveyed.scripts,
            files,
            first: process,
        })
    }

    /// Covers /tmp by the scratch tmpfs, and attaches the image in it.
    fn make_site(self) -> Result<(Site, Option<Surveyor>, survey::Pending), ApplyError> {
        let scratch = mount::open_place(Path::new(SCRATCH)).map_err(step("opening /tmp"))?;
        tmpfs("a scratch tmpfs", "8m", self.calls)?.attach(scratch.as_fd())?;
        let scratch =
            mount::open_place(Path::new(SCRATCH)).map_err(step("opening the scratch tmpfs"))?;
        let point = make_directory(&scratch, "image")?;
        let place = Path::new(SCRATCH).join("image");
        let (config, access, calls) = (self.config, self.access, self.calls);
        match &self.upper {
            None => self
                .image
                .attach(&scratch, &point, &place, config, access, calls)?,
            Some(upper) => {
                let target = point.as_fd();
                upper.attach(self.image, &scratch, target, config, access, calls)?;
            }
        }
        let image =
            mount::open_place(&place).map_err(|e| explain_lookup("opening the image", e))?;
        let (surveyor, survey) = match self.survey {
            Some(pending) => (None, pending),
            None => {
                let seconds = self.config.prepare.timeout;
                survey::start(
                    image.as_fd(),
                    &self.known,
                    self.request,
                    self.access,
                    seconds,
                )
                .map(|(surveyor, pending)| (Some(surveyor), pending))?
            }
        };
        let ground = match self.upper {
            None => Ground::Skeleton {
                image_place: place_of(&image)?,
                skeleton: make_directory(&scratch, "skeleton")?,
                root_point: make_directory(&scratch, "root")?,
            },
            Some(upper) => Ground::Writable {
                access: access.clone(),
                read_only: match upper.writable {
                    true => None,
                    false => Some(make_directory(&scratch, "root")?),
                },
            },
        };
        let site = Site {
            scratch,
            image,
            ground,
        };
        Ok((site, surveyor, survey))
    }
}

impl Site {
    fn ensure(&self, path: &ContainerPath, kind: Kind, last: LastLink) -> io::Result<bool> {
        let image = self.image.as_fd();
        match &self.ground {
            Ground::Skeleton {
                image_place,
                skeleton,
                ..
            } => points::ensure(image, image_place, skeleton.as_fd(), path, kind, last),
            Ground::Writable { access, .. } => {
                let made = access.with(|| points::ensure_in(image, path, kind, last))?;
                match made {
                    // A directory of somebody else's: what root makes there is an
                    // empty place in the user's own layer.
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        points::ensure_in(image, path, kind, last)
                    }
                    made => made,
                }
            }
        }
    }

    fn ensure_known(&self, path: &'static str, kind: Kind) -> Result<bool, ApplyError> {
        self.ensure(&known_path(path)?, kind, LastLink::Follow)
            .map_err(|e| unusable(path, PlaceProblem::kind(kind), e))
    }

    /// Writes a generated file into a root file system that may be written; whether
    /// that was possible.
    fn write(&self, target: &'static str, file: &mut File) -> bool {
        let Ground::Writable { access, .. } = &self.ground else {
            return false;
        };
        let written = self
            .ensure_known(target, Kind::File)
            .map_err(io::Error::other)
            .and_then(|_| access.with(|| generated::write_in(&self.image, target, file))?);
        if let Err(error) = &written {
            tracing::debug!(target, %error, "a generated file is bound, not written");
        }
        written.is_ok()
    }

    /// Where root inside may write: apt would become another user for its downloads,
    /// drop root's groups and look whether it has; the kernel denies the groups.
    fn let_apt_be_root(&self) {
        const FILE: &str = "/etc/apt/apt.conf.d/99oarlock";
        let exists = ContainerPath::new("/etc/apt/apt.conf.d")
            .is_ok_and(|path| points::resolve(self.image.as_fd(), &path).is_ok());
        if exists
            && let Ok(text) =
                sys::ipc::memory_file("oarlock-apt", b"APT::Sandbox::User \"root\";\n")
        {
            self.write(FILE, &mut File::from(text));
        }
    }

    /// The new root: the image, under the skeleton if there is anything in it.
    fn root(&self, made: bool, access: &FileAccess, calls: Calls) -> Result<OwnedFd, ApplyError> {
        let root_point = match &self.ground {
            Ground::Skeleton { root_point, .. } if made => root_point,
            Ground::Writable {
                read_only: Some(point),
                ..
            } => {
                let image = self
                    .image
                    .try_clone()
                    .map_err(step("copying a descriptor"))?;
                Detached::bind(image, IMAGE, calls)
                    .map_err(step("binding the container's files"))?
                    .attach(point.as_fd())?;
                return mount::open_place(&Path::new(SCRATCH).join("root"))
                    .map_err(step("opening the new root"));
            }
            _ => return self.image.try_clone().map_err(step("copying a descriptor")),
        };
        // overlayfs reads its layers with the rights of whoever mounts it.
        access
            .with(|| {
                layers::overlay(&format!("{SCRATCH}/skeleton:{SCRATCH}/image"), calls)?
                    .attach(root_point.as_fd())
            })
            .map_err(step("taking the user's rights to files"))??;
        mount::open_place(&Path::new(SCRATCH).join("root")).map_err(step("opening the new root"))
    }
}

/// What is wrong with the place of a mount that every container has; `expected`
/// where the path is there and cannot be used, or was there a moment ago.
pub(super) fn unusable(path: &'static str, expected: PlaceProblem, error: io::Error) -> ApplyError {
    let problem = match (error.kind(), error.raw_os_error()) {
        (io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound, _) => expected,
        // Not even root may search a directory that overlayfs reads as the user.
        (io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied, _)
        | (_, Some(libc::ELOOP)) => PlaceProblem::Kernel(error),
        _ => return explain_lookup(path, error),
    };
    ApplyError::Place { path, problem }
}

pub(super) fn tmpfs(what: &'static str, size: &str, calls: Calls) -> Result<Detached, ApplyError> {
    let filesystem = Filesystem {
        what,
        kind: "tmpfs",
        source: "oarlock".to_owned(),
        options: vec![
            ("size", Some(size.to_owned())),
            ("mode", Some("0755".to_owned())),
        ],
        attributes: TMPFS,
    };
    Detached::new(filesystem, calls)
}

pub(super) fn known_path(path: &'static str) -> Result<ContainerPath, ApplyError> {
    ContainerPath::new(path).map_err(|_| ApplyError::Step {
        what: path,
        error: io::ErrorKind::InvalidInput.into(),
    })
}

pub(super) fn make_directory(at: &OwnedFd, name: &str) -> Result<OwnedFd, ApplyError> {
    rustix::fs::mkdirat(at, name, Mode::from_raw_mode(0o755))
        .and_then(|()| {
            rustix::fs::openat(
                at,
                name,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
        })
        .map_err(|e| step("making a directory in the scratch tmpfs")(e.into()))
}

pub(super) fn new_file(at: &OwnedFd, name: &str) -> Result<File, ApplyError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::from_raw_mode(0o644))
        .map(File::from)
        .map_err(|e| step("making a file in the scratch tmpfs")(e.into()))
}

fn place_of(fd: &OwnedFd) -> Result<Vec<u8>, ApplyError> {
    rustix::fs::readlink(mount::descriptor_path(fd.as_fd()).as_str(), Vec::new())
        .map(std::ffi::CString::into_bytes)
        .map_err(|e| step("finding the image's place")(e.into()))
}
