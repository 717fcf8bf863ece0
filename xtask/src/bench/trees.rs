//! The images and root file systems that only the benchmark uses.
//!
//! Each is the demonstration's with something added below /opt, packed by
//! `oarlock build` as the others are. They are kept between runs; what is
//! unpacked for the machines of the cluster is cleared after each. The added
//! files are written here: nothing of them comes from elsewhere.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::candidates::{BULK, DEMO, MODULES};
use super::part::Part;
use crate::images::{self, root_job};
use crate::job::say;
use crate::layout::{Layout, make_dir};

/// How many modules the image of modules has.
pub(crate) const MODULE_COUNT: u32 = 2000;

/// What is added to the image of much: so many files of so many bytes.
const BULK_FILES: u32 = 16;
const BULK_FILE: u64 = 64 << 20;

/// How much is added to the image of much, in bytes.
pub(crate) const BULK_BYTES: u64 = BULK_FILE * 16;

/// Makes what these parts need, and shows it to all machines.
pub(crate) fn make(layout: &Layout, parts: &[Part]) -> Result<()> {
    clear(layout)?;
    root_job("make a folder", ["install", "-d", "-o", "root"])
        .args(["-m", "0755"])
        .args([shown(layout)])
        .capture()?;
    show(layout, DEMO)?;
    if parts.contains(&Part::Metadata) {
        ensure(layout, MODULES, write_modules, compile)?;
        show(layout, MODULES)?;
        extract(layout)?;
    }
    if parts.contains(&Part::Cache) {
        ensure(layout, BULK, write_bulk, |_| Ok(()))?;
        show(layout, BULK)?;
    }
    Ok(())
}

/// Clears away what was shown.
pub(crate) fn clear(layout: &Layout) -> Result<()> {
    root_job(
        "clear the unpacked images",
        ["rm", "-rf", "--one-file-system"],
    )
    .args([shown(layout)])
    .capture()
    .map(drop)
}

/// The folder that all machines see as /shared/bench.
fn shown(layout: &Layout) -> PathBuf {
    layout.shared().join("bench")
}

/// Links a root file system to where all machines see it: that takes no space.
fn show(layout: &Layout, name: &str) -> Result<()> {
    root_job("link an unpacked image", ["cp", "-al"])
        .args([images::rootfs(layout, name), shown(layout)])
        .capture()
        .map(drop)
}

