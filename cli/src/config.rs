//! `oarlock config check`: reads the site's file as the plugin does.

use std::path::{Path, PathBuf};

use runtime_core::CONFIG_PATH;
use runtime_core::config::{ConfigError, SiteConfig};

/// Work with the site's configuration
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    verb: ConfigVerb,
}

#[derive(Debug, clap::Subcommand)]
enum ConfigVerb {
    /// Check the file, and print what is in force
    Check {
        /// The file
        #[arg(default_value = CONFIG_PATH)]
        file: PathBuf,
    },
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{}: no such file; without it the defaults are in force", .0.display())]
    Missing(PathBuf),
}

/// Checks, and prints every key with its value.
pub(crate) fn run(args: &ConfigArgs) -> Result<(), CheckError> {
    let ConfigVerb::Check { file } = &args.verb;
    if !file.exists() {
        return Err(CheckError::Missing(file.clone()));
    }
    // The plugin trusts nobody but root with this path.
    let config = SiteConfig::load(file, file == Path::new(CONFIG_PATH))?;
    println!("# {}: in order; in force:", file.display());
    print!("{}", config.to_toml());
    Ok(())
}
