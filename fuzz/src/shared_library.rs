//! A shared library, of a node's or of an image's: what is read of it can be shown, and is no more than any has.

use std::collections::HashMap;
use std::io::Cursor;

use host_devices::libraries::elf::Elf;
use host_devices::libraries::versions::{Defined, defined};

/// Parses the bytes and holds the result to what the parser promises.
///
/// # Panics
/// Where a promise is broken.
pub fn check(data: &[u8]) {
    let mut asked: HashMap<String, u32> = HashMap::new();
    let found = defined(|path| {
        *asked.entry(path.to_owned()).or_default() += 1;
        Some(Cursor::new(data))
    });
    assert!(asked.len() <= 40, "{asked:?}");
    assert!(asked.keys().all(|path| path.starts_with('/')), "{asked:?}");
    let bytes = postcard::to_stdvec(&found).expect("bytes");
    assert!(bytes.len() <= Defined::MAX_BYTES);
    assert_eq!(postcard::from_bytes(&bytes).as_ref(), Ok(&found));

    let elf = match Elf::parse(data) {
        Ok(elf) => elf,
        Err(error) => return crate::assert_one_line(&error),
    };
    let shown =
        |name: &String| (1..=255).contains(&name.len()) && !name.chars().any(char::is_control);
    assert!(
        elf.soname
            .iter()
            .chain(&elf.needed)
            .chain(&elf.defines)
            .all(shown)
    );
    assert!(
        elf.needs
            .iter()
            .all(|need| shown(&need.file) && shown(&need.version))
    );
    assert!(elf.needs.is_sorted_by(|a, b| a < b));
    assert!(elf.needed.len() <= 2048 && elf.needs.len() <= 2048 && elf.defines.len() <= 2048);
}

/// A library of one segment: header, two program headers, dynamic segment, names, needed and own versions.
fn library() -> Vec<u8> {
    const NAMES: &[u8] = b"\0libc.so.6\0GLIBC_2.34\0libx.so.1\0X_1\0";
    let (dynamic, names) = (64 + 2 * 56, 64 + 2 * 56 + 9 * 16);
    let need = (names + NAMES.len()).next_multiple_of(8);
    let own = need + 32;
    let end = own + 28;
    let word = |n: usize| u64::try_from(n).expect("short").to_le_bytes();
    let half = |n: usize| u32::try_from(n).expect("short").to_le_bytes();
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    // A shared object for x86-64, version 1; its program headers are at 64, 2 of 56 bytes.
    bytes.extend([3, 0, 62, 0, 1, 0, 0, 0]);
    bytes.extend([word(0), word(64), word(0)].concat());
    bytes.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
    for (kind, at, len) in [(1, 0, end), (2, dynamic, 9 * 16)] {
        bytes.extend([half(kind), half(4)].concat());
        bytes.extend([at, at, at, len, len, 8].map(word).concat());
    }
    let entries = [
        (1, 1),              // NEEDED
        (14, 22),            // SONAME
        (5, names),          // STRTAB
        (10, NAMES.len()),   // STRSZ
        (0x6fff_fffe, need), // VERNEED
        (0x6fff_ffff, 1),    // its number
        (0x6fff_fffc, own),  // VERDEF
        (0x6fff_fffd, 1),    // its number
        (0, 0),
    ];
    for (tag, value) in entries {
        bytes.extend([word(tag), word(value)].concat());
    }
    bytes.extend(NAMES);
    bytes.resize(need, 0);
    // Version 1, one name, of libc.so.6, 16 bytes on; the name GLIBC_2.34.
    bytes.extend([1, 0, 1, 0]);
    bytes.extend([1, 16, 0].map(half).concat());
    bytes.extend([0, 0, 0, 0, 0, 0, 2, 0]);
    bytes.extend([11, 0].map(half).concat());
    // Version 1, no flags, the second, one name, 20 bytes on: X_1.
    bytes.extend([1, 0, 0, 0, 2, 0, 1, 0]);
    bytes.extend([0, 20, 0, 32, 0].map(half).concat());
    bytes
}

/// A library, and one without versions.
///
/// # Panics
/// Where it is not read as it was written.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let whole = library();
    let elf = Elf::parse(&whole).expect("a library");
    assert_eq!(elf.soname.as_deref(), Some("libx.so.1"));
    assert_eq!(elf.needed, ["libc.so.6"]);
    assert_eq!(
        (elf.needs.len(), elf.needs[0].version.as_str()),
        (1, "GLIBC_2.34")
    );
    assert_eq!(elf.defines, ["X_1"]);
    let mut plain = whole.clone();
    // The list of the dynamic segment ends before the versions.
    let versions = 64 + 2 * 56 + 4 * 16;
    plain[versions..versions + 8].fill(0);
    assert!(Elf::parse(&plain).expect("a library").needs.is_empty());
    vec![whole, plain]
}
