//! `--container-save`: the image and its changes as a new image, after the last rank
//! of the node.
//!
//! All of it is done by a process of the job's that becomes the user for good before
//! it looks at a file, in the job's control groups; root only shows it the
//! container's files, without the host's mounts, and opens the directory with the
//! user's rights. The new file has no name until it is whole: it takes the place of
//! one that is there in one step, and never of a directory.

mod place;

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{Access, AtFlags, Mode, OFlags};

use super::as_user::{AsUser, Unanswered};
use crate::apply::rootfs::{self, SCRATCH};
use crate::cgroup::Groups;
use crate::image::sif::{self, Arch, Content, Kind, Layout, NewObject};
use crate::limits;
use crate::path::HostPath;
use crate::request::{Request, SavePath};
use crate::sys;
use crate::sys::ipc::{self, Waited};
use crate::sys::mount::Attributes;

/// Nobody packs for longer.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Where distributions have it.
const PROGRAMS: [&str; 2] = ["/usr/bin/mksquashfs", "/usr/sbin/mksquashfs"];

/// Memory for mksquashfs' buffers: it would take a quarter of the node's.
const MEMORY: &str = "512M";

/// More files than this that cannot be read are not listed, and it fails.
const MOST_LEFT_OUT: usize = 10_000;

/// Why nothing was saved: one line for the user.
#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    #[error("--container-save={path}: {error}; the directory must exist and be writable by you")]
    Directory { path: String, error: Unanswered },
    #[error("--container-save={path}: is a directory; give the name of a file")]
    IsDirectory { path: String },
    #[error("--container-save={path}: mksquashfs is not on this node; install squashfs-tools")]
    NoProgram { path: String },
    #[error("--container-save={path}: not saved: {what}: {error}")]
    Step {
        path: String,
        what: &'static str,
        error: io::Error,
    },
    #[error("--container-save={path}: not saved: {why}")]
    Failed { path: String, why: String },
}

/// Where an image is saved to.
#[derive(Debug)]
pub(super) struct Target {
    path: PathBuf,
    directory: OwnedFd,
    name: OsString,
    mode: Mode,
}

impl Target {
    /// Opens the directory as the user, in a process of its own: his file system may
    /// not answer. A relative path begins at `cwd`. The caller is where the user sees it.
    ///
    /// # Errors
    /// [`SaveError`] where nothing could be saved there.
    pub(super) fn open(
        path: &SavePath,
        cwd: Option<&HostPath>,
        request: &Request,
        user: AsUser<'_>,
    ) -> Result<Self, SaveError> {
        let base = cwd.map_or(Path::new("/"), HostPath::as_path);
        let path = base.join(path.as_os_str());
        let text = path.display().to_string();
        let parent = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().unwrap_or_default().to_owned();
        let found = place::open(parent, &name, user);
        let directory = match found {
            Ok(Some(directory)) => directory,
            Ok(None) => return Err(SaveError::IsDirectory { path: text }),
            Err(error) => return Err(SaveError::Directory { path: text, error }),
        };
        if program().is_none() {
            return Err(SaveError::NoProgram { path: text });
        }
        Ok(Self {
            path,
            directory,
            name,
            mode: place::mode_for(request),
        })
    }

    fn text(&self) -> String {
        self.path.display().to_string()
    }

    fn is_sif(&self) -> bool {
        self.path.extension() == Some(OsStr::new("sif"))
    }

