//! Mounting an image: its root file system and the overlays upon it, each by the
//! way that trust allows.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::filesystem::{Calls, Detached};
use super::fuse::{self, Attached};
use super::layers;
use super::rootfs::{SCRATCH, make_directory};
use super::seen::Seen;
use super::shared::{self, Shared};
use super::{ApplyError, FileAccess, step};
use crate::config::SiteConfig;
use crate::image::layout::{FileLayout, FilesystemKind, Partition};
use crate::image::source::{Layout, Source};
use crate::image::trust::Method;
use crate::plan::identity;
use crate::sys;
use crate::sys::mount::Attributes;

pub(super) const IMAGE: Attributes = Attributes {
    read_only: true,
    nosuid: true,
    nodev: true,
    noexec: false,
};

/// An image's file systems, mounted nowhere yet.
#[derive(Debug)]
pub struct ImageMount {
    own: Way,
    /// What the user lays over it, the lowest first.
    over: Vec<Self>,
}

#[derive(Debug)]
enum Way {
    /// A directory: bound from the container's own view of the host, where it is
    /// opened again and must be the same.
    Directory(Seen),
    /// File systems of a file, the lowest first.
    Layers(Vec<Layer>),
}

/// One file system of a file.
#[derive(Debug)]
pub(super) enum Layer {
    /// By the kernel; the device is held until the mount has it.
    Kernel(Shared),
    /// FUSE; what the server needs is kept while it is not started.
    Fuse {
        made: Detached,
        kind: FilesystemKind,
        pending: Option<(fuse::Connection, OwnedFd, Partition, Option<Owner>)>,
        server: Option<u32>,
    },
}

/// Whose root's files in an image are shown to be, where the user writes to them in
/// a layer of his own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Owner {
    fn map(self) -> io::Result<OwnedFd> {
        let (users, groups) = (identity::root_is(self.uid), identity::root_is(self.gid));
        sys::idmap::namespace(
            if users.is_empty() { &ALL } else { &users },
            if groups.is_empty() { &ALL } else { &groups },
        )
    }
}

/// Every id as it is.
const ALL: [identity::Extent; 1] = [identity::Extent {
    inside: 0,
    outside: 0,
    count: u32::MAX,
}];

impl ImageMount {
    /// Prepares as much as can be done before there is a place to mount at. A
    /// kernel mount of a squashfs that fails becomes a FUSE mount.
    ///
    /// With an `owner` the image's files are shown as his. Its bytes are a file that
    /// was opened with his rights, so that this tells him nothing that he could not
    /// read. A directory is another matter: there its files keep their owners. Whose
    /// the files of others are is said by `map`, a user namespace, where there is one.
    ///
    /// # Errors
    /// Any [`ApplyError`] of mounting.
    pub fn new(
        source: &Source,
        method: Method,
        owner: Option<Owner>,
        map: Option<BorrowedFd<'_>>,
        config: &SiteConfig,
        access: &FileAccess,
        calls: Calls,
    ) -> Result<Self, ApplyError> {
        let Layout::File(layout) = &source.layout else {
            return Self::directory(source);
        };
        if method == Method::Kernel {
            match Self::kernel(source, layout, owner, map, config, calls) {
                Ok(mount) => return Ok(mount),
                // No loop device left, or a compression that this kernel was
                // built without: the server can do it all the same.
                Err(error) if layout.needs_kernel(&fuse::served(&config.fuse)).is_none() => {
                    tracing::warn!(%error, "no kernel mount; serving the image by FUSE");
                }
                Err(error) => return Err(error),
            }
        }
        layout
            .partitions()
            .map(|part| Self::fuse(source, *part, owner, config, access, calls))
            .collect::<Result<_, _>>()
            .map(Self::layered)
    }

    fn kernel(
        source: &Source,
        layout: &FileLayout,
        owner: Option<Owner>,
        map: Option<BorrowedFd<'_>>,
        config: &SiteConfig,
        calls: Calls,
    ) -> Result<Self, ApplyError> {
        let map = match (map, owner.filter(|owner| owner.uid != 0)) {
            (Some(map), _) => Some(map.try_clone_to_owned()),
            (None, Some(owner)) => Some(owner.map()),
            (None, None) => None,
        };
        let map = map.transpose().map_err(step("making a map of owners"))?;
        layout
            .partitions()
            .map(|part| {
                let shared =
                    shared::mount(source.fd.as_fd(), *part, config.images.direct_io, calls)?;
                if let Some(map) = &map {
                    shared.show_as(map)?;
                }
                Ok(Layer::Kernel(shared))
            })
            .collect::<Result<_, _>>()
            .map(Self::layered)
    }

    fn layered(layers: Vec<Layer>) -> Self {
        Self {
            own: Way::Layers(layers),
            over: Vec::new(),
        }
    }

