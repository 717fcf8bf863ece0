//! What a user may read of his containers: one small file for each, below
//! `/run/oarlock-names/UID`.
//!
//! The containers' own directories are root's, so a list for users has to lie
//! elsewhere. Root writes these files and never reads them: nothing is decided by
//! them. They and their directories are root's, and the user reads them by an access
//! control list: the owner of a file could fill the node's memory with it.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, XattrFlags};

use super::Key;
use crate::message::for_people;
use crate::runtime_directory;

/// Everybody may pass, nobody may look around. It is beside
/// [`runtime_directory::PATH`], which nobody may enter.
pub const PATH: &str = "/run/oarlock-names";

/// As many are shown to a user: he cannot fill the node's memory with names.
const MOST: usize = 1000;

/// A container, as its user is shown it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub key: Key,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// The image's path, as the job saw it, fit for a terminal.
    pub image: String,
}

/// Shows a container to its user. The user's lock is held, or nobody else does it.
///
/// # Errors
/// What the kernel said; `EOPNOTSUPP` where /run has no access control lists.
pub fn show(key: &Key, image: &Path, created: u64) -> io::Result<()> {
    show_in(Path::new(PATH), key, image, created)
}

fn show_in(base: &Path, key: &Key, image: &Path, created: u64) -> io::Result<()> {
    let all = runtime_directory::make_owned(base)?;
    rustix::fs::fchmod(&all, Mode::from_raw_mode(0o711))?;
    let place = base.join(key.uid.to_string());
    let directory = runtime_directory::make_owned(&place)?;
    let_read(directory.as_fd(), key.uid)?;
    if keys(&place)?.len() >= MOST {
        return Err(io::Error::other("the user has too many to be listed"));
    }
    let text = format!("{created}\t{}\n", for_people(&image.to_string_lossy()));
    // No key begins with a dot.
    let aside = format!(".{}", std::process::id());
    match rustix::fs::unlinkat(&directory, &aside, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&directory, &aside, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(0o444))?;
    File::from(file).write_all(text.as_bytes())?;
    rustix::fs::renameat(&directory, &aside, &directory, key.to_string())?;
    Ok(())
}

/// A directory's access control list, acl(5): all for its owner, and this user may
/// list and pass. The form is Linux' `posix_acl_xattr.h`, little-endian.
fn let_read(directory: BorrowedFd<'_>, uid: u32) -> io::Result<()> {
    const NOBODYS: u32 = u32::MAX;
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 0o7, NOBODYS), // the owner
        (0x02, 0o5, uid),     // this user
        (0x04, 0o0, NOBODYS), // the group
        (0x10, 0o5, NOBODYS), // the most that users and groups get
        (0x20, 0o0, NOBODYS), // all others
    ];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (kind, may, id) in entries {
        list.extend(kind.to_le_bytes());
        list.extend(may.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    let name = "system.posix_acl_access";
    rustix::fs::fsetxattr(directory, name, &list, XattrFlags::empty())?;
    Ok(())
}

/// Takes a container off its user's list.
pub fn forget(key: &Key) {
    forget_in(Path::new(PATH), key);
}

fn forget_in(base: &Path, key: &Key) {
    let place = base.join(key.uid.to_string());
    let _ = std::fs::remove_file(place.join(key.to_string()));
    let _ = rustix::fs::rmdir(&place);
}

/// A user's containers, for the user; `None` where this machine has shown nobody any
/// since its boot.
///
/// # Errors
/// What the kernel said.
pub fn of(uid: u32) -> io::Result<Option<Vec<Listed>>> {
    of_in(Path::new(PATH), uid)
}

fn of_in(base: &Path, uid: u32) -> io::Result<Option<Vec<Listed>>> {
    if !base.exists() {
        return Ok(None);
    }
    let place = base.join(uid.to_string());
    let mut found = Vec::new();
    for key in keys(&place)? {
        // One that has gone meanwhile, or is none.
        let Ok(text) = std::fs::read_to_string(place.join(key.to_string())) else {
            continue;
        };
        let Some((created, image)) = text.trim_end_matches('\n').split_once('\t') else {
            continue;
        };
        found.push(Listed {
            key,
            created: created.parse().unwrap_or_default(),
            image: image.to_owned(),
        });
    }
    found.sort_by_key(|listed| (listed.key.job, listed.key.name.clone()));
    Ok(Some(found))
}

fn keys(place: &Path) -> io::Result<Vec<Key>> {
    match std::fs::read_dir(place) {
        Ok(entries) => Ok(entries
            .flatten()
            .filter_map(|entry| Key::parse(entry.file_name().to_str()?))
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Every container that is shown to anybody. For root, and as names alone.
#[must_use]
pub fn shown() -> Vec<Key> {
    let users = std::fs::read_dir(PATH).into_iter().flatten().flatten();
    let places: Vec<PathBuf> = users.map(|user| user.path()).collect();
    places
        .iter()
        .flat_map(|place| keys(place).unwrap_or_default())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_listed_until_it_is_forgotten() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().join("names");
        let uid = rustix::process::getuid().as_raw();
        assert_eq!(of_in(&base, uid).unwrap(), None);
        let key = |name: &str, job| Key {
            uid,
            job,
            name: name.to_owned(),
        };
        for (name, job) in [("b", None), ("a.b", None), ("a", Some(7))] {
            let shown = show_in(&base, &key(name, job), Path::new("/x\n\t.sif"), 5);
            if shown.is_err_and(|error| error.raw_os_error() == Some(libc::EOPNOTSUPP)) {
                return;
            }
        }
        // Made again.
        show_in(&base, &key("b", None), Path::new("/y.sif"), 6).unwrap();
        let found = of_in(&base, uid).unwrap().unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|l| (l.key.name.as_str(), l.key.job, l.created, l.image.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("a.b", None, 5, "/x  .sif"),
                ("b", None, 6, "/y.sif"),
                ("a", Some(7), 5, "/x  .sif"),
            ]
        );
        for (name, job) in [("b", None), ("a.b", None), ("a", Some(7)), ("c", None)] {
            forget_in(&base, &key(name, job));
        }
        assert_eq!(of_in(&base, uid).unwrap(), Some(Vec::new()));
        assert!(!base.join(uid.to_string()).exists());
    }
}