    /// Saves what `files` shows, a mount that is attached nowhere, in the mount namespace
    /// that `task` had on the host and in its control groups; returns a line about it. It is given up where `asker` hangs up.
    ///
    /// # Errors
    /// Any [`SaveError`].
    pub(super) fn save(
        &self,
        files: &OwnedFd,
        request: &Request,
        task: &OwnedFd,
        groups: &Groups,
        asker: BorrowedFd<'_>,
    ) -> Result<String, SaveError> {
        let step = |what| {
            move |error| SaveError::Step {
                path: self.text(),
                what,
                error,
            }
        };
        let starting = "starting the process that saves it";
        let (ours, theirs) = ipc::pair().map_err(step(starting))?;
        let child = sys::process::fork(|| {
            sys::process::reset_signals();
            // The job's own has been taken off already.
            sys::process::set_umask(0);
            // Outside of them Slurm could not end it.
            if groups.join(std::process::id()).is_err() {
                return 1;
            }
            let done = show(files, task)
                .map_err(|error| format!("showing its files: {error}"))
                .and_then(|()| {
                    sys::process::close_all_but(&[theirs.as_fd(), self.directory.as_fd()]);
                    let who = &request.identity;
                    sys::credentials::become_user(who.uid, who.gid, &who.groups)
                        .and_then(|()| sys::process::die_with_parent())
                        .map(|()| limits::apply(&limits::of_job(&request.environment)))
                        .map_err(|error| format!("becoming the user: {error}"))
                })
                .and_then(|()| self.pack());
            let (kind, text) = match done {
                Ok(text) => (b'+', text),
                Err(text) => (b'-', text),
            };
            let mut bytes = vec![kind];
            bytes.extend(text.bytes().take(2000));
            u8::from(ipc::send(theirs.as_fd(), &bytes, &[]).is_err())
        })
        .map_err(step(starting))?;
        drop(theirs);
        let until = Instant::now() + PATIENCE;
        let failed = |why: &str| SaveError::Failed {
            path: self.text(),
            why: why.to_owned(),
        };
        match ipc::wait_answer(ours.as_fd(), asker, until).map_err(step("waiting for it"))? {
            Waited::Ready => {}
            Waited::Deadline => {
                child.abandon();
                return Err(failed("it took more than an hour"));
            }
            Waited::Unwanted => {
                child.abandon();
                return Err(failed("the step was ended"));
            }
        }
        let message = ipc::receive(ours.as_fd()).map_err(step("waiting for it"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match message.as_ref().and_then(|m| m.bytes.split_first()) {
            Some((b'+', said)) => Ok(format!("saved {}{}", self.path.display(), text(said))),
            Some((b'-', said)) => Err(failed(&text(said))),
            _ => Err(failed("the process that saves it was ended")),
        }
    }

    /// In the child, as the user.
    fn pack(&self) -> Result<String, String> {
        let said = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        let unreadable = unreadable(Path::new(SCRATCH)).map_err(said("looking at the files"))?;
        let squashfs = self.nameless().map_err(said("making a file"))?;
        let list = sys::ipc::memory_file("left-out", &lines(&unreadable));
        let list = list.map_err(said("listing what is left out"))?;
        run_mksquashfs(&squashfs, &list)?;
        let whole = if self.is_sif() {
            let mut image = self.nameless().map_err(said("making a file"))?;
            write_sif(&mut image, &squashfs)?;
            image
        } else {
            squashfs
        };
        whole.sync_all().map_err(said("writing it out"))?;
        self.publish(&whole).map_err(said("giving it its name"))?;
        Ok(left_out(&unreadable))
    }

    /// A file in the directory that has no name: nothing stays of one that is not
    /// finished. Some network file systems know none.
    fn nameless(&self) -> io::Result<File> {
        let mode = self.mode;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, c".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => Ok(file.into()),
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
                let name = self.temporary("new");
                let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                let file = rustix::fs::openat(&self.directory, &name, flags, mode)?;
                // Its link in /proc is followed as well.
                rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty())?;
                Ok(file.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn temporary(&self, what: &str) -> OsString {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(format!(".{what}-{}", std::process::id()));
        name
    }

    fn publish(&self, file: &File) -> io::Result<()> {
        let name = self.temporary("saved");
        let linked = rustix::fs::linkat(
            rustix::fs::CWD,
            sys::mount::descriptor_path(file.as_fd()).as_str(),
            &self.directory,
            &name,
            AtFlags::SYMLINK_FOLLOW,
        );
        if linked.is_err() {
            // A file that had a name once cannot be given one again: it is copied.
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let to = rustix::fs::openat(&self.directory, &name, flags, self.mode)?;
            let (mut from, mut to) = (file.try_clone()?, File::from(to));
            let copied = from
                .rewind()
                .and_then(|()| io::copy(&mut from, &mut to))
                .and_then(|_| to.sync_all());
            if let Err(error) = copied {
                let _ = rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty());
                return Err(error);
            }
        }
        let renamed = rustix::fs::renameat(&self.directory, &name, &self.directory, &self.name);
        if renamed.is_err() {
            let _ = rustix::fs::unlinkat(&self.directory, &name, AtFlags::empty());
        }
        Ok(renamed?)
    }
}

fn program() -> Option<&'static str> {
    let is_there = |program: &&&str| rustix::fs::access(**program, Access::EXEC_OK).is_ok();
    PROGRAMS.iter().find(is_there).copied()
}

/// Shows the container's files at [`SCRATCH`], in a mount namespace that nobody else
/// is in: a copy of the task's own outside the container.
fn show(files: &OwnedFd, task: &OwnedFd) -> io::Result<()> {
    rootfs::enter_copy_of(Some(task.as_fd()))
        .map_err(|error| io::Error::other(error.to_string()))?;
    let only_read = Attributes {
        read_only: true,
        nosuid: true,
        nodev: true,
        noexec: true,
    };
    let target = sys::mount::open_place(Path::new(SCRATCH))?;
    sys::mount::attach(files.as_fd(), target.as_fd())?;
    let place = sys::mount::open_place(Path::new(SCRATCH))?;
    sys::mount::add_attributes(place.as_fd(), only_read)
}

/// What the user may not read: other users' files of the image. mksquashfs would make
/// empty files of them.
fn unreadable(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                found.push(directory);
                continue;
            }
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            if kind.is_dir() {
                let searched = Access::READ_OK | Access::EXEC_OK;
                if rustix::fs::access(&path, searched).is_ok() {
                    left.push(path);
                } else {
                    found.push(path);
                }
            } else if kind.is_file() && rustix::fs::access(&path, Access::READ_OK).is_err() {
                found.push(path);
            }
            if found.len() > MOST_LEFT_OUT {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
        }
    }
    Ok(found)
}

