//! The verb as a whole, with the real mksquashfs (squashfs-tools), which the tests need.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use runtime_core::image::sif::{Arch, Sif};
use runtime_core::image::squashfs::{self, Superblock};

use super::{BuildArgs, BuildError, Compression, run};

fn args(out: PathBuf, directory: &Path) -> BuildArgs {
    BuildArgs {
        out,
        directory: directory.to_owned(),
        force: false,
        compression: Compression::Gzip,
        processors: None,
        arch: Some(Arch::Riscv64),
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("list");
    let mut names: Vec<String> = entries
        .map(|e| e.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn a_directory_becomes_an_image_and_stays_as_it_was() {
    let place = tempfile::tempdir().expect("a directory");
    let tree = place.path().join("tree");
    fs::create_dir_all(tree.join("proc")).expect("mkdir");
    fs::write(tree.join("proc/left-out"), "x").expect("write");
    fs::write(tree.join("packed"), "y").expect("write");
    let mut args = args(place.path().join("app.sif"), &tree);
    run(&args).expect("built");

    assert_eq!(names(place.path()), ["app.sif", "tree"]);
    assert_eq!(names(&tree), ["packed", "proc"]);
    let file = File::open(&args.out).expect("the image");
    let sif = Sif::read(&file).expect("a SIF");
    let primary = sif.primary_partition().expect("a root file system");
    assert_eq!(
        (primary.arch, primary.descriptor.offset),
        (Arch::Riscv64, 32768)
    );
    let superblock = Superblock::read(&file, 32768, primary.descriptor.size).expect("a squashfs");
    // The root, `packed`, `proc` without its file, and the 12 directories and 2 files that are added.
    assert_eq!(superblock.inodes, 3 + 12 + 2);
    assert_eq!(superblock.compression, squashfs::Compression::Gzip);

    assert!(matches!(run(&args), Err(BuildError::Exists { .. })));
    args.force = true;
    args.compression = Compression::Xz;
    run(&args).expect("replaced");
    let file = File::open(&args.out).expect("the image");
    let superblock = Superblock::read(&file, 32768, 1 << 40).expect("a squashfs");
    assert_eq!(superblock.compression, squashfs::Compression::Xz);
    assert_eq!(names(place.path()), ["app.sif", "tree"]);
}

#[test]
fn a_refusal_leaves_nothing_behind() {
    let place = tempfile::tempdir().expect("a directory");
    let tree = place.path().join("tree");
    fs::create_dir(&tree).expect("mkdir");
    let out = place.path().join("app.sif");
    assert!(matches!(
        run(&args(out.clone(), &tree)),
        Err(BuildError::EmptyDirectory { .. })
    ));
    fs::write(tree.join("file"), "x").expect("write");
    let missing = place.path().join("missing/app.sif");
    assert!(matches!(
        run(&args(missing, &tree)),
        Err(BuildError::Parent { .. })
    ));
    assert!(matches!(
        run(&args(tree.clone(), &tree)),
        Err(BuildError::OutIsDirectory { .. })
    ));
    assert!(matches!(
        run(&args(out, &tree.join("file"))),
        Err(BuildError::Directory { .. })
    ));
    assert_eq!(names(place.path()), ["tree"]);
}
