//! A root file system that may be written: an overlay of the image and a layer of
//! changes.
//!
//! Nothing that a user could have prepared may steer root here. The changes are in a
//! tmpfs that is made now, or in a directory below one that only root may enter:
//! the user reaches them through the overlay alone, and cannot set overlayfs' own
//! attributes there (`trusted.`). What an image says in such attributes is not
//! followed (`redirect_dir`, `metacopy`).
//!
//! overlayfs asks twice whether something is allowed: the caller, of the file as the
//! container shows it, and whoever mounted it, of the layers. It is mounted with
//! root's rights: what it writes to the layer of changes may belong to anybody. A
//! directory of the host's as an image is read through a second overlay with the
//! user's rights, so that the host's own rules (of a network file system, say) go on
//! to hold for him.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};

use super::filesystem::{Calls, Detached, Filesystem};
use super::image::{ImageMount, Owner, Placed};
use super::layers;
use super::own_layer;
use super::rootfs::{SCRATCH, TMPFS, make_directory};
use super::seen::Seen;
use super::{ApplyError, FileAccess, step};
use crate::config::{SiteConfig, Size};
use crate::sys::mount;

/// The layer of changes.
#[derive(Debug)]
pub enum Changes {
    /// In memory, gone with the container: this much at the most.
    Memory(Size),
    /// Here: a directory of root's with `upper` and `work`, as a mount that is attached
    /// nowhere.
    Directory(OwnedFd),
    /// In this directory of the user's, in its `upper` and `work`.
    Own(Seen),
    /// In this mount, which is attached nowhere, of an overlay that is there already.
    Mounted(OwnedFd),
}

/// What is laid over an image so that it can be written.
#[derive(Debug)]
pub struct Upper {
    /// The layer.
    pub changes: Changes,
    /// Whose the container's root directory is.
    pub owner: Owner,
    /// Whether the container may write to it; it shows the changes in any case.
    pub writable: bool,
    /// The overlay's name in tables of mounts.
    pub name: String,
}

/// Names in the directory of a layer of changes.
pub const UPPER: &str = "upper";
/// overlayfs' own.
pub const WORK: &str = "work";

/// statfs(2), linux/magic.h.
const OVERLAYFS_MAGIC: i64 = 0x794c_7630;

impl Upper {
    /// In the container's namespace, before anything is covered: finds the user's
    /// directory again, where it is one.
    ///
    /// # Errors
    /// [`ApplyError::Step`].
    pub(super) fn open_directory(
        &mut self,
        access: &FileAccess,
        calls: Calls,
    ) -> Result<(), ApplyError> {
        match &mut self.changes {
            Changes::Own(seen) => seen.open(access, TMPFS, calls),
            _ => Ok(()),
        }
    }

