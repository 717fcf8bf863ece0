//! The container images that users run in the demo, the tests and the bench.
//!
//! Built with the engine, unpacked to target/cluster/rootfs/NAME, and packed
//! by Oarlock's own `oarlock build`: what runs is what this project wrote.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::engine::Engine;
use crate::job::{Job, say};
use crate::layout::{Layout, Slurm, make_dir};

/// A user's image: its file in /shared/images and the Dockerfile it is of.
struct UserImage {
    name: &'static str,
    dockerfile: &'static str,
}

const IMAGES: [UserImage; 2] = [
    UserImage {
        name: "demo",
        dockerfile: "openmpi.Dockerfile",
    },
    UserImage {
        name: "mpich",
        dockerfile: "mpich.Dockerfile",
    },
];

/// Makes every image that is missing or older than what it is made of.
pub(crate) fn ensure(layout: &Layout, engine: &Engine, slurm: Slurm) -> Result<()> {
    for image in &IMAGES {
        let tag = format!("oarlock-image-{}:{}", image.name, slurm.suite());
        engine.build(
            layout,
            image.dockerfile,
            slurm.suite(),
            &tag,
            "slurm-test-cluster/images",
        )?;
        unpack(layout, engine, image, &tag)?;
        pack(layout, image.name)?;
    }
    Ok(())
}

/// Whether all are there, of whichever version's Debian.
pub(crate) fn are_there(layout: &Layout) -> bool {
    IMAGES.iter().all(|image| sif(layout, image.name).exists())
}

fn sif(layout: &Layout, name: &str) -> PathBuf {
    layout.shared().join("images").join(format!("{name}.sif"))
}

/// Where the root file system of the image with this name lies.
pub(crate) fn rootfs(layout: &Layout, name: &str) -> PathBuf {
    layout.cluster().join("rootfs").join(name)
}

/// The file that says which image a root file system was unpacked from; its
/// time is the time of unpacking.
pub(crate) fn stamp(layout: &Layout, name: &str) -> PathBuf {
    layout
        .cluster()
        .join("rootfs")
        .join(format!("{name}.image-id"))
}

fn unpack(layout: &Layout, engine: &Engine, image: &UserImage, tag: &str) -> Result<()> {
    let id = engine
        .image_id(tag)
        .with_context(|| format!("image {tag}: not there although it was built"))?;
    let stamp = stamp(layout, image.name);
    if std::fs::read_to_string(&stamp).is_ok_and(|text| text == id) {
        return Ok(());
    }
    let tree = rootfs(layout, image.name);
    say(&format!("unpacking {tag}"));
    make_dir(&layout.cluster().join("rootfs"))?;
    root_job(
        "clear a root file system",
        ["rm", "-rf", "--one-file-system"],
    )
    .args([&tree])
    .capture()?;
    root_job(
        "make a folder",
        ["install", "-d", "-o", "root", "-m", "0755"],
    )
    .args([&tree])
    .capture()?;
    let archive = layout
        .cluster()
        .join("rootfs")
        .join(format!("{}.tar", image.name));
    let container = engine
        .docker("make a container", ["create", tag, "true"])
        .capture()?;
    let container = container.trim();
    let exported = engine
        .docker("export an image", ["export", "-o"])
        .args([&archive])
        .args([container])
        .limit(300)
        .capture();
    engine
        .docker("remove a container", ["rm", container])
        .capture()?;
    exported?;
    // Device nodes and the engine's own marks are not the image's.
    root_job(
        "unpack an image",
        ["tar", "-x", "--numeric-owner", "-p", "-f"],
    )
    .args([&archive])
    .args(["--exclude=dev/*", "--exclude=.dockerenv", "-C"])
    .args([&tree])
    .limit(300)
    .capture()?;
    root_job("clear an archive", ["rm", "-f"])
        .args([&archive])
        .capture()?;
    std::fs::write(&stamp, id).with_context(|| format!("cannot write {}", stamp.display()))
}

/// Packs a root file system with the `oarlock` that has just been built, where
/// it is newer than its image.
pub(crate) fn pack(layout: &Layout, name: &str) -> Result<()> {
    let oarlock = layout.install().join("bin/oarlock");
    let sif = sif(layout, name);
    if let (Some(made), Some(unpacked)) = (modified(&sif), modified(&stamp(layout, name)))
        && unpacked < made
    {
        return Ok(());
    }
    say(&format!("packing {name}.sif with oarlock build"));
    let new = sif.with_extension("sif.new");
    root_job("clear an unfinished image", ["rm", "-f"])
        .args([&new])
        .capture()?;
    root_job("pack an image", [&oarlock])
        .args(["build"])
        .args([&new, &rootfs(layout, name)])
        .limit(600)
        .log_to(&layout.log(&format!("pack-{name}"))?)?;
    root_job("set an image's mode", ["chmod", "0644"])
        .args([&new])
        .capture()?;
    root_job("put an image in place", ["mv", "-f"])
        .args([&new, &sif])
        .capture()
        .map(drop)
}

/// A command of root, such as the parts of a root file system need.
pub(crate) fn root_job<S: Into<std::ffi::OsString>>(
    what: &str,
    argv: impl IntoIterator<Item = S>,
) -> Job {
    Job::new(what, argv).root_if(true).limit(120)
}

fn modified(path: &std::path::Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}
