//! Reading profiles from the machine's files, with the rights of whoever runs this:
//! the user, always.
//!
//! A file is looked at before it is opened, so that neither a pipe nor a device is
//! waited for; what is too long is not read.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Found, Library, Places, ProfileError, file};
use crate::request::ProfileName;
use crate::sys;

/// The profiles that this process can open.
#[derive(Debug)]
pub struct Files<'a> {
    /// Where names are looked for.
    pub places: Places,
    /// Where relative paths start, if that is known.
    pub base: Option<BorrowedFd<'a>>,
}

impl Library for Files<'_> {
    fn read(&mut self, name: &ProfileName) -> Result<Found, ProfileError> {
        if name.is_path() {
            let path = Path::new(name.as_os_str());
            return match self.base {
                Some(base) => read(base, path),
                None if path.is_absolute() => read(rustix::fs::CWD, path),
                None => Err(ProfileError::Nowhere(name.clone())),
            };
        }
        let mut file = name.as_os_str().to_owned();
        file.push(".toml");
        for directory in &self.places.0 {
            match read(rustix::fs::CWD, &directory.join(&file)) {
                Err(ProfileError::Absent(_)) => {}
                other => return other,
            }
        }
        Err(ProfileError::Unknown {
            name: name.clone(),
            directories: self.places.0.clone(),
        })
    }
}

fn read(base: BorrowedFd<'_>, path: &Path) -> Result<Found, ProfileError> {
    let refusal = |error: Errno| match error {
        Errno::NOENT | Errno::NOTDIR => ProfileError::Absent(path.to_owned()),
        Errno::ACCESS | Errno::PERM => ProfileError::Denied {
            path: path.to_owned(),
            uid: rustix::process::geteuid().as_raw(),
        },
        other => ProfileError::Read {
            path: path.to_owned(),
            source: other.into(),
        },
    };
    let place = open_place(base, path).map_err(refusal)?;
    let about = rustix::fs::fstat(&place).map_err(refusal)?;
    let what = match FileType::from_raw_mode(about.st_mode) {
        FileType::RegularFile => None,
        FileType::Directory => Some("a directory"),
        FileType::Fifo => Some("a pipe"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        _ => Some("something else"),
    };
    if let Some(what) = what {
        return Err(ProfileError::NoFile {
            path: path.to_owned(),
            what,
        });
    }
    // The same file through its descriptor; the kernel checks its permissions.
    let file = rustix::fs::open(
        sys::mount::descriptor_path(place.as_fd()).as_str(),
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(refusal)?;
    // One byte more tells what is too long.
    let mut bytes = Vec::new();
    let most = file::MAX_BYTES as u64 + 1;
    File::from(file)
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|source| ProfileError::Read {
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() > file::MAX_BYTES {
        return Err(ProfileError::TooLong(path.to_owned()));
    }
    Ok(Found {
        path: path.to_owned(),
        id: (about.st_dev, about.st_ino),
        text: String::from_utf8(bytes).map_err(|_| ProfileError::NoText(path.to_owned()))?,
    })
}

fn open_place(base: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match rustix::fs::openat2(
        base,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    ) {
        // Linux before 5.6: the process has its user's rights and no others.
        Err(Errno::NOSYS) => rustix::fs::openat(base, path, flags, Mode::empty()),
        other => other,
    }
}

/// The profiles in the directories, in their order: the name, the file, and whether
/// one of an earlier directory hides it.
#[must_use]
pub fn list(places: &Places) -> Vec<(String, PathBuf, bool)> {
    let mut all: Vec<(String, PathBuf, bool)> = Vec::new();
    for directory in &places.0 {
        let Ok(entries) = std::fs::read_dir(directory) else {
            continue;
        };
        let mut here: Vec<(String, PathBuf)> = entries
            .filter_map(|entry| {
                let path = entry.ok()?.path();
                let is_profile = path.extension().is_some_and(|end| end == "toml");
                let name = path.file_stem()?.to_str()?.to_owned();
                is_profile.then_some((name, path))
            })
            .collect();
        here.sort();
        for (name, path) in here {
            let hidden = all.iter().any(|(other, _, _)| *other == name);
            all.push((name, path, hidden));
        }
    }
    all
}
