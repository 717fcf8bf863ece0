//! A shell in one machine of the cluster, kept for the whole run: starting one
//! takes `docker compose exec` longer than most jobs take to run.
//!
//! It runs scripts one by one, each in a bash of its own that reads nothing from
//! the outside and is ended after a time.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Seconds that a script may take.
const LIMIT: u32 = 90;

/// Reads `LENGTH\n` and as many bytes of script; answers `CODE OUT ERR\n`, the
/// exit code and two lengths, and as many bytes of output. A script may leave a
/// process behind that goes on writing: the lengths are taken first.
const LOOP: &str = r#"
d=$(mktemp -d /tmp/oarlock-tests-agent.XXXXXX)
trap 'rm -rf "$d"' EXIT
: >"$d/script"; : >"$d/out"; : >"$d/err"
export USER=$(id -un) LOGNAME=$(id -un) BASH_ENV=
cd
while read -r length; do
    head -c "$length" >"$d/script"
    timeout -k 5 "$0" bash "$d/script" </dev/null >"$d/out" 2>"$d/err"
    code=$?
    out=$(stat -c %s "$d/out") err=$(stat -c %s "$d/err")
    printf '%s %s %s\n' "$code" "$out" "$err"
    head -c "$out" "$d/out"
    head -c "$err" "$d/err"
done
"#;

/// What every script may call.
const PRELUDE: &str = r"
# finish JOB: waits for the end of a job and all of its array.
finish() {
    local tries
    for tries in $(seq 400); do
        scontrol -o show job $1 | grep -qE 'JobState=(PENDING|CONFIGURING|RUNNING|COMPLETING|SUSPENDED)' || return 0
        sleep 0.1
    done
    echo job $1 does not end >&2
    return 124
}
# ended JOB: how it ended, as in `COMPLETED 0:0`, a line for each of an array.
ended() {
    scontrol -o show job $1 | sed -nE 's/.*JobState=([A-Z_]+).* ExitCode=([0-9:]+).*/\1 \2/p'
}
# wait_for FILE: until it is there and not empty.
wait_for() {
    local tries
    for tries in $(seq 300); do [ -s $1 ] && return 0; sleep 0.1; done
    echo $1 did not appear >&2
    return 124
}
";

/// How a script ended.
#[derive(Debug)]
pub struct Reply {
    /// The exit code; 124 where it took too long.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// The shell.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Agent {
    /// Starts a shell as `user` in `machine`.
    ///
    /// # Errors
    /// Where the compose command does not start.
    pub fn start(compose: &[String], folder: &Path, machine: &str, user: &str) -> io::Result<Self> {
        let (program, rest) = compose
            .split_first()
            .ok_or_else(|| io::Error::other("OARLOCK_COMPOSE is empty"))?;
        let mut child = Command::new(program)
            .args(rest)
            .args(["exec", "-T", "-u", user, machine, "bash", "-c", LOOP])
            .arg(LIMIT.to_string())
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()?;
        let input = child.stdin.take();
        let output = child.stdout.take();
        let output = output.ok_or_else(|| io::Error::other("no pipe to the shell"))?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    /// Runs a script and waits for it.
    ///
    /// # Errors
    /// Where the shell is gone.
    pub fn run(&mut self, script: impl AsRef<OsStr>) -> io::Result<Reply> {
        let mut text = PRELUDE.as_bytes().to_vec();
        text.extend_from_slice(script.as_ref().as_encoded_bytes());
        let input = self.input.as_mut();
        let input = input.ok_or_else(|| io::Error::other("the shell was ended"))?;
        writeln!(input, "{}", text.len())?;
        input.write_all(&text)?;
        input.flush()?;

        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let numbers: Vec<i64> = line
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let [code, out, err] = numbers[..] else {
            return Err(io::Error::other(format!(
                "the shell is gone; its last word: {line:?}"
            )));
        };
        Ok(Reply {
            code: i32::try_from(code).unwrap_or(i32::MAX),
            stdout: self.read(out)?,
            stderr: self.read(err)?,
        })
    }

    fn read(&mut self, length: i64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.output.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // The end of its input ends the loop.
        self.input = None;
        let _ = self.child.wait();
    }
}
