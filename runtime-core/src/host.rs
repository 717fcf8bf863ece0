//! The files of a host, below a directory that stands for its root: `/`, or in tests
//! a tree that they made.
//!
//! What decides something must be root's: [`Host::read`] refuses what another could
//! have written. Nothing here writes, waits for a pipe, or leaves the directory: the
//! links in a tree are followed as if it were the root.

mod glob;

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// No pattern stands for more files.
const MAX_MATCHES: usize = 4096;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be opened or read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else than a file.
    #[error("{}: not a regular file", .0.display())]
    NoFile(PathBuf),
    /// Others than root can write it.
    #[error("{}: only root may be able to write this file; chown root and chmod go-w it", .0.display())]
    NotRoots(PathBuf),
    /// Longer than such a file can be.
    #[error("{}: longer than {most} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The bound, in bytes.
        most: u64,
    },
}

impl ReadError {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory))
    }

    /// Whether another user could read it.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }
}

/// A host's tree of files.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
    owner: u32,
}

impl Host {
    /// This host.
    #[must_use]
    pub fn this() -> Self {
        Self {
            root: PathBuf::from("/"),
            owner: 0,
        }
    }

    /// The tree below a directory. Whoever owns the directory is its root.
    ///
    /// # Errors
    /// What the kernel said of the directory.
    pub fn at(root: &Path) -> io::Result<Self> {
        Ok(Self {
            root: root.to_owned(),
            owner: root.metadata()?.uid(),
        })
    }

    /// Whether it is the host that this process runs on.
    #[must_use]
    pub fn is_this(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The number of the account that stands for root.
    #[must_use]
    pub fn root_uid(&self) -> u32 {
        self.owner
    }

    /// Where one of the host's files lies for this process: to execute it, or to name
    /// it to somebody. Links are not looked at.
    #[must_use]
    pub fn place(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Opens one path of the host's.
    ///
    /// # Errors
    /// What the kernel said.
    fn open(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC;
        let inside = path.strip_prefix("/").unwrap_or(path);
        let inside = if inside.as_os_str().is_empty() {
            Path::new(".")
        } else {
            inside
        };
        if self.is_this() {
            let place = self.root.join(inside);
            return Ok(rustix::fs::open(place, flags, Mode::empty())?.into());
        }
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, &self.root, directory, Mode::empty())?;
        let within = ResolveFlags::IN_ROOT;
        match rustix::fs::openat2(&root, inside, flags, Mode::empty(), within) {
            Ok(fd) => Ok(fd.into()),
            // Before Linux 5.6.
            Err(Errno::NOSYS) => {
                Ok(rustix::fs::openat(&root, inside, flags, Mode::empty())?.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The content of a file that only root can have written, of at most so many bytes.
    ///
    /// # Errors
    /// Any [`ReadError`].
    pub fn read(&self, path: &Path, most: u64) -> Result<Vec<u8>, ReadError> {
        self.content(path, most, true)
    }

    /// The content of a file, whoever owns it: for what is only shown, and for the
    /// kernel's own files.
    ///
    /// # Errors
    /// Any [`ReadError`] but [`ReadError::NotRoots`].
    pub fn look_into(&self, path: &Path, most: u64) -> Result<Vec<u8>, ReadError> {
        self.content(path, most, false)
    }

    fn content(&self, path: &Path, most: u64, roots: bool) -> Result<Vec<u8>, ReadError> {
        let failed = |source| ReadError::Read {
            path: path.to_owned(),
            source,
        };
        // A pipe is opened without waiting, and then refused.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.open(path, flags).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(ReadError::NoFile(path.to_owned()));
        }
        if roots && !self.is_roots(&about) {
            return Err(ReadError::NotRoots(path.to_owned()));
        }
        let mut content = Vec::new();
        file.take(most.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(failed)?;
        if u64::try_from(content.len()).is_ok_and(|length| length > most) {
            return Err(ReadError::TooLong {
                path: path.to_owned(),
                most,
            });
        }
        Ok(content)
    }

    /// What one of the kernel's small files says, without white space around it.
    #[must_use]
    pub fn word(&self, path: &str) -> Option<String> {
        let bytes = self.look_into(Path::new(path), 64 << 10).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Whether only root could have written something with this owner and mode.
    #[must_use]
    pub fn is_roots(&self, about: &Metadata) -> bool {
        about.uid() == self.owner && about.mode() & 0o022 == 0
    }

    /// What is known of a path, links followed.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        self.open(path, OFlags::PATH)?.metadata()
    }

    /// Whether there is something.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.metadata(path).is_ok()
    }

    /// An open descriptor that stands for a path, for statfs and the like.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn handle(&self, path: &Path) -> io::Result<File> {
        self.open(path, OFlags::PATH)
    }

    /// The names in a directory, in order.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let directory = self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(std::os::fd::OwnedFd::from(directory))? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The paths that a pattern stands for, in order: `*`, `?` and `[…]` in each of
    /// its components. At most 4096.
    #[must_use]
    pub fn glob(&self, pattern: &Path) -> Vec<PathBuf> {
        let mut found = vec![PathBuf::from("/")];
        for component in pattern.components() {
            let Component::Normal(name) = component else {
                continue;
            };
            let is_pattern = name.as_bytes().iter().any(|b| b"*?[".contains(b));
            let mut next = Vec::new();
            for place in &found {
                if !is_pattern {
                    next.push(place.join(name));
                    continue;
                }
                // As glob(3): what begins with a dot is meant only by a dot.
                let visible = |entry: &OsString| {
                    !entry.as_bytes().starts_with(b".") || name.as_bytes().starts_with(b".")
                };
                let entries = self.list(place).unwrap_or_default();
                next.extend(
                    entries
                        .into_iter()
                        .filter(|entry| {
                            visible(entry) && glob::matches(name.as_bytes(), entry.as_bytes())
                        })
                        .map(|entry| place.join(entry))
                        .take(MAX_MATCHES),
                );
            }
            next.truncate(MAX_MATCHES);
            found = next;
        }
        found.retain(|path| self.has(path));
        found
    }
}

#[cfg(test)]
pub(crate) mod tests;
