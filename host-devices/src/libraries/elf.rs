//! What a shared library says of itself: machine, SONAME, what it needs, and which versions of symbols.
//!
//! Follows the dynamic segment as the loader does, never the sections, which a stripped library may lack. Reads some
//! blocks of a file, whatever its length; never maps one, and loads none. The structures are those of the System
//! V ABI and, for versions, of glibc's elf/elf.h; the crate `object` has their layouts.

use std::io::{Read, Seek};

use object::elf::{self, Dyn64, FileHeader64, ProgramHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, ReadCache, ReadRef};
use serde::{Deserialize, Serialize};

use super::blocks::Blocks;

/// Segments of one library; there are about 10.
const SEGMENTS: u64 = 128;
/// Bytes of a dynamic segment; there are about 500.
const DYNAMIC: u64 = 64 << 10;
/// NEEDED entries, and entries of each kind of version; libstdc++ defines about 60.
const ENTRIES: usize = 2048;
/// Bytes of a table of names that is read at once; of a longer one each name is read by itself.
const TABLE: u64 = 256 << 10;
/// Bytes of a name.
const NAME: u64 = 255;
/// Bytes that are read of one file in all.
const BUDGET: u64 = 4 << 20;

/// Why a file is no library that can be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// The magic is missing, or the class is not 64 bits.
    #[error("no 64-bit ELF file")]
    NotElf,
    /// It has no dynamic segment.
    #[error("no shared library")]
    NotShared,
    /// Something lies outside the file, or is more than any library has.
    #[error("a damaged ELF file: its {0} cannot be read")]
    Damaged(&'static str),
}

/// A version that a library needs of another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Need {
    /// The SONAME of the library that must have it.
    pub file: String,
    /// The version's name, such as `GLIBC_2.34`.
    pub version: String,
}

/// What a shared library says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elf {
    /// The processor that it is for.
    pub machine: elf::Machine,
    /// Its own name, where it has one.
    pub soname: Option<String>,
    /// The SONAMEs of what is loaded with it, in its order.
    pub needed: Vec<String>,
    /// The versions that must be there, sorted; without those that may be missing ("weak").
    pub needs: Vec<Need>,
    /// The versions that it has itself, in its order, without its own name.
    pub defines: Vec<String>,
}

impl Elf {
    /// Reads what is needed of an open file.
    ///
    /// # Errors
    ///
    /// Any [`ElfError`].
    pub fn read(file: impl Read + Seek) -> Result<Self, ElfError> {
        let cache = ReadCache::new(Blocks::new(file, BUDGET));
        parse(&cache)
    }

    /// Reads bytes.
    ///
    /// # Errors
    ///
    /// Any [`ElfError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ElfError> {
        parse(bytes)
    }
}

fn parse<'d, R: ReadRef<'d>>(data: R) -> Result<Elf, ElfError> {
    let header = FileHeader64::<Endianness>::parse(data).map_err(|_| ElfError::NotElf)?;
    let endian = header.endian().map_err(|_| ElfError::NotElf)?;
    let damaged = ElfError::Damaged;
    let count = header.e_phnum(endian);
    if u64::from(count) > SEGMENTS {
        return Err(damaged("list of segments"));
    }
    let segments = header
        .program_headers(endian, data)
        .map_err(|_| damaged("list of segments"))?;
    let dynamic = segments
        .iter()
        .find(|segment| segment.p_type(endian) == elf::PT_DYNAMIC)
        .ok_or(ElfError::NotShared)?;
    if dynamic.p_filesz(endian) > DYNAMIC {
        return Err(damaged("dynamic segment"));
    }
    let entries = dynamic
        .dynamic(endian, data)
        .ok()
        .flatten()
        .ok_or(damaged("dynamic segment"))?;
    let library = Library {
        data,
        endian,
        segments,
        entries,
    };
    let strings = library.strings()?;
    let soname = library
        .value(elf::DT_SONAME)
        .map(|at| strings.get(at).ok_or(damaged("SONAME")))
        .transpose()?;
    Ok(Elf {
        machine: header.e_machine(endian),
        soname,
        needed: library.needed(&strings)?,
        needs: library.needs(&strings).ok_or(damaged("needed versions"))?,
        defines: library.defines(&strings).ok_or(damaged("own versions"))?,
    })
}

struct Library<'d, R> {
    data: R,
    endian: Endianness,
    segments: &'d [ProgramHeader64<Endianness>],
    entries: &'d [Dyn64<Endianness>],
}

