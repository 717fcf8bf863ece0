//! The directory that becomes an image: what it has, and what an image needs that it lacks.
//!
//! Looks within the directory only: a symbolic link in it is never followed out of it. Changes nothing.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use runtime_core::image::sif::Arch;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, openat2, statat};
use rustix::io::Errno;

use super::BuildError;

/// Directories that a container runtime mounts over or writes to, parents first, with their modes. Those below
/// `.singularity.d` are where Apptainer looks for the environment and binds GPU libraries.
const DIRECTORIES: [(&str, &str); 13] = [
    ("dev", "755"),
    ("etc", "755"),
    ("home", "755"),
    ("proc", "555"),
    ("root", "700"),
    ("run", "755"),
    ("sys", "555"),
    ("tmp", "1777"),
    ("var", "755"),
    ("var/tmp", "1777"),
    (".singularity.d", "755"),
    (".singularity.d/env", "755"),
    (".singularity.d/libs", "755"),
];

/// Files that a container runtime binds the host's over.
const FILES: [&str; 2] = ["etc/hosts", "etc/resolv.conf"];

/// A root file system in a directory.
pub(super) struct Tree {
    /// Its absolute path without symbolic links.
    pub(super) path: PathBuf,
    root: File,
}

/// What the image gets in addition.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Addition {
    Directory {
        path: &'static str,
        mode: &'static str,
    },
    EmptyFile {
        path: &'static str,
    },
}

impl Tree {
    pub(super) fn open(path: &Path) -> Result<Self, BuildError> {
        let failed = |source| BuildError::Directory {
            path: path.to_owned(),
            source,
        };
        let absolute = fs::canonicalize(path).map_err(failed)?;
        let mut entries = fs::read_dir(&absolute).map_err(failed)?;
        if entries.next().is_none() {
            return Err(BuildError::EmptyDirectory {
                path: path.to_owned(),
            });
        }
        let root = File::open(&absolute).map_err(failed)?;
        Ok(Self {
            path: absolute,
            root,
        })
    }

    pub(super) fn has_shell(&self) -> bool {
        self.find("bin/sh").is_ok()
    }

    /// What the tree's shell is built for; `None` where there is none or it is no ELF file.
    pub(super) fn shell_arch(&self) -> Option<Arch> {
        let mut start = [0; 20];
        self.find("bin/sh").ok()?.read_exact(&mut start).ok()?;
        Arch::from_elf(&start)
    }

    /// The mount points that are missing.
    pub(super) fn additions(&self) -> Vec<Addition> {
        let directories = DIRECTORIES
            .iter()
            .filter(|(path, _)| self.lacks(path))
            .map(|(path, mode)| Addition::Directory { path, mode });
        let files = FILES
            .iter()
            .filter(|path| self.lacks(path))
            .map(|path| Addition::EmptyFile { path });
        directories.chain(files).collect()
    }

    /// Whether `path` can and must be added. Below a link or a file nothing can be added.
    fn lacks(&self, path: &str) -> bool {
        if let Some((parent, _)) = path.split_once('/') {
            match self.kind(parent) {
                Ok(FileType::Directory) => {}
                Err(Errno::NOENT) => return true,
                Ok(_) | Err(_) => return false,
            }
        }
        self.kind(path) == Err(Errno::NOENT)
    }

    fn kind(&self, path: &str) -> rustix::io::Result<FileType> {
        let found = statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(found.st_mode))
    }

    /// Opens a regular file as a process would that has the directory as its root (openat2(2)).
    fn find(&self, path: &str) -> rustix::io::Result<File> {
        // NONBLOCK: a FIFO by that name must not hang the build.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        openat2(
            &self.root,
            path,
            flags,
            Mode::empty(),
            ResolveFlags::IN_ROOT,
        )
        .map(File::from)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use runtime_core::image::sif::Arch;

    use super::{Addition, Tree};

    #[test]
    fn what_is_missing_is_added_and_nothing_else() {
        let place = tempfile::tempdir().expect("a directory");
        let root = place.path();
        for directory in ["dev", "etc", "proc", "sys", "run", "tmp", "home", "root"] {
            fs::create_dir(root.join(directory)).expect("mkdir");
        }
        fs::create_dir_all(root.join(".singularity.d/env")).expect("mkdir");
        symlink("../run/resolv.conf", root.join("etc/resolv.conf")).expect("a dangling link");
        let tree = Tree::open(root).expect("a tree");
        assert_eq!(
            tree.additions(),
            [
                Addition::Directory {
                    path: "var",
                    mode: "755"
                },
                Addition::Directory {
                    path: "var/tmp",
                    mode: "1777"
                },
                Addition::Directory {
                    path: ".singularity.d/libs",
                    mode: "755"
                },
                Addition::EmptyFile { path: "etc/hosts" },
            ]
        );
        // Nothing can be put below a link, wherever it leads.
        symlink("/nowhere", root.join("var")).expect("a link");
        assert_eq!(tree.additions().len(), 2);
    }

    #[test]
    fn the_shell_is_looked_for_inside() {
        let place = tempfile::tempdir().expect("a directory");
        let root = place.path();
        fs::create_dir_all(root.join("bin")).expect("mkdir");
        symlink("/bin/box", root.join("bin/sh")).expect("an absolute link");
        let tree = Tree::open(root).expect("a tree");
        assert!(!tree.has_shell());
        let mut elf = b"\x7fELF\x02\x01".to_vec();
        elf.resize(18, 0);
        elf.extend_from_slice(&[183, 0]);
        fs::write(root.join("bin/box"), elf).expect("write");
        assert!(tree.has_shell());
        assert_eq!(tree.shell_arch(), Some(Arch::Arm64));
    }

    #[test]
    fn an_empty_or_missing_directory_or_a_file_is_refused() {
        let place = tempfile::tempdir().expect("a directory");
        assert!(Tree::open(place.path()).is_err());
        assert!(Tree::open(&place.path().join("missing")).is_err());
        let file = place.path().join("file");
        fs::write(&file, "x").expect("write");
        assert!(Tree::open(&file).is_err());
        assert!(Tree::open(place.path()).is_ok());
    }
}
