//! Libraries that the C compiler makes, and libraries of which bytes are changed.

use std::fs::{self, File};
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::libraries::machine::Machine;
use crate::testing::Root;

fn need(file: &str, version: &str) -> Need {
    Need {
        file: file.to_owned(),
        version: version.to_owned(),
    }
}

/// A library that needs two versions of one and one of another, and has two itself.
fn fixture(root: &Root) -> Vec<u8> {
    let libc = root.versioned(
        "libc.so.6",
        "libc.so.6",
        &["GLIBC_2.9", "GLIBC_2.34", "GLIBC_2.40"],
    );
    let cxx = root.versioned("libstdc++.so.6", "libstdc++.so.6", &["GLIBCXX_3.4.30"]);
    let path = root.needing(
        "libnvidia-ml.so.1",
        "libnvidia-ml.so.1",
        &[(&libc, 0), (&libc, 1), (&cxx, 0)],
    );
    fs::read(path).expect("a library")
}

#[test]
fn a_library_tells_its_name_and_needs() {
    let root = Root::new();
    let elf = Elf::parse(&fixture(&root)).expect("a library");
    assert_eq!(elf.machine, Machine::own().elf);
    assert_eq!(elf.soname.as_deref(), Some("libnvidia-ml.so.1"));
    assert_eq!(elf.needed, ["libc.so.6", "libstdc++.so.6"]);
    assert_eq!(
        elf.needs,
        [
            need("libc.so.6", "GLIBC_2.34"),
            need("libc.so.6", "GLIBC_2.9"),
            need("libstdc++.so.6", "GLIBCXX_3.4.30"),
        ]
    );
    assert!(elf.defines.is_empty());
}

#[test]
fn a_library_tells_its_versions_without_its_name() {
    let root = Root::new();
    let path = root.versioned("libc.so.6", "libc.so.6", &["GLIBC_2.9", "GLIBC_2.34"]);
    let elf = Elf::read(&File::open(path).expect("a file")).expect("a library");
    assert_eq!(elf.defines, ["GLIBC_2.9", "GLIBC_2.34"]);
    assert!(elf.needs.is_empty() && elf.needed.is_empty());
}

#[test]
fn a_library_without_sections_is_read_as_well() {
    let root = Root::new();
    let mut bytes = fixture(&root);
    let whole = Elf::parse(&bytes).expect("a library");
    // e_shoff, and e_shnum with e_shstrndx.
    bytes[40..48].fill(0);
    bytes[60..64].fill(0);
    assert_eq!(Elf::parse(&bytes).expect("a library"), whole);
}

#[test]
fn the_machines_own_libraries_are_read() {
    let asked = Command::new("cc")
        .arg("-print-file-name=libc.so.6")
        .output()
        .expect("a C compiler");
    let path = String::from_utf8(asked.stdout).expect("a path");
    let file = File::open(path.trim()).expect("the machine's libc");
    let from_file = Elf::read(&file).expect("a library");
    assert_eq!(from_file.soname.as_deref(), Some("libc.so.6"));
    assert!(from_file.defines.contains(&String::from("GLIBC_2.17")));
    let bytes = fs::read(path.trim()).expect("bytes");
    assert_eq!(Elf::parse(&bytes).expect("a library"), from_file);
}

#[test]
fn what_is_no_library_has_a_reason() {
    let root = Root::new();
    let whole = fixture(&root);
    let program = root.path("program.o");
    let done = Command::new("cc")
        .args(["-c", "-x", "c", "/dev/null", "-o"])
        .arg(&program)
        .status()
        .expect("a C compiler");
    assert!(done.success());
    let mut small = whole.clone();
    small[4] = 1;
    let mut many = whole.clone();
    many[56..58].fill(0xff);
    let damaged = ElfError::Damaged;
    let cases: [(&[u8], ElfError); 6] = [
        (b"", ElfError::NotElf),
        (
            b"!<arch>\n and more than a header of an ELF file has in bytes, 64",
            ElfError::NotElf,
        ),
        (&small, ElfError::NotElf),
        (&fs::read(program).expect("an object"), ElfError::NotShared),
        (&whole[..64], damaged("list of segments")),
        (&many, damaged("list of segments")),
    ];
    for (bytes, reason) in cases {
        assert_eq!(Elf::parse(bytes), Err(reason));
    }
}

#[test]
fn versions_that_go_in_a_circle_end() {
    let root = Root::new();
    let mut bytes = fixture(&root);
    // Each vn_next and vna_next of the version's table is set to the least that is not 0.
    let at = bytes.windows(4).position(|four| four == [1, 0, 2, 0]);
    let at = at.expect("a Verneed with version 1 and two entries");
    bytes[at + 12..at + 16].copy_from_slice(&[1, 0, 0, 0]);
    assert!(Elf::parse(&bytes).is_err());
}

#[test]
fn a_name_is_as_long_as_names_are() {
    let bytes = [&[b'a'; 255], b"\0".as_slice(), &[b'b'; 256], b"\0end"].concat();
    let end = u64::try_from(bytes.len()).expect("short");
    for whole in [Some(bytes.as_slice()), None] {
        let (data, at) = (bytes.as_slice(), 0);
        let strings = Strings {
            data,
            at,
            end,
            whole,
        };
        assert_eq!(strings.get(0).map(|name| name.len()), Some(255));
        assert_eq!(strings.get(254).as_deref(), Some("a"));
        // Empty, too long, without an end, and outside.
        for at in [255, 256, end - 3, end, end + 1, u64::MAX] {
            assert_eq!(strings.get(at), None, "{at}");
        }
        assert_eq!(strings.get(257).map(|name| name.len()), Some(255));
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _ = Elf::parse(&bytes);
    }

    #[test]
    fn no_changed_bytes_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        static WHOLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut bytes = WHOLE.get_or_init(|| fixture(&Root::new())).clone();
        // Where the headers, the tables and the names are.
        let end = bytes.len().min(2048);
        for (at, byte) in changes {
            bytes[at.index(end)] = byte;
        }
        if let Ok(elf) = Elf::parse(&bytes) {
            prop_assert!(elf.needs.len() <= ENTRIES && elf.defines.len() <= ENTRIES);
            prop_assert!(elf.needs.iter().all(|need| !need.version.is_empty()));
        }
    }
}
