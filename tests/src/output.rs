//! What a command in the cluster said, and the checks that most tests make of it.

use std::fmt;

use crate::agent::Reply;

/// Beginnings of lines by which Slurm itself says how a step or a job went.
const SLURM: &[&str] = &[
    "srun: ",
    "salloc: ",
    "sbatch: ",
    "slurmstepd: ",
    "slurmstepd-",
];

/// Slurm's lines that say only that a job waited.
const WAITING: &[&str] = &[
    " queued and waiting for resources",
    " has been allocated resources",
    "salloc: Granted job allocation",
    "salloc: Nodes ",
    "salloc: Relinquishing job allocation",
    " has been revoked.",
    "salloc: Pending job allocation",
    "salloc: Waiting for resource configuration",
    // The node still ends the job before.
    " step creation temporarily disabled, retrying (Requested operation is presently disabled)",
    "srun: Step created for StepId=",
];

/// A finished command.
#[derive(Debug, Clone)]
pub struct Output {
    script: String,
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    pub(crate) fn new(script: &str, reply: Reply) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            script: script.to_owned(),
            code: reply.code,
            stdout: text(reply.stdout),
            stderr: text(reply.stderr),
        }
    }

    /// Exit code 0, and no word on standard error but that the job waited.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        self.exits_with(0)
    }

    /// This exit code, and nothing on standard error but Slurm's own words: none
    /// of Oarlock, none of its helpers.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn exits_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of {self}");
        let odd: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| !is_waiting(line) && (code == 0 || !is_slurms(line)))
            .collect();
        assert!(odd.is_empty(), "unexpected: {odd:?} in {self}");
        self
    }

    /// These lines on standard output, in any order.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn lines<S: AsRef<str>>(self, expected: impl IntoIterator<Item = S>) -> Self {
        let mut expected: Vec<String> = expected
            .into_iter()
            .map(|line| line.as_ref().to_owned())
            .collect();
        expected.sort();
        let mut found: Vec<String> = self.stdout.lines().map(str::to_owned).collect();
        found.sort();
        assert_eq!(found, expected, "lines of {self}");
        self
    }

    /// This text on standard output.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn says(self, expected: &str) -> Self {
        assert_eq!(self.stdout, expected, "output of {self}");
        self
    }

    /// This text and this exit code, whatever is on standard error.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn stdout_and_code(self, stdout: &str, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of {self}");
        self.says(stdout)
    }

    /// The step was refused: exit code 1, nothing ran, and Oarlock told why in
    /// exactly these lines, one a node.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn is_refused<S: AsRef<str>>(self, messages: impl IntoIterator<Item = S>) -> Self {
        assert_eq!(self.code, 1, "exit code of {self}");
        assert_eq!(self.stdout, "", "nothing may run: {self}");
        self.tells(messages)
    }

    /// Oarlock's lines on standard error are exactly these, in any order, and
    /// all others are Slurm's own. A `*` stands for what may differ.
    ///
    /// # Panics
    /// Otherwise.
    #[track_caller]
    pub fn tells<S: AsRef<str>>(self, messages: impl IntoIterator<Item = S>) -> Self {
        let mut told: Vec<String> = self
            .stderr
            .lines()
            .filter(|line| !is_slurms(line))
            .map(without_number)
            .collect();
        for message in messages {
            let message = message.as_ref();
            let place = told.iter().position(|line| is_like(line, message));
            let Some(place) = place else {
                panic!("not told: {message:?}\nbut: {told:#?}\nin {self}");
            };
            told.remove(place);
        }
        assert!(told.is_empty(), "told too much: {told:#?} in {self}");
        self
    }
}

fn is_like(line: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => line == pattern,
        Some((start, end)) => {
            line.len() >= start.len() + end.len() && line.starts_with(start) && line.ends_with(end)
        }
    }
}

/// Rust adds the error's number to the kernel's words. That it should not be
/// there is one test's matter, not every one's.
fn without_number(line: &str) -> String {
    let Some((before, rest)) = line.split_once(" (os error ") else {
        return line.to_owned();
    };
    let after = rest.split_once(')').map_or("", |(_, after)| after);
    format!("{before}{after}")
}

fn is_waiting(line: &str) -> bool {
    WAITING.iter().any(|part| line.contains(part))
}

fn is_slurms(line: &str) -> bool {
    // slurmstepd of 26.05 has a task say it as in its log, with the time before it.
    let is_logged = line.starts_with("[20") && line.contains("] error: ");
    is_logged || SLURM.iter().any(|start| line.starts_with(start))
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "\n$ {}\n--- exit code {}; standard output:\n{}--- standard error:\n{}---",
            self.script.trim(),
            self.code,
            self.stdout,
            self.stderr
        )
    }
}
