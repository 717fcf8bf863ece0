//! `oarlock profile`: looks at environment definition files as
//! `--container-profile` reads them.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use runtime_core::CONFIG_PATH;
use runtime_core::config::{ConfigError, SiteConfig};
use runtime_core::path::HostPath;
use runtime_core::profile::library::{self, Files};
use runtime_core::profile::{Missing, Places, Profile, ProfileError, resolve};
use runtime_core::request::{ProfileName, RequestError};
use runtime_core::sys;

/// Check, show and list profiles (environment definition files)
#[derive(Debug, clap::Args)]
pub(crate) struct ProfileArgs {
    #[command(subcommand)]
    verb: ProfileVerb,
    /// The site's configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG_PATH, hide_short_help = true, global = true)]
    config: PathBuf,
}

#[derive(Debug, clap::Subcommand)]
enum ProfileVerb {
    /// Check a profile and all that it is based on
    Validate {
        /// A name, or a path with a slash
        #[arg(value_name = "NAME|PATH")]
        profile: OsString,
    },
    /// Print what comes of a profile: bases merged in, variables filled in
    Render {
        /// A name, or a path with a slash
        #[arg(value_name = "NAME|PATH")]
        profile: OsString,
    },
    /// List the profiles that can be named
    List,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VerbError {
    #[error("{0}")]
    Name(#[from] RequestError),
    #[error("site configuration {0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Profile(#[from] ProfileError),
    #[error("the working directory: {0}")]
    WorkingDirectory(std::io::Error),
}

/// Does what the verb says.
pub(crate) fn run(args: &ProfileArgs) -> Result<(), VerbError> {
    let config = SiteConfig::load(&args.config, false)?;
    match &args.verb {
        ProfileVerb::Validate { profile } => {
            let name = ProfileName::parse(profile)?;
            // A variable that a job will have need not be set here.
            let found = read(&name, &config, Missing::LeftOut)?;
            println!("profile {name}: in order{}", remark(&found));
        }
        ProfileVerb::Render { profile } => {
            let name = ProfileName::parse(profile)?;
            print!("{}", read(&name, &config, Missing::Refused)?.to_toml());
        }
        ProfileVerb::List => print!("{}", listed(&places(&config))),
    }
    Ok(())
}

/// Where names are looked for, for the user of this process.
fn places(config: &SiteConfig) -> Places {
    Places::new(&|name| std::env::var_os(name), None, &config.profiles.path)
}

/// Reads a profile with this process' environment and working directory.
pub(crate) fn read(
    name: &ProfileName,
    config: &SiteConfig,
    missing: Missing,
) -> Result<Profile, VerbError> {
    let here = sys::mount::open_place(Path::new(".")).map_err(VerbError::WorkingDirectory)?;
    let cwd = std::env::current_dir()
        .ok()
        .and_then(|path| HostPath::new(path).ok());
    let mut files = Files {
        places: places(config),
        base: Some(here.as_fd()),
    };
    let variable = |name: &str| std::env::var_os(name);
    Ok(resolve(name, &mut files, &variable, cwd.as_ref(), missing)?)
}

fn remark(profile: &Profile) -> &'static str {
    if profile.is_partial {
        ", but for variables that are not set here and profiles that are not here; the node will look"
    } else {
        ""
    }
}

/// Name and file, one a line.
fn listed(places: &Places) -> String {
    let mut out = String::new();
    for (name, path, hidden) in library::list(places) {
        let hidden = if hidden {
            "  (hidden by the one above)"
        } else {
            ""
        };
        let _ = writeln!(out, "{name:<20} {}{hidden}", path.display());
    }
    out
}
