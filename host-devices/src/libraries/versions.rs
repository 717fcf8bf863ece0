//! Which versions of the C and C++ libraries an image has: found from the image's files, and handed over.
//!
//! An image's libraries are a user's: [`defined`] runs in a process with that user's rights, and what it gives is
//! a small value. Root reads it back with every bound checked, and no file of the image's.

use std::cmp::Ordering;
use std::io::{Read, Seek};

use serde::{Deserialize, Serialize};

use super::cache::{self, Entry};
use super::directories;
use super::elf::Elf;
use super::machine::Machine;

/// Versions of one library; glibc has about 50, libstdc++ about 80.
const VERSIONS: usize = 512;
/// Bytes of a version's name; the longest are about 30.
const NAME: usize = 64;
/// Bytes of a cache of libraries that are read; a node with 10,000 of them has 1 MiB.
const CACHE: u64 = 64 << 20;
/// Files of one SONAME in an image's cache that are tried.
const TRIES: usize = 4;

/// A version's name in parts: `GLIBC_2.34` is `GLIBC` and 2, 34. Others, as `GLIBC_PRIVATE`, have no order.
fn parts(version: &str) -> Option<(&str, Vec<u32>)> {
    let (family, numbers) = version.rsplit_once('_')?;
    let numbers: Option<Vec<u32>> = numbers.split('.').map(crate::host::number).collect();
    Some((family, numbers?))
}

/// The order of two versions of one family, by their numbers: 2.9 is before 2.34, and 2.2 before 2.2.5. `None`
/// for versions of two families, and for names that are no numbers.
#[must_use]
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let ((family, a), (other, b)) = (parts(a)?, parts(b)?);
    (family == other).then(|| a.cmp(&b))
}

/// The versions that a library defines: sorted names, bounded in number and length.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Versions(Vec<String>);

/// Why names are no versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no list of a library's versions: {0}")]
pub struct NoVersions(&'static str);

impl TryFrom<Vec<String>> for Versions {
    type Error = NoVersions;

    fn try_from(names: Vec<String>) -> Result<Self, NoVersions> {
        if names.len() > VERSIONS {
            return Err(NoVersions("more than any library has"));
        }
        if !names.iter().all(|name| is_name(name)) {
            return Err(NoVersions("a name that none has"));
        }
        if !names.is_sorted_by(|a, b| a < b) {
            return Err(NoVersions("not in order"));
        }
        Ok(Self(names))
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Versions {
    /// Those of a library that are of these families.
    fn of(elf: &Elf, families: &[&str]) -> Self {
        let wanted =
            |name: &String| is_name(name) && families.iter().any(|family| name.starts_with(family));
        let mut names: Vec<String> = elf
            .defines
            .iter()
            .filter(|name| wanted(name))
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        names.truncate(VERSIONS);
        Self(names)
    }

    /// Whether the library has just this version.
    #[must_use]
    pub fn has(&self, version: &str) -> bool {
        self.0
            .binary_search_by(|name| name.as_str().cmp(version))
            .is_ok()
    }

    /// The highest version of the family that `like` is of: of a number's, or of `GLIBC_` for names without one.
    #[must_use]
    pub fn highest(&self, like: &str) -> Option<&str> {
        let numbered = parts(like).map(|(family, _)| family);
        let family = numbered.or_else(|| like.split('_').next())?;
        self.0
            .iter()
            .filter_map(|name| Some((parts(name)?, name)))
            .filter(|((other, _), _)| *other == family)
            .max_by(|((_, a), _), ((_, b), _)| a.cmp(b))
            .map(|(_, name)| name.as_str())
    }
}

/// The C library of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Libc {
    /// glibc, with these versions.
    Glibc(Versions),
    /// musl, which has no versions and cannot load what was built for glibc.
    Musl,
    /// None that was found or could be read.
    None,
}

/// What an image has of what host libraries need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Defined {
    /// Its C library.
    pub libc: Libc,
    /// Versions of its libstdc++.so.6, where it has one.
    pub libstdcxx: Option<Versions>,
    /// Versions of its libgcc_s.so.1, where it has one.
    pub libgcc: Option<Versions>,
}

impl Defined {
    /// No value is longer in postcard's encoding, in bytes.
    pub const MAX_BYTES: usize = 3 * (VERSIONS * (NAME + 1) + 4);
}

/// Finds what an image has. `open` gives a file by its absolute path in the image, with links resolved
/// below the image's root; `None` for what is missing, longer than 64 MiB or so, or no regular file. It is asked
/// for some 40 paths at most, some of them named by the image's own cache of libraries. Of libraries only blocks
/// are read.
///
/// Looks where the loader looks first: the cache, then the usual directories. What a program's own `RPATH` or
/// `LD_LIBRARY_PATH` would bring instead is not known here.
pub fn defined<S: Read + Seek>(mut open: impl FnMut(&str) -> Option<S>) -> Defined {
    let machine = Machine::own();
    let entries = open("/etc/ld.so.cache")
        .and_then(|file| {
            let mut bytes = Vec::new();
            file.take(CACHE).read_to_end(&mut bytes).ok()?;
            cache::parse(&bytes, machine).ok()
        })
        .unwrap_or_default();
    let directories = directories(machine);
    let mut find = |soname: &str| -> Option<Elf> {
        let named = |entry: &&Entry| entry.soname == soname;
        let cached = entries.iter().filter(named).map(|entry| entry.path.clone());
        let usual = directories.iter().map(|base| format!("{base}/{soname}"));
        cached
            .take(TRIES)
            .chain(usual)
            .filter_map(|path| Elf::read(open(&path)?).ok())
            .find(|elf| elf.machine == machine.elf)
    };
    let libc = find("libc.so.6")
        .map(|elf| Versions::of(&elf, &["GLIBC_"]))
        .filter(|versions| !versions.0.is_empty());
    let libstdcxx = find("libstdc++.so.6").map(|elf| Versions::of(&elf, &["GLIBCXX_", "CXXABI_"]));
    let libgcc = find("libgcc_s.so.1").map(|elf| Versions::of(&elf, &["GCC_"]));
    let libc = match libc {
        Some(versions) => Libc::Glibc(versions),
        None if open(&format!("/lib/{}", machine.musl)).is_some() => Libc::Musl,
        None => Libc::None,
    };
    Defined {
        libc,
        libstdcxx,
        libgcc,
    }
}

#[cfg(test)]
mod tests;