    /// The same with these over it, the lowest first.
    #[must_use]
    pub fn below(mut self, over: Vec<Self>) -> Self {
        self.over.extend(over);
        self
    }

    fn fuse(
        source: &Source,
        part: Partition,
        owner: Option<Owner>,
        config: &SiteConfig,
        access: &FileAccess,
        calls: Calls,
    ) -> Result<Layer, ApplyError> {
        if !fuse::served(&config.fuse).contains(&part.kind) {
            return Err(ApplyError::KernelOnly(part.kind));
        }
        let connection = fuse::Connection::open()?;
        let (uid, gid) = match access {
            // Whose mount it is may abort it (fusectl): not the job's user.
            FileAccess::As(_) => (0, 0),
            FileAccess::Own => (
                rustix::process::getuid().as_raw(),
                rustix::process::getgid().as_raw(),
            ),
        };
        let made = Detached::new(connection.filesystem(uid, gid), calls)?;
        let image = copy(source)?;
        if matches!(made, Detached::ToMake(_)) {
            return Ok(Layer::Fuse {
                made,
                kind: part.kind,
                pending: Some((connection, image, part, owner)),
                server: None,
            });
        }
        let fuse = &config.fuse;
        let server = connection.serve(fuse, image.as_fd(), part, owner, access, Attached::No)?;
        Ok(Layer::Fuse {
            made,
            kind: part.kind,
            pending: None,
            server: Some(server),
        })
    }

    /// Whether a look-up in it is a matter of the kernel alone.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.layers().all(|layer| matches!(layer, Layer::Kernel(_)))
    }

    /// The image's root, where it can be looked at before it is attached.
    #[must_use]
    pub fn root(&self) -> Option<BorrowedFd<'_>> {
        if !self.over.is_empty() {
            return None;
        }
        match &self.own {
            Way::Directory(seen) => Some(seen.as_fd()),
            Way::Layers(layers) => match layers.as_slice() {
                [one] => one.root(),
                _ => None,
            },
        }
    }

    /// The root of the image alone, without what is laid over it, where it can be
    /// looked at before it is attached.
    #[must_use]
    pub fn lowest(&self) -> Option<BorrowedFd<'_>> {
        match &self.own {
            Way::Directory(seen) => Some(seen.as_fd()),
            Way::Layers(layers) => layers.first()?.root(),
        }
    }

    /// The process ids of the FUSE servers that run already.
    #[must_use]
    pub fn servers(&self) -> Vec<u32> {
        self.layers()
            .filter_map(|layer| match layer {
                Layer::Fuse { server, .. } => *server,
                Layer::Kernel(_) => None,
            })
            .collect()
    }

    /// What the node may keep of it for the job's next step.
    #[must_use]
    pub fn keepable(&self) -> Vec<shared::Keepable> {
        self.layers()
            .filter_map(|layer| match layer {
                Layer::Kernel(shared) => shared.keepable().ok(),
                Layer::Fuse { .. } => None,
            })
            .collect()
    }

    fn layers(&self) -> impl Iterator<Item = &Layer> {
        let all = std::iter::once(self).chain(&self.over);
        all.flat_map(|image| match &image.own {
            Way::Directory(_) => [].iter(),
            Way::Layers(layers) => layers.iter(),
        })
    }

    fn directory(source: &Source) -> Result<Self, ApplyError> {
        Ok(Self {
            own: Way::Directory(Seen::new(source)?),
            over: Vec::new(),
        })
    }

    /// In the container's namespace, before anything is covered: takes a copy of
    /// a directory's mount tree. Nothing to do for files.
    ///
    /// # Errors
    /// [`ApplyError::Step`], also where the directory is another one by now.
    pub fn open_directory(&mut self, access: &FileAccess, calls: Calls) -> Result<(), ApplyError> {
        for over in &mut self.over {
            over.open_directory(access, calls)?;
        }
        match &mut self.own {
            Way::Directory(seen) => seen.open(access, IMAGE, calls),
            Way::Layers(_) => Ok(()),
        }
    }

    /// Mounts at the directory `place`, which `target` holds open, below the
    /// scratch tmpfs `scratch`.
    ///
    /// # Errors
    /// Any [`ApplyError`] of mounting.
    pub fn attach(
        self,
        scratch: &OwnedFd,
        target: &OwnedFd,
        place: &Path,
        config: &SiteConfig,
        access: &FileAccess,
        calls: Calls,
    ) -> Result<(), ApplyError> {
        if !self.over.is_empty() {
            return self.attach_all(scratch, target.as_fd(), config, access, calls);
        }
        match self.own {
            Way::Directory(seen) => seen.attach(target.as_fd()),
            Way::Layers(layers) => {
                layers::attach(layers, scratch, target, place, config, access, calls)
            }
        }
    }
}

