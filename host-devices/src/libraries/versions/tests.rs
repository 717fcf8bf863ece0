//! The order of versions; images made of real libraries; values as somebody else might hand them over.

use std::io::Cursor;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::testing::Root;

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| String::from(*name)).collect()
}

fn versions(names: &[&str]) -> Versions {
    Versions::try_from(list(names)).expect("versions")
}

/// What is found in an image, read from a directory that stands for it.
fn of_image(root: &Root) -> Defined {
    let host = root.host();
    defined(|path| Some(Cursor::new(host.read(Path::new(path), 64 << 20).ok()??)))
}

#[test]
fn versions_are_in_the_order_of_their_numbers() {
    let cases = [
        ("GLIBC_2.9", "GLIBC_2.34", Some(Ordering::Less)),
        ("GLIBC_2.34", "GLIBC_2.34", Some(Ordering::Equal)),
        ("GLIBC_2.2.5", "GLIBC_2.2", Some(Ordering::Greater)),
        ("GLIBC_2.2.5", "GLIBC_2.10", Some(Ordering::Less)),
        ("GLIBCXX_3.4.9", "GLIBCXX_3.4.30", Some(Ordering::Less)),
        ("CXXABI_1.3", "GLIBCXX_3.4", None),
        ("GLIBC_PRIVATE", "GLIBC_2.34", None),
        ("GLIBC_ABI_DT_RELR", "GLIBC_2.36", None),
        ("GLIBC_2.", "GLIBC_2.34", None),
        ("GLIBC_99999999999", "GLIBC_2", None),
        ("", "", None),
    ];
    for (a, b, order) in cases {
        assert_eq!(compare(a, b), order, "{a} {b}");
        assert_eq!(compare(b, a), order.map(Ordering::reverse), "{b} {a}");
    }
}

#[test]
fn the_highest_of_a_family_is_found() {
    let all = versions(&[
        "CXXABI_1.3",
        "CXXABI_TM_1",
        "GLIBCXX_3.4.30",
        "GLIBCXX_3.4.9",
    ]);
    assert_eq!(all.highest("GLIBCXX_3.4.31"), Some("GLIBCXX_3.4.30"));
    assert_eq!(all.highest("CXXABI_FLOAT128"), Some("CXXABI_1.3"));
    assert_eq!(all.highest("GCC_3.0"), None);
    assert!(all.has("CXXABI_TM_1") && !all.has("CXXABI_TM"));
}

#[test]
fn an_images_libraries_are_found_in_its_directories_and_its_cache() {
    let root = Root::new();
    root.versioned(
        "usr/lib64/libc.so.6",
        "libc.so.6",
        &["GLIBC_2.9", "GLIBC_2.31", "OTHER_1"],
    );
    root.versioned(
        "opt/gcc/libstdc++.so.6",
        "libstdc++.so.6",
        &["GLIBCXX_3.4", "CXXABI_1.3"],
    );
    let glibc = Libc::Glibc(versions(&["GLIBC_2.31", "GLIBC_2.9"]));
    let without = Defined {
        libc: glibc.clone(),
        libstdcxx: None,
        libgcc: None,
    };
    assert_eq!(of_image(&root), without);
    root.ldconfig("new", &["/opt/gcc"]);
    let with = Defined {
        libstdcxx: Some(versions(&["CXXABI_1.3", "GLIBCXX_3.4"])),
        ..without
    };
    assert_eq!(of_image(&root), with);
    root.file("etc/ld.so.cache", "glibc-ld.so.cache1.1");
    assert_eq!(of_image(&root).libc, glibc);
}

#[test]
fn an_image_without_glibc_is_told_apart() {
    let root = Root::new();
    assert_eq!(of_image(&root).libc, Libc::None);
    root.file(&format!("lib/{}", Machine::own().musl), "a loader");
    assert_eq!(of_image(&root).libc, Libc::Musl);
    // A name for programs that were built for glibc, without its versions.
    root.library("lib/libc.so.6", "libc.so.6", "int a;", &[]);
    assert_eq!(of_image(&root).libc, Libc::Musl);
    root.file("lib64/libc.so.6", "no library");
    assert_eq!(of_image(&root).libc, Libc::Musl);
    root.versioned("usr/lib64/libc.so.6", "libc.so.6", &["GLIBC_2.31"]);
    assert_eq!(of_image(&root).libc, Libc::Glibc(versions(&["GLIBC_2.31"])));
}

#[test]
fn the_machines_own_libraries_have_what_they_say() {
    let host = crate::Host::at(Path::new("/")).expect("/");
    let own = defined(|path| Some(Cursor::new(host.read(Path::new(path), 64 << 20).ok()??)));
    let Libc::Glibc(libc) = own.libc else {
        panic!("no glibc: {:?}", own.libc);
    };
    let asked = std::process::Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .output()
        .expect("getconf");
    let asked = String::from_utf8(asked.stdout).expect("text");
    let version = asked
        .trim()
        .strip_prefix("glibc ")
        .expect("glibc's version");
    // A release may add no symbol; none has a higher version than the release's.
    let highest = libc.highest("GLIBC_2").expect("versions");
    let order = compare(highest, &format!("GLIBC_{version}")).expect("an order");
    assert_ne!(order, Ordering::Greater, "{highest} {version}");
    assert!(libc.has("GLIBC_2.17") && highest != "GLIBC_2.17");
}

#[test]
fn only_what_is_within_its_bounds_is_taken_over() {
    let many: Vec<String> = (0..=VERSIONS).map(|n| format!("GLIBC_{n:04}")).collect();
    let cases: [(Vec<String>, bool); 8] = [
        (Vec::new(), true),
        (list(&["GLIBC_2.2", "GLIBC_2.9"]), true),
        (list(&["GLIBC_2.9", "GLIBC_2.2"]), false),
        (list(&["GLIBC_2.2", "GLIBC_2.2"]), false),
        (list(&["GLIBC_2.2\n"]), false),
        (list(&[""]), false),
        (vec!["G".repeat(NAME + 1)], false),
        (many.clone(), false),
    ];
    for (names, good) in cases {
        let bytes = postcard::to_stdvec(&names).expect("bytes");
        let read: Result<Versions, _> = postcard::from_bytes(&bytes);
        assert_eq!(read.is_ok(), good, "{names:?}");
    }
    assert!(Versions::try_from(many[1..].to_vec()).is_ok());
}

#[test]
fn no_value_is_longer_than_its_bound() {
    let most: Vec<String> = (0..VERSIONS).map(|n| format!("{n:0NAME$}")).collect();
    let most = Versions::try_from(most).expect("versions");
    let value = Defined {
        libc: Libc::Glibc(most.clone()),
        libstdcxx: Some(most.clone()),
        libgcc: Some(most),
    };
    let bytes = postcard::to_stdvec(&value).expect("bytes");
    assert!(bytes.len() <= Defined::MAX_BYTES, "{}", bytes.len());
    assert_eq!(
        postcard::from_bytes::<Defined>(&bytes).expect("a value"),
        value
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        if let Ok(value) = postcard::from_bytes::<Defined>(&bytes)
            && let Libc::Glibc(versions) = value.libc
        {
            prop_assert!(versions.0.iter().all(|name| is_name(name)));
        }
        let _ = defined(|_| Some(Cursor::new(bytes.clone())));
    }
}
