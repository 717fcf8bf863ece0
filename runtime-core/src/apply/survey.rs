//! Reading the image: its passwd, group, locales and environment scripts.
//!
//! All of that is content that a user may have written, so it is read by a child
//! that has become the user for good. The child writes its results into files
//! that its parent opened and never reads; ranks read them, as the user.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{ApplyError, FileAccess, step};
use crate::environment;
use crate::plan::identity;
use crate::request::{Identity, Request};
use crate::sys;

/// A passwd or group file longer than this is not one, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// An environment longer than this cannot be passed to execve(2), in bytes.
const MAX_ENVIRONMENT: u64 = 2 << 20;
/// Seconds for the image's environment scripts.
const SCRIPT_SECONDS: u32 = 30;

const SCRIPTS: &str = ".singularity.d/env";

// Exit codes of the child: bits of what it found.
const HAS_PASSWD: i32 = 1;
const HAS_GROUP: i32 = 2;
const HAS_SCRIPTS: i32 = 4;
const FAILED: i32 = 64;

/// What the child found, by its exit code alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// A passwd file was written.
    pub passwd: bool,
    /// A group file was written.
    pub group: bool,
    /// The image has environment scripts; the changes are not written yet.
    pub scripts: bool,
}

/// Where the child writes.
#[derive(Debug)]
pub struct Files {
    /// The passwd file to show.
    pub passwd: File,
    /// The group file to show.
    pub group: File,
    /// The environment's changes.
    pub changes: File,
}

/// The user's home directory and lines of passwd and group, from the node's own
/// databases: `passwd` line first, then `GID group-line` each.
///
/// Runs with the user's rights: a name service may run code of the site's.
#[must_use]
pub fn identity_lines(who: &Identity) -> (Option<OsString>, Vec<u8>) {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(who.uid))
        .ok()
        .flatten();
    let home = user.as_ref().map(|u| u.dir.clone().into_os_string());
    let text = |s: &OsStr| s.as_bytes().to_vec();
    let mut out = match &user {
        Some(u) => [
            u.name.as_bytes().to_vec(),
            b"x".to_vec(),
            u.uid.to_string().into_bytes(),
            u.gid.to_string().into_bytes(),
            u.gecos.as_bytes().to_vec(),
            text(u.dir.as_os_str()),
            text(u.shell.as_os_str()),
        ]
        .join(&b':'),
        None => format!("user{0}:x:{0}:{1}::/:/bin/sh", who.uid, who.gid).into_bytes(),
    };
    let name = user.map(|u| u.name).unwrap_or_default();
    let mut gids: Vec<u32> = std::iter::once(who.gid)
        .chain(who.groups.iter().copied())
        .collect();
    gids.sort_unstable();
    gids.dedup();
    for gid in gids {
        let group = nix::unistd::Group::from_gid(nix::unistd::Gid::from_raw(gid))
            .ok()
            .flatten();
        let group = group.map_or_else(|| format!("group{gid}"), |g| g.name);
        out.extend_from_slice(format!("\n{gid} {group}:x:{gid}:{name}").as_bytes());
    }
    (home, out)
}

/// Runs `work` in a child that has the user's rights and no others.
fn in_child(
    access: &FileAccess,
    work: impl FnOnce() -> io::Result<i32>,
) -> Result<i32, ApplyError> {
    let mut child = sys::process::fork(|| {
        let code = sys::process::die_with_parent()
            .and_then(|()| sys::process::be_killable_when_memory_is_short())
            .and_then(|()| match access {
                FileAccess::As(who) => sys::credentials::become_user(who.uid, who.gid, &who.groups),
                // In a user namespace of ours: no capability there either.
                FileAccess::Own => sys::credentials::drop_all(),
            })
            .and_then(|()| work());
        code.ok()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(64)
    })
    .map_err(step("starting the survey of the image"))?;
    child
        .wait()
        .map_err(step("waiting for the survey of the image"))
}

