//! The verbs as functions, on images that are made here.

use std::fs;
use std::path::PathBuf;

use clap::Parser;
use runtime_core::image::sif::{
    Arch, Content, Extra, Kind, Layout, Link, NewObject, PartType, PartitionInfo, Sif, Uuid, write,
};

use super::{Error, SifArgs, open, run, show};
use crate::inspect::table;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: SifArgs,
}

struct Place {
    directory: tempfile::TempDir,
    image: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let image = directory.path().join("app.sif");
        let mut file = fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&image)
            .expect("a file");
        let layout = Layout {
            id: Uuid([7; 16]),
            created: 1_700_000_000,
            objects: vec![NewObject {
                kind: Kind::PrimarySquashfs(Arch::Amd64),
                name: "rootfs".to_owned(),
                content: Content::Bytes(&[0xa5; 5000]),
            }],
        };
        write(&mut file, &layout).expect("an image");
        fs::write(directory.path().join("content"), "content").expect("write");
        Self { directory, image }
    }

    /// `sif VERB …`; IMAGE and FILE stand for the two paths.
    fn run(&self, line: &str) -> Result<(), Error> {
        let content = self.directory.path().join("content");
        let words = line.split(' ').map(|word| match word {
            "IMAGE" => self.image.as_os_str().to_owned(),
            "FILE" => content.as_os_str().to_owned(),
            other => other.into(),
        });
        let words = std::iter::once("sif".into()).chain(words);
        run(&Line::try_parse_from(words).expect("a command line").args)
    }

    fn sif(&self) -> Sif {
        open(&self.image).expect("an image").1
    }
}

#[test]
fn apptainers_options_make_apptainers_objects() {
    let place = Place::new();
    for (options, id) in [
        (
            "--datatype 4 --partfs 2 --parttype 4 --partarch 2 --groupid 1",
            2,
        ),
        (
            "--datatype 5 --signhash 1 --signentity 433FE984155206BD962725E20E8713472A879943 --link 4026531841",
            3,
        ),
        (
            "--datatype 9 --sbomformat spdx-json --link 1 --filename bill",
            4,
        ),
        ("--datatype 11 --alignment 512", 5),
        (
            "--datatype 4 --partfs 1 --parttype 3 --partarch 386 --alignment 0",
            6,
        ),
    ] {
        place
            .run(&format!("add {options} IMAGE FILE"))
            .expect("added");
        assert_eq!(
            place.sif().descriptors.last().map(|object| object.id),
            Some(id)
        );
    }
    let sif = place.sif();
    let [_, overlay, signature, bill, blob, data] = &sif.descriptors[..] else {
        panic!("six objects");
    };
    let info = overlay.partition().expect("a partition");
    assert_eq!(
        (info.part_type, info.arch()),
        (PartType::Overlay, Some(Arch::Amd64))
    );
    assert_eq!((overlay.group, overlay.offset % 4096), (Some(1), 0));
    assert_eq!(overlay.name, "content");
    assert_eq!((signature.group, signature.link), (None, Link::Group(1)));
    assert!(
        matches!(signature.extra, Extra::Signature { hash: 1, fingerprint } if fingerprint[..2] == [0x43, 0x3f])
    );
    assert_eq!((bill.name.as_str(), bill.link), ("bill", Link::Object(1)));
    assert_eq!(blob.offset % 512, 0);
    // The SHA-256 of "content".
    assert!(matches!(blob.extra, Extra::OciDigest(Some(digest)) if digest[..2] == [0xed, 0x70]));
    assert_eq!(
        data.partition().and_then(PartitionInfo::arch),
        Some(Arch::I386)
    );

    let list = table(&show::objects(&sif)).join("\n");
    assert!(list.contains("partition (overlay, ext3)"), "{list}");
    assert!(list.contains("SBOM (spdx-json)"), "{list}");
    assert!(list.contains("group 1"), "{list}");
    let header = show::header_text(&sif.header);
    assert!(
        header.contains("descriptors   42 of 48 free, at 4096, 27 KiB\n"),
        "{header}"
    );

    place.run("del 3 IMAGE").expect("removed");
    place.run("del --zero --compact 6 IMAGE").expect("removed");
    let ids: Vec<u32> = place
        .sif()
        .descriptors
        .iter()
        .map(|object| object.id)
        .collect();
    assert_eq!(ids, [1, 2, 4, 5]);
}

#[test]
fn what_is_missing_or_wrong_is_told_and_changes_nothing() {
    let place = Place::new();
    let before = fs::read(&place.image).expect("read");
    for (line, message) in [
        (
            "add --datatype 12 IMAGE FILE",
            "--datatype 12: give 1 to 11; `oarlock sif add --help` lists them",
        ),
        (
            "add --datatype 4 IMAGE FILE",
            "--datatype 4 needs --partfs, --parttype and --partarch",
        ),
        (
            "add --datatype 4 --partfs 9 --parttype 1 --partarch 2 IMAGE FILE",
            "--partfs 9: give 1 to 6",
        ),
        (
            "add --datatype 4 --partfs 1 --parttype 1 --partarch x86 IMAGE FILE",
            "--partarch: unknown architecture x86; ",
        ),
        (
            "add --datatype 4 --partfs 1 --parttype 2 --partarch 2 IMAGE FILE",
            "object 1 is the primary partition already",
        ),
        (
            "add --datatype 5 --signhash 1 --signentity 43 IMAGE FILE",
            "--signentity \"43\": give the 40 hexadecimal digits",
        ),
        (
            "add --datatype 9 IMAGE FILE",
            "--datatype 9 needs --sbomformat",
        ),
        (
            "add --datatype 9 --sbomformat x IMAGE FILE",
            "--sbomformat: unknown SBOM format x; ",
        ),
        (
            "add --datatype 7 IMAGE IMAGE",
            "an image cannot be added to itself; give another file",
        ),
        (
            "add --datatype 7 --alignment 9999999999 IMAGE FILE",
            "alignment 9999999999 is out of range",
        ),
        (
            "add --datatype 7 --groupid 4294967295 IMAGE FILE",
            "group 4294967295 is out of range",
        ),
        ("add --datatype 7 FILE FILE", "not a SIF image"),
        (
            "del 2 IMAGE",
            "no object 2; `oarlock sif list` shows the ids",
        ),
        (
            "dump 2 IMAGE",
            "no object 2; `oarlock sif list` shows the ids",
        ),
    ] {
        let told = place.run(line).expect_err(line).to_string();
        assert!(told.contains(message), "{line}: {told}");
        assert!(!told.contains('\n'), "{told}");
    }
    assert_eq!(fs::read(&place.image).expect("read"), before);
}

#[test]
fn a_terminal_gets_text_that_does_nothing_to_it() {
    let shown = |bytes: &[u8]| show::for_terminal(bytes);
    assert_eq!(shown(b"a\tb\n").as_deref(), Some("a\tb\n"));
    assert_eq!(
        shown("é\x1b[1m\u{9b}".as_bytes()).as_deref(),
        Some("é [1m ")
    );
    assert_eq!(shown(b"hsqs\0"), None);
    assert_eq!(shown(&[0xff]), None);
}
