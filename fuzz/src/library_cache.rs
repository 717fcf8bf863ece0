//! ldconfig's cache, a node's or an image's: what is found can be shown and is no more than the bytes account for.

use host_devices::libraries::cache::{CacheError, Entry, parse};
use host_devices::libraries::machine::Machine;

const MACHINES: [Machine; 4] = [
    Machine::X86_64,
    Machine::AARCH64,
    Machine::POWERPC64LE,
    Machine::RISCV64,
];

/// The old format's header with no entries, which the new format may follow.
const OLD: &[u8; 16] = b"ld.so-1.7.0\0\0\0\0\0";

/// Parses the bytes and holds the result to what the parser promises.
///
/// # Panics
/// Where a promise is broken.
pub fn check(data: &[u8]) {
    for machine in MACHINES {
        let entries = match parse(data, machine) {
            Ok(entries) => entries,
            Err(error) => {
                crate::assert_one_line(&error);
                continue;
            }
        };
        let mut total = 0;
        for Entry { soname, path } in &entries {
            assert!(!soname.is_empty() && !soname.contains('/'), "{soname:?}");
            assert!(path.starts_with('/'), "{path:?}");
            assert!(!soname.chars().chain(path.chars()).any(char::is_control));
            total += soname.len() + path.len();
        }
        assert!(total <= 4 * data.len(), "{total} bytes of {}", data.len());
        assert!(12 * entries.len() <= data.len());

        if data.starts_with(b"glibc") {
            let after = parse(&[OLD, data].concat(), machine);
            assert_eq!(
                after.as_ref(),
                Ok(&entries),
                "the old format does not count"
            );
        }
        // Cut off, it has no more, and nothing else.
        let cut = data.get(..data.len() - 1).expect("accepted, so not empty");
        match parse(cut, machine) {
            Ok(fewer) => {
                let mut all = entries.iter();
                assert!(fewer.iter().all(|entry| all.any(|other| other == entry)));
            }
            Err(CacheError::Truncated) => {}
            Err(error) => panic!("cut off: {error}"),
        }
    }
}

fn new(entries: &[(u32, &str, &str, u64)]) -> Vec<u8> {
    let mut strings = Vec::new();
    let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
    let number = |n: usize| u32::try_from(n).expect("short").to_ne_bytes();
    bytes.extend(number(entries.len()));
    bytes.resize(48, 0);
    let base = 48 + 24 * entries.len();
    for (flags, soname, path, hwcap) in entries {
        bytes.extend(flags.to_ne_bytes());
        for text in [soname, path] {
            bytes.extend(number(base + strings.len()));
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
        }
        bytes.extend([0; 4]);
        bytes.extend(hwcap.to_ne_bytes());
    }
    bytes.extend(strings);
    bytes
}

/// Caches of each format, with entries of several machines.
///
/// # Panics
/// Where one of them is not read.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let some = new(&[
        (0x0303, "libcuda.so.1", "/lib/libcuda.so.1", 0),
        (
            0x0303,
            "libz.so.1",
            "/lib/glibc-hwcaps/x86-64-v3/libz.so.1",
            1 << 62,
        ),
        (0x0a03, "libz.so.1", "/lib/libz.so.1", 0),
        (0x0003, "libz.so.1", "/lib32/libz.so.1", 0),
    ]);
    assert_eq!(parse(&some, Machine::X86_64).map(|all| all.len()), Ok(1));
    let mut old = OLD.to_vec();
    old[12..16].copy_from_slice(&1_u32.to_ne_bytes());
    for field in [0x0303_u32, 0, 5] {
        old.extend(field.to_ne_bytes());
    }
    old.extend(b"a.so\0/a.so\0");
    assert_eq!(parse(&old, Machine::X86_64).map(|all| all.len()), Ok(1));
    vec![new(&[]), [OLD.as_slice(), &some].concat(), some, old]
}
