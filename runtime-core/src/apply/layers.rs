//! Several file systems of one image, one upon the other.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::filesystem::{Calls, Detached, Filesystem};
use super::image::{IMAGE, Layer, explain_lookup};
use super::rootfs::{SCRATCH, make_directory};
use super::{ApplyError, FileAccess, step};
use crate::config::SiteConfig;

/// Mounts a single layer at `place`, or several, the lowest first, in directories
/// of the scratch tmpfs and an overlay of them at `place`.
///
/// # Errors
/// Any [`ApplyError`] of mounting.
pub(super) fn attach(
    layers: Vec<Layer>,
    scratch: &OwnedFd,
    target: &OwnedFd,
    place: &Path,
    config: &SiteConfig,
    access: &FileAccess,
    calls: Calls,
) -> Result<(), ApplyError> {
    let mut layers: Vec<Layer> = layers;
    if layers.len() == 1
        && let Some(layer) = layers.pop()
    {
        return layer.attach(target.as_fd(), place, config, access);
    }
    let lower = place_each(layers, "layer", scratch, config, access)?;
    // overlayfs reads them with the rights of whoever mounts it.
    access
        .with(|| overlay(&lower.join(":"), calls)?.attach(target.as_fd()))
        .map_err(step("taking the user's rights to files"))?
}

/// Mounts each layer, the lowest first, in a directory of the scratch tmpfs whose name
/// begins with `prefix`. Returns where their contents are, the highest first, as overlayfs wants them.
///
/// # Errors
/// Any [`ApplyError`] of mounting.
pub(super) fn place_each(
    layers: Vec<Layer>,
    prefix: &str,
    scratch: &OwnedFd,
    config: &SiteConfig,
    access: &FileAccess,
) -> Result<Vec<String>, ApplyError> {
    let mut lower = Vec::new();
    for (number, layer) in layers.into_iter().enumerate() {
        let name = format!("{prefix}{number}");
        let point = make_directory(scratch, &name)?;
        let place = Path::new(SCRATCH).join(&name);
        let layer_contents = layer.contents();
        let top = place.join(layer_contents);
        layer.attach(point.as_fd(), &place, config, access)?;
        // overlayfs takes over the mode that the root has when it is mounted, and a
        // FUSE root has none before somebody has asked its server.
        check_directory(&place, layer_contents)
            .map_err(|e| explain_lookup("looking at a layer", e))?;
        rustix::fs::stat(&top).map_err(|e| explain_lookup("looking at a layer", e.into()))?;
        lower.push(top.to_string_lossy().into_owned());
    }
    lower.reverse();
    Ok(lower)
}

/// Where in a user's directory lies what is laid over: Apptainer keeps an `upper` and a
/// `work` directory in one, and any other is laid over as it is.
pub(super) fn contents(place: &str, access: &FileAccess) -> Result<String, ApplyError> {
    let has_upper = access
        .with(|| {
            ["upper", "work"]
                .iter()
                .all(|name| check_directory(Path::new(place), name).is_ok())
        })
        .map_err(step("taking the user's rights to files"))?;
    Ok(if has_upper {
        format!("{place}/upper")
    } else {
        place.to_owned()
    })
}

/// A layer's contents are a directory of its own, and no link to somewhere else.
fn check_directory(layer: &Path, contents: &str) -> std::io::Result<()> {
    if contents.is_empty() {
        return Ok(());
    }
    let layer = crate::sys::mount::open_place(layer)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let below = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    rustix::fs::openat2(&layer, contents, flags, Mode::empty(), below)?;
    Ok(())
}

/// An overlay of directories, which cannot be written.
///
/// # Errors
/// [`ApplyError::Mount`].
pub(super) fn overlay(lower: &str, calls: Calls) -> Result<Detached, ApplyError> {
    let filesystem = Filesystem {
        what: "the layers of the image",
        kind: "overlay",
        source: "oarlock".to_owned(),
        options: vec![
            ("lowerdir", Some(lower.to_owned())),
            // What an image says of overlays in its attributes is not followed.
            ("redirect_dir", Some("nofollow".to_owned())),
            ("metacopy", Some("off".to_owned())),
        ],
        attributes: IMAGE,
    };
    Detached::new(filesystem, calls)
}
