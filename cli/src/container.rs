//! `oarlock container`: the containers with a name that this node has.
//!
//! Their directories are root's, because overlayfs must not meet what a user has
//! prepared: only root lists and removes them here. A user removes and saves his own
//! by a step.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use runtime_core::CONFIG_PATH;
use runtime_core::config::{ConfigError, SiteConfig};
use runtime_core::containers::release;
use runtime_core::containers::store::{self, Entry};
use runtime_core::image::policy;

/// List and remove containers with a name that this node has
///
/// For root. As a user, remove one of yours with
/// `srun -w NODE --container-name=NAME:remove true`, and save one with
/// `srun -w NODE --container-name=NAME --container-save=FILE true`.
#[derive(Debug, Args)]
pub(crate) struct ContainerArgs {
    #[command(subcommand)]
    verb: Verb,
    /// The site's file
    #[arg(long, value_name = "FILE", default_value = CONFIG_PATH, global = true)]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List them: user, scope, name, whether a step runs in it, image
    List {
        /// Only this user's, by name or number
        #[arg(long)]
        user: Option<String>,
    },
    /// Remove one that no step runs in
    Rm {
        /// Whose it is, by name or number
        #[arg(long)]
        user: String,
        /// The job that it belongs to, where the site ends containers with their jobs
        #[arg(long)]
        job: Option<u32>,
        /// Its name
        name: String,
    },
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContainerError {
    #[error(
        "container: only root can see them on the node; as a user: srun -w NODE --container-name=NAME:remove true, or with --container-save=FILE"
    )]
    NotRoot,
    #[error("site configuration {0}")]
    Config(#[from] ConfigError),
    #[error("container: there is no user \"{0}\"")]
    NoUser(String),
    #[error("container {0}: not on this node; try: oarlock container list")]
    Missing(String),
    #[error("container {0}: a step runs in it; wait for its end, or cancel it")]
    Runs(String),
    #[error("{at}: {error}", at = path.display())]
    At {
        path: PathBuf,
        error: std::io::Error,
    },
}

/// Runs the verb.
pub(crate) fn run(args: &ContainerArgs) -> Result<(), ContainerError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ContainerError::NotRoot);
    }
    let base = SiteConfig::load(&args.config, true)?.writable.path;
    let all = store::list(&base).map_err(|error| ContainerError::At { path: base, error })?;
    match &args.verb {
        Verb::List { user } => {
            let wanted = user.as_deref().map(uid).transpose()?;
            for entry in all {
                if wanted.is_none_or(|uid| uid == entry.key.uid) {
                    println!("{}", line(&entry));
                }
            }
            Ok(())
        }
        Verb::Rm { user, job, name } => {
            let uid = uid(user)?;
            let found = all
                .into_iter()
                .find(|e| (e.key.uid, &e.key.name, e.key.job) == (uid, name, *job));
            let entry = found.ok_or_else(|| ContainerError::Missing(name.clone()))?;
            store::remove(&entry).map_err(|error| match error.kind() {
                std::io::ErrorKind::ResourceBusy => ContainerError::Runs(name.clone()),
                _ => ContainerError::At {
                    path: entry.directory.clone(),
                    error,
                },
            })
        }
    }
}

fn uid(user: &str) -> Result<u32, ContainerError> {
    user.parse()
        .ok()
        .or_else(|| policy::uid_of(user))
        .ok_or_else(|| ContainerError::NoUser(user.to_owned()))
}

fn line(entry: &Entry) -> String {
    let scope = entry
        .key
        .job
        .map_or_else(|| "global".to_owned(), |job| format!("job {job}"));
    let runs = match release::is_mounted_by(entry.key.uid, &entry.key) {
        Ok(Some(_)) => "running",
        Ok(None) => "idle",
        Err(_) => "?",
    };
    format!(
        "{}\t{scope}\t{}\t{runs}\t{}",
        entry.key.uid,
        entry.key.name,
        entry.record.image.display()
    )
}
