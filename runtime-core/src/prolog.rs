//! Slurm's task prologs: which there are, and what one says.
//!
//! TaskProlog and `srun --task-prolog` are programs that Slurm runs before a rank's
//! own, with the user's rights. What they write can change the rank's environment.
//! Here is only text: nothing is run, opened or asked.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What a line of a prolog's output does, as `_proc_stdout` in slurmstepd's task.c
/// reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// `print TEXT`: for the rank's standard output, with the line's end.
    Print(Vec<u8>),
    /// `export NAME=VALUE`.
    Export(OsString, OsString),
    /// `unset NAME`.
    Unset(OsString),
}

/// Reads what a prolog wrote to its two outputs. Lines that are none of the three
/// mean nothing; NUL ends the text.
#[must_use]
pub fn said(output: &[u8]) -> Vec<Said> {
    let own = |text: &[u8]| OsString::from_vec(text.to_vec());
    let text = output.split(|b| *b == 0).next().unwrap_or_default();
    text.split_inclusive(|b| *b == b'\n')
        .filter_map(|whole| {
            let line = whole.strip_suffix(b"\n").unwrap_or(whole);
            if let Some(rest) = whole.strip_prefix(b"print ") {
                return Some(Said::Print(trim_start(rest).to_vec()));
            }
            if let Some(rest) = line.strip_prefix(b"export ") {
                let rest = trim_start(rest);
                let equals = rest.iter().position(|b| *b == b'=')?;
                let name = trim_end(rest.get(..equals)?);
                let value = rest.get(equals + 1..)?;
                return (!name.is_empty()).then(|| Said::Export(own(name), own(value)));
            }
            let name = trim_end(trim_start(line.strip_prefix(b"unset ")?));
            (!name.is_empty()).then(|| Said::Unset(own(name)))
        })
        .collect()
}

/// isspace(3) of the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn trim_start(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|b| !is_space(*b));
    start.and_then(|s| text.get(s..)).unwrap_or_default()
}

fn trim_end(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|b| !is_space(*b));
    end.and_then(|e| text.get(..=e)).unwrap_or_default()
}

/// The name of srun's option.
const OPTION: &[u8] = b"--task-prolog";

/// The shortest beginning of it that getopt_long(3) takes: srun has
/// `--task-epilog` too.
const SHORTEST: usize = b"--task-p".len();

/// A place of srun's command line, or a variable, that may name a prolog. Whether it
/// is an option of srun's or an argument of the program, srun's own list of options
/// would have to say; the node can tell by counting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Words of the command line behind it; for a variable more than there can be.
    pub following: usize,
    /// The program.
    pub program: OsString,
}

/// Looks through srun's command line, the program's name first.
#[must_use]
pub fn candidates(command_line: &[OsString], variable: Option<&OsStr>) -> Vec<Candidate> {
    let mut list: Vec<Candidate> = variable
        .filter(|program| !program.is_empty())
        .map(|program| Candidate {
            following: usize::MAX,
            program: program.to_owned(),
        })
        .into_iter()
        .collect();
    for (place, word) in command_line.iter().enumerate().skip(1) {
        let word = word.as_bytes();
        let equals = word.iter().position(|b| *b == b'=');
        let name = word.get(..equals.unwrap_or(word.len())).unwrap_or_default();
        if name.len() < SHORTEST || !OPTION.starts_with(name) {
            continue;
        }
        let (at, program) = match equals {
            Some(equals) => (place, word.get(equals + 1..)),
            None => (place + 1, command_line.get(place + 1).map(|w| w.as_bytes())),
        };
        if let Some(program) = program.filter(|p| !p.is_empty()) {
            list.push(Candidate {
                following: command_line.len().saturating_sub(at + 1),
                program: OsStr::from_bytes(program).to_owned(),
            });
        }
    }
    list
}

/// The one that srun heeds, the step's command having that many words: the last
/// before it.
#[must_use]
pub fn of_the_step(candidates: &[Candidate], words: usize) -> Option<&Candidate> {
    candidates.iter().rfind(|one| one.following >= words)
}

