//! `oarlock gc`: takes away what a node keeps and nobody uses.

use std::path::PathBuf;

use clap::Args;
use runtime_core::CONFIG_PATH;
use runtime_core::cgroup;
use runtime_core::config::{ConfigError, SiteConfig};
use runtime_core::containers::{gone, release};
use runtime_core::kept::{self, Whose};
use runtime_core::runtime_directory;
use runtime_core::store::{Store, StoreError};

/// Take away mounts and copies that this node keeps and no step uses
///
/// Mounts that the node keeps for running jobs go too: their next step mounts
/// anew. So do control groups that nobody is in, and those of steps and jobs that have
/// ended, with who is left in them. Copies of images in the store stay, unless --store is
/// given. No step that runs is disturbed: what it runs from goes with its end.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Also remove the copies of images, but for those that the kernel has mounted
    #[arg(long)]
    store: bool,
    /// The site's file
    #[arg(long, value_name = "FILE", default_value = CONFIG_PATH)]
    config: PathBuf,
}

/// Why something stayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GcError {
    #[error("gc: only root can take away what a node keeps; become root on the node")]
    NotRoot,
    #[error("site configuration {0}")]
    Config(#[from] ConfigError),
    #[error("{at}: {error}; look who holds it: grep oarlock /proc/*/mountinfo", at = runtime_directory::PATH)]
    Kept { error: std::io::Error },
    #[error(
        "control groups of ended steps: {error}; look who the kernel holds: grep -s . /sys/fs/cgroup/oarlock*/*/*/cgroup.procs /sys/fs/cgroup/*/oarlock*/*/*/cgroup.procs"
    )]
    Groups { error: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("containers {}: {error}; try again when the step that holds one has ended", path.display())]
    Containers {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("store {}: {error}", path.display())]
    Clean {
        path: PathBuf,
        error: std::io::Error,
    },
}

/// Runs the verb.
pub(crate) fn run(args: &GcArgs) -> Result<(), GcError> {
    if !rustix::process::geteuid().is_root() {
        return Err(GcError::NotRoot);
    }
    let config = SiteConfig::load(&args.config, true)?;
    let mounts = kept::release(Whose::All).map_err(|error| GcError::Kept { error })?;
    let mut bytes = 0;
    // A node without a store is given none by cleaning up.
    if config.store.path.exists() {
        let store = Store::open(&config.store)?;
        bytes = store.clean(args.store).map_err(|error| GcError::Clean {
            path: store.path().to_owned(),
            error,
        })?;
    }
    // First: who is ended here is in no container any more.
    let groups = cgroup::release::release(Whose::All, None);
    let path = &config.writable.path;
    release::again()
        .and_then(|()| gone::delete_behind(path, || Ok(())))
        .map_err(|error| GcError::Containers {
            path: path.clone(),
            error,
        })?;
    groups.map_err(|error| GcError::Groups { error })?;
    println!(
        "released {mounts} mount{}, removed {} MiB of copies",
        if mounts == 1 { "" } else { "s" },
        bytes >> 20
    );
    Ok(())
}
