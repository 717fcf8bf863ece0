//! One command of another program: its bound, its privilege, its output.
//!
//! Every command that xtask runs goes through here, so that every one has a
//! time limit and says what it was for when it fails. It never passes a line
//! to a shell.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{IsTerminal, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Says what is being done, one line a step.
pub(crate) fn say(line: &str) {
    println!("xtask: {line}");
}

/// A command that is ready to run.
pub(crate) struct Job {
    what: String,
    argv: Vec<OsString>,
    env: Vec<(String, OsString)>,
    dir: Option<PathBuf>,
    root: bool,
    limit: Option<Duration>,
}

impl Job {
    /// A command; `what` completes the sentence "cannot …".
    pub(crate) fn new<S: Into<OsString>>(
        what: impl Into<String>,
        argv: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            what: what.into(),
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            dir: None,
            root: false,
            limit: Some(Duration::from_secs(60)),
        }
    }

    /// Adds arguments.
    pub(crate) fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable, also through sudo.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().into()));
        self
    }

    /// Runs it in this folder.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Runs it as root, through sudo where this is not root.
    pub(crate) fn root_if(mut self, root: bool) -> Self {
        self.root = root;
        self
    }

    /// Ends it after this many seconds; 60 unless told.
    pub(crate) fn limit(mut self, seconds: u64) -> Self {
        self.limit = Some(Duration::from_secs(seconds));
        self
    }

    /// Lets it run as long as it likes: for a person's shell.
    pub(crate) fn unlimited(mut self) -> Self {
        self.limit = None;
        self
    }

    /// Runs it with its output shown.
    pub(crate) fn show(self) -> Result<()> {
        let status = self.status(Stdio::inherit(), Stdio::inherit(), Stdio::inherit())?;
        self.judge(status, "")
    }

    /// Runs it and returns what it printed; all that it said is in the
    /// error when it fails.
    pub(crate) fn capture(self) -> Result<String> {
        let mut command = self.command()?;
        let output = command
            .stdin(Stdio::null())
            .output()
            .with_context(|| self.cannot("the command does not start"))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        self.judge(output.status, &format!("{stdout}{stderr}"))?;
        Ok(stdout)
    }

    /// Runs it in silence and says whether it succeeded.
    pub(crate) fn succeeds(self) -> bool {
        self.status(Stdio::null(), Stdio::null(), Stdio::null())
            .is_ok_and(|status| status.success())
    }

    /// Runs it with its output in a file, says how long it took, and shows
    /// the file's end when it fails.
    pub(crate) fn log_to(self, log: &Path) -> Result<()> {
        let start = Instant::now();
        self.log_in_silence(log)?;
        let seconds = start.elapsed().as_secs();
        if seconds > 2 {
            say(&format!("  done in {seconds} s"));
        }
        Ok(())
    }

    /// The same without a word where it succeeds.
    pub(crate) fn log_in_silence(self, log: &Path) -> Result<()> {
        let file =
            File::create(log).with_context(|| format!("cannot write the log {}", log.display()))?;
        let copy = file
            .try_clone()
            .with_context(|| format!("cannot write the log {}", log.display()))?;
        let status = self.status(Stdio::null(), file.into(), copy.into())?;
        if !status.success() {
            self.judge(
                status,
                &format!("{}\nall of it: {}", tail(log, 25), log.display()),
            )?;
        }
        Ok(())
    }

    /// Starts it in the background with its output in a file; the caller
    /// waits for what it is to do.
    pub(crate) fn start(mut self, log: &Path) -> Result<std::process::Child> {
        self.limit = None;
        let file =
            File::create(log).with_context(|| format!("cannot write the log {}", log.display()))?;
        let copy = file
            .try_clone()
            .with_context(|| format!("cannot write the log {}", log.display()))?;
        self.command()?
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .spawn()
            .with_context(|| self.cannot("the command does not start"))
    }

    /// The command as the standard library runs it, for callers that read its
    /// output line by line.
    pub(crate) fn command(&self) -> Result<Command> {
        let mut argv: Vec<OsString> = Vec::new();
        if self.root {
            argv.extend(root_prefix().with_context(|| self.cannot("it needs root"))?);
        }
        if !self.env.is_empty() {
            argv.push("env".into());
            for (name, value) in &self.env {
                let mut pair = OsString::from(name);
                pair.push("=");
                pair.push(value);
                argv.push(pair);
            }
        }
        if let Some(limit) = self.limit {
            argv.extend(["timeout", "--foreground", "--kill-after=10"].map(OsString::from));
            argv.push(limit.as_secs().to_string().into());
        }
        argv.extend(self.argv.iter().cloned());
        let mut argv = argv.into_iter();
        let program = argv
            .next()
            .with_context(|| self.cannot("no program given"))?;
        let mut command = Command::new(program);
        command.args(argv).env("PATH", search_path());
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        Ok(command)
    }

    fn status(&self, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Result<ExitStatus> {
        self.command()?
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .status()
            .with_context(|| self.cannot("the command does not start"))
    }

    /// Turns an exit status into a result; `detail` follows the reason.
    pub(crate) fn judge(&self, status: ExitStatus, detail: &str) -> Result<()> {
        if status.success() {
            return Ok(());
        }
        // timeout(1) exits 124 when it had to end the command.
        let reason = match (status.code(), self.limit) {
            (Some(124), Some(limit)) => format!("it took longer than {} s", limit.as_secs()),
            _ => status.to_string(),
        };
        let reason = self.cannot(&reason);
        if detail.trim().is_empty() {
            bail!("{reason}");
        }
        bail!("{reason}\n{}", detail.trim_end());
    }

    fn cannot(&self, reason: &str) -> String {
        let line: Vec<_> = self.argv.iter().map(|arg| arg.to_string_lossy()).collect();
        format!("cannot {}: {reason}: {}", self.what, line.join(" "))
    }
}

/// The last lines of a file; empty where it cannot be read.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        // What cannot be read is not worth an error of its own here.
        let _ = file.read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let start = all.len().saturating_sub(lines);
    all.get(start..).unwrap_or_default().join("\n")
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// What to put before a command to run it as root.
fn root_prefix() -> Result<Vec<OsString>> {
    if is_root() {
        return Ok(Vec::new());
    }
    if find_program("sudo").is_none() {
        bail!("this is not root and there is no sudo; run it as root or install sudo");
    }
    // Where nobody can type a password, sudo must fail instead of asking.
    let ask = std::io::stdin().is_terminal() && std::env::var_os("CI").is_none();
    let argv: &[&str] = if ask { &["sudo"] } else { &["sudo", "-n"] };
    Ok(argv.iter().map(OsString::from).collect())
}

/// Whether root's work can be done at all; an error tells what to do.
pub(crate) fn require_root() -> Result<()> {
    Job::new("act as root", ["true"])
        .root_if(true)
        .unlimited()
        .show()
        .context("the cluster needs root for packages and the Docker engine; run this as root, or allow sudo")
}

/// $PATH and the folders of system programs, which a user's PATH lacks.
fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}

/// Looks a program up the way a shell would.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path())
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}
