//! ldconfig's cache, /etc/ld.so.cache: which file a library's SONAME stands for. By hand, from bytes.
//!
//! Three formats, as glibc's sysdeps/generic/dl-cache.h describes them: the old one ("ld.so-1.7.0"), the new one
//! ("glibc-ld.so.cache1.1"), and the old one with the new one after it, of which the new one counts. Takes time
//! and memory in proportion to the bytes, whatever they say: an image's cache is a user's.

use super::machine::Machine;

/// No node's cache is longer, in bytes; one of 10 000 libraries has about 1 MiB.
pub const MAX_BYTES: u64 = 16 << 20;

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const NEW_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const NEW_HEADER: usize = 48;
const NEW_ENTRY: usize = 24;
/// The new part begins at a multiple of this after the old one.
const ALIGNMENT: usize = 8;
/// Bytes of a name or path that are looked at: the kernel's longest path.
const PATH: usize = 4096;

/// Why bytes are no cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// Neither of the two beginnings.
    #[error("no cache of ldconfig's that is known")]
    Magic,
    /// It ends before its entries do.
    #[error("the cache is cut off")]
    Truncated,
    /// Written on a machine of the other byte order.
    #[error("the cache is of a machine with another byte order")]
    ByteOrder,
}

/// One library that the loader would find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name that programs ask for.
    pub soname: String,
    /// The file, an absolute path.
    pub path: String,
}

/// The entries that are `machine`'s, in the cache's order.
///
/// Libraries for some processors of a machine only (`glibc-hwcaps/x86-64-v3`, or older `hwcap` directories) are
/// left out: each has a twin for all. So are names that are no text, and paths that are not absolute.
///
/// # Errors
///
/// Any [`CacheError`].
pub fn parse(bytes: &[u8], machine: Machine) -> Result<Vec<Entry>, CacheError> {
    if bytes.starts_with(NEW_MAGIC) {
        return new_format(bytes, machine);
    }
    if !bytes.starts_with(OLD_MAGIC) {
        return Err(CacheError::Magic);
    }
    let count = length(bytes, 12)?;
    let end = count
        .checked_mul(OLD_ENTRY)
        .and_then(|len| len.checked_add(OLD_HEADER))
        .ok_or(CacheError::Truncated)?;
    let after = end
        .checked_next_multiple_of(ALIGNMENT)
        .and_then(|at| bytes.get(at..));
    if let Some(new) = after.filter(|new| new.starts_with(NEW_MAGIC)) {
        return new_format(new, machine);
    }
    let entries = bytes.get(OLD_HEADER..end).ok_or(CacheError::Truncated)?;
    let strings = bytes.get(end..).unwrap_or_default();
    let mut names = Names::new(strings);
    // Of this format's time there were no flags for 64 bits but these.
    Ok(entries
        .chunks_exact(OLD_ENTRY)
        .filter(|entry| number(entry, 0) == Some(machine.cache))
        .filter_map(|entry| names.entry(number(entry, 4)?, number(entry, 8)?))
        .collect())
}

/// Offsets of its strings are from its own beginning, also where it stands after the old format.
fn new_format(bytes: &[u8], machine: Machine) -> Result<Vec<Entry>, CacheError> {
    let count = length(bytes, 20)?;
    // 0 is "not said", by ldconfig before glibc 2.33.
    let other = if cfg!(target_endian = "little") { 3 } else { 2 };
    if bytes.get(28).ok_or(CacheError::Truncated)? & 3 == other {
        return Err(CacheError::ByteOrder);
    }
    let end = count
        .checked_mul(NEW_ENTRY)
        .and_then(|len| len.checked_add(NEW_HEADER))
        .ok_or(CacheError::Truncated)?;
    let entries = bytes.get(NEW_HEADER..end).ok_or(CacheError::Truncated)?;
    let mut names = Names::new(bytes);
    Ok(entries
        .chunks_exact(NEW_ENTRY)
        .filter(|entry| number(entry, 0) == Some(machine.cache))
        // 64 bits of processor's features: a mask, or the number of a directory's name.
        .filter(|entry| number(entry, 16) == Some(0) && number(entry, 20) == Some(0))
        .filter_map(|entry| names.entry(number(entry, 4)?, number(entry, 8)?))
        .collect())
}

/// Takes names out of the bytes, and stops where they would become more than the bytes account for.
struct Names<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl<'a> Names<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        // A path's end often is the name, so that bytes count twice; others share nothing.
        let left = bytes.len().saturating_mul(4);
        Self { bytes, left }
    }

    fn entry(&mut self, soname: u32, path: u32) -> Option<Entry> {
        let soname = self.text(soname)?;
        let path = self.text(path)?;
        (!soname.is_empty() && !soname.contains('/') && path.starts_with('/')).then(|| Entry {
            soname: soname.to_owned(),
            path: path.to_owned(),
        })
    }

    fn text(&mut self, at: u32) -> Option<&'a str> {
        let rest = self.bytes.get(usize::try_from(at).ok()?..)?;
        let rest = rest.get(..PATH.min(self.left)).unwrap_or(rest);
        let Some(len) = rest.iter().position(|byte| *byte == 0) else {
            self.left = self.left.saturating_sub(rest.len());
            return None;
        };
        self.left = self.left.saturating_sub(len + 1);
        let text = std::str::from_utf8(rest.get(..len)?).ok()?;
        (!text.chars().any(char::is_control)).then_some(text)
    }
}

/// The cache is in the machine's own byte order.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(field.try_into().ok()?))
}

fn length(bytes: &[u8], at: usize) -> Result<usize, CacheError> {
    number(bytes, at)
        .and_then(|number| usize::try_from(number).ok())
        .ok_or(CacheError::Truncated)
}

#[cfg(test)]
mod tests;
