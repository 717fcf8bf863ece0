//! The one way to the node's files: everything is looked up below a root directory, links included.
//!
//! Opens regular files and directories for reading only, and never a device, a pipe or a socket: those are looked
//! at without being opened. Whatever is read has a bound.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::Problem;

/// No file of /proc, /sys or a driver's configuration that is read as text is longer, in bytes.
const TEXT: u64 = 64 << 10;
/// No directory that is listed has more entries; what comes after them is not seen.
const ENTRIES: usize = 1 << 16;
/// Links that are followed from a library's name to its file.
const LINKS: usize = 8;

/// The node's files, as seen from a root directory. Needs openat2(2), Linux 5.6.
#[derive(Debug)]
pub struct Host {
    root: OwnedFd,
    stand_ins: bool,
}

impl Host {
    /// The files below `root`: "/" but for tests.
    ///
    /// # Errors
    ///
    /// [`Problem::Read`] where it is no directory, or the kernel is too old.
    pub fn at(root: &Path) -> Result<Self, Problem> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(CWD, root, flags, Mode::empty(), ResolveFlags::empty())
            .map(|root| Self {
                root,
                stand_ins: false,
            })
            .map_err(|errno| Problem::read(root, errno))
    }

    /// For tests that may not make device nodes: a regular file stands for a device as well.
    #[must_use]
    pub fn with_stand_ins(self) -> Self {
        Self {
            stand_ins: true,
            ..self
        }
    }

    /// A descriptor that only names the file.
    fn place(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        self.open(path, OFlags::PATH | flags)
    }

    fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::openat2(
            &self.root,
            path,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
            // An absolute link and `..` stay below the root.
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )
    }

    fn stat(&self, path: &Path) -> Option<Stat> {
        rustix::fs::fstat(self.place(path, OFlags::empty()).ok()?).ok()
    }

    fn kind(&self, path: &Path) -> Option<FileType> {
        self.stat(path)
            .map(|stat| FileType::from_raw_mode(stat.st_mode))
    }

    /// Whether a character device is there. The only place that tells.
    pub(crate) fn is_device(&self, path: &Path) -> bool {
        match self.kind(path) {
            Some(FileType::CharacterDevice) => true,
            Some(FileType::RegularFile) => self.stand_ins,
            _ => false,
        }
    }

    /// Whether a regular file is there.
    pub(crate) fn is_file(&self, path: &Path) -> bool {
        self.kind(path) == Some(FileType::RegularFile)
    }

    /// Whether a socket is there.
    pub(crate) fn is_socket(&self, path: &Path) -> bool {
        self.kind(path) == Some(FileType::Socket)
    }

    /// What tells whether two paths are one file or directory.
    pub(crate) fn identity(&self, path: &Path) -> Option<(u64, u64)> {
        self.stat(path).map(|stat| (stat.st_dev, stat.st_ino))
    }

    /// A regular file for reading; `None` where there is none. What others than root could have written is not
    /// read: libraries are parsed, and whoever looks for them may be root.
    ///
    /// # Errors
    ///
    /// [`Problem::Read`] where it is there and cannot be opened, [`Problem::Foreign`].
    pub(crate) fn file(&self, path: &Path) -> Result<Option<File>, Problem> {
        if !self.is_file(path) {
            return Ok(None);
        }
        match self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(file) => match rustix::fs::fstat(&file) {
                Ok(about) if self.stand_ins || is_roots(&about) => Ok(Some(File::from(file))),
                Ok(_) => Err(Problem::Foreign(path.to_owned())),
                Err(errno) => Err(Problem::read(path, errno)),
            },
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Problem::read(path, errno)),
        }
    }

    /// A file's bytes; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`Problem::Read`], and [`Problem::TooLong`] for more than `limit` bytes.
    pub(crate) fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, Problem> {
        let Some(file) = self.file(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        if let Err(error) = read {
            return Err(Problem::Read {
                path: path.to_owned(),
                why: error.to_string(),
            });
        }
        if bytes.len() as u64 > limit {
            return Err(Problem::TooLong {
                path: path.to_owned(),
                limit,
            });
        }
        Ok(Some(bytes))
    }

    /// A short text of the kernel's or a driver's; `None` where there is none or it is no text.
    pub(crate) fn text(&self, path: &Path) -> Option<String> {
        String::from_utf8(self.read(path, TEXT).ok()??).ok()
    }

    /// One number or word in a file of its own, as sysfs has them.
    pub(crate) fn word(&self, path: &Path) -> Option<String> {
        let text = self.text(path)?;
        let word = text.trim();
        (!word.is_empty() && !word.chars().any(char::is_control)).then(|| word.to_owned())
    }

    /// The names in a directory, sorted; none where there is no directory. A name that is no text is left out.
    pub(crate) fn list(&self, path: &Path) -> Vec<String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let Ok(directory) = self.open(path, flags) else {
            return Vec::new();
        };
        let Ok(entries) = rustix::fs::Dir::read_from(directory.as_fd()) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .take(ENTRIES)
            .filter_map(|entry| entry.ok()?.file_name().to_str().ok().map(str::to_owned))
            .filter(|name| name != "." && name != ".." && !name.chars().any(char::is_control))
            .collect();
        names.sort();
        names
    }

    /// Names in a directory that are `prefix` and a decimal number: the numbers, in order.
    pub(crate) fn numbered(&self, directory: &Path, prefix: &str) -> Vec<u32> {
        let mut numbers: Vec<u32> = self
            .list(directory)
            .iter()
            .filter_map(|name| number(name.strip_prefix(prefix)?))
            .collect();
        numbers.sort_unstable();
        numbers
    }

    /// The file that a path's last links lead to; its directory's links stay as they are.
    pub(crate) fn target(&self, path: &Path) -> PathBuf {
        let mut path = path.to_owned();
        for _ in 0..LINKS {
            let Ok(link) = self.place(&path, OFlags::NOFOLLOW) else {
                break;
            };
            // Fails for what is no link.
            let Ok(target) = rustix::fs::readlinkat(link, "", Vec::new()) else {
                break;
            };
            let Ok(target) = target.into_string() else {
                break;
            };
            path = match path.parent() {
                Some(directory) => directory.join(target),
                None => PathBuf::from(target),
            };
        }
        path
    }
}