    /// Lays the changes over the image's parts, and attaches that at `target`.
    ///
    /// # Errors
    /// Any [`ApplyError`] of mounting.
    pub(super) fn attach(
        &self,
        image: ImageMount,
        scratch: &OwnedFd,
        target: BorrowedFd<'_>,
        config: &SiteConfig,
        access: &FileAccess,
        calls: Calls,
    ) -> Result<(), ApplyError> {
        if let Changes::Mounted(overlay) = &self.changes {
            return mount::attach(overlay.as_fd(), target)
                .map_err(step("attaching the container's files"));
        }
        let image = image.place_each(scratch, config, access, calls)?;
        let point = make_directory(scratch, "changes")?;
        match &self.changes {
            Changes::Mounted(_) => {}
            Changes::Memory(size) => memory(*size, calls)?.attach(point.as_fd())?,
            Changes::Directory(mount) => mount::attach(mount.as_fd(), point.as_fd())
                .map_err(step("attaching the directory of the container's changes"))?,
            Changes::Own(seen) => seen.attach(point.as_fd())?,
        }
        let place = format!("{SCRATCH}/changes");
        let (lower, rights) = match image {
            Placed::Layers(layers) => (layers.join(":"), &FileAccess::Own),
            Placed::Directory(place) => directory(place, scratch, access, calls)?,
        };
        if let Changes::Own(_) = &self.changes {
            let FileAccess::As(who) = access else {
                let what = "mounting an overlay of the user's own without being root";
                return Err(step(what)(std::io::ErrorKind::Unsupported.into()));
            };
            let seconds = config.prepare.timeout;
            return own_layer::mount(&lower, &place, who, seconds, calls)?.attach(target);
        }
        let top = lower.split(':').next().unwrap_or_default();
        if matches!(self.changes, Changes::Memory(_)) {
            let made = mount::open_place(std::path::Path::new(&place))
                .map_err(step("opening the memory for changes"))?;
            prepare(&made, mode_of(top)?, self.owner).map_err(step("preparing the changes"))?;
        }
        let options = vec![
            ("lowerdir", Some(lower)),
            ("upperdir", Some(format!("{place}/{UPPER}"))),
            ("workdir", Some(format!("{place}/{WORK}"))),
            ("redirect_dir", Some("nofollow".to_owned())),
            ("metacopy", Some("off".to_owned())),
            ("index", Some("off".to_owned())),
        ];
        let filesystem = Filesystem {
            what: "the image with a layer to write to",
            kind: "overlay",
            source: self.name.clone(),
            options,
            attributes: TMPFS,
        };
        rights
            .with(|| Detached::new(filesystem, calls)?.attach(target))
            .map_err(step("taking the user's rights to files"))?
    }
}

/// An overlay that reads a directory of the host's with the user's rights. One that
/// lies on an overlay already cannot be covered twice: there the user's rights count
/// for what is written, too, and what is another's cannot be changed.
fn directory<'a>(
    place: String,
    scratch: &OwnedFd,
    access: &'a FileAccess,
    calls: Calls,
) -> Result<(String, &'a FileAccess), ApplyError> {
    let about = rustix::fs::statfs(place.as_str())
        .map_err(|e| step("looking at the image's directory")(e.into()))?;
    #[allow(clippy::useless_conversion)] // the field's width differs by architecture
    if i64::from(about.f_type) == OVERLAYFS_MAGIC {
        return Ok((place, access));
    }
    make_directory(scratch, "empty")?;
    let point = make_directory(scratch, "lower")?;
    access
        .with(|| layers::overlay(&format!("{SCRATCH}/empty:{place}"), calls)?.attach(point.as_fd()))
        .map_err(step("taking the user's rights to files"))??;
    Ok((format!("{SCRATCH}/lower"), &FileAccess::Own))
}

/// The root directory's own permissions; the user may always write to it.
fn mode_of(lower: &str) -> Result<Mode, ApplyError> {
    let about = rustix::fs::stat(lower)
        .map_err(|e| super::image::explain_lookup("looking at the image", e.into()))?;
    Ok(Mode::from_raw_mode(about.st_mode & 0o777) | Mode::RWXU)
}

/// Makes the two directories that overlayfs needs.
///
/// # Errors
/// What the kernel said.
pub fn prepare(at: &OwnedFd, mode: Mode, owner: Owner) -> std::io::Result<()> {
    rustix::fs::mkdirat(at, WORK, Mode::RWXU)?;
    rustix::fs::mkdirat(at, UPPER, Mode::RWXU)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let upper = rustix::fs::openat(at, UPPER, flags, Mode::empty())?;
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    rustix::fs::chownat(&upper, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    Ok(rustix::fs::chmodat(at, UPPER, mode, AtFlags::empty())?)
}

fn memory(size: Size, calls: Calls) -> Result<Detached, ApplyError> {
    let size = match size {
        Size::Bytes(bytes) => bytes.to_string(),
        Size::Percent(percent) => format!("{percent}%"),
    };
    let filesystem = Filesystem {
        what: "memory to write to",
        kind: "tmpfs",
        source: "oarlock".to_owned(),
        options: vec![("size", Some(size)), ("mode", Some("0700".to_owned()))],
        attributes: TMPFS,
    };
    Detached::new(filesystem, calls)
}
