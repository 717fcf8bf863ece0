//! The Slurm version that a SPANK plugin was built for, read from its file: ELF, elf(5).
//!
//! The file is looked at and never loaded. Everything in it is an offset that may point
//! anywhere; whatever does not fit is "not known".

/// The symbols that hold the version of Slurm, the first that is not zero
/// (`SPANK_PLUGIN` of slurm/spank.h; `spank_plugin_version` is the plugin's own). Slurm
/// compares the first one; in Oarlock's plugin a constructor sets that from the second.
const SYMBOLS: [&[u8]; 2] = [b"plugin_version", b"oarlock_plugin_version"];

const SHT_SYMTAB: u32 = 2;
const SHT_DYNSYM: u32 = 11;
const PT_LOAD: u32 = 1;

/// No library has more of either.
const MAX_HEADERS: usize = 4096;
const MAX_SYMBOLS: usize = 1 << 20;

/// A version of Slurm, as in 24.11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release {
    /// The year.
    pub major: u32,
    /// The month.
    pub minor: u32,
}

impl Release {
    /// From `SLURM_VERSION_NUMBER` (slurm/slurm.h): a byte each of major, minor and micro.
    #[must_use]
    pub fn of_number(number: u32) -> Option<Self> {
        let (major, minor) = (number >> 16 & 0xff, number >> 8 & 0xff);
        (number >> 24 == 0 && major > 0).then_some(Self { major, minor })
    }

    /// From what Slurm's commands print: `slurm 24.11.5` or `slurm-wlm 22.05.8`.
    #[must_use]
    pub fn of_words(text: &str) -> Option<Self> {
        let word = text
            .split_whitespace()
            .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
        let mut numbers = word.split(['.', '-']).map(str::parse);
        let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        Some(Self { major, minor })
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02}", self.major, self.minor)
    }
}

/// The release that the plugin in these bytes was built for; `None` where it says
/// none: no ELF file of this machine's word size and byte order, or no such symbol.
#[must_use]
pub fn release(file: &[u8]) -> Option<Release> {
    let found = symbols(file)?;
    let number = found.iter().flatten().copied().find(|number| *number != 0);
    Release::of_number(number?)
}

/// Whether these bytes are an ELF file at all.
#[must_use]
pub fn is_elf(file: &[u8]) -> bool {
    file.starts_with(b"\x7fELF")
}

fn bytes(file: &[u8], at: u64, length: u64) -> Option<&[u8]> {
    let from = usize::try_from(at).ok()?;
    let to = usize::try_from(at.checked_add(length)?).ok()?;
    file.get(from..to)
}

fn half(file: &[u8], at: u64) -> Option<u64> {
    let bytes = bytes(file, at, 2)?.try_into().ok()?;
    Some(u64::from(u16::from_ne_bytes(bytes)))
}

fn word(file: &[u8], at: u64) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes(file, at, 4)?.try_into().ok()?))
}

fn long(file: &[u8], at: u64) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes(file, at, 8)?.try_into().ok()?))
}

/// A table of headers: where they start, and how long one is.
struct Table {
    start: u64,
    each: u64,
    count: usize,
}

impl Table {
    fn places(&self) -> impl Iterator<Item = u64> + use<> {
        let (start, each) = (self.start, self.each);
        (0..self.count as u64).filter_map(move |index| start.checked_add(index.checked_mul(each)?))
    }
}

fn table(file: &[u8], start: u64, each: u64, count: u64) -> Option<Table> {
    Some(Table {
        start: long(file, start)?,
        each: half(file, each)?,
        count: usize::try_from(half(file, count)?).ok()?.min(MAX_HEADERS),
    })
}

/// The values of [`SYMBOLS`].
fn symbols(file: &[u8]) -> Option<[Option<u32>; 2]> {
    // 64 bits, and this machine's byte order.
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    if !is_elf(file) || file.get(4..6)? != [2, order] {
        return None;
    }
    let segments = table(file, 32, 54, 56)?;
    let sections = table(file, 40, 58, 60)?;
    let mut found = [None; 2];
    let of_symbols = |section: &u64| {
        let kind = section.checked_add(4).and_then(|at| word(file, at));
        matches!(kind, Some(SHT_DYNSYM | SHT_SYMTAB))
    };
    // A library has one table of each kind. One that is broken has nothing to say.
    for section in sections.places().filter(of_symbols).take(2) {
        let _ = look_through(file, section, &sections, &segments, &mut found);
    }
    Some(found)
}

