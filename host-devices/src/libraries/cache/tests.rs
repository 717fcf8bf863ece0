//! Caches that the machine's ldconfig writes in each format, and caches made by hand.

use proptest::prelude::*;

use super::*;
use crate::testing::Root;

/// An entry as it is written: flags, name, path, the processor's features.
type Written<'a> = (u32, &'a str, &'a str, u64);

fn strings(entries: &[Written], base: usize) -> (Vec<(u32, u32)>, Vec<u8>) {
    let (mut places, mut bytes) = (Vec::new(), Vec::new());
    for (_, soname, path, _) in entries {
        let mut put = |text: &str| {
            let at = u32::try_from(base + bytes.len()).expect("short");
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
            at
        };
        places.push((put(soname), put(path)));
    }
    (places, bytes)
}

fn new(entries: &[Written]) -> Vec<u8> {
    let (places, strings) = strings(entries, NEW_HEADER + NEW_ENTRY * entries.len());
    let mut bytes = NEW_MAGIC.to_vec();
    for number in [entries.len(), strings.len()] {
        bytes.extend(u32::try_from(number).expect("short").to_ne_bytes());
    }
    bytes.resize(NEW_HEADER, 0);
    bytes[28] = if cfg!(target_endian = "little") { 2 } else { 3 };
    for ((flags, .., hwcap), (soname, path)) in entries.iter().zip(places) {
        for number in [*flags, soname, path, 0] {
            bytes.extend(number.to_ne_bytes());
        }
        bytes.extend(hwcap.to_ne_bytes());
    }
    bytes.extend(strings);
    bytes
}

fn old(entries: &[Written]) -> Vec<u8> {
    let (places, strings) = strings(entries, 0);
    let mut bytes = OLD_MAGIC.to_vec();
    bytes.resize(12, 0);
    bytes.extend(u32::try_from(entries.len()).expect("short").to_ne_bytes());
    for ((flags, ..), (soname, path)) in entries.iter().zip(places) {
        for number in [*flags, soname, path] {
            bytes.extend(number.to_ne_bytes());
        }
    }
    bytes.extend(strings);
    bytes
}

fn names(bytes: &[u8]) -> Vec<String> {
    let own = |entry: Entry| format!("{} {}", entry.soname, entry.path);
    let entries = parse(bytes, Machine::X86_64).expect("a cache");
    entries.into_iter().map(own).collect()
}

#[test]
fn what_ldconfig_writes_is_read_in_each_format() {
    for format in ["new", "compat", "old"] {
        let root = Root::new();
        root.library("opt/lib/liba.so.1.2", "liba.so.1", "int a;", &[]);
        root.library("opt/lib/libb.so.2", "libb.so.2", "int b;", &[]);
        root.ldconfig(format, &["/opt/lib"]);
        let bytes = std::fs::read(root.path("etc/ld.so.cache")).expect("a cache");
        let begins = if format == "new" {
            NEW_MAGIC
        } else {
            OLD_MAGIC
        };
        assert!(bytes.starts_with(begins), "{format}");
        let mut entries = parse(&bytes, Machine::own()).expect(format);
        entries.sort_by(|a, b| a.soname.cmp(&b.soname));
        let found: Vec<(&str, &str)> = entries
            .iter()
            .map(|entry| (entry.soname.as_str(), entry.path.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                ("liba.so.1", "/opt/lib/liba.so.1"),
                ("libb.so.2", "/opt/lib/libb.so.2")
            ],
            "{format}"
        );
    }
}

#[test]
fn the_machines_own_cache_is_what_ldconfig_prints() {
    let printed = std::process::Command::new("/sbin/ldconfig")
        .arg("-p")
        .output()
        .expect("ldconfig");
    let printed = String::from_utf8(printed.stdout).expect("text");
    let bytes = std::fs::read("/etc/ld.so.cache").expect("a cache");
    let entries = parse(&bytes, Machine::own()).expect("a cache");
    assert!(!entries.is_empty());
    for entry in &entries {
        let (name, path) = (
            format!("\t{} (", entry.soname),
            format!(") => {}", entry.path),
        );
        let told = |line: &str| line.starts_with(&name) && line.ends_with(&path);
        assert!(printed.lines().any(told), "{entry:?}");
    }
}

#[test]
fn only_the_machines_own_entries_for_all_processors_count() {
    let entries: [Written; 9] = [
        (0x0303, "libcuda.so.1", "/usr/lib64/libcuda.so.1", 0),
        (0x0003, "libcuda.so.1", "/usr/lib/libcuda.so.1", 0),
        (0x0803, "libcuda.so.1", "/usr/libx32/libcuda.so.1", 0),
        (
            0x0a03,
            "libcuda.so.1",
            "/usr/lib/aarch64-linux-gnu/libcuda.so.1",
            0,
        ),
        (
            0x0303,
            "libz.so.1",
            "/lib/glibc-hwcaps/x86-64-v3/libz.so.1",
            1 << 62,
        ),
        (0x0303, "libz.so.1", "/lib/tls/libz.so.1", 1 << 63),
        (0x0303, "libz.so.1", "/lib/haswell/libz.so.1", 4),
        (0x0303, "libz.so.1", "/lib/libz.so.1", 0),
        (0x0303, "relative.so", "lib/relative.so", 0),
    ];
    let own = [
        "libcuda.so.1 /usr/lib64/libcuda.so.1",
        "libz.so.1 /lib/libz.so.1",
    ];
    assert_eq!(names(&new(&entries)), own);
    let aarch64 = parse(&new(&entries), Machine::AARCH64).expect("a cache");
    assert_eq!(aarch64.len(), 1);
    // The old format knows no features; it is of a time before them.
    assert_eq!(names(&old(&entries[..4])), own[..1]);
}

