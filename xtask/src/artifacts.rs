//! Builds Oarlock in release form and stages it for the cluster.
//!
//! The staged tree has the shape of an installation; `install-oarlock` in the
//! machines puts it in place. Nothing is installed on the host.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::engine::Engine;
use crate::job::{Job, say};
use crate::layout::{Layout, Slurm, make_dir};

/// One file of the installation: where it comes from, where it goes.
struct Item {
    from: PathBuf,
    to: &'static str,
}

/// Takes Slurm's headers out of the cluster's image, for building the plugin.
pub(crate) fn slurm_headers(layout: &Layout, engine: &Engine, slurm: Slurm) -> Result<()> {
    let include = layout.slurm_include(slurm);
    let stamp = include.join("image-id");
    let id = engine
        .image_id(&slurm.image())
        .with_context(|| format!("image {}: not there although it was built", slurm.image()))?;
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == id)
        && include.join("slurm/spank.h").exists()
    {
        return Ok(());
    }
    say(&format!(
        "taking Slurm {}'s headers out of the image",
        slurm.version()
    ));
    make_dir(&include)?;
    let container = engine
        .docker("make a container", ["create", &slurm.image()])
        .capture()?;
    let container = container.trim();
    let copied = engine
        .docker(
            "copy Slurm's headers",
            ["cp", &format!("{container}:/usr/include/slurm")],
        )
        .args([&include])
        .capture();
    engine
        .docker("remove a container", ["rm", container])
        .capture()?;
    copied?;
    std::fs::write(&stamp, id).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Builds the programs and the plugin.
pub(crate) fn build(layout: &Layout, slurm: Slurm) -> Result<()> {
    say("building Oarlock (release)");
    cargo(
        layout,
        [
            "build",
            "--release",
            "-p",
            "runtime-core",
            "-p",
            "oarlock",
            "-p",
            "fuse-open",
            "-p",
            "oarlock-check",
        ],
    )
    .log_to(&layout.log("cargo-build")?)?;
    // These two have no standard library, and so a profile of their own.
    cargo(
        layout,
        [
            "build",
            "--profile",
            "enter",
            "-p",
            "oarlock-enter",
            "--features",
            "program",
        ],
    )
    .log_to(&layout.log("cargo-build-enter")?)?;
    say(&format!(
        "building the plugin for Slurm {}",
        slurm.version()
    ));
    cargo(layout, ["build", "--release", "-p", "spank-plugin"])
        .env("OARLOCK_SLURM_INCLUDE", layout.slurm_include(slurm))
        .log_to(&layout.log("cargo-build-plugin")?)
}

/// A cargo command in the workspace.
pub(crate) fn cargo<const N: usize>(layout: &Layout, args: [&str; N]) -> Job {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Job::new("run cargo", [cargo])
        .args(args)
        .dir(&layout.root)
        .limit(1800)
}

/// Fills the staged tree, file by file and by rename: machines may be reading.
pub(crate) fn stage(layout: &Layout) -> Result<()> {
    let release = layout.cargo_target().join("release");
    let enter = layout.cargo_target().join("enter");
    let etc = layout.root.join("etc");
    let plugin = release.join("libspank_oarlock.so");
    let items = [
        Item {
            from: release.join("oarlock-prepare"),
            to: "libexec/oarlock/oarlock-prepare",
        },
        Item {
            from: release.join("oarlock-check"),
            to: "libexec/oarlock/oarlock-check",
        },
        Item {
            from: enter.join("oarlock-enter"),
            to: "libexec/oarlock/oarlock-enter",
        },
        Item {
            from: enter.join("oarlock-nothing"),
            to: "libexec/oarlock/oarlock-nothing",
        },
        Item {
            from: release.join("liboarlock_fuse_open.so"),
            to: "libexec/oarlock/liboarlock_fuse_open.so",
        },
        Item {
            from: release.join("oarlock"),
            to: "bin/oarlock",
        },
        Item {
            from: plugin,
            to: "lib/slurm/spank_oarlock.so",
        },
        Item {
            from: etc.join("oarlock.toml"),
            to: "etc/oarlock/oarlock.toml",
        },
        Item {
            from: etc.join("sysusers.d/oarlock.conf"),
            to: "lib/sysusers.d/oarlock.conf",
        },
        Item {
            from: etc.join("plugstack.conf.d/oarlock.conf"),
            to: "etc/plugstack.conf.d/oarlock.conf",
        },
    ];
    for item in items {
        let to = layout.install().join(item.to);
        put(&item.from, &to)?;
    }
    Ok(())
}

fn put(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("cannot stage {} as {}", from.display(), to.display());
    let dir = to.parent().with_context(context)?;
    make_dir(dir)?;
    let new = to.with_extension("new");
    std::fs::copy(from, &new).with_context(context)?;
    std::fs::rename(&new, to).with_context(context)
}

/// Whether programs built here start in the cluster: a program needs a glibc that
/// is at least as new as the one it was built with. Says where they may not.
pub(crate) fn compare_glibc(engine: &Engine, slurm: Slurm) -> Result<bool> {
    let here = Job::new(
        "ask for the C library's version",
        ["getconf", "GNU_LIBC_VERSION"],
    )
    .capture()?;
    let there = engine
        .docker(
            "ask for the image's C library",
            [
                "run",
                "--rm",
                "--entrypoint",
                "getconf",
                &slurm.image(),
                "GNU_LIBC_VERSION",
            ],
        )
        .capture()?;
    let fits = glibc(&here) <= glibc(&there);
    if !fits {
        say(&format!(
            "WARNING: this machine's {} is newer than the {} of Slurm {}'s image: what is built here may not start there; use --slurm with a newer version, or an older machine",
            here.trim(),
            there.trim(),
            slurm.version()
        ));
    }
    Ok(fits)
}

/// `glibc 2.36` as numbers.
fn glibc(text: &str) -> Vec<u32> {
    text.trim()
        .trim_start_matches("glibc")
        .trim()
        .split('.')
        .filter_map(|part| part.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::glibc;

    #[test]
    fn glibc_versions_compare_as_numbers() {
        assert!(glibc("glibc 2.41\n") > glibc("glibc 2.36\n"));
        assert!(glibc("glibc 2.9") < glibc("glibc 2.36"));
        assert_eq!(glibc("glibc 2.36"), vec![2, 36]);
    }
}