fn look_through(
    file: &[u8],
    section: u64,
    sections: &Table,
    segments: &Table,
    found: &mut [Option<u32>; 2],
) -> Option<()> {
    let (offset, size) = (long(file, section + 24)?, long(file, section + 32)?);
    let names = sections.places().nth(word(file, section + 40)? as usize)?;
    let names = bytes(
        file,
        long(file, names.checked_add(24)?)?,
        long(file, names.checked_add(32)?)?,
    )?;
    // Elf64_Sym is 24 bytes.
    for symbol in bytes(file, offset, size)?
        .chunks_exact(24)
        .take(MAX_SYMBOLS)
    {
        let name = names.get(word(symbol, 0)? as usize..).unwrap_or_default();
        let known = SYMBOLS.iter().position(|wanted| {
            name.strip_prefix(*wanted)
                .is_some_and(|rest| rest.starts_with(b"\0"))
        });
        // Undefined ones are somebody else's.
        if let Some(slot) = known.and_then(|place| found.get_mut(place))
            && half(symbol, 6)? != 0
        {
            let address = long(symbol, 8)?;
            *slot = slot.or_else(|| value(file, address, segments));
        }
    }
    Some(())
}

/// The word at an address of the loaded library; what lies beyond the file is zero.
fn value(file: &[u8], address: u64, segments: &Table) -> Option<u32> {
    segments.places().find_map(|at| {
        (word(file, at)? == PT_LOAD).then_some(())?;
        let (offset, start) = (long(file, at.checked_add(8)?)?, long(file, at + 16)?);
        let (in_file, in_memory) = (long(file, at + 32)?, long(file, at + 40)?);
        let inside = address
            .checked_sub(start)
            .filter(|inside| *inside < in_memory)?;
        if inside.checked_add(4)? > in_file {
            return Some(0);
        }
        word(file, offset.checked_add(inside)?)
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    /// A library of this text, built by the system's compiler.
    fn library(text: &str, strip: bool) -> Vec<u8> {
        let place = tempfile::tempdir().unwrap();
        let (source, object) = (place.path().join("a.c"), place.path().join("a.so"));
        std::fs::write(&source, text).unwrap();
        let mut command = Command::new("cc");
        command
            .args(["-shared", "-fPIC", "-o"])
            .arg(&object)
            .arg(&source);
        if strip {
            command.arg("-s");
        }
        assert!(command.status().unwrap().success());
        std::fs::read(object).unwrap()
    }

    const NUMBER: u32 = 24 << 16 | 11 << 8 | 5;
    const PLAIN: &str = "const unsigned spank_plugin_version = 1, plugin_version = 24<<16|11<<8|5;";
    /// As Oarlock's: set by a constructor, from a constant that nobody else sees.
    const LATER: &str = "__attribute__((used)) static const unsigned oarlock_plugin_version = 24<<16|11<<8|5;\n\
        unsigned plugin_version = 0;";

    #[test]
    fn a_plugin_says_what_it_was_built_for() {
        let wanted = Release::of_number(NUMBER);
        assert_eq!(
            wanted,
            Some(Release {
                major: 24,
                minor: 11
            })
        );
        for (text, strip, found) in [
            (PLAIN, false, wanted),
            (PLAIN, true, wanted),
            (LATER, false, wanted),
            (LATER, true, None),
            (
                "extern unsigned plugin_version; unsigned f(void) { return plugin_version; }",
                false,
                None,
            ),
            ("const unsigned my_plugin_version = 24<<16;", false, None),
        ] {
            assert_eq!(release(&library(text, strip)), found, "{text} {strip}");
        }
        assert_eq!(release(b""), None);
        assert_eq!(release(&[0x7f, b'E', b'L', b'F', 2, 1]), None);
    }

    #[test]
    fn a_file_that_is_cut_or_changed_is_no_harm() {
        let whole = library(PLAIN, true);
        for length in (0..whole.len()).step_by(61) {
            let _ = release(&whole[..length]);
        }
        for at in 0..64 {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = release(&changed);
            }
        }
    }

    #[test]
    fn versions_in_words() {
        for (text, wanted) in [
            ("slurm 24.11.5\n", Some("24.11")),
            ("slurm-wlm 22.05.8", Some("22.05")),
            ("slurm 25.05.0-rc1", Some("25.05")),
            ("slurm", None),
            ("slurm 24", None),
        ] {
            let found = Release::of_words(text).map(|release| release.to_string());
            assert_eq!(found.as_deref(), wanted, "{text}");
        }
        assert_eq!(Release::of_number(0), None);
        assert_eq!(Release::of_number(u32::MAX), None);
    }

    proptest! {
        #[test]
        fn any_headers_end(tail in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1];
            file.extend(tail);
            let _ = release(&file);
        }
    }
}