/// Looks at the image, and writes what can be written without running its
/// scripts.
///
/// # Errors
/// [`ApplyError::Survey`].
pub fn look(
    image: &OwnedFd,
    identity: &OwnedFd,
    files: &Files,
    request: &Request,
    access: &FileAccess,
) -> Result<Found, ApplyError> {
    let code = in_child(access, || look_in_child(image, identity, files, request))?;
    if code >= FAILED {
        return Err(ApplyError::Survey(code));
    }
    Ok(Found {
        passwd: code & HAS_PASSWD != 0,
        group: code & HAS_GROUP != 0,
        scripts: code & HAS_SCRIPTS != 0,
    })
}

fn look_in_child(
    image: &OwnedFd,
    identity: &OwnedFd,
    files: &Files,
    request: &Request,
) -> io::Result<i32> {
    let mut lines = Vec::new();
    File::from(identity.try_clone()?)
        .take(MAX_FILE)
        .read_to_end(&mut lines)?;
    let mut lines = lines.split(|b| *b == b'\n');
    let passwd_line = lines.next().unwrap_or_default();
    let groups: Vec<(u32, Vec<u8>)> = lines
        .filter_map(|line| {
            let space = line.iter().position(|b| *b == b' ')?;
            let gid = std::str::from_utf8(line.get(..space)?).ok()?.parse().ok()?;
            Some((gid, line.get(space + 1..)?.to_vec()))
        })
        .collect();
    let mut code = 0;
    let image_passwd = read_in(image, "etc/passwd");
    if let Some(text) = identity::passwd_with(&image_passwd, request.identity.uid, passwd_line) {
        files.passwd.write_all_at(&text, 0)?;
        code |= HAS_PASSWD;
    }
    if let Some(text) = identity::group_with(&read_in(image, "etc/group"), &groups) {
        files.group.write_all_at(&text, 0)?;
        code |= HAS_GROUP;
    }
    if has_scripts(image) {
        code |= HAS_SCRIPTS;
    } else {
        let changes =
            environment::changes(&request.environment, &[], |name| has_locale(image, name));
        files
            .changes
            .write_all_at(&environment::encode(&changes), 0)?;
    }
    Ok(code)
}

/// Opens a regular file of the image for reading; links stay inside.
fn open_in(root: &OwnedFd, path: &str) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let file = File::from(rustix::fs::openat2(
        root,
        path,
        flags,
        Mode::empty(),
        inside,
    )?);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// A file's content; nothing where there is none or it is too long to be meant.
fn read_in(root: &OwnedFd, path: &str) -> Vec<u8> {
    let mut text = Vec::new();
    let read = open_in(root, path).and_then(|f| f.take(MAX_FILE + 1).read_to_end(&mut text));
    if read.is_err() || text.len() as u64 > MAX_FILE {
        text.clear();
    }
    text
}

fn has_scripts(image: &OwnedFd) -> bool {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat2(image, SCRIPTS, flags, Mode::empty(), inside)
        .and_then(rustix::fs::Dir::new)
        .is_ok_and(|dir| {
            dir.take(10_000)
                .flatten()
                .any(|entry| entry.file_name().to_bytes().ends_with(b".sh"))
        })
}

/// Whether the image's C library can load a locale: a directory of its own, or
/// an entry in glibc's archive, whose names stand in one table (locarchive.h:
/// offset and length of the string table are the 7th and 8th words).
fn has_locale(image: &OwnedFd, name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    if name.contains('/') {
        return false;
    }
    // glibc looks for UTF-8 as utf8.
    let normal = match name.split_once('.') {
        Some((language, codeset)) => {
            let codeset: String = codeset
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .collect::<String>()
                .to_lowercase();
            format!("{language}.{codeset}")
        }
        None => name.to_owned(),
    };
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let there = |n: &str| {
        let path = format!("usr/lib/locale/{n}");
        rustix::fs::openat2(
            image,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            inside,
        )
        .is_ok()
    };
    there(&normal) || there(name) || in_archive(image, &normal).unwrap_or(false)
}

fn in_archive(image: &OwnedFd, name: &str) -> io::Result<bool> {
    let archive = open_in(image, "usr/lib/locale/locale-archive")?;
    let mut word = [0; 4];
    let mut number = |place: u64| -> io::Result<u64> {
        archive.read_exact_at(&mut word, place * 4)?;
        Ok(u64::from(u32::from_ne_bytes(word)))
    };
    let (offset, used) = (number(6)?, number(7)?);
    let mut table = vec![0; usize::try_from(used.min(1 << 20)).unwrap_or(0)];
    archive.read_exact_at(&mut table, offset)?;
    Ok(table
        .split(|b| *b == 0)
        .any(|entry| entry == name.as_bytes()))
}