/// Where the parts of an image are.
#[derive(Debug)]
pub(super) enum Placed {
    /// Here, the highest first.
    Layers(Vec<String>),
    /// A directory of the host's, here.
    Directory(String),
}

impl ImageMount {
    /// Mounts each part by itself in a directory of the scratch tmpfs, for an
    /// overlay that is written to.
    ///
    /// # Errors
    /// Any [`ApplyError`] of mounting.
    pub(super) fn place_each(
        self,
        scratch: &OwnedFd,
        config: &SiteConfig,
        access: &FileAccess,
        calls: Calls,
    ) -> Result<Placed, ApplyError> {
        if self.over.is_empty() {
            return self.place_own("layer", scratch, config, access);
        }
        // What the user lays over is read with his rights, whatever reads the rest.
        let point = make_directory(scratch, "all")?;
        self.attach_all(scratch, point.as_fd(), config, access, calls)?;
        Ok(Placed::Layers(vec![format!("{SCRATCH}/all")]))
    }

    /// One overlay of all, read with the user's rights.
    fn attach_all(
        mut self,
        scratch: &OwnedFd,
        target: BorrowedFd<'_>,
        config: &SiteConfig,
        access: &FileAccess,
        calls: Calls,
    ) -> Result<(), ApplyError> {
        let mut lower = Vec::new();
        for (number, over) in std::mem::take(&mut self.over).into_iter().enumerate().rev() {
            let name = format!("over{number}-");
            lower.extend(match over.place_own(&name, scratch, config, access)? {
                Placed::Layers(layers) => layers,
                Placed::Directory(place) => vec![layers::contents(&place, access)?],
            });
        }
        lower.extend(match self.place_own("layer", scratch, config, access)? {
            Placed::Layers(layers) => layers,
            Placed::Directory(place) => vec![place],
        });
        access
            .with(|| layers::overlay(&lower.join(":"), calls)?.attach(target))
            .map_err(step("taking the user's rights to files"))?
    }

    fn place_own(
        self,
        name: &str,
        scratch: &OwnedFd,
        config: &SiteConfig,
        access: &FileAccess,
    ) -> Result<Placed, ApplyError> {
        match self.own {
            Way::Layers(layers) => {
                layers::place_each(layers, name, scratch, config, access).map(Placed::Layers)
            }
            Way::Directory(seen) => {
                let name = format!("{name}0");
                let point = make_directory(scratch, &name)?;
                seen.attach(point.as_fd())?;
                Ok(Placed::Directory(format!("{SCRATCH}/{name}")))
            }
        }
    }
}

impl Layer {
    fn root(&self) -> Option<BorrowedFd<'_>> {
        let (Self::Kernel(Shared { made, .. }) | Self::Fuse { made, .. }) = self;
        match made {
            Detached::Made(root) => Some(root.as_fd()),
            Detached::ToMake(_) | Detached::Bind(..) => None,
        }
    }

    /// Where in it lies what is laid over: Apptainer's ext3 overlays have an
    /// `upper` and a `work` directory, all else begins at its root.
    pub(super) fn contents(&self) -> &'static str {
        let (Self::Kernel(Shared { kind, .. }) | Self::Fuse { kind, .. }) = self;
        match kind {
            FilesystemKind::Ext3 => "upper",
            FilesystemKind::Squashfs | FilesystemKind::Erofs => "",
        }
    }

    /// Mounts at the directory `place`, which `target` holds open.
    pub(super) fn attach(
        self,
        target: BorrowedFd<'_>,
        place: &Path,
        config: &SiteConfig,
        access: &FileAccess,
    ) -> Result<(), ApplyError> {
        match self {
            Self::Kernel(shared) => shared.made.attach(target),
            Self::Fuse { made, pending, .. } => {
                made.attach(target)?;
                match pending {
                    Some((connection, image, part, owner)) => connection
                        .serve(
                            &config.fuse,
                            image.as_fd(),
                            part,
                            owner,
                            access,
                            Attached::At(place),
                        )
                        .map(drop),
                    None => Ok(()),
                }
            }
        }
    }
}

fn copy(source: &Source) -> Result<OwnedFd, ApplyError> {
    source
        .fd
        .try_clone()
        .map_err(step("copying the image's descriptor"))
}

/// A look-up that finds the server gone says so in its own way.
#[must_use]
pub fn explain_lookup(what: &'static str, error: io::Error) -> ApplyError {
    match error.raw_os_error() {
        Some(libc::ENOTCONN | libc::ECONNABORTED) => ApplyError::ServerEnded,
        _ => ApplyError::Step { what, error },
    }
}
