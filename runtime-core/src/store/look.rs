//! What a store holds, for people: looked at, and left as it is.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, SystemTime};

use super::room::is_stale;
use super::{OBJECTS, PARTIAL, RECORDS, Store};
use crate::config;

/// What a store holds, and may hold. Sizes in bytes, as the disk has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    /// How many copies of images.
    pub images: usize,
    /// What they take.
    pub bytes: u64,
    /// Copies that are being made now.
    pub under_way: usize,
    /// Copies that nobody is making.
    pub unfinished: usize,
    /// Of those, the ones that no step would go on with.
    pub stale: usize,
    /// The last change or use that is noted in it.
    pub newest: Option<SystemTime>,
    /// What it may hold.
    pub bound: u64,
    /// What its file system has left.
    pub free: u64,
}

/// Looks at the site's store. `None` where there is none yet.
///
/// # Errors
/// What the kernel said: `EACCES` for all but root.
pub fn contents(config: &config::Store) -> io::Result<Option<Contents>> {
    let store = Store {
        path: config.path.clone(),
        size: config.size,
    };
    match std::fs::metadata(&store.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let entries = |directory: &str| match store.entries(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other,
    };
    let (objects, records) = (entries(OBJECTS)?, entries(RECORDS)?);
    let partial = entries(PARTIAL)?;
    let newest = objects.iter().chain(&records).chain(&partial);
    let newest = newest.map(|entry| entry.used).max();
    let held = held();
    let (busy, idle): (Vec<_>, Vec<_>) = partial
        .into_iter()
        .partition(|entry| held.contains(&entry.id.1));
    let (bound, free) = store.bound()?;
    Ok(Some(Contents {
        images: objects.len(),
        bytes: objects.iter().map(|entry| entry.bytes).sum(),
        under_way: busy.len(),
        unfinished: idle.len(),
        stale: idle.iter().filter(|entry| is_stale(entry)).count(),
        newest,
        bound,
        free,
    }))
}

/// The inodes that somebody holds a lock on, by proc_locks(5). Who copies holds one: to
/// try it would be to take it, and to keep a step from its copy.
///
/// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF`: on some file systems the numbers of
/// the device are others than stat's, so that the inode's alone are compared.
fn held() -> BTreeSet<u64> {
    let list = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let inode = |line: &str| {
        line.split_whitespace()
            .nth(5)?
            .split(':')
            .nth(2)?
            .parse()
            .ok()
    };
    list.lines().filter_map(inode).collect()
}

impl Contents {
    /// How far in the future the newest time in the store is: a clock was wrong, or is.
    #[must_use]
    pub fn ahead(&self, now: SystemTime) -> Duration {
        let ahead = self
            .newest
            .and_then(|newest| newest.duration_since(now).ok());
        ahead.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Size;

    fn config(path: &std::path::Path) -> config::Store {
        config::Store {
            path: path.to_owned(),
            size: Size::Bytes(1 << 20),
            ..config::Store::default()
        }
    }

    #[test]
    fn a_store_is_counted_and_left_as_it_is() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("store");
        assert_eq!(contents(&config(&path)).unwrap(), None);
        assert!(!path.exists());
        fs::create_dir_all(path.join(OBJECTS)).unwrap();
        let empty = contents(&config(&path)).unwrap().unwrap();
        assert_eq!(
            (empty.images, empty.newest, empty.bound),
            (0, None, 1 << 20)
        );
        assert!(!path.join(PARTIAL).exists());
        fs::create_dir_all(path.join(PARTIAL)).unwrap();
        for name in ["a", "b"] {
            fs::write(path.join(OBJECTS).join(name), [7; 8192]).unwrap();
            fs::write(path.join(PARTIAL).join(name), [7; 4096]).unwrap();
        }
        let held = fs::File::open(path.join(PARTIAL).join("a")).unwrap();
        assert!(crate::sys::lock::exclusive(&held, Duration::ZERO).unwrap());
        let found = contents(&config(&path)).unwrap().unwrap();
        assert_eq!((found.images, found.under_way, found.unfinished), (2, 1, 1));
        assert!(found.bytes >= 16384 && found.stale == 1, "{found:?}");
        let now = SystemTime::now();
        assert!(found.ahead(now) < Duration::from_secs(60));
        let earlier = now - Duration::from_secs(3600);
        assert!(found.ahead(earlier) > Duration::from_secs(3000));
    }
}