/// As the value of an option: a line for each. What holds a newline is left out, no
/// prolog is called so.
#[must_use]
pub fn encode(candidates: &[Candidate]) -> OsString {
    let mut out = Vec::new();
    for one in candidates {
        if one.program.as_bytes().contains(&b'\n') {
            continue;
        }
        out.extend_from_slice(one.following.to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(one.program.as_bytes());
        out.push(b'\n');
    }
    OsString::from_vec(out)
}

/// Reads what [`encode`] wrote; what else a user may have written is passed over.
#[must_use]
pub fn decode(value: &OsStr) -> Vec<Candidate> {
    let line = |line: &[u8]| {
        let colon = line.iter().position(|b| *b == b':')?;
        let number = std::str::from_utf8(line.get(..colon)?).ok()?;
        let program = line.get(colon + 1..).filter(|p| !p.is_empty())?;
        Some(Candidate {
            following: number.parse().ok()?,
            program: OsStr::from_bytes(program).to_owned(),
        })
    };
    value
        .as_bytes()
        .split(|b| *b == b'\n')
        .filter_map(line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(name: &str, value: &str) -> Said {
        Said::Export(name.into(), value.into())
    }

    #[test]
    fn output_is_read_as_slurm_reads_it() {
        for (output, expected) in [
            ("", vec![]),
            ("export A=1\n", vec![export("A", "1")]),
            ("export A=1", vec![export("A", "1")]),
            ("export   A  = b c \n", vec![export("A", " b c ")]),
            ("export A=b=c\n", vec![export("A", "b=c")]),
            ("export A=\n", vec![export("A", "")]),
            ("export A\nexport =x\nexport \n", vec![]),
            ("exported A=1\n export A=1\nEXPORT A=1\n", vec![]),
            (
                "unset A \nunset  B\n",
                vec![Said::Unset("A".into()), Said::Unset("B".into())],
            ),
            ("unset \nunset\n", vec![]),
            (
                "print  hello  you\n",
                vec![Said::Print(b"hello  you\n".into())],
            ),
            ("print end", vec![Said::Print(b"end".into())]),
            ("noise\nprint x\n", vec![Said::Print(b"x\n".into())]),
            ("export A=1\0export B=2\n", vec![export("A", "1")]),
        ] {
            assert_eq!(said(output.as_bytes()), expected, "{output:?}");
        }
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn chosen(line: &str, command: usize) -> Option<String> {
        let list = decode(&encode(&candidates(&words(line), None)));
        of_the_step(&list, command).map(|c| c.program.to_string_lossy().into_owned())
    }

    #[test]
    fn the_prolog_is_the_last_before_the_command() {
        for (line, command, expected) in [
            ("srun -n2 hostname", 1, None),
            ("srun --task-prolog=/a hostname", 1, Some("/a")),
            ("srun --task-prolog /a hostname -s", 2, Some("/a")),
            ("srun --task-p=/a hostname", 1, Some("/a")),
            ("srun --task-p /a --task-prolo=/b hostname", 1, Some("/b")),
            ("srun --task-epilog=/a hostname", 1, None),
            ("srun --task=/a hostname", 1, None),
            ("srun --tasks-per-node=2 hostname", 1, None),
            ("srun prog --task-prolog=/a", 2, None),
            ("srun prog --task-prolog /a", 3, None),
            ("srun --task-prolog=/a prog --task-prolog=/b", 2, Some("/a")),
            ("srun hostname --task-prolog", 2, None),
            ("srun --task-prolog= hostname", 1, None),
        ] {
            assert_eq!(chosen(line, command).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn the_variable_stands_where_no_option_does() {
        let variable = Some(OsStr::new("/v"));
        let list = candidates(&words("srun prog"), variable);
        assert_eq!(of_the_step(&list, 1).unwrap().program, "/v");
        let list = candidates(&words("srun --task-prolog=/a prog"), variable);
        assert_eq!(of_the_step(&list, 1).unwrap().program, "/a");
        assert!(candidates(&words("srun x"), Some(OsStr::new(""))).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_harm(bytes: Vec<u8>) {
            let _ = said(&bytes);
            let _ = decode(OsStr::from_bytes(&bytes));
        }
    }
}