/// Whether root alone can have written a file.
fn is_roots(about: &Stat) -> bool {
    about.st_uid == 0 && about.st_mode & 0o022 == 0
}

/// A decimal number as the kernel writes it: digits only, no leading zero.
pub(crate) fn number(text: &str) -> Option<u32> {
    let plain = text == "0" || !text.starts_with('0');
    (plain && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::testing::Root;

    #[test]
    fn links_stay_below_the_root() {
        let root = Root::new();
        root.file("etc/inside", "in");
        symlink("/etc/inside", root.path("absolute")).expect("a link");
        symlink("../../../../etc/inside", root.path("upwards")).expect("a link");
        symlink("/etc/passwd", root.path("away")).expect("a link");
        let host = root.host();
        for name in ["/absolute", "/upwards", "/etc/inside"] {
            assert_eq!(host.text(Path::new(name)).as_deref(), Some("in"), "{name}");
        }
        assert_eq!(host.text(Path::new("/away")), None);
        assert_eq!(
            host.target(Path::new("/absolute")),
            Path::new("/etc/inside")
        );
    }

    #[test]
    fn a_file_that_is_too_long_is_said_to_be() {
        let root = Root::new();
        root.file("long", "12345");
        let host = root.host();
        let path = Path::new("/long");
        assert_eq!(host.read(path, 5).expect("short"), Some(b"12345".to_vec()));
        assert_eq!(
            host.read(path, 4).expect_err("long").to_string(),
            "/long is longer than 4 bytes, more than such a file has; look what wrote it"
        );
    }

    #[test]
    fn what_others_could_have_written_is_not_read() {
        use std::os::unix::fs::PermissionsExt;
        let root = Root::new();
        root.file("lib.so", "text");
        let host = Host::at(&root.path("")).expect("a root");
        let writable = std::fs::Permissions::from_mode(0o664);
        std::fs::set_permissions(root.path("lib.so"), writable).expect("a mode");
        let problem = host.read(Path::new("/lib.so"), 10).expect_err("others'");
        assert!(
            problem
                .to_string()
                .starts_with("/lib.so: others than root could have written it")
        );
    }

    #[test]
    fn nothing_but_files_is_opened() {
        let root = Root::new();
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(CWD, root.path("pipe"), FileType::Fifo, mode, 0).expect("a pipe");
        assert_eq!(root.host().text(Path::new("/pipe")), None);
        assert!(root.host().list(Path::new("/pipe")).is_empty());
        assert!(!root.host().is_device(Path::new("/pipe")));
    }

    #[test]
    fn a_file_is_a_device_for_tests_only() {
        let root = Root::new();
        root.file("dev/nvidia0", "");
        let path = Path::new("/dev/nvidia0");
        assert!(!Host::at(&root.path("")).expect("a root").is_device(path));
        let stand_ins = Host::at(&root.path("")).expect("a root").with_stand_ins();
        assert!(stand_ins.is_device(path));
        assert!(!stand_ins.is_device(Path::new("/dev")));
        assert!(
            Host::at(Path::new("/"))
                .expect("/")
                .is_device(Path::new("/dev/null"))
        );
    }

    #[test]
    fn numbers_are_sorted_as_numbers() {
        let root = Root::new();
        for name in [
            "nvidia10",
            "nvidia9",
            "nvidia",
            "nvidia-uvm",
            "nvidia01",
            "nvidia+1",
        ] {
            root.file(&format!("dev/{name}"), "");
        }
        let found = root.host().numbered(Path::new("/dev"), "nvidia");
        assert_eq!(found, [9, 10]);
        assert_eq!(number(""), None);
        assert_eq!(number("4294967296"), None);
    }
}
