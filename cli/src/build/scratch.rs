//! Files that nobody sees before they are whole.
//!
//! Where the file system has `O_TMPFILE` they have no name, so that nothing stays behind however the program
//! ends. Elsewhere (NFS, some parallel file systems) the image has a hidden name, removed on every return;
//! only a signal can leave that one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use runtime_core::image::sif::random_uuid;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, open, renameat_with};
use rustix::io::Errno;

/// A file next to where it will be, open for reading and writing.
pub(super) struct Scratch {
    file: File,
    name: Option<PathBuf>,
}

impl Scratch {
    /// A file in `directory`, with `mode` less the umask.
    pub(super) fn new(directory: &Path, mode: u32) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match open(directory, flags, Mode::from_raw_mode(mode)) {
            Ok(file) => Ok(Self {
                file: file.into(),
                name: None,
            }),
            // open(2): these are the answers of a file system without O_TMPFILE.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Self::named(directory, mode),
            Err(other) => Err(other.into()),
        }
    }

    /// A file that is only ever reached through this process, so it loses its name at once.
    pub(super) fn nameless(directory: &Path) -> io::Result<Self> {
        let mut scratch = Self::new(directory, 0o600)?;
        if let Some(name) = scratch.name.take() {
            fs::remove_file(name)?;
        }
        Ok(scratch)
    }

    fn named(directory: &Path, mode: u32) -> io::Result<Self> {
        let name = hidden(directory)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&name)?;
        Ok(Self {
            file,
            name: Some(name),
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn file_mut(&mut self) -> &mut File {
        &mut self.file
    }

    /// Its name, where the file system forced one.
    pub(super) fn name(&self) -> Option<&Path> {
        self.name.as_deref()
    }

    /// A path by which a child process opens it while this process lives (proc(5)).
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.file.as_raw_fd()
        ))
    }

    /// Gives the file its name once its bytes are on disk: `AlreadyExists` where something has it, unless `replace`.
    pub(super) fn publish(mut self, out: &Path, replace: bool) -> io::Result<()> {
        self.file.sync_all()?;
        match (self.name.take(), replace) {
            (None, false) => self.link(out),
            (None, true) => {
                // A link never replaces: through a second name, which this value removes where the rename fails.
                let name = hidden(super::parent(out))?;
                self.link(&name)?;
                fs::rename(self.name.insert(name), out)?;
                self.name = None;
                Ok(())
            }
            (Some(name), true) => {
                fs::rename(self.name.insert(name), out)?;
                self.name = None;
                Ok(())
            }
            (Some(name), false) => {
                let name = self.name.insert(name);
                match renameat_with(CWD, &*name, CWD, out, RenameFlags::NOREPLACE) {
                    Ok(()) => self.name = None,
                    // NFS has no RENAME_NOREPLACE, but a link is as atomic; the old name goes with this value.
                    Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                        fs::hard_link(name, out)?;
                    }
                    Err(other) => return Err(other.into()),
                }
                Ok(())
            }
        }
    }

    fn link(&self, to: &Path) -> io::Result<()> {
        Ok(linkat(CWD, self.path(), CWD, to, AtFlags::SYMLINK_FOLLOW)?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            // Nothing can be done about a failure here, and the reason to stop was told already.
            let _ = fs::remove_file(name);
        }
    }
}

fn hidden(directory: &Path) -> io::Result<PathBuf> {
    Ok(directory.join(format!(".oarlock-build-{}", random_uuid()?)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{ErrorKind, Write};

    use super::Scratch;

    /// Every way to make a scratch file that can be published.
    fn kinds(directory: &std::path::Path) -> [Scratch; 2] {
        [
            Scratch::new(directory, 0o777).expect("unnamed"),
            Scratch::named(directory, 0o777).expect("named"),
        ]
    }

    fn names(directory: &std::path::Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("list");
        entries
            .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn publishing_gives_the_name_and_leaves_nothing_else() {
        for kind in 0..2 {
            let place = tempfile::tempdir().expect("a directory");
            let out = place.path().join("app.sif");
            let publish = |text: &str, replace| {
                let [unnamed, named] = kinds(place.path());
                let mut scratch = if kind == 0 { unnamed } else { named };
                scratch
                    .file_mut()
                    .write_all(text.as_bytes())
                    .expect("write");
                scratch.publish(&out, replace)
            };
            publish("one", false).expect("published");
            assert_eq!(fs::read_to_string(&out).expect("read"), "one");
            let taken = publish("two", false).expect_err("taken");
            assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
            assert_eq!(fs::read_to_string(&out).expect("read"), "one");
            publish("three", true).expect("replaced");
            assert_eq!(fs::read_to_string(&out).expect("read"), "three");
            assert_eq!(names(place.path()), ["app.sif"], "kind {kind}");
        }
    }

    #[test]
    fn giving_up_leaves_nothing() {
        let place = tempfile::tempdir().expect("a directory");
        drop(kinds(place.path()));
        let nameless = Scratch::nameless(place.path()).expect("nameless");
        assert!(names(place.path()).is_empty());
        fs::write(nameless.path(), "reached").expect("reachable through /proc");
        assert_eq!(nameless.file().metadata().expect("stat").len(), 7);
        let directory = place.path().join("taken");
        fs::create_dir(&directory).expect("mkdir");
        for scratch in kinds(place.path()) {
            scratch
                .publish(&directory, true)
                .expect_err("a directory is not replaced");
        }
        assert_eq!(names(place.path()), ["taken"]);
    }
}