/// For `-ef`, which has a path a line.
fn lines(paths: &[PathBuf]) -> Vec<u8> {
    let mut text = Vec::new();
    for path in paths {
        text.extend_from_slice(path.as_os_str().as_bytes());
        text.push(b'\n');
    }
    text
}

fn left_out(paths: &[PathBuf]) -> String {
    let Some(first) = paths.first() else {
        return String::new();
    };
    let inside = first.strip_prefix(SCRATCH).unwrap_or(first);
    format!(
        "; left out: {} that are not yours to read, as /{}",
        paths.len(),
        inside.display()
    )
}

fn run_mksquashfs(to: &File, left_out: &OwnedFd) -> Result<(), String> {
    let program = program().ok_or_else(|| "mksquashfs is gone".to_owned())?;
    let failed = |error: io::Error| format!("starting mksquashfs: {error}");
    let (reader, writer) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let text = |text: &str| CString::new(text).unwrap_or_default();
    let mut arguments: Vec<CString> = [
        program,
        SCRATCH,
        "/proc/self/fd/3",
        "-noappend",
        "-no-recovery",
        "-quiet",
        "-no-progress",
        "-exit-on-error",
        "-all-root",
        // Fast: a step waits for it.
        "-comp",
        "zstd",
        "-Xcompression-level",
        "3",
        "-mem",
        MEMORY,
        "-processors",
    ]
    .map(text)
    .to_vec();
    arguments.push(text(&processors.to_string()));
    arguments.extend(["-ef", "/proc/self/fd/4"].map(text));
    let mut child = sys::process::fork(|| {
        let placed = || -> io::Result<()> {
            sys::process::die_with_parent()?;
            let null = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty())?;
            let far = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 16);
            let (null, say) = (far(null.as_fd())?, far(writer.as_fd())?);
            let (to, list) = (far(to.as_fd())?, far(left_out.as_fd())?);
            sys::process::place_descriptor(null.as_fd(), 0)?;
            sys::process::place_descriptor(null.as_fd(), 1)?;
            sys::process::place_descriptor(say.as_fd(), 2)?;
            sys::process::place_descriptor(to.as_fd(), 3)?;
            sys::process::place_descriptor(list.as_fd(), 4)?;
            // Close-on-exec takes the rest.
            std::mem::forget((null, say, to, list));
            Ok(())
        };
        if placed().is_ok() {
            let _ =
                sys::process::execute(&text(program), &arguments, &[text("PATH=/usr/bin:/bin")]);
        }
        127
    })
    .map_err(failed)?;
    drop(writer);
    let mut said = Vec::new();
    let _ = File::from(reader).take(64 << 10).read_to_end(&mut said);
    match child.wait().map_err(failed)? {
        0 => Ok(()),
        code => Err(reason(&said, code)),
    }
}

/// The first thing that mksquashfs complained about.
fn reason(said: &[u8], code: i32) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    match line {
        Some(line) => format!("mksquashfs: {}", line.trim_start_matches("FATAL ERROR: ")),
        None => format!("mksquashfs ended with code {code}"),
    }
}

fn write_sif(image: &mut File, squashfs: &File) -> Result<(), String> {
    let arch = Arch::host().ok_or_else(|| "SIF has no name for this machine".to_owned())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let layout = Layout {
        id: sif::random_uuid().map_err(|error| format!("/dev/urandom: {error}"))?,
        created: now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(0)),
        objects: vec![NewObject {
            kind: Kind::PrimarySquashfs(arch),
            name: "rootfs".to_owned(),
            content: Content::File(squashfs),
        }],
    };
    sif::write(image, &layout).map_err(|error| error.to_string())?;
    image.flush().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_told() {
        assert_eq!(
            reason(b"\nFATAL ERROR: Out of space\nx\n", 1),
            "mksquashfs: Out of space"
        );
        assert_eq!(reason(b"", 137), "mksquashfs ended with code 137");
    }

    #[test]
    fn what_is_left_out_is_said() {
        assert_eq!(left_out(&[]), "");
        let list = [PathBuf::from("/tmp/root/x"), PathBuf::from("/tmp/y")];
        assert_eq!(
            left_out(&list),
            "; left out: 2 that are not yours to read, as /root/x"
        );
        assert_eq!(lines(&list), b"/tmp/root/x\n/tmp/y\n");
    }
}
