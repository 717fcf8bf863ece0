//! Runs mksquashfs over a tree.
//!
//! The one place that knows its options (squashfs-tools 4.5 and newer). What lies in the directories that a
//! running system fills (/dev, /proc, /run, /sys, /tmp) is left out; the directories themselves stay.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::num::NonZeroU16;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::BuildError;
use super::tree::{Addition, Tree};

/// Directories whose contents belong to a running system and not to an image.
const LIVE: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];

/// `mksquashfs` is in `/usr/sbin` on some systems, which users do not have in PATH.
const PROGRAMS: [&str; 3] = ["mksquashfs", "/usr/sbin/mksquashfs", "/sbin/mksquashfs"];

/// What to pack, and how.
pub(super) struct Packing<'a> {
    pub(super) tree: &'a Tree,
    /// An existing empty file.
    pub(super) target: &'a Path,
    /// Files that are not the tree's, should they lie in it: the image itself.
    pub(super) leave_out: &'a [Option<&'a Path>],
    pub(super) compression: &'static str,
    pub(super) processors: Option<NonZeroU16>,
    /// Root's tree keeps its owners; a user's belongs to root, as it would from a package.
    pub(super) keep_owners: bool,
    pub(super) progress: bool,
}

/// Packs the tree into the target.
pub(super) fn mksquashfs(packing: &Packing<'_>) -> Result<(), BuildError> {
    let arguments = arguments(packing);
    for program in PROGRAMS {
        // Its bar goes to standard output, which here is for the result.
        let bar = if packing.progress {
            own_stderr()
        } else {
            Ok(Stdio::null())
        };
        let failed = |source| BuildError::StartMksquashfs { program, source };
        let mut command = Command::new(program);
        command
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(bar.map_err(failed)?);
        let done = match command
            .stderr(Stdio::piped())
            .spawn()
            .and_then(Child::wait_with_output)
        {
            Ok(done) => done,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(source) => return Err(failed(source)),
        };
        if done.status.success() {
            return Ok(());
        }
        return Err(BuildError::Mksquashfs {
            status: done.status,
            message: reason(&done.stderr),
        });
    }
    Err(BuildError::NoMksquashfs)
}

fn own_stderr() -> io::Result<Stdio> {
    Ok(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?))
}

/// The first thing that mksquashfs complained about; what follows is mostly its consequence.
fn reason(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    let line = line
        .unwrap_or("it gave no reason")
        .trim_start_matches("FATAL ERROR: ");
    line.trim_end_matches(['.', '!']).to_owned()
}

fn arguments(packing: &Packing<'_>) -> Vec<OsString> {
    let mut list: Vec<OsString> = vec![packing.tree.path.clone().into(), packing.target.into()];
    let mut add = |words: &[&str]| list.extend(words.iter().map(OsString::from));
    add(&[
        "-noappend",
        "-no-recovery",
        "-quiet",
        "-comp",
        packing.compression,
    ]);
    // Without it a file that cannot be read becomes an empty one, and the image is wrong without a word.
    add(&["-exit-on-error"]);
    // A directory from `mktemp -d` has mode 700: as / of an image it would shut everybody out.
    add(&["-root-mode", "755"]);
    if !packing.keep_owners {
        add(&["-all-root"]);
    }
    if !packing.progress {
        add(&["-no-progress"]);
    }
    if let Some(processors) = packing.processors {
        add(&["-processors", &processors.to_string()]);
    }
    for addition in packing.tree.additions() {
        match addition {
            Addition::Directory { path, mode } => add(&["-p", &format!("/{path} d {mode} 0 0")]),
            // The contents are the output of a command, here none.
            Addition::EmptyFile { path } => add(&["-p", &format!("/{path} f 644 0 0 true")]),
        }
    }
    // -e takes all that follows.
    add(&["-wildcards", "-e"]);
    for live in LIVE {
        // As in a shell, `*` does not match a leading dot.
        add(&[&format!("{live}/*"), &format!("{live}/.*")]);
    }
    list.extend(
        packing
            .leave_out
            .iter()
            .flatten()
            .filter_map(|path| within(path, packing.tree)),
    );
    list
}

/// A file's pattern relative to the tree, where it lies in the tree.
fn within(path: &Path, tree: &Tree) -> Option<OsString> {
    let parent = std::fs::canonicalize(super::parent(path)).ok()?;
    let inside = parent
        .strip_prefix(&tree.path)
        .ok()?
        .join(path.file_name()?);
    Some(literally(inside.as_os_str()))
}

/// A pattern that matches this path alone.
fn literally(path: &OsStr) -> OsString {
    let mut pattern = Vec::new();
    for byte in path.as_bytes() {
        if byte.is_ascii_punctuation() && !b"/._-".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    OsString::from_vec(pattern)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{Packing, Tree, arguments, reason};

    fn words(packing: &Packing<'_>) -> Vec<String> {
        arguments(packing)
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn owners_additions_and_exclusions() {
        let place = tempfile::tempdir().expect("a directory");
        fs::create_dir(place.path().join("etc")).expect("mkdir");
        let tree = Tree::open(place.path()).expect("a tree");
        let out = place.path().join("etc/o[1].sif");
        let mut packing = Packing {
            tree: &tree,
            target: Path::new("/proc/1/fd/9"),
            leave_out: &[Some(&out), None, Some(Path::new("/elsewhere/app.sif"))],
            compression: "zstd",
            processors: std::num::NonZeroU16::new(3),
            keep_owners: false,
            progress: false,
        };
        let user = words(&packing);
        assert_eq!(user[0], tree.path.to_string_lossy());
        assert_eq!(user[1], "/proc/1/fd/9");
        for wanted in [
            "-all-root",
            "-no-progress",
            "zstd",
            "3",
            "/proc d 555 0 0",
            "/etc/hosts f 644 0 0 true",
        ] {
            assert!(
                user.iter().any(|word| word == wanted),
                "{wanted} in {user:?}"
            );
        }
        assert!(!user.iter().any(|word| word == "/etc d 755 0 0"));
        let excluded = user
            .iter()
            .skip_while(|word| *word != "-e")
            .skip(1)
            .collect::<Vec<_>>();
        assert_eq!(excluded.len(), 11);
        assert_eq!(excluded[..2], ["dev/*", "dev/.*"]);
        assert_eq!(excluded[10], r"etc/o\[1\].sif");

        packing.keep_owners = true;
        packing.progress = true;
        packing.processors = None;
        let root = words(&packing);
        assert!(
            !root
                .iter()
                .any(|w| ["-all-root", "-no-progress", "-processors"].contains(&w.as_str()))
        );
    }

    #[test]
    fn the_first_complaint_is_the_reason() {
        assert_eq!(
            reason(b"\nFATAL ERROR: Out of space!\nmore\n"),
            "Out of space"
        );
        assert_eq!(reason(b"  \n"), "it gave no reason");
    }
}
