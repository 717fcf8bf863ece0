//! What becomes of an image that was opened: whether it may run, from where, and
//! who mounts it.
//!
//! Looks at what the kernel and the store say of it, and at the site's rules; reads
//! no byte of it and changes nothing.

use std::os::fd::AsFd;

use crate::apply::fuse;
use crate::config::{KernelMount, SiteConfig, Untrusted};
use crate::image::keyring;
use crate::image::layout::{FilesystemKind, Role};
use crate::image::policy::{self, Denial};
use crate::image::source::{Layout, Source};
use crate::image::trust::{self, Method};
use crate::request::{Request, Stage};
use crate::store::{Key, Object, Record, Store, StoreError};

/// What is done with an image.
#[derive(Debug)]
pub(super) enum Choice {
    /// It runs from the file that was opened, or from a copy, which has taken its
    /// place in the source.
    Run(Source, Method),
    /// A copy must be there first.
    StageFirst(Source, Wish),
}

/// A copy that is wanted.
#[derive(Debug)]
pub(super) struct Wish {
    /// Of which file, in which state.
    pub(super) key: Key,
    /// Whether only root can have written that file.
    pub(super) trusted: bool,
    /// How it is mounted where there is no copy.
    pub(super) method: Method,
    /// Whether it must not run without one.
    pub(super) required: bool,
    /// Whether a copy stays that the kernel may not mount.
    pub(super) kept: bool,
}

/// What was chosen, and what may be done beside it.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) choice: Choice,
    /// A copy for later steps, to be made while this one runs.
    pub(super) behind: Option<Wish>,
}

