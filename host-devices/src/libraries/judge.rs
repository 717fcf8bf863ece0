//! Whether libraries of the node's can be loaded in an image: what they need against what the image has.
//!
//! As the loader judges: a version that a library needs must be in the library that should have it. Only the C
//! and C++ libraries are judged, which come from the image; what else a library needs the image may have in places
//! that are not known here, and the loader says so.

use std::collections::{BTreeMap, VecDeque};

use serde::{Serialize, Serializer};

use super::elf::{Elf, Need};
use super::versions::{Defined, Libc, Versions, compare};

/// glibc's libraries besides libc.so.6: what is there of them has libc's own version.
const GLIBC: [&str; 12] = [
    "ld-linux-aarch64.so.1",
    "ld-linux-riscv64-lp64d.so.1",
    "ld-linux-x86-64.so.2",
    "ld64.so.2",
    "libanl.so.1",
    "libdl.so.2",
    "libm.so.6",
    "libmvec.so.1",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libutil.so.1",
];
const LIBC: &str = "libc.so.6";
const LIBSTDCXX: &str = "libstdc++.so.6";
const LIBGCC: &str = "libgcc_s.so.1";

/// A library that would be bound, by the name that programs load it by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Demands {
    /// Its name.
    pub soname: String,
    /// What is loaded with it.
    pub needed: Vec<String>,
    /// The versions that must be there.
    pub needs: Vec<Need>,
}

impl Demands {
    /// What a library asks for.
    #[must_use]
    pub fn of(soname: &str, elf: &Elf) -> Self {
        Self {
            soname: soname.to_owned(),
            needed: elf.needed.clone(),
            needs: elf.needs.clone(),
        }
    }
}

/// Why a library cannot be loaded, as the end of a sentence that begins with the library.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The image's library is older.
    #[error("needs {needs}, the image has {has}")]
    Older {
        /// The highest version that is needed and missing.
        needs: String,
        /// The image's highest of that family.
        has: String,
    },
    /// The image's library has no version of this family.
    #[error("needs {version}, the image's {file} has none like it")]
    Other {
        /// The version that is needed.
        version: String,
        /// The image's library.
        file: String,
    },
    /// The image's C library is musl.
    #[error("needs glibc, the image has musl")]
    Musl,
    /// The image has no C library that was found.
    #[error("needs glibc, the image has no libc.so.6")]
    NoLibc,
    /// The image has no such library.
    #[error("needs {0}, the image has none")]
    Missing(String),
    /// What comes along with it cannot be loaded.
    #[error("needs {soname}, which {why}")]
    Through {
        /// The library that comes along.
        soname: String,
        /// What that needs.
        why: Box<Reason>,
    },
}

/// A library that cannot be loaded in an image, and why: one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("host library {soname} {why}")]
pub struct Refusal {
    /// The library.
    pub soname: String,
    /// Why not.
    pub why: Reason,
}

/// As the line that people read.
impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Those of `libraries` that the image cannot load, sorted by name: for their own sake, or for that of another of
/// them that they bring along.
#[must_use]
pub fn refusals<'a>(
    libraries: impl IntoIterator<Item = &'a Demands>,
    image: &Defined,
) -> Vec<Refusal> {
    let mut reasons: BTreeMap<&str, Reason> = BTreeMap::new();
    let mut needed_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for library in libraries {
        if let Some(why) = own_reason(library, image) {
            reasons.insert(&library.soname, why);
        }
        for needed in &library.needed {
            needed_by.entry(needed).or_default().push(&library.soname);
        }
    }
    // Each library is taken up once, at the first reason that reaches it.
    let mut queue: VecDeque<(&str, &str, Reason)> = reasons
        .iter()
        .map(|(soname, why)| (*soname, *soname, why.clone()))
        .collect();
    while let Some((soname, origin, why)) = queue.pop_front() {
        for library in needed_by.get(soname).into_iter().flatten() {
            if reasons.contains_key(library) {
                continue;
            }
            let through = Reason::Through {
                soname: origin.to_owned(),
                why: Box::new(why.clone()),
            };
            reasons.insert(library, through);
            queue.push_back((library, origin, why.clone()));
        }
    }
    reasons
        .into_iter()
        .map(|(soname, why)| Refusal {
            soname: soname.to_owned(),
            why,
        })
        .collect()
}

fn own_reason(library: &Demands, image: &Defined) -> Option<Reason> {
    let mut missing: Option<(&Need, &Versions)> = None;
    for need in &library.needs {
        let versions = match versions_for(&need.file, image) {
            Some(Ok(versions)) => versions,
            Some(Err(reason)) => return Some(reason),
            None => continue,
        };
        if is_met(need, versions) {
            continue;
        }
        // Of one family the highest is told; of two, the first.
        let higher = missing.is_none_or(|(other, _)| {
            compare(&need.version, &other.version) == Some(std::cmp::Ordering::Greater)
        });
        if higher {
            missing = Some((need, versions));
        }
    }
    if let Some((need, versions)) = missing {
        let version = need.version.clone();
        return Some(match versions.highest(&version) {
            Some(has) => Reason::Older {
                needs: version,
                has: has.to_owned(),
            },
            None => Reason::Other {
                version,
                file: need.file.clone(),
            },
        });
    }
    // Without any version, the library must be there all the same.
    library
        .needed
        .iter()
        .find_map(|file| versions_for(file, image)?.err())
}

/// What the image's library of this name has, or why it has nothing; `None` for a library that is not judged.
fn versions_for<'a>(file: &str, image: &'a Defined) -> Option<Result<&'a Versions, Reason>> {
    let there = |versions: &'a Option<Versions>| {
        let missing = || Reason::Missing(file.to_owned());
        versions.as_ref().ok_or_else(missing)
    };
    match file {
        LIBSTDCXX => Some(there(&image.libstdcxx)),
        LIBGCC => Some(there(&image.libgcc)),
        _ if file == LIBC || GLIBC.contains(&file) => Some(match &image.libc {
            Libc::Glibc(versions) => Ok(versions),
            Libc::Musl => Err(Reason::Musl),
            Libc::None => Err(Reason::NoLibc),
        }),
        _ => None,
    }
}

fn is_met(need: &Need, versions: &Versions) -> bool {
    if versions.has(&need.version) {
        return true;
    }
    // Of the other libraries only the release is known. A version without a number, as GLIBC_PRIVATE, is
    // for glibc's own libraries, and what else would need it must be of the same release: refused.
    let newest = versions.highest(&need.version);
    GLIBC.contains(&need.file.as_str())
        && newest.and_then(|newest| compare(&need.version, newest))
            == Some(std::cmp::Ordering::Less)
}

#[cfg(test)]
mod tests;
