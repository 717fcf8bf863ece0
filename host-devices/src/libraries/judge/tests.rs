//! What is refused and what is said of it: by tables, and with real libraries.

use std::io::Cursor;
use std::path::Path;

use super::*;
use crate::testing::Root;

fn versions(names: &[&str]) -> Versions {
    let mut names: Vec<String> = names.iter().map(|name| String::from(*name)).collect();
    names.sort();
    Versions::try_from(names).expect("versions")
}

fn glibc(names: &[&str]) -> Defined {
    Defined {
        libc: Libc::Glibc(versions(names)),
        libstdcxx: None,
        libgcc: None,
    }
}

/// `FILE:VERSION` for each version, `FILE` for a library that is needed without one.
fn demands(soname: &str, all: &[&str]) -> Demands {
    let needs = all.iter().filter_map(|one| one.split_once(':'));
    let needs = needs.map(|(file, version)| Need {
        file: file.to_owned(),
        version: version.to_owned(),
    });
    let mut needed: Vec<String> = all
        .iter()
        .map(|one| one.split(':').next().expect("a name").to_owned())
        .collect();
    needed.dedup();
    Demands {
        soname: soname.to_owned(),
        needed,
        needs: needs.collect(),
    }
}

fn told(libraries: &[Demands], image: &Defined) -> Vec<String> {
    let refused = refusals(libraries, image);
    refused.iter().map(ToString::to_string).collect()
}

#[test]
fn each_need_has_its_answer() {
    let old = glibc(&["GLIBC_2.2.5", "GLIBC_2.9", "GLIBC_2.31", "GLIBC_PRIVATE"]);
    let cxx = Defined {
        libstdcxx: Some(versions(&[
            "GLIBCXX_3.4.9",
            "GLIBCXX_3.4.28",
            "CXXABI_1.3.12",
        ])),
        libgcc: Some(versions(&["GCC_3.0"])),
        ..old.clone()
    };
    let musl = Defined {
        libc: Libc::Musl,
        ..old.clone()
    };
    let none = Defined {
        libc: Libc::None,
        ..old.clone()
    };
    let cases: [(&[&str], &Defined, Option<&str>); 20] = [
        (&[], &none, None),
        (&["libX11.so.6", "libssl.so.3:OPENSSL_3.0.0"], &musl, None),
        (
            &["libssl.so.3:OPENSSL_3.0.0", "libc.so.6:GLIBC_2.34"],
            &old,
            Some("needs GLIBC_2.34, the image has GLIBC_2.31"),
        ),
        (&["libc.so.6:GLIBC_2.9"], &old, None),
        (
            &["libc.so.6:GLIBC_2.34"],
            &old,
            Some("needs GLIBC_2.34, the image has GLIBC_2.31"),
        ),
        (
            &[
                "libc.so.6:GLIBC_2.32",
                "libc.so.6:GLIBC_2.38",
                "libc.so.6:GLIBC_2.4",
            ],
            &old,
            Some("needs GLIBC_2.38, the image has GLIBC_2.31"),
        ),
        // As with a libc.so.6 of another machine: the loader wants just that name.
        (
            &["libc.so.6:GLIBC_2.17"],
            &old,
            Some("needs GLIBC_2.17, the image has GLIBC_2.31"),
        ),
        (
            &["libm.so.6:GLIBC_2.29", "libpthread.so.0:GLIBC_2.3.3"],
            &old,
            None,
        ),
        (
            &["libm.so.6:GLIBC_2.35"],
            &old,
            Some("needs GLIBC_2.35, the image has GLIBC_2.31"),
        ),
        (
            &["libc.so.6:GLIBC_ABI_DT_RELR"],
            &old,
            Some("needs GLIBC_ABI_DT_RELR, the image has GLIBC_2.31"),
        ),
        (&["libc.so.6:GLIBC_PRIVATE"], &old, None),
        (
            &["libc.so.6:OTHER_1.0"],
            &old,
            Some("needs OTHER_1.0, the image's libc.so.6 has none like it"),
        ),
        (
            &["libc.so.6:GLIBC_2.2.5"],
            &musl,
            Some("needs glibc, the image has musl"),
        ),
        (
            &["libc.so.6"],
            &musl,
            Some("needs glibc, the image has musl"),
        ),
        (
            &["libdl.so.2:GLIBC_2.2.5"],
            &none,
            Some("needs glibc, the image has no libc.so.6"),
        ),
        (
            &["libstdc++.so.6:GLIBCXX_3.4.9"],
            &old,
            Some("needs libstdc++.so.6, the image has none"),
        ),
        (
            &["libgcc_s.so.1"],
            &old,
            Some("needs libgcc_s.so.1, the image has none"),
        ),
        (
            &["libstdc++.so.6:GLIBCXX_3.4.28", "libgcc_s.so.1:GCC_3.0"],
            &cxx,
            None,
        ),
        (
            &["libstdc++.so.6:GLIBCXX_3.4.30"],
            &cxx,
            Some("needs GLIBCXX_3.4.30, the image has GLIBCXX_3.4.28"),
        ),
        (
            &["libgcc_s.so.1:GCC_12.0.0"],
            &cxx,
            Some("needs GCC_12.0.0, the image has GCC_3.0"),
        ),
    ];
    for (needs, image, why) in cases {
        let line = why.map(|why| format!("host library libcuda.so.1 {why}"));
        let found = told(&[demands("libcuda.so.1", needs)], image);
        assert_eq!(found, Vec::from_iter(line), "{needs:?}");
    }
}