/// Makes a root file system and its image, where they are missing or older
/// than the demonstration's. `write` fills a folder that becomes its /opt,
/// `finish` ends the work in the tree.
fn ensure(
    layout: &Layout,
    name: &str,
    write: impl FnOnce(&Path) -> Result<()>,
    finish: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let made_of = images::stamp(layout, DEMO);
    let made_of = fs::read_to_string(&made_of)
        .with_context(|| format!("cannot read {}", made_of.display()))?;
    let stamp = images::stamp(layout, name);
    let tree = images::rootfs(layout, name);
    if fs::read_to_string(&stamp).is_ok_and(|text| text == made_of) && tree.is_dir() {
        return images::pack(layout, name);
    }
    say(&format!("making the root file system {name}"));
    let added = layout.cluster().join(format!("bench-{name}"));
    for path in [&tree, &added] {
        root_job("clear a root file system", ["rm", "-rf"])
            .args(["--one-file-system"])
            .args([path])
            .capture()?;
    }
    make_dir(&added)?;
    write(&added)?;
    root_job("link a root file system", ["cp", "-al"])
        .args([&images::rootfs(layout, DEMO), &tree])
        .capture()?;
    let opt = tree.join("opt");
    for argv in [
        [
            Path::new("chown"),
            Path::new("-R"),
            Path::new("0:0"),
            &added,
        ],
        [
            Path::new("chmod"),
            Path::new("-R"),
            Path::new("u=rwX,go=rX"),
            &added,
        ],
        [
            Path::new("rm"),
            Path::new("-rf"),
            Path::new("--one-file-system"),
            &opt,
        ],
        [Path::new("mv"), Path::new("-T"), &added, &opt],
    ] {
        root_job("add to a root file system", argv).capture()?;
    }
    finish(&tree)?;
    fs::write(&stamp, made_of).with_context(|| format!("cannot write {}", stamp.display()))?;
    images::pack(layout, name)
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A package of small modules, and one that imports them all.
fn write_modules(opt: &Path) -> Result<()> {
    let modules = opt.join("modules");
    let package = modules.join("pkg");
    make_dir(&package)?;
    write_file(&package.join("__init__.py"), "")?;
    let mut load = String::new();
    for number in 0..MODULE_COUNT {
        write_file(&package.join(format!("m{number:04}.py")), &module(number))?;
        load += &format!("import pkg.m{number:04}\n");
    }
    write_file(&modules.join("load.py"), &load)
}

/// What a small module of a program looks like.
fn module(number: u32) -> String {
    format!(
        r#""""Module {number} of many."""

NUMBER = {number}


class Thing:
    """Holds a value."""

    def __init__(self, value=NUMBER):
        self.value = value

    def more(self, by=1):
        """The value and something on top of it."""
        return Thing(self.value + by)


def things(count):
    """So many things, each with one more than the one before."""
    return [Thing().more(step) for step in range(count)]
"#
    )
}

/// Compiles the modules with the image's own Python. The compiled files do not
/// depend on times, which an image may not keep.
fn compile(tree: &Path) -> Result<()> {
    root_job("compile the modules", ["chroot"])
        .args([tree])
        .args(["/usr/bin/python3", "-B", "-m", "compileall", "-q"])
        .args(["--invalidation-mode", "unchecked-hash", "/opt/modules"])
        .env("LC_ALL", "C.UTF-8")
        .capture()
        .map(drop)
}

/// Files of random bytes: no compression makes them smaller.
fn write_bulk(opt: &Path) -> Result<()> {
    let bulk = opt.join("bulk");
    make_dir(&bulk)?;
    let random = File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    for number in 0..BULK_FILES {
        let path = bulk.join(format!("{number:02}"));
        let copied = File::create(&path)
            .and_then(|mut file| io::copy(&mut (&random).take(BULK_FILE), &mut file))
            .with_context(|| format!("cannot write {}", path.display()))?;
        if copied != BULK_FILE {
            bail!("cannot write {}: random bytes ended early", path.display());
        }
    }
    Ok(())
}

/// Takes the squashfs out of the image of modules, for peers that know no SIF.
fn extract(layout: &Layout) -> Result<()> {
    let sif = layout.shared().join(format!("images/{MODULES}.sif"));
    let start = squashfs_start(&sif)
        .with_context(|| format!("cannot read {}", sif.display()))?
        .with_context(|| format!("{}: no squashfs in it", sif.display()))?;
    let squashfs = shown(layout).join(format!("{MODULES}.squashfs"));
    root_job("take the squashfs out of an image", ["dd"])
        .args(["bs=1M", "status=none", "iflag=skip_bytes"])
        .args([format!("skip={start}")])
        .args([format!("if={}", sif.display())])
        .args([format!("of={}", squashfs.display())])
        .capture()
        .map(drop)
}

/// Where a SIF's squashfs begins: partitions are aligned to pages. Only for an
/// image that was made here.
fn squashfs_start(sif: &Path) -> io::Result<Option<u64>> {
    let mut file = File::open(sif)?;
    let size = file.metadata()?.len();
    let mut magic = [0; 4];
    for start in (0..size.saturating_sub(4)).step_by(4096).take(256) {
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut magic)?;
        if &magic == b"hsqs" {
            return Ok(Some(start));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::{BULK_BYTES, BULK_FILE, BULK_FILES, module, squashfs_start};

    #[test]
    fn the_image_of_much_has_what_it_says() {
        assert_eq!(u64::from(BULK_FILES) * BULK_FILE, BULK_BYTES);
    }

    #[test]
    fn modules_differ() {
        assert!(module(7).contains("NUMBER = 7\n"));
        assert_ne!(module(7), module(8));
    }

    #[test]
    fn a_squashfs_is_found_on_a_page() {
        let path = std::env::temp_dir().join(format!("xtask-squashfs-{}", std::process::id()));
        let mut bytes = vec![0; 4096 * 3];
        bytes.splice(100..104, *b"hsqs");
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(squashfs_start(&path).unwrap(), None);
        bytes.splice(8192..8196, *b"hsqs");
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(squashfs_start(&path).unwrap(), Some(8192));
        std::fs::remove_file(&path).unwrap();
    }
}
