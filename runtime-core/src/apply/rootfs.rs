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

use super::binds::{self, attach_bind, open_source, refuse_target};
use super::devices;
use super::filesystem::{Calls, Detached, Filesystem};
use super::image::{ImageMount, explain_lookup};
use super::points::{self, Kind, LastLink};
use super::scripts;
use super::survey::{self, Found};
use super::{ApplyError, FileAccess, step};
use crate::config::SiteConfig;
use crate::path::ContainerPath;
use crate::plan::Plan;
use crate::request::Request;
use crate::sys::mount::{self, Attributes};

/// Where the scratch tmpfs is put, in the container's own namespace: a directory
/// that every Linux has.
const SCRATCH: &str = "/tmp";

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
}

/// A finished container.
#[derive(Debug)]
pub struct Container {
    /// Its mount namespace.
    pub namespace: OwnedFd,
    /// The environment's changes, a memory file of [`crate::environment::encode`].
    pub changes: OwnedFd,
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

impl Assembly<'_> {
    /// Builds the container; this process ends up in it.
    ///
    /// # Errors
    /// Any [`ApplyError`]; the process must then end, its namespace is undefined.
    pub fn build(mut self) -> Result<Container, ApplyError> {
        self.image.open_directory(self.access, self.calls)?;
        let opened = binds::open_sources(self.plan, self.access, self.calls)?;
        let devices = devices::open_devices(self.plan, self.calls)?;

        let scratch = mount::open_place(Path::new(SCRATCH)).map_err(step("opening /tmp"))?;
        tmpfs("a scratch tmpfs", "8m", self.calls)?.attach(scratch.as_fd())?;
        let scratch =
            mount::open_place(Path::new(SCRATCH)).map_err(step("opening the scratch tmpfs"))?;
        let image_point = make_directory(&scratch, "image")?;
        let skeleton = make_directory(&scratch, "skeleton")?;
        let root_point = make_directory(&scratch, "root")?;

        let (config, access) = (self.config, self.access);
        let (plan, request, calls) = (self.plan, self.request, self.calls);
        let image_path = Path::new(SCRATCH).join("image");
        self.image
            .attach(&image_point, &image_path, config, access)?;
        let image =
            mount::open_place(&image_path).map_err(|e| explain_lookup("opening the image", e))?;
        let image_place = place_of(&image)?;

        let changes = memory_file("oarlock-environment")?;
        let files = survey::Files {
            passwd: new_file(&scratch, "passwd")?,
            group: new_file(&scratch, "group")?,
            changes: changes.try_clone().map_err(step("copying a descriptor"))?,
        };
        let found = survey::look(&image, &self.known, &files, request, access)?;
        drop(files);
        let generated = open_generated(found, calls)?;

        let ensure = |path: &ContainerPath, kind, last| {
            points::ensure(
                image.as_fd(),
                &image_place,
                skeleton.as_fd(),
                path,
                kind,
                last,
            )
        };
        let mut made = ensure_known(&ensure, "/dev", Kind::Directory)?;
        for (target, _) in &generated {
            made |= ensure_known(&ensure, target, Kind::File)?;
        }
        let mut usable = Vec::new();
        for bind in opened {
            if binds::is_below_another(bind.mount, &plan.mounts) {
                usable.push(bind);
                continue;
            }
            match ensure(&bind.mount.target, bind.kind, binds::last_link(&bind)) {
                Ok(new) => {
                    made |= new;
                    usable.push(bind);
                }
                Err(error) => refuse_target(&bind, error)?,
            }
        }

        let root = if made {
            overlay(calls)?.attach(root_point.as_fd())?;
            mount::open_place(&Path::new(SCRATCH).join("root"))
                .map_err(step("opening the new root"))?
        } else {
            image
        };

        devices::attach_device_tree(&root, devices, calls)?;
        for (target, tree) in generated {
            let path = known_path(target)?;
            let point =
                points::resolve(root.as_fd(), &path).map_err(step("finding a mount point"))?;
            tree.attach(point.as_fd())?;
        }
        for bind in usable {
            attach_bind(&root, &bind)?;
        }

        mount::pivot_into(root.as_fd()).map_err(step("changing to the new root"))?;
        if found.scripts {
            scripts::run_scripts(&changes, request, access)?;
        }
        let namespace =
            mount::open_own_namespace().map_err(step("opening the container's namespace"))?;
        Ok(Container {
            namespace,
            changes: changes.into(),
        })
    }
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

/// The skeleton over the image, neither of which can be written through it.
fn overlay(calls: Calls) -> Result<Detached, ApplyError> {
    let filesystem = Filesystem {
        what: "the mount points over the image",
        kind: "overlay",
        source: "oarlock".to_owned(),
        options: vec![(
            "lowerdir",
            Some(format!("{SCRATCH}/skeleton:{SCRATCH}/image")),
        )],
        attributes: Attributes {
            read_only: true,
            nosuid: true,
            nodev: true,
            noexec: false,
        },
    };
    Detached::new(filesystem, calls)
}

pub(super) fn known_path(path: &'static str) -> Result<ContainerPath, ApplyError> {
    ContainerPath::new(path).map_err(|_| ApplyError::Step {
        what: path,
        error: io::ErrorKind::InvalidInput.into(),
    })
}

fn ensure_known(
    ensure: &impl Fn(&ContainerPath, Kind, LastLink) -> io::Result<bool>,
    path: &'static str,
    kind: Kind,
) -> Result<bool, ApplyError> {
    ensure(&known_path(path)?, kind, LastLink::Follow).map_err(|e| explain_lookup(path, e))
}

/// The files that the survey wrote, as binds.
fn open_generated(found: Found, calls: Calls) -> Result<Vec<(&'static str, Detached)>, ApplyError> {
    let mut list = Vec::new();
    for (wanted, name, target) in [
        (found.passwd, "passwd", "/etc/passwd"),
        (found.group, "group", "/etc/group"),
    ] {
        if wanted {
            let path = Path::new(SCRATCH).join(name);
            let fd = open_source(&path).map_err(step("opening a generated file"))?;
            let attributes = Attributes {
                read_only: true,
                noexec: true,
                ..TMPFS
            };
            list.push((
                target,
                Detached::bind(fd, attributes, calls).map_err(step("binding a generated file"))?,
            ));
        }
    }
    Ok(list)
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

fn memory_file(name: &str) -> Result<File, ApplyError> {
    crate::sys::ipc::memory_file(name, b"")
        .map(File::from)
        .map_err(step("making a memory file"))
}

fn place_of(fd: &OwnedFd) -> Result<Vec<u8>, ApplyError> {
    rustix::fs::readlink(mount::descriptor_path(fd.as_fd()).as_str(), Vec::new())
        .map(std::ffi::CString::into_bytes)
        .map_err(|e| step("finding the image's place")(e.into()))
}
