//! Reports over images of every format, as text and as JSON.

use std::fs::{self, File};
use std::path::Path;

use runtime_core::image::sif::{self, Arch, Content, Kind, Layout, NewObject, Uuid};

use super::{InspectError, inspect, text};

/// A SIF with a definition file of a hostile name, and this as its root file system.
fn write_sif(path: &Path, rootfs: &[u8]) {
    let layout = Layout {
        id: Uuid([0x11; 16]),
        created: 1_700_000_000,
        objects: vec![
            NewObject {
                kind: Kind::Deffile,
                name: "\x1b]0;owned\x07\u{202e}.def".to_owned(),
                content: Content::Bytes(b"bootstrap"),
            },
            NewObject {
                kind: Kind::PrimarySquashfs(Arch::Arm64),
                name: "rootfs".to_owned(),
                content: Content::Bytes(rootfs),
            },
        ],
    };
    sif::write(&mut File::create(path).expect("create"), &layout).expect("write");
}

/// A superblock of 4 KiB that the parser accepts.
fn squashfs() -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"hsqs");
    put(4, &[5, 0, 0, 0]);
    put(12, &(1_u32 << 17).to_le_bytes());
    put(20, &[6, 0, 17, 0, 0, 0, 1, 0, 4, 0]);
    put(40, &4000_u64.to_le_bytes());
    for (at, offset) in [
        (48, 900),
        (56, u64::MAX),
        (64, 200),
        (72, 300),
        (80, 400),
        (88, u64::MAX),
    ] {
        put(at, &offset.to_le_bytes());
    }
    bytes
}

#[test]
fn a_sif_reads_well_and_its_names_are_harmless() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("app.sif");
    write_sif(&path, &squashfs());
    let report = inspect(&path).expect("a report");
    let text = text::render(&report);
    let shown = text.replace(&path.display().to_string(), "app.sif");
    let expected = r"app.sif: SIF, 36 KiB
  architecture  arm64
  created       2023-11-14 22:13:20 UTC
  id            11111111-1111-1111-1111-111111111111
  root          object 2: squashfs, zstd, blocks of 128 KiB, 5 inodes, 3.9 KiB, made 1970-01-01 00:00:00 UTC

  ID  GROUP  LINK  TYPE                                  OFFSET  SIZE  NAME
   1      1  -     definition file                        32176     9  \u{1b}]0;owned\u{7}\u{202e}.def
   2      1  -     partition (primary system, squashfs)   32768  4096  rootfs
";
    assert_eq!(shown, expected);

    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["format"], "sif");
    assert_eq!(
        (&json["arch"], &json["primary"]),
        (&"arm64".into(), &2.into())
    );
    assert_eq!(json["objects"][1]["partition"]["purpose"], "primary system");
    assert_eq!(json["file_system"]["block_size"], 131_072);
    assert!(json["problem"].is_null());
}

#[test]
fn what_cannot_be_run_is_still_described() {
    let place = tempfile::tempdir().expect("a directory");
    let path = place.path().join("app.sif");
    write_sif(&path, b"no file system");
    let text = text::render(&inspect(&path).expect("a report"));
    let line = text
        .lines()
        .find(|line| line.contains("cannot be run"))
        .expect("the problem");
    assert!(
        line.starts_with("  cannot be run: root file system (object 2): no squashfs"),
        "{line}"
    );
    assert!(text.contains("definition file"));
}

#[test]
fn the_other_formats_and_what_is_none() {
    let place = tempfile::tempdir().expect("a directory");
    assert!(text::render(&inspect(place.path()).expect("a report")).contains(": directory"));
    let file = place.path().join("file");
    fs::write(&file, squashfs()).expect("write");
    let bare = text::render(&inspect(&file).expect("a report"));
    assert!(
        bare.contains(": squashfs, 4 KiB\n") && bare.contains("zstd"),
        "{bare}"
    );
    fs::write(&file, &squashfs()[..2000]).expect("write");
    assert!(matches!(inspect(&file), Err(InspectError::Squashfs { .. })));
    fs::write(&file, "").expect("write");
    assert!(matches!(inspect(&file), Err(InspectError::Empty { .. })));
    fs::write(&file, "#!/bin/sh\n").expect("write");
    assert!(matches!(
        inspect(&file),
        Err(InspectError::UnknownFormat { .. })
    ));
    write_sif(&file, &squashfs());
    File::options()
        .write(true)
        .open(&file)
        .expect("open")
        .set_len(33_000)
        .expect("cut");
    let cut = inspect(&file).expect_err("truncated").to_string();
    assert!(
        cut.ends_with("truncated: header promises 36 KiB, file has 32 KiB; copy it again"),
        "{cut}"
    );
    assert!(matches!(
        inspect(&place.path().join("missing")),
        Err(InspectError::Open { .. })
    ));
    assert!(matches!(
        inspect(Path::new("/dev/null")),
        Err(InspectError::NoFile { .. })
    ));
}