#[test]
fn of_both_formats_the_new_one_counts() {
    for before in 0..4 {
        let first: Vec<Written> = (0..before)
            .map(|_| (0x0303, "libold.so.1", "/lib/libold.so.1", 0))
            .collect();
        let mut bytes = old(&first);
        bytes.truncate(OLD_HEADER + OLD_ENTRY * first.len());
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes.extend(new(&[(0x0303, "libnew.so.1", "/lib/libnew.so.1", 0)]));
        assert_eq!(names(&bytes), ["libnew.so.1 /lib/libnew.so.1"], "{before}");
    }
}

#[test]
fn an_entry_that_cannot_be_shown_is_left_out() {
    let bytes = new(&[
        (0x0303, "libé\u{1b}.so", "/lib/a", 0),
        (0x0303, "", "/lib/b", 0),
        (0x0303, "a/b.so", "/lib/c", 0),
        (0x0303, "libc.so", "/lib/c\n", 0),
        (0x0303, "libd.so", "/lib/d", 0),
    ]);
    assert_eq!(names(&bytes), ["libd.so /lib/d"]);
    let mut latin = new(&[(0x0303, "libX.so", "/lib/a", 0)]);
    let at = latin.iter().position(|byte| *byte == b'X').expect("X");
    latin[at] = 0xe9;
    assert!(names(&latin).is_empty());
}

#[test]
fn what_is_no_cache_has_a_reason() {
    let whole = new(&[(0x0303, "liba.so.1", "/lib/liba.so.1", 0)]);
    let mut foreign = whole.clone();
    foreign[28] ^= 1;
    let mut many = whole.clone();
    many[20..24].fill(0xff);
    let mut old_many = old(&[]);
    old_many[12..16].fill(0xff);
    let cases: [(&[u8], CacheError); 8] = [
        (b"", CacheError::Magic),
        (b"glibc-ld.so.cache1.0", CacheError::Magic),
        (b"ld.so-1.7.0", CacheError::Truncated),
        (NEW_MAGIC, CacheError::Truncated),
        (&whole[..NEW_HEADER + NEW_ENTRY - 1], CacheError::Truncated),
        (&many, CacheError::Truncated),
        (&old_many, CacheError::Truncated),
        (&foreign, CacheError::ByteOrder),
    ];
    for (bytes, reason) in cases {
        assert_eq!(parse(bytes, Machine::X86_64), Err(reason), "{bytes:?}");
    }
    // Names outside are no entries.
    let cut = &whole[..NEW_HEADER + NEW_ENTRY];
    assert_eq!(parse(cut, Machine::X86_64), Ok(Vec::new()));
}

#[test]
fn names_are_not_more_than_the_bytes_account_for() {
    // Entries that all have one long name and path.
    let long = format!("/{}", "a".repeat(4000));
    let mut bytes = new(&[(0x0303, "liba.so", &long, 0)]);
    let entry: Vec<u8> = bytes[NEW_HEADER..NEW_HEADER + NEW_ENTRY].to_vec();
    let copies = 1000;
    bytes.splice(NEW_HEADER..NEW_HEADER, entry.repeat(copies));
    bytes[20..24].copy_from_slice(&u32::try_from(copies + 1).expect("short").to_ne_bytes());
    // The offsets are now those of entries' bytes, of which few are 0: move them to the strings.
    let moved = u32::try_from(NEW_ENTRY * copies).expect("short");
    for entry in
        bytes[NEW_HEADER..NEW_HEADER + NEW_ENTRY * (copies + 1)].chunks_exact_mut(NEW_ENTRY)
    {
        for at in [4, 8] {
            let field: [u8; 4] = entry[at..at + 4].try_into().expect("4 bytes");
            let place = u32::from_ne_bytes(field) + moved;
            entry[at..at + 4].copy_from_slice(&place.to_ne_bytes());
        }
    }
    let entries = parse(&bytes, Machine::X86_64).expect("a cache");
    let total: usize = entries.iter().map(|e| e.soname.len() + e.path.len()).sum();
    assert!(!entries.is_empty() && entries.len() < copies);
    assert!(total <= 4 * bytes.len(), "{total}");
}

proptest! {
    #[test]
    fn no_bytes_panic(start in 0_usize..3, bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let start: &[u8] = [b"".as_slice(), OLD_MAGIC, NEW_MAGIC][start];
        let _ = parse(&[start, &bytes].concat(), Machine::X86_64);
    }

    #[test]
    fn no_changed_bytes_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        both in any::<bool>(),
    ) {
        let entries: [Written; 2] = [
            (0x0303, "liba.so.1", "/lib/liba.so.1", 0),
            (0x0303, "libb.so.1", "/lib/libb.so.1", 0),
        ];
        let mut bytes = if both { [old(&[]), new(&entries)].concat() } else { new(&entries) };
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for entry in parse(&bytes, Machine::X86_64).unwrap_or_default() {
            prop_assert!(entry.path.starts_with('/') && !entry.soname.contains('/'));
        }
    }
}