/// Why there is nothing to choose.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChoiceError {
    /// The site's rules.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The site forbids the only way to mount it.
    #[error(
        "its {0} file system can only be mounted by the kernel, and the site's images.kernel_mount or images.kernel_filesystems forbids that; use squashfs"
    )]
    KernelOnly(FilesystemKind),
    /// The kernel does not say what is needed.
    #[error("looking at the opened file: {0}")]
    Look(#[from] std::io::Error),
    /// It must be signed, and cannot be copied to be verified.
    #[error("its signature cannot be verified: {0}")]
    Store(#[from] StoreError),
}

/// Chooses for an image that was opened with the user's rights.
///
/// # Errors
/// Any [`ChoiceError`].
pub(super) fn choose(
    source: Source,
    request: &Request,
    config: &SiteConfig,
) -> Result<Chosen, ChoiceError> {
    let images = &config.images;
    let about = rustix::fs::fstat(&source.fd).map_err(std::io::Error::from)?;
    policy::allows_file(images, &source.path, about.st_uid, &policy::uid_of)?;
    if policy::has_rules_of_files(images) && trust::is_users_own_mount(source.fd.as_fd())? {
        return Err(Denial::UsersMount.into());
    }
    let doubt = trust::doubt(source.fd.as_fd());
    let trusted = doubt.is_none();
    let required = policy::must_be_signed(images, trusted);
    let Layout::File(layout) = &source.layout else {
        return if required {
            Err(unsigned(config, "a directory cannot be signed").into())
        } else {
            Ok(run(source, Method::Fuse))
        };
    };
    let method = trust::method(images, layout, trusted);
    tracing::debug!(?method, ?doubt, IMAGE = %request.image(), "trust");
    // What FUSE serves ends with the step, and a container with a name does not.
    let usual = match request.options.name {
        Some(_) if method == Method::Fuse => Stage::Node,
        _ => images.stage,
    };
    let wish = request.options.stage.unwrap_or(usual);
    let needs_kernel = layout.needs_kernel(&fuse::served(&config.fuse));
    if method == Method::Fuse
        && let Some(kind) = needs_kernel
        && (images.kernel_mount == KernelMount::Never || !images.kernel_filesystems.contains(&kind))
    {
        return Err(ChoiceError::KernelOnly(kind));
    }
    let unwanted = request.options.stage == Some(Stage::Off)
        || method == Method::Kernel
        || images.kernel_mount != KernelMount::Trusted
        || (images.untrusted == Untrusted::Fuse && needs_kernel.is_none());
    if !required && wish == Stage::Off && unwanted {
        return Ok(run(source, method));
    }
    let wish = Wanting {
        required,
        waits: wish == Stage::Node,
        needs_kernel: needs_kernel.is_some(),
    };
    with_store(source, request, config, trusted, method, &wish)
}

/// How much a copy is wanted.
struct Wanting {
    /// It must not run without.
    required: bool,
    /// The user or the site asked for it.
    waits: bool,
    /// Only the kernel can mount it, and only a signature can make the kernel.
    needs_kernel: bool,
}

fn with_store(
    source: Source,
    request: &Request,
    config: &SiteConfig,
    trusted: bool,
    method: Method,
    wanting: &Wanting,
) -> Result<Chosen, ChoiceError> {
    let images = &config.images;
    let key = Key::of(source.fd.as_fd(), request.identity.uid)?;
    let store = match Store::open(&config.store) {
        Ok(store) => store,
        Err(error) if wanting.required => return Err(error.into()),
        Err(error) => {
            tracing::warn!(%error, IMAGE = %request.image(), "the image runs from where it lies");
            return Ok(run(source, method));
        }
    };
    let keyring = match keyring::state(&images.keyring) {
        Ok(state) => state,
        Err(problem) if wanting.required => {
            return Err(unsigned(config, &problem.to_string()).into());
        }
        // No signature counts; all else does.
        Err(_) => String::new(),
    };
    // What was found out of a user's copy says too little of root's file.
    let current =
        |record: &Record| record.is_current(images, &keyring) && (record.trusted || !trusted);
    if let Some(object) = store.find(&key).filter(|object| current(&object.record)) {
        return from_copy(source, object, config, &keyring, method, wanting);
    }
    let refused = store
        .known(&key)
        .is_some_and(|record| current(&record) && !record.may_be_mounted(images, &keyring));
    let asked = wanting.required || wanting.waits;
    let wish = Wish {
        key,
        trusted,
        method,
        required: wanting.required,
        kept: asked,
    };
    let first = asked || images.untrusted == Untrusted::Stage || wanting.needs_kernel;
    Ok(if first && (asked || !refused) {
        Chosen {
            choice: Choice::StageFirst(source, wish),
            behind: None,
        }
    } else {
        Chosen {
            choice: Choice::Run(source, method),
            behind: (!refused).then_some(wish),
        }
    })
}

/// There is a copy, and what was found out about it counts.
fn from_copy(
    source: Source,
    object: Object,
    config: &SiteConfig,
    keyring: &str,
    method: Method,
    wanting: &Wanting,
) -> Result<Chosen, ChoiceError> {
    let record = object.record;
    if wanting.required && !record.is_signed(keyring) {
        let reason = record.check.unsigned.as_deref().unwrap_or("it has none");
        return Err(unsigned(config, reason).into());
    }
    let by_kernel = match config.images.kernel_mount {
        KernelMount::Never => false,
        KernelMount::Always => record.has_known_file_systems(&config.images),
        KernelMount::Trusted => record.may_be_mounted(&config.images, keyring),
    };
    let Some(layout) = record
        .check
        .layout
        .filter(|l| l.fits(record.size, Role::Image))
    else {
        return if wanting.required {
            Err(unsigned(config, "its copy holds no image").into())
        } else {
            Ok(run(source, method))
        };
    };
    let copy = Source::new(object.file, Layout::File(layout))?;
    Ok(if by_kernel {
        run(copy, Method::Kernel)
    } else if wanting.waits || wanting.required {
        run(copy, Method::Fuse)
    } else {
        run(source, method)
    })
}

fn run(source: Source, method: Method) -> Chosen {
    Chosen {
        choice: Choice::Run(source, method),
        behind: None,
    }
}

fn unsigned(config: &SiteConfig, reason: &str) -> Denial {
    Denial::Unsigned {
        keyring: config.images.keyring.clone(),
        reason: reason.to_owned(),
    }
}