impl<'d, R: ReadRef<'d>> Library<'d, R> {
    /// The entries before the one that ends them.
    fn entries(&self) -> impl Iterator<Item = (elf::DynamicTag, u64)> {
        self.entries
            .iter()
            .map(|entry| (entry.tag(self.endian), entry.val(self.endian)))
            .take_while(|(tag, _)| *tag != elf::DT_NULL)
    }

    fn value(&self, tag: elf::DynamicTag) -> Option<u64> {
        self.entries()
            .find(|(other, _)| *other == tag)
            .map(|(_, value)| value)
    }

    /// Where in the file that lies what is loaded at an address, and how many bytes the file has from there.
    fn place(&self, address: u64) -> Option<(u64, u64)> {
        self.segments.iter().find_map(|segment| {
            if segment.p_type(self.endian) != elf::PT_LOAD {
                return None;
            }
            let within = address.checked_sub(segment.p_vaddr(self.endian))?;
            let left = segment.p_filesz(self.endian).checked_sub(within)?;
            let at = segment.p_offset(self.endian).checked_add(within)?;
            (left > 0).then_some((at, left))
        })
    }

    fn strings(&self) -> Result<Strings<'d, R>, ElfError> {
        let damaged = ElfError::Damaged("table of names");
        let (at, left) = self
            .value(elf::DT_STRTAB)
            .and_then(|address| self.place(address))
            .ok_or(damaged)?;
        let len = self.value(elf::DT_STRSZ).ok_or(damaged)?.min(left);
        let end = at.checked_add(len).ok_or(damaged)?;
        let whole = (len <= TABLE).then(|| self.data.read_bytes_at(at, len).ok());
        Ok(Strings {
            data: self.data,
            at,
            end,
            whole: whole.flatten(),
        })
    }

    fn needed(&self, strings: &Strings<'d, R>) -> Result<Vec<String>, ElfError> {
        let damaged = ElfError::Damaged("list of needed libraries");
        let names: Vec<u64> = self
            .entries()
            .filter(|(tag, _)| *tag == elf::DT_NEEDED)
            .map(|(_, value)| value)
            .collect();
        if names.len() > ENTRIES {
            return Err(damaged);
        }
        names
            .into_iter()
            .map(|at| strings.get(at).ok_or(damaged))
            .collect()
    }

    /// `None` where something lies outside the file.
    fn needs(&self, strings: &Strings<'d, R>) -> Option<Vec<Need>> {
        let Some(address) = self.value(elf::DT_VERNEED) else {
            return Some(Vec::new());
        };
        let (mut at, _) = self.place(address)?;
        let mut needs = Vec::new();
        let mut left = ENTRIES;
        loop {
            left = left.checked_sub(1)?;
            let library = self.data.read_at::<elf::Verneed<Endianness>>(at).ok()?;
            let file = strings.get(library.vn_file.get(self.endian).into())?;
            let mut version = at.checked_add(library.vn_aux.get(self.endian).into())?;
            for _ in 0..library.vn_cnt.get(self.endian) {
                left = left.checked_sub(1)?;
                let one = self
                    .data
                    .read_at::<elf::Vernaux<Endianness>>(version)
                    .ok()?;
                if !one.vna_flags.get(self.endian).contains(elf::VER_FLG_WEAK) {
                    needs.push(Need {
                        file: file.clone(),
                        version: strings.get(one.vna_name.get(self.endian).into())?,
                    });
                }
                version = version.checked_add(one.vna_next.get(self.endian).into())?;
            }
            match library.vn_next.get(self.endian) {
                0 => break,
                next => at = at.checked_add(next.into())?,
            }
        }
        needs.sort();
        needs.dedup();
        Some(needs)
    }

    /// `None` where something lies outside the file.
    fn defines(&self, strings: &Strings<'d, R>) -> Option<Vec<String>> {
        let Some(address) = self.value(elf::DT_VERDEF) else {
            return Some(Vec::new());
        };
        let (mut at, _) = self.place(address)?;
        let mut defines = Vec::new();
        for _ in 0..ENTRIES {
            let version = self.data.read_at::<elf::Verdef<Endianness>>(at).ok()?;
            // The first of the names is the version's own; the others are what it comes after.
            let name = at.checked_add(version.vd_aux.get(self.endian).into())?;
            let name = self.data.read_at::<elf::Verdaux<Endianness>>(name).ok()?;
            if !version
                .vd_flags
                .get(self.endian)
                .contains(elf::VER_FLG_BASE)
            {
                defines.push(strings.get(name.vda_name.get(self.endian).into())?);
            }
            match version.vd_next.get(self.endian) {
                0 => return Some(defines),
                next => at = at.checked_add(next.into())?,
            }
        }
        None
    }
}

/// The table of names.
struct Strings<'d, R> {
    data: R,
    at: u64,
    end: u64,
    /// All of it, where it is short.
    whole: Option<&'d [u8]>,
}

impl<'d, R: ReadRef<'d>> Strings<'d, R> {
    /// `None` for what lies outside, is too long, or is no text that a person could be shown.
    fn get(&self, offset: u64) -> Option<String> {
        let at = self.at.checked_add(offset)?;
        let end = self.end.min(at.checked_add(NAME + 1)?);
        if at >= end {
            return None;
        }
        let bytes = match self.whole {
            Some(table) => {
                let rest = table.get(usize::try_from(offset).ok()?..)?;
                let rest = rest.get(..usize::try_from(end - at).ok()?)?;
                rest.get(..rest.iter().position(|byte| *byte == 0)?)?
            }
            None => self.data.read_bytes_at_until(at..end, 0).ok()?,
        };
        let text = std::str::from_utf8(bytes).ok()?;
        (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests;
