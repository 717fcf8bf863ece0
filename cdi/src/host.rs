//! Files of the host that only root can have written.
//!
//! Every component of a path is looked at by itself, from the host's root on:
//! whoever owns a directory chooses what lies in it. Links are read and followed
//! here, within that root, never by the kernel, so that one of a user's leads
//! nowhere. No file is opened before it is known to be a regular one.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::Problem;
use crate::limits;

/// Whose files are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trust {
    owner: u32,
}

impl Trust {
    /// Root's only; what production uses.
    pub const ROOT: Self = Self { owner: 0 };

    /// Those of one more user; for tests, which are not root.
    #[must_use]
    pub fn also(uid: u32) -> Self {
        Self { owner: uid }
    }

    fn has(self, uid: u32) -> bool {
        uid == 0 || uid == self.owner
    }
}

/// What is wrong with a path; `None` where there is no such thing.
pub(crate) type Opened<T> = Result<Option<T>, Problem>;

/// The host's files below one directory.
pub(crate) struct Host {
    root: OwnedFd,
    trust: Trust,
}

/// Where a path leads.
struct Place {
    /// The directories to it, the host's root first. The last has the thing.
    way: Vec<(OwnedFd, PathBuf)>,
    /// The thing, where it is no directory: its name in that directory.
    file: Option<(OsString, Stat)>,
}

impl Place {
    fn directory(&self) -> Option<BorrowedFd<'_>> {
        self.way.last().map(|(fd, _)| fd.as_fd())
    }
}

impl Host {
    /// The host whose root is here; "/" in production.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub(crate) fn at(root: &Path, trust: Trust) -> Result<Self, Problem> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(root, flags, Mode::empty()).map_err(read)?;
        Ok(Self { root, trust })
    }

    /// The names in a directory that are specs by their endings, sorted, and whether
    /// there were too many entries to look at all.
    pub(crate) fn list(
        &self,
        path: &Path,
        want: impl Fn(&Path) -> bool,
    ) -> Opened<(Vec<OsString>, bool)> {
        let Some(place) = self.find(path)? else {
            return Ok(None);
        };
        let (Some(directory), None) = (place.directory(), &place.file) else {
            return Err(Problem::NotDirectory(path.to_owned()));
        };
        let mut names = Vec::new();
        for (count, entry) in rustix::fs::Dir::read_from(directory)
            .map_err(read)?
            .enumerate()
        {
            // `.` and `..` are among them.
            if count >= limits::ENTRIES + 2 {
                names.sort();
                return Ok(Some((names, true)));
            }
            let entry = entry.map_err(read)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if want(Path::new(name)) && entry.file_type() != FileType::Directory {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(Some((names, false)))
    }

    /// The content of a file, of [`limits::FILE`] bytes at the most.
    pub(crate) fn read(&self, path: &Path) -> Opened<Vec<u8>> {
        let Some(place) = self.find(path)? else {
            return Ok(None);
        };
        let (Some(directory), Some((name, seen))) = (place.directory(), &place.file) else {
            return Err(Problem::NotRegular);
        };
        self.check(seen, path)?;
        if FileType::from_raw_mode(seen.st_mode) != FileType::RegularFile {
            return Err(Problem::NotRegular);
        }
        // Only root can have put something else there by now; a pipe of root's would
        // still be a step that waits forever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(directory, name, flags, Mode::empty()).map_err(read)?;
        let opened = rustix::fs::fstat(&fd).map_err(read)?;
        if FileType::from_raw_mode(opened.st_mode) != FileType::RegularFile {
            return Err(Problem::NotRegular);
        }
        self.check(&opened, path)?;
        let mut bytes = Vec::new();
        let mut file = std::fs::File::from(fd).take(limits::FILE + 1);
        file.read_to_end(&mut bytes).map_err(Problem::Read)?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > limits::FILE) {
            return Err(Problem::TooLong);
        }
        Ok(Some(bytes))
    }

    /// Goes to a path, link by link; `None` where it ends in nothing.
    fn find(&self, path: &Path) -> Opened<Place> {
        let root = open(self.root.as_fd(), OsStr::new("."), OFlags::DIRECTORY).map_err(read)?;
        self.check(&rustix::fs::fstat(&root).map_err(read)?, Path::new("/"))?;
        let mut place = Place {
            way: vec![(reopen(root.as_fd())?, PathBuf::from("/"))],
            file: None,
        };
        let mut ahead: VecDeque<OsString> = parts(path);
        let mut links = 0_usize;
        // How much of the path itself is still ahead, behind what links have put there.
        let mut left = ahead.len();
        while let Some(name) = ahead.pop_front() {
            let is_of_a_link = ahead.len() >= left;
            left = left.min(ahead.len());
            if name == ".." {
                if place.way.len() > 1 {
                    place.way.pop();
                }
                continue;
            }
            let Some((directory, above)) = place.way.last() else {
                return Ok(None);
            };
            let here = above.join(&name);
            let fd = match open(directory.as_fd(), &name, OFlags::PATH) {
                Ok(fd) => fd,
                Err(Errno::NOENT) if is_of_a_link => return Err(Problem::Dangling),
                Err(Errno::NOENT) => return Ok(None),
                Err(errno) => return Err(read(errno)),
            };
            let stat = rustix::fs::fstat(&fd).map_err(read)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    if links > limits::LINKS {
                        return Err(Problem::Links);
                    }
                    // The mode of a link means nothing.
                    if !self.trust.has(stat.st_uid) {
                        return Err(Problem::Owner(here));
                    }
                    let target = rustix::fs::readlinkat(&fd, "", Vec::new()).map_err(read)?;
                    let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                    if target.is_absolute() {
                        place.way.truncate(1);
                    }
                    for part in parts(&target).into_iter().rev() {
                        ahead.push_front(part);
                    }
                }
                FileType::Directory => {
                    self.check(&stat, &here)?;
                    place.way.push((reopen(fd.as_fd())?, here));
                }
                _ if ahead.is_empty() => place.file = Some((name, stat)),
                _ => return Err(Problem::NotDirectory(here)),
            }
        }
        Ok(Some(place))
    }

    fn check(&self, stat: &Stat, path: &Path) -> Result<(), Problem> {
        if !self.trust.has(stat.st_uid) {
            return Err(Problem::Owner(path.to_owned()));
        }
        // A POSIX access list that lets others write shows in the group bits.
        if stat.st_mode & 0o022 != 0 {
            return Err(Problem::Writable(path.to_owned()));
        }
        Ok(())
    }
}

fn open(at: BorrowedFd<'_>, name: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// A directory that can be listed, from one that was looked at.
fn reopen(directory: BorrowedFd<'_>) -> Result<OwnedFd, Problem> {
    open(directory, OsStr::new("."), OFlags::DIRECTORY).map_err(read)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let one = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(one).collect()
}

fn read(errno: Errno) -> Problem {
    Problem::Read(io::Error::from(errno))
}

#[cfg(test)]
mod tests;
