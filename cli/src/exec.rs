//! `oarlock exec IMAGE COMMAND…`: runs a command in an image, as the user, in a
//! user namespace. No privilege is needed and none is given.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use runtime_core::CONFIG_PATH;
use runtime_core::config::{ConfigError, SiteConfig};
use runtime_core::enter::{self, EnterError};
use runtime_core::environment;
use runtime_core::message::for_people;
use runtime_core::path::HostPath;
use runtime_core::profile::Missing;
use runtime_core::request::{
    Granted, Identity, ImageName, Options, ProfileName, Request, RequestError, Scope, UserMount,
    parse_workdir,
};
use runtime_core::sys::{credentials, process};
use runtime_core::unprivileged::{self, LocalError};

use crate::profile::{self, VerbError};

/// Run a command in an image
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "oarlock exec [OPTIONS] IMAGE COMMAND...\n       oarlock exec [OPTIONS] --profile NAME|PATH COMMAND..."
)]
pub(crate) struct ExecArgs {
    /// Show files and directories of the host: SOURCE[:TARGET[:ro|rw]],...
    #[arg(
        short = 'B',
        long = "mount",
        visible_alias = "bind",
        value_name = "MOUNTS"
    )]
    mounts: Vec<OsString>,
    /// Start in this directory of the container [default: the current one]
    #[arg(short = 'W', long, visible_alias = "pwd", value_name = "PATH")]
    workdir: Option<OsString>,
    /// Print what would be done, and run nothing
    #[arg(long)]
    explain: bool,
    /// Take image, mounts, variables and working directory from a profile; no IMAGE is
    /// given then
    #[arg(long, value_name = "NAME|PATH")]
    profile: Option<OsString>,
    /// With --profile: another image than the profile's
    #[arg(long, value_name = "IMAGE", requires = "profile")]
    image: Option<OsString>,
    /// A SIF file, a squashfs file or a directory with a root file system
    #[arg(value_name = "IMAGE")]
    first: OsString,
    /// The command and its arguments
    #[arg(
        value_name = "COMMAND",
        required_unless_present_any = ["profile", "explain"],
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<OsString>,
    /// The site's configuration
    #[arg(long, value_name = "FILE", default_value = CONFIG_PATH, hide_short_help = true)]
    config: PathBuf,
}

/// Why the command was not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExecError {
    #[error("{0}")]
    Request(#[from] RequestError),
    #[error("site configuration {0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Profile(#[from] VerbError),
    #[error("profile {0} names no image; add one to it, or give --image=PATH")]
    NoImage(ProfileName),
    #[error("{0}")]
    Container(#[from] LocalError),
    #[error("{0}")]
    Enter(#[from] EnterError),
    #[error("dropping capabilities: {0}")]
    Credentials(std::io::Error),
    #[error("reading your groups: {0}")]
    Groups(std::io::Error),
    #[error("writing what would be done: {0}")]
    Explain(std::io::Error),
    #[error("an argument holds a NUL byte")]
    Nul,
    #[error("{command}: {error} in the container")]
    Execute {
        command: String,
        error: std::io::Error,
    },
}

impl ExecError {
    /// As shells have it: 127 for a command that is not there, 126 for one that
    /// cannot be run, and 125 for a failure of ours, as Docker has it.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Execute { error, .. } if error.kind() == std::io::ErrorKind::NotFound => 127,
            Self::Execute { .. } => 126,
            _ => 125,
        }
    }
}

/// Becomes the command, unless what it would do is to be told.
pub(crate) fn run(args: &ExecArgs) -> Result<ExitCode, ExecError> {
    let config = SiteConfig::load(&args.config, false)?;
    let (command, options) = options(args, &config)?;
    let request = request(&command, options)?;
    let cwd = std::env::current_dir()
        .ok()
        .and_then(|path| HostPath::new(path).ok());
    let home = std::env::var_os("HOME");

    let seconds = config.prepare.timeout;
    process::end_after_with(
        seconds,
        format!(
            "oarlock: image {}: no container within {seconds} s; are all mounted file systems alive?\n",
            request.image()
        ),
    );
    if args.explain {
        let mut text = String::new();
        for line in unprivileged::explain(&request, &config)? {
            text.push_str(&for_people(&line));
            text.push('\n');
        }
        return match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(ExecError::Explain(error))
            }
            _ => Ok(ExitCode::SUCCESS),
        };
    }
    let container = unprivileged::contain_self(&request, &config)?;
    process::end_after(0);

    let changes = enter::changes(container.changes.as_fd())?;
    drop(container);
    let environment = environment::apply(&request.environment, &changes);
    credentials::drop_all().map_err(ExecError::Credentials)?;
    enter::change_directory(
        request.options.workdir.as_ref(),
        cwd.as_ref(),
        home.as_deref().map(Path::new),
    )?;
    match execute(&command, &environment)? {}
}

/// The command, and the container that it is to run in.
fn options(args: &ExecArgs, config: &SiteConfig) -> Result<(Vec<OsString>, Options), ExecError> {
    let mut mounts = Vec::new();
    for list in &args.mounts {
        mounts.extend(UserMount::parse_list(list)?);
    }
    let mut typed = Options {
        mounts,
        workdir: args.workdir.as_deref().map(parse_workdir).transpose()?,
        ..Options::default()
    };
    let Some(profile) = &args.profile else {
        typed.image = Some(ImageName::parse(&args.first)?);
        return Ok((args.command.clone(), typed));
    };
    let profile = ProfileName::parse(profile)?;
    typed.image = args.image.as_deref().map(ImageName::parse).transpose()?;
    let both = profile::read(&profile, config, Missing::Refused)?.below(&typed);
    if both.image.is_none() {
        return Err(ExecError::NoImage(profile));
    }
    let command = [&args.first].into_iter().chain(&args.command);
    Ok((command.cloned().collect(), both))
}

fn request(command: &[OsString], options: Options) -> Result<Request, ExecError> {
    let groups = rustix::process::getgroups().map_err(|e| ExecError::Groups(e.into()))?;
    Ok(Request {
        options,
        identity: Identity {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            groups: groups
                .into_iter()
                .map(rustix::process::Gid::as_raw)
                .collect(),
        },
        environment: std::env::vars_os()
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                name
            })
            .collect(),
        granted: Granted::default(),
        program: command.first().cloned(),
        script: None,
        mpi: None,
        scope: Scope::default(),
        execute_entrypoint: false,
        ranks: 1,
        job: 0,
        node: String::new(),
        slurm_conf: None,
        label: String::from("exec"),
        entry: runtime_core::entry::Entry::Hook,
    })
}

fn execute(command: &[OsString], environment: &[OsString]) -> Result<Infallible, ExecError> {
    let c_strings = |list: &[OsString]| -> Result<Vec<CString>, ExecError> {
        list.iter()
            .map(|s| CString::new(s.as_bytes()).map_err(|_| ExecError::Nul))
            .collect()
    };
    let path = environment
        .iter()
        .find_map(|entry| entry.as_bytes().strip_prefix(b"PATH="))
        .unwrap_or(environment::DEFAULT_PATH.as_bytes());
    let error = process::execute_in_path(path, &c_strings(command)?, &c_strings(environment)?);
    let command = command
        .first()
        .map(|c| c.to_string_lossy().into_owned())
        .unwrap_or_default();
    Err(ExecError::Execute { command, error })
}
