//! Why a program cannot start in the container: what it needs and the image lacks.
//!
//! Slurm's own words for it, "No such file or directory", name neither the image
//! nor what is missing. This looks at what `execve` is about to look at, as the
//! user and without a capability, and says so in a line before Slurm's. It is
//! never a gate: where it finds nothing or is mistaken, the program starts or
//! fails as it would have, and the exit code is Slurm's.
//!
//! What is read is the user's or the image's: a few hundred bytes of a regular
//! file at the most, and every number in them is bounded.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// The program itself.
    Program,
    /// What its first line asks for.
    Interpreter(OsString),
    /// The dynamic loader that it was linked for.
    Loader(OsString),
}

/// The kernel reads this much of a script's first line (`BINPRM_BUF_SIZE` in
/// linux/binfmts.h, since Linux 5.1).
const FIRST_LINE: usize = 256;

/// An ELF header of 64 bits, and one entry of its program header table.
const ELF_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
/// Entries that are looked at; a linker writes about a dozen.
const MOST_PROGRAM_HEADERS: u16 = 64;
/// `PT_INTERP`, elf.h.
const PT_INTERP: u32 = 3;

/// Looks whether `program` can start in the root file system, the working
/// directory and with the `PATH` that it will have. `None` where nothing is
/// missing, or nothing can be said.
#[must_use]
pub fn lack(program: &OsStr, path: Option<&OsStr>) -> Option<Lack> {
    let Some(found) = find(program, path) else {
        return Some(Lack::Program);
    };
    let file = open_regular(&found)?;
    let mut start = [0; FIRST_LINE];
    let length = file.read_at(&mut start, 0).ok()?;
    let start = start.get(..length)?;
    if let Some(line) = first_line(start) {
        return interpreter(line, path).map(Lack::Interpreter);
    }
    loader(&file, start)
        .filter(|name| !is_there(Path::new(name)))
        .map(Lack::Loader)
}

/// As Slurm's tasks look for it: along `PATH` unless it is a path from the root
/// or from the working directory, and at last as it stands.
fn find(program: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    let along = path.filter(|_| !matches!(program.as_bytes().first(), Some(b'/' | b'.')));
    let directories = along.map(OsStr::as_bytes).unwrap_or_default();
    directories
        .split(|byte| *byte == b':')
        .filter(|directory| !directory.is_empty())
        .map(|directory| Path::new(OsStr::from_bytes(directory)).join(program))
        .chain([PathBuf::from(program)])
        .find(|candidate| is_there(candidate))
}

/// Only what is certainly missing counts as missing.
fn is_there(path: &Path) -> bool {
    !matches!(
        std::fs::metadata(path).map_err(|error| error.kind()),
        Err(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
    )
}

fn open_regular(path: &Path) -> Option<File> {
    std::fs::metadata(path)
        .ok()
        .filter(std::fs::Metadata::is_file)?;
    // Should it have become a pipe meanwhile, nobody waits for its writer.
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .ok()
}

/// What stands behind `#!`, up to the line's end.
fn first_line(start: &[u8]) -> Option<&[u8]> {
    let rest = start.strip_prefix(b"#!")?;
    rest.split(|byte| matches!(byte, b'\n' | 0)).next()
}

/// What a first line asks for and nobody has: the interpreter, which the kernel
/// takes as it stands, or the program that `env` would look for.
fn interpreter(line: &[u8], path: Option<&OsStr>) -> Option<OsString> {
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let interpreter = words.next()?;
    if !is_there(Path::new(OsStr::from_bytes(interpreter))) {
        return Some(OsString::from_vec(interpreter.to_vec()));
    }
    let name = if interpreter.ends_with(b"/env") {
        OsStr::from_bytes(run_by_env(words)?)
    } else {
        return None;
    };
    find(name, path).is_none().then(|| name.to_owned())
}

/// The first word that is neither `-S` nor a variable. Any other option of `env`
/// may take the next word, or change where it looks: then nothing is said.
fn run_by_env<'a>(words: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    for word in words {
        match word {
            b"-S" | b"--split-string" => {}
            _ if word.starts_with(b"-S") => return word.get(2..),
            _ if word.starts_with(b"-") => return None,
            _ if word.contains(&b'=') => {
                if word.starts_with(b"PATH=") {
                    return None;
                }
            }
            _ => return Some(word),
        }
    }
    None
}