#[test]
fn a_library_is_refused_for_what_it_brings_along() {
    let image = glibc(&["GLIBC_2.31"]);
    let all = [
        demands("liba.so", &["libb.so", "libc.so.6:GLIBC_2.31"]),
        demands("libb.so", &["libd.so"]),
        // In a circle, and with what is not bound.
        demands("libd.so", &["liba.so", "libold.so", "libelsewhere.so"]),
        demands("libold.so", &["libc.so.6:GLIBC_2.34"]),
        demands("libgood.so", &["libc.so.6:GLIBC_2.31", "libgood.so"]),
    ];
    let through = "needs libold.so, which needs GLIBC_2.34, the image has GLIBC_2.31";
    assert_eq!(
        told(&all, &image),
        [
            format!("host library liba.so {through}"),
            format!("host library libb.so {through}"),
            format!("host library libd.so {through}"),
            String::from("host library libold.so needs GLIBC_2.34, the image has GLIBC_2.31"),
        ]
    );
    assert!(told(&all, &glibc(&["GLIBC_2.31", "GLIBC_2.34"])).is_empty());
    // What a library needs itself is told before what comes along.
    let both = [
        demands("liba.so", &["libold.so", "libc.so.6:GLIBC_2.35"]),
        all[3].clone(),
    ];
    assert_eq!(
        told(&both, &image)[0],
        "host library liba.so needs GLIBC_2.35, the image has GLIBC_2.31"
    );
}

#[test]
fn real_libraries_are_judged() {
    let (host, image) = (Root::new(), Root::new());
    let libc = host.versioned("libc.so.6", "libc.so.6", &["GLIBC_2.9", "GLIBC_2.34"]);
    host.needing("ml.so", "libnvidia-ml.so.1", &[(&libc, 1)]);
    host.needing("cfg.so", "libnvidia-cfg.so.1", &[(&libc, 0)]);
    let elf = |name: &str| {
        let file = std::fs::File::open(host.path(name)).expect("a file");
        let elf = Elf::read(&file).expect("a library");
        Demands::of(elf.soname.as_deref().expect("a name"), &elf)
    };
    let all = [elf("ml.so"), elf("cfg.so")];
    image.versioned("lib64/libc.so.6", "libc.so.6", &["GLIBC_2.9", "GLIBC_2.31"]);
    let found = |root: &Root| {
        let host = root.host();
        super::super::versions::defined(|path| {
            Some(Cursor::new(host.read(Path::new(path), 1 << 20).ok()??))
        })
    };
    assert_eq!(
        told(&all, &found(&image)),
        ["host library libnvidia-ml.so.1 needs GLIBC_2.34, the image has GLIBC_2.31"]
    );
    image.versioned("lib64/libc.so.6", "libc.so.6", &["GLIBC_2.9", "GLIBC_2.34"]);
    assert!(told(&all, &found(&image)).is_empty());
}
