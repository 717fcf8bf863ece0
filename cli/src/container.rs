//! `oarlock container`: the containers with a name that this node has.
//!
//! Their directories are root's, because overlayfs must not meet what a user has
//! prepared. Root lists and removes them here; a user reads the list that root keeps
//! for him, and removes and exports his own by a step. Nothing here gains a right.

mod step;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use runtime_core::CONFIG_PATH;
use runtime_core::config::{ConfigError, SiteConfig};
use runtime_core::containers::names::Listed;
use runtime_core::containers::store::{self, Entry};
use runtime_core::containers::{gone, names, release};
use runtime_core::image::policy;

/// List, remove and export containers with a name
///
/// A container with a name is on the node where a step made it. Root works on the
/// node itself. As a user you see yours on that node, `srun -w NODE oarlock
/// container list`; `rm` and `export` run a step there for you: srun, with its exit
/// code and messages.
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
    /// List them: user, scope, name, whether a step runs in it, image, when it was made
    List {
        /// Only this user's, by name or number; only root sees those of others
        #[arg(long)]
        user: Option<String>,
    },
    /// Remove one: for root, one that no step runs in; for users, by a step
    ///
    /// As a user this is `srun --quiet -N1 -n1 --container-name=NAME:remove true`: the
    /// container goes at the end of the step's job.
    Rm {
        /// For root: whose it is, by name or number
        #[arg(long)]
        user: Option<String>,
        /// For root: the job that it belongs to, where the site ends containers with
        /// their jobs
        #[arg(long)]
        job: Option<u32>,
        /// For users: the node where it is
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
        /// Its name
        name: String,
    },
    /// Write one and its image to a new image, by a step; for users alone
    ///
    /// This is `srun --quiet -N1 -n1 --container-name=NAME:no_exec
    /// --container-save=FILE true`.
    Export {
        /// Refused: a container is exported by its user
        #[arg(long, hide = true)]
        user: Option<String>,
        /// The node where it is
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
        /// Its name
        name: String,
        /// The new image: a SIF where it ends in .sif, a squashfs otherwise; seen from
        /// the node
        file: String,
    },
}

/// Why something could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContainerError {
    #[error(
        "container list: no step has used one here since the boot; they are on the nodes where steps made them: srun -w NODE oarlock container list"
    )]
    Elsewhere,
    #[error("container {0}: --user and --job are for root; leave them out")]
    ForRoot(&'static str),
    #[error("container rm: say whose it is, with --user; --node is for users")]
    Whose,
    #[error(
        "container export: not for root, who would write with a user's rights; as the user: oarlock container export NAME FILE"
    )]
    ForUsers,
    #[error("container {0}: running srun: {1}; is it in your PATH?")]
    Srun(String, std::io::Error),
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
    let me = rustix::process::geteuid();
    match &args.verb {
        Verb::List { user } if me.is_root() => list_all(args, user.as_deref()),
        Verb::List { user } => list_own(me.as_raw(), user.as_deref()),
        Verb::Rm {
            user: Some(user),
            job,
            node: None,
            name,
        } if me.is_root() => remove(args, uid(user)?, *job, name),
        Verb::Rm { .. } if me.is_root() => Err(ContainerError::Whose),
        Verb::Rm {
            user: None,
            job: None,
            node,
            name,
        } => step::remove(node.as_deref(), name),
        Verb::Rm { .. } => Err(ContainerError::ForRoot("rm")),
        Verb::Export { .. } if me.is_root() => Err(ContainerError::ForUsers),
        Verb::Export {
            user: None,
            node,
            name,
            file,
        } => step::export(node.as_deref(), name, file),
        Verb::Export { .. } => Err(ContainerError::ForRoot("export")),
    }
}

fn entries(args: &ContainerArgs) -> Result<Vec<Entry>, ContainerError> {
    let path = SiteConfig::load(&args.config, true)?.writable.path;
    store::list(&path).map_err(|error| ContainerError::At { path, error })
}

fn list_all(args: &ContainerArgs, user: Option<&str>) -> Result<(), ContainerError> {
    let wanted = user.map(uid).transpose()?;
    for entry in entries(args)? {
        if wanted.is_none_or(|uid| uid == entry.key.uid) {
            let record = entry.record;
            println!(
                "{}",
                line(&Listed {
                    key: entry.key,
                    created: record.created,
                    image: record.image.display().to_string(),
                })
            );
        }
    }
    Ok(())
}

fn list_own(me: u32, user: Option<&str>) -> Result<(), ContainerError> {
    if user.map(uid).transpose()?.is_some_and(|uid| uid != me) {
        return Err(ContainerError::ForRoot("list"));
    }
    let listed = names::of(me).map_err(|error| ContainerError::At {
        path: names::PATH.into(),
        error,
    })?;
    for listed in listed.ok_or(ContainerError::Elsewhere)? {
        println!("{}", line(&listed));
    }
    Ok(())
}

fn remove(
    args: &ContainerArgs,
    uid: u32,
    job: Option<u32>,
    name: &str,
) -> Result<(), ContainerError> {
    let found = entries(args)?
        .into_iter()
        .find(|e| (e.key.uid, e.key.name.as_str(), e.key.job) == (uid, name, job));
    let entry = found.ok_or_else(|| ContainerError::Missing(name.to_owned()))?;
    let removed = store::remove(&entry).map_err(|error| match error.kind() {
        std::io::ErrorKind::ResourceBusy => ContainerError::Runs(name.to_owned()),
        _ => ContainerError::At {
            path: entry.directory.clone(),
            error,
        },
    });
    let base = SiteConfig::load(&args.config, true)?.writable.path;
    gone::delete_behind(&base, || Ok(()))
        .map_err(|error| ContainerError::At { path: base, error })?;
    removed
}

fn uid(user: &str) -> Result<u32, ContainerError> {
    user.parse()
        .ok()
        .or_else(|| policy::uid_of(user))
        .ok_or_else(|| ContainerError::NoUser(user.to_owned()))
}

fn line(listed: &Listed) -> String {
    let key = &listed.key;
    let scope = key
        .job
        .map_or_else(|| "global".to_owned(), |job| format!("job {job}"));
    let runs = match release::is_mounted_by(key.uid, key) {
        Ok(Some(_)) => "running",
        Ok(None) => "idle",
        Err(_) => "?",
    };
    let (uid, name, image) = (key.uid, &key.name, &listed.image);
    format!(
        "{uid}\t{scope}\t{name}\t{runs}\t{image}\t{}",
        time(listed.created)
    )
}

/// A time as ISO 8601 writes it, in UTC. The day is counted from 1 March of the year
/// 0, so that a leap day is the last of its year.
fn time(seconds: u64) -> String {
    const DAY: u64 = 86_400;
    /// Days in 400 years, and from 0000-03-01 to 1970-01-01.
    const ERA: u64 = 146_097;
    const BEFORE: u64 = 719_468;
    let of_day = seconds % DAY;
    let days = seconds / DAY + BEFORE;
    let (era, of_era) = (days / ERA, days % ERA);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = year + era * 400 + next;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::time;

    // As `date -u -d @SECONDS +%FT%TZ` says.
    #[test]
    fn times_are_as_date_writes_them() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }
}