/// The dynamic loader that an ELF file of 64 bits in this machine's byte order
/// asks for.
fn loader(file: &File, start: &[u8]) -> Option<OsString> {
    const LITTLE_64: &[u8] = b"\x7fELF\x02\x01";
    let header = start
        .get(..ELF_HEADER)
        .filter(|h| h.starts_with(LITTLE_64))?;
    let table = u64::from_le_bytes(header.get(32..40)?.try_into().ok()?);
    let size = u16::from_le_bytes(header.get(54..56)?.try_into().ok()?);
    let count = u16::from_le_bytes(header.get(56..58)?.try_into().ok()?);
    if usize::from(size) != PROGRAM_HEADER {
        return None;
    }
    (0..count.min(MOST_PROGRAM_HEADERS)).find_map(|place| {
        let offset = table.checked_add(u64::from(place) * u64::from(size))?;
        let mut entry = [0; PROGRAM_HEADER];
        file.read_exact_at(&mut entry, offset).ok()?;
        let kind = u32::from_le_bytes(entry.get(..4)?.try_into().ok()?);
        let place = u64::from_le_bytes(entry.get(8..16)?.try_into().ok()?);
        let length = u64::from_le_bytes(entry.get(32..40)?.try_into().ok()?);
        let length = usize::try_from(length)
            .ok()
            .filter(|l| (2..=FIRST_LINE).contains(l))?;
        if kind != PT_INTERP {
            return None;
        }
        let mut name = vec![0; length];
        file.read_exact_at(&mut name, place).ok()?;
        name.retain(|byte| *byte != 0);
        Some(OsString::from_vec(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A directory with the programs of a test, which are scripts or anything.
    struct Programs(tempfile::TempDir);

    impl Programs {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn add(&self, name: &str, content: &[u8]) -> PathBuf {
            let path = self.0.path().join(name);
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path
        }

        fn lack(&self, program: impl AsRef<OsStr>) -> Option<Lack> {
            lack(program.as_ref(), Some(self.0.path().as_os_str()))
        }
    }

    fn wanted(name: &str) -> Option<Lack> {
        Some(Lack::Interpreter(name.into()))
    }

    #[test]
    fn a_program_is_looked_for_as_slurm_does() {
        let programs = Programs::new();
        let path = programs.add("solver", b"#!/bin/sh\n");
        assert_eq!(programs.lack("solver"), None);
        assert_eq!(programs.lack(&path), None);
        assert_eq!(programs.lack("solver2"), Some(Lack::Program));
        assert_eq!(programs.lack("./solver"), Some(Lack::Program));
        assert_eq!(programs.lack(path.join("below")), Some(Lack::Program));
        assert_eq!(lack(OsStr::new("solver"), None), Some(Lack::Program));
        // What cannot be executed is there: the kernel says why.
        assert_eq!(programs.lack(programs.0.path()), None);
    }

    #[test]
    fn first_lines() {
        let programs = Programs::new();
        programs.add("python9", b"#!/bin/sh\n");
        for (line, expected) in [
            ("#!/bin/sh", None),
            ("#! \t/bin/sh -e", None),
            ("#!/nowhere/perl -w", wanted("/nowhere/perl")),
            ("#!nowhere/perl", wanted("nowhere/perl")),
            // The kernel does not look along PATH.
            ("#!python9", wanted("python9")),
            ("#!/usr/bin/env python9", None),
            ("#!/usr/bin/env perl9", wanted("perl9")),
            ("#!/usr/bin/env -S A=1 perl9 -w", wanted("perl9")),
            ("#!/usr/bin/env -Sperl9 -w", wanted("perl9")),
            ("#!/usr/bin/env -S PATH=/else perl9", None),
            ("#!/usr/bin/env -i perl9", None),
            ("#!/usr/bin/env", None),
            ("#!", None),
            ("#!   ", None),
            ("no script", None),
            ("", None),
        ] {
            let script = programs.add("script", format!("{line}\necho x\n").as_bytes());
            assert_eq!(programs.lack(&script), expected, "{line}");
            let script = programs.add("script", line.as_bytes());
            assert_eq!(
                programs.lack(&script),
                expected,
                "{line} and no end of line"
            );
        }
    }

    #[test]
    fn a_line_without_an_end_is_cut_where_the_kernel_cuts() {
        let programs = Programs::new();
        let script = programs.add("long", format!("#!/{}", "x".repeat(5000)).as_bytes());
        let expected = format!("/{}", "x".repeat(FIRST_LINE - 3));
        assert_eq!(programs.lack(script), wanted(&expected));
    }

    /// A header and one entry of each kind, then the loader's name.
    fn elf(kind: u32, name: &str) -> Vec<u8> {
        let mut bytes = vec![0; ELF_HEADER + 2 * PROGRAM_HEADER];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&2_u16.to_le_bytes());
        let entry = ELF_HEADER + PROGRAM_HEADER;
        let place = bytes.len() as u64;
        bytes[entry..entry + 4].copy_from_slice(&kind.to_le_bytes());
        bytes[entry + 8..entry + 16].copy_from_slice(&place.to_le_bytes());
        bytes[entry + 32..entry + 40].copy_from_slice(&(name.len() as u64 + 1).to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
        bytes
    }

    #[test]
    fn loaders() {
        let programs = Programs::new();
        let lack = |bytes: &[u8]| programs.lack(programs.add("program", bytes));
        let missing = Some(Lack::Loader("/nowhere/ld.so".into()));
        assert_eq!(lack(&elf(PT_INTERP, "/nowhere/ld.so")), missing);
        assert_eq!(lack(&elf(PT_INTERP, "/bin/sh")), None);
        assert_eq!(lack(&elf(PT_INTERP + 1, "/nowhere/ld.so")), None);
        assert_eq!(programs.lack("/bin/sh"), None);
    }

    /// Whatever the bytes are, it ends and does not panic.
    #[test]
    fn damaged_programs() {
        let programs = Programs::new();
        let whole = elf(PT_INTERP, "/nowhere/ld.so");
        for end in 0..whole.len() {
            let _ = programs.lack(programs.add("program", &whole[..end]));
        }
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] = 0xff;
            let _ = programs.lack(programs.add("program", &bytes));
        }
    }

    #[test]
    fn nobody_waits_for_a_pipe() {
        let programs = Programs::new();
        let path = programs.0.path().join("pipe");
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &path,
            rustix::fs::Mode::from_raw_mode(0o755),
        )
        .unwrap();
        assert_eq!(programs.lack(path), None);
    }
}
