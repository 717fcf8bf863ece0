//! What a user's process says an image's libraries define, as root reads it: within its bounds, and whatever is
//! judged by it is told in one line.

use host_devices::libraries::elf::Need;
use host_devices::libraries::judge::{Demands, refusals};
use host_devices::libraries::versions::{Defined, Libc, Versions};

/// A library's name, what it needs, and which versions of it.
type Library = (
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

/// What host libraries need of each kind: higher, without a number, of another file, and each other.
const NEEDS: [Library; 4] = [
    (
        "liba.so",
        &["libc.so.6", "libb.so"],
        &[("libm.so.6", "GLIBC_2.29")],
    ),
    (
        "libb.so",
        &["libc.so.6"],
        &[
            ("libc.so.6", "GLIBC_2.34"),
            ("libc.so.6", "GLIBC_ABI_DT_RELR"),
        ],
    ),
    (
        "libc++.so",
        &["libstdc++.so.6"],
        &[("libstdc++.so.6", "GLIBCXX_3.4.30")],
    ),
    ("libd.so", &["libgcc_s.so.1", "liba.so"], &[]),
];

fn demands() -> Vec<Demands> {
    let one = |(soname, needed, needs): &Library| Demands {
        soname: (*soname).to_owned(),
        needed: needed.iter().map(|name| (*name).to_owned()).collect(),
        needs: needs
            .iter()
            .map(|(file, version)| Need {
                file: (*file).to_owned(),
                version: (*version).to_owned(),
            })
            .collect(),
    };
    NEEDS.iter().map(one).collect()
}

/// Reads the value and holds it to what the reader promises.
///
/// # Panics
/// Where a promise is broken.
pub fn check(data: &[u8]) {
    let Ok(value) = postcard::from_bytes::<Defined>(data) else {
        return;
    };
    let again = postcard::to_stdvec(&value).expect("bytes");
    assert!(again.len() <= Defined::MAX_BYTES, "{} bytes", again.len());
    assert_eq!(postcard::from_bytes(&again).as_ref(), Ok(&value));

    let all = demands();
    let refused = refusals(&all, &value);
    assert!(refused.is_sorted_by(|a, b| a.soname < b.soname));
    for one in &refused {
        crate::assert_one_line(one);
        assert!(all.iter().any(|library| library.soname == one.soname));
    }
    let is_refused = |name: &str| refused.iter().any(|one| one.soname == name);
    // What brings along what is refused is refused.
    assert!(!is_refused("libb.so") || is_refused("liba.so"));
    assert!(!is_refused("liba.so") || is_refused("libd.so"));
    let has = |versions: &Versions| versions.has("GLIBC_2.34") && versions.has("GLIBC_ABI_DT_RELR");
    let loads = matches!(&value.libc, Libc::Glibc(versions) if has(versions));
    assert_eq!(is_refused("libb.so"), !loads);
    let cxx = value
        .libstdcxx
        .is_some_and(|versions| versions.has("GLIBCXX_3.4.30"));
    assert_eq!(is_refused("libc++.so"), !cxx);
}

/// Images with each C library, old and new.
///
/// # Panics
/// Where one of them is not read.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let versions = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Versions::try_from(names).expect("in order")
    };
    let new = Defined {
        libc: Libc::Glibc(versions(&[
            "GLIBC_2.2.5",
            "GLIBC_2.34",
            "GLIBC_ABI_DT_RELR",
        ])),
        libstdcxx: Some(versions(&["CXXABI_1.3", "GLIBCXX_3.4.30"])),
        libgcc: Some(versions(&["GCC_3.0"])),
    };
    let old = Defined {
        libc: Libc::Glibc(versions(&["GLIBC_2.2.5", "GLIBC_2.9"])),
        ..new.clone()
    };
    let bare = |libc| Defined {
        libc,
        libstdcxx: None,
        libgcc: None,
    };
    assert!(refusals(&demands(), &new).is_empty());
    [new, old, bare(Libc::Musl), bare(Libc::None)]
        .iter()
        .map(|value| postcard::to_stdvec(value).expect("bytes"))
        .collect()
}