/// Sources the image's environment scripts in its own shell, once for all ranks
/// of the node, and writes the changes. This process is in the container.
///
/// # Errors
/// [`ApplyError::Survey`].
pub fn run_scripts(
    changes: &File,
    request: &Request,
    access: &FileAccess,
) -> Result<(), ApplyError> {
    let code = in_child(access, || run_in_child(changes, request))?;
    if code == 0 {
        Ok(())
    } else {
        Err(ApplyError::Survey(code))
    }
}

/// What the image's shell is told: its own noise goes nowhere, the result alone
/// to the pipe.
const SOURCE_ALL: &str = "exec 3>&1 >/dev/null 2>&1\n\
    for f in /.singularity.d/env/*.sh; do [ -f \"$f\" ] && . \"$f\"; done\n\
    export -p >&3\n";

fn run_in_child(changes: &File, request: &Request) -> io::Result<i32> {
    let root = sys::mount::open_place(std::path::Path::new("/"))?;
    let given = script_environment(&request.environment);
    let output = run_shell(&given)?;
    let image: Vec<(OsString, OsString)> = environment::parse_exports(&output)
        .into_iter()
        .filter(|(name, value)| {
            !given
                .iter()
                .any(|entry| environment::split(entry) == Some((name.as_bytes(), value.as_bytes())))
                || name == "PATH"
        })
        .collect();
    let list = environment::changes(&request.environment, &image, |name| has_locale(&root, name));
    let mut changes = changes;
    changes.rewind()?;
    changes.write_all(&environment::encode(&list))?;
    Ok(0)
}

/// The scripts see what always comes from the job, and a plain PATH: what they
/// export is then the image's own word.
fn script_environment(job: &[OsString]) -> Vec<OsString> {
    let mut out: Vec<OsString> = job
        .iter()
        .filter(|entry| {
            environment::split(entry).is_some_and(|(name, _)| environment::is_from_job(name))
        })
        .cloned()
        .collect();
    out.push(OsString::from(format!(
        "PATH={}",
        environment::DEFAULT_PATH
    )));
    out
}

fn run_shell(environment: &[OsString]) -> io::Result<Vec<u8>> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let text = |s: &[u8]| CString::new(s).unwrap_or_default();
    let program = text(b"/bin/sh");
    let arguments = [text(b"sh"), text(b"-c"), text(SOURCE_ALL.as_bytes())];
    let environment: Vec<CString> = environment.iter().map(|e| text(e.as_bytes())).collect();
    let mut shell = sys::process::fork(|| {
        let null = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty());
        let ready = null.map_err(io::Error::from).and_then(|null| {
            sys::process::reset_signals();
            let writer = rustix::io::fcntl_dupfd_cloexec(&writer, 16)?;
            sys::process::place_descriptor(null.as_fd(), 0)?;
            sys::process::place_descriptor(writer.as_fd(), 1)?;
            sys::process::place_descriptor(null.as_fd(), 2)?;
            sys::process::close_from(3);
            std::mem::forget((null, writer));
            Ok(())
        });
        if ready.is_ok() {
            sys::process::end_after(SCRIPT_SECONDS);
            let _ = sys::process::execute(&program, &arguments, &environment);
        }
        127
    })?;
    drop(writer);
    let mut output = Vec::new();
    File::from(reader)
        .take(MAX_ENVIRONMENT + 1)
        .read_to_end(&mut output)?;
    let code = shell.wait()?;
    if code != 0 || output.len() as u64 > MAX_ENVIRONMENT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(output)
}

/// Reads a file of changes; ranks do this, as the user.
///
/// # Errors
/// What the kernel said.
pub fn read_changes(file: &OwnedFd) -> io::Result<Vec<u8>> {
    let file = File::from(file.try_clone()?);
    let length = file.metadata()?.len().min(MAX_ENVIRONMENT * 2);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
