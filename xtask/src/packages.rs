//! Debian packages that building and testing need, installed where missing.
//!
//! Looks first for what a package brings (a program, a header), so that what
//! came from elsewhere is used as it is. It never removes or upgrades anything
//! by itself.

use std::path::Path;

use anyhow::{Result, bail};

use crate::job::{Job, find_program, say};
use crate::layout::Layout;

/// Something that is needed, how to see that it is there, and which packages
/// bring it: the first one that this Debian has.
pub(crate) struct Need {
    name: &'static str,
    is_there: fn() -> bool,
    packages: &'static [&'static str],
}

/// What building the workspace needs besides Rust.
pub(crate) const BUILD: &[Need] = &[
    Need {
        name: "a C compiler",
        is_there: || find_program("gcc").is_some() && Path::new("/usr/include/stdio.h").exists(),
        packages: &["gcc", "libc6-dev"],
    },
    Need {
        name: "libclang",
        is_there: has_libclang,
        packages: &["libclang-dev"],
    },
    Need {
        name: "Slurm's headers",
        is_there: || Path::new("/usr/include/slurm/spank.h").exists(),
        packages: &["libslurm-dev"],
    },
    Need {
        name: "mksquashfs",
        is_there: || find_program("mksquashfs").is_some(),
        packages: &["squashfs-tools"],
    },
    Need {
        name: "squashfuse_ll",
        is_there: || find_program("squashfuse_ll").is_some(),
        packages: &["squashfuse"],
    },
    Need {
        name: "fusermount3",
        is_there: || find_program("fusermount3").is_some(),
        packages: &["fuse3"],
    },
];

/// What building libFuzzer needs besides.
pub(crate) const FUZZ: &[Need] = &[Need {
    name: "a C++ compiler",
    is_there: || find_program("c++").is_some(),
    packages: &["g++"],
}];

/// What starting a Docker engine of our own needs.
pub(crate) const ENGINE: &[Need] = &[Need {
    name: "a Docker engine",
    is_there: || find_program("dockerd").is_some(),
    packages: &["docker.io"],
}];

/// What talks to the engine. Debian 13 has the client in a package of its own.
pub(crate) const CLIENT: &[Need] = &[Need {
    name: "the Docker client",
    is_there: || find_program("docker").is_some(),
    packages: &["docker-cli|docker.io"],
}];

/// Compose, version 1 or 2.
pub(crate) const COMPOSE: &[Need] = &[Need {
    name: "Docker Compose",
    is_there: || find_program("docker-compose").is_some(),
    packages: &["docker-compose|docker-compose-plugin"],
}];

/// What makes a base image where none can be pulled.
pub(crate) const DEBOOTSTRAP: &[Need] = &[Need {
    name: "debootstrap",
    is_there: || find_program("debootstrap").is_some(),
    packages: &["debootstrap"],
}];

/// Installs what is missing of these needs.
pub(crate) fn ensure(layout: &Layout, needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.is_there)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|need| need.name).collect();
    if find_program("apt-get").is_none() {
        bail!(
            "missing: {}; this machine has no apt-get: install them by hand",
            names.join(", ")
        );
    }
    let wanted: Vec<&str> = missing
        .iter()
        .flat_map(|need| need.packages.iter().copied())
        .collect();
    // An index that does not know the packages, or knows versions that are
    // gone, is read anew, once.
    let known = choose(&wanted);
    if let Some(packages) = &known
        && install(layout, &names, packages).is_ok()
    {
        return Ok(());
    }
    say("reading the package index (apt-get update)");
    apt(["update"])
        .limit(300)
        .log_to(&layout.log("apt-update")?)?;
    match choose(&wanted) {
        Some(packages) => install(layout, &names, &packages),
        None => bail!(
            "no package known to apt brings {}; wanted: {}",
            names.join(", "),
            wanted.join(", ")
        ),
    }
}

fn install(layout: &Layout, names: &[&str], packages: &[&str]) -> Result<()> {
    say(&format!(
        "missing: {}; installing with apt-get: {}",
        names.join(", "),
        packages.join(" ")
    ));
    apt(["install", "--no-install-recommends"])
        .args(packages.iter().copied())
        .limit(900)
        .log_to(&layout.log("apt-install")?)
}

fn apt<const N: usize>(args: [&str; N]) -> Job {
    Job::new(
        "install packages",
        ["apt-get", "-y", "-q", "-o", "DPkg::Lock::Timeout=120"],
    )
    .args(args)
    .env("DEBIAN_FRONTEND", "noninteractive")
    .root_if(true)
}

/// Picks the first package of every alternative that the index knows.
fn choose<'a>(wanted: &[&'a str]) -> Option<Vec<&'a str>> {
    wanted
        .iter()
        .map(|names| names.split('|').find(|name| is_known(name)))
        .collect()
}

fn is_known(package: &str) -> bool {
    Job::new(
        "ask apt",
        ["apt-cache", "show", "--no-all-versions", package],
    )
    .succeeds()
}

/// libclang lies in a folder that carries LLVM's version.
fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let Ok(entries) = std::fs::read_dir("/usr/lib") else {
        return false;
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("llvm-"))
        .filter_map(|entry| std::fs::read_dir(entry.path().join("lib")).ok())
        .flat_map(Iterator::flatten)
        .any(|file| is_libclang(&file.file_name().to_string_lossy()))
}

/// libclang.so, libclang.so.1 or libclang-14.so.1, but not libclang-cpp.so.14,
/// which is another library.
fn is_libclang(name: &str) -> bool {
    match name.strip_prefix("libclang") {
        Some(rest) => {
            rest.starts_with(".so")
                || rest
                    .strip_prefix('-')
                    .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn libclang_is_told_from_its_neighbours() {
        for (name, yes) in [
            ("libclang.so", true),
            ("libclang.so.1", true),
            ("libclang-14.so.14.0.6", true),
            ("libclang-cpp.so.14", false),
            ("libclangTooling.so", false),
            ("libLLVM.so", false),
        ] {
            assert_eq!(super::is_libclang(name), yes, "{name}");
        }
    }
}
