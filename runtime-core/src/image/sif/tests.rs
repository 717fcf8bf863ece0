//! The reader against what the writer makes, and against one hostile field at a time.

use std::fs::File;
use std::io::{Read, Seek, Write};

use super::{
    Arch, Content, DESCRIPTOR_LEN, DataType, Kind, Layout, Link, NewObject, PartType, Region, Sif,
    SifError, Uuid, WriteError, write,
};

pub(super) const TABLE_AT: usize = 4096;
/// Where the second object's descriptor lies: the partition's in [`image`].
const PRIMARY_AT: usize = TABLE_AT + DESCRIPTOR_LEN;

fn object(kind: Kind, name: &str, bytes: &'static [u8]) -> NewObject<'static> {
    NewObject {
        kind,
        name: name.to_owned(),
        content: Content::Bytes(bytes),
    }
}

pub(super) fn written(layout: &Layout<'_>) -> Result<Vec<u8>, WriteError> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    write(&mut file, layout)?;
    let mut bytes = Vec::new();
    file.rewind().expect("seek");
    file.read_to_end(&mut bytes).expect("read");
    Ok(bytes)
}

/// A definition file (object 1), 5000 bytes of root file system (2), and JSON (3).
pub(super) fn image() -> Vec<u8> {
    let layout = Layout {
        id: Uuid([7; 16]),
        created: 1_700_000_000,
        objects: vec![
            object(Kind::Deffile, "app.def", b"bootstrap: oarlock\n"),
            object(Kind::PrimarySquashfs(Arch::Arm64), "rootfs", &[0xa5; 5000]),
            object(Kind::GenericJson, "oci-config.json", b"{}"),
        ],
    };
    written(&layout).expect("an image")
}

/// The image with these bytes at this place.
fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut image = image();
    image[at..at + bytes.len()].copy_from_slice(bytes);
    image
}

/// What using the image fails with, in reading or in the search for the root file system.
fn fault(image: &[u8]) -> SifError {
    match Sif::parse(image) {
        Err(error) => error,
        Ok(sif) => match sif.primary_partition() {
            Err(error) => error,
            Ok(primary) => panic!("accepted: {primary:?}"),
        },
    }
}

#[test]
fn what_is_written_is_read() {
    let bytes = image();
    let sif = Sif::parse(&bytes).expect("readable");
    assert_eq!(sif.header.launch, "#!/usr/bin/env run-singularity");
    assert_eq!(
        (sif.header.arch, sif.header.id),
        (Some(Arch::Arm64), Uuid([7; 16]))
    );
    assert_eq!(
        (sif.header.created, sif.header.modified),
        (1_700_000_000, 1_700_000_000)
    );
    assert_eq!(
        (sif.header.descriptors_free, sif.header.descriptors_total),
        (45, 48)
    );
    assert_eq!(
        (sif.header.descriptors_offset, sif.header.descriptors_size),
        (4096, 28080)
    );
    assert_eq!(sif.header.data_offset, 32176);
    assert_eq!(
        sif.header.data_offset + sif.header.data_size,
        bytes.len() as u64
    );

    let places: Vec<_> = sif
        .descriptors
        .iter()
        .map(|d| (d.id, d.offset, d.size))
        .collect();
    assert_eq!(places, [(1, 32176, 19), (2, 32768, 5000), (3, 37768, 2)]);
    assert_eq!(
        sif.descriptors[1].size_with_padding,
        32768 - (32176 + 19) + 5000
    );
    assert!(
        sif.descriptors
            .iter()
            .all(|d| d.group == Some(1) && d.link == Link::None)
    );

    let primary = sif.primary_partition().expect("a root file system");
    assert_eq!((primary.descriptor.id, primary.arch), (2, Arch::Arm64));
    assert_eq!(primary.info.part_type, PartType::PrimarySystem);
    assert!(primary.check_arch(Arch::Arm64).is_ok());
    let other = primary
        .check_arch(Arch::Amd64)
        .expect_err("another architecture")
        .to_string();
    assert_eq!(
        other,
        "the image is built for arm64, this machine is amd64; build or pull it for amd64"
    );
    assert_eq!(
        sif.object(DataType::Deffile).map(|d| d.name.as_str()),
        Some("app.def")
    );
    assert!(
        sif.object_named(DataType::GenericJson, "oci-config.json")
            .is_some()
    );
    assert!(
        sif.object_named(DataType::GenericJson, "other.json")
            .is_none()
    );
}

#[test]
fn objects_are_read_within_the_bound_and_no_further() {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(&image()).expect("write");
    let sif = Sif::read(&file).expect("readable");
    let json = sif.object(DataType::GenericJson).expect("JSON");
    assert_eq!(sif.read_object(&file, json, 2).expect("its bytes"), b"{}");
    assert!(matches!(
        sif.read_object(&file, json, 1),
        Err(SifError::ObjectTooLarge {
            id: 3,
            size: 2,
            max: 1
        })
    ));
    // A descriptor that is not this file's takes no memory.
    let mut foreign = json.clone();
    foreign.size = 1 << 62;
    assert!(matches!(
        sif.read_object(&file, &foreign, u64::MAX),
        Err(SifError::ObjectRange { .. })
    ));
    // A file that shrank after it was read.
    file.set_len(json.offset).expect("shrink");
    assert!(matches!(
        sif.read_object(&file, json, 2),
        Err(SifError::Truncated { .. })
    ));
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let whole = image();
    let lengths = (0..200)
        .chain(4090..4100)
        .chain(32170..32200)
        .chain(32760..32780);
    for len in lengths.chain(37760..whole.len()) {
        match fault(&whole[..len]) {
            SifError::NotSif => assert!(len < 42, "{len}"),
            SifError::Truncated { promised, actual } => {
                assert_eq!(actual, len as u64);
                let expected = if len < 128 { 128 } else { whole.len() as u64 };
                assert_eq!(promised, expected, "{len}");
            }
            other => panic!("{len}: {other}"),
        }
    }
    assert!(Sif::parse(&whole).is_ok());
}

#[test]
fn a_truncated_image_says_what_is_missing() {
    // A partition of 812 MiB less its offset, in a file of 40 MiB.
    let mut image = with(PRIMARY_AT + 25, &((812_i64 << 20) - 32768).to_le_bytes());
    image[TABLE_AT + 2 * DESCRIPTOR_LEN + 4] = 0;
    image.resize(40 << 20, 0);
    assert_eq!(
        fault(&image).to_string(),
        "truncated: header promises 812 MiB, file has 40 MiB; copy it again"
    );
}

#[test]
fn hostile_headers() {
    for count in [i64::MAX, 2_000_000_000, 4097] {
        assert!(
            matches!(
                fault(&with(88, &count.to_le_bytes())),
                SifError::TooManyDescriptors { max: 4096, .. }
            ),
            "{count}"
        );
    }
    for at in (80..128).step_by(8) {
        for value in [-1, i64::MIN] {
            let found = fault(&with(at, &i64::to_le_bytes(value)));
            assert!(
                matches!(found, SifError::NegativeHeader { value: v, .. } if v == value),
                "{at}: {found}"
            );
        }
    }
    // More entries than the table's own size, and a table on the header, at the end of space, past the file.
    assert!(matches!(
        fault(&with(88, &49_i64.to_le_bytes())),
        SifError::DescriptorTable { .. }
    ));
    assert!(matches!(
        fault(&with(104, &28079_i64.to_le_bytes())),
        SifError::DescriptorTable { .. }
    ));
    assert!(matches!(
        fault(&with(96, &127_i64.to_le_bytes())),
        SifError::DescriptorTable { .. }
    ));
    assert!(matches!(
        fault(&with(96, &i64::MAX.to_le_bytes())),
        SifError::DescriptorTable { .. }
    ));
    assert!(matches!(
        fault(&with(96, &(1_i64 << 40).to_le_bytes())),
        SifError::Truncated { .. }
    ));
    // No entry at all: a SIF without anything to run, whatever the table's place.
    let mut empty = with(88, &0_i64.to_le_bytes());
    empty[96..104].copy_from_slice(&0_i64.to_le_bytes());
    assert!(matches!(fault(&empty), SifError::NoPrimary));
    assert!(matches!(fault(&with(42, b"02")), SifError::Version { .. }));
    assert!(matches!(fault(&with(32, b"sif")), SifError::NotSif));
}

#[test]
fn hostile_objects() {
    let number = |at: usize, value: i64| fault(&with(PRIMARY_AT + at, &value.to_le_bytes()));
    for at in [17, 25, 33] {
        for value in [-1, i64::MIN] {
            assert!(
                matches!(number(at, value), SifError::NegativeObject { id: 2, .. }),
                "{at}"
            );
        }
    }
    assert!(matches!(
        number(17, i64::MAX),
        SifError::ObjectRange { id: 2, .. }
    ));
    assert!(matches!(
        number(25, i64::MAX),
        SifError::ObjectRange { id: 2, .. }
    ));
    assert!(matches!(number(17, 1 << 40), SifError::Truncated { .. }));
    assert!(matches!(number(25, 1 << 40), SifError::Truncated { .. }));
    assert!(matches!(number(25, 0), SifError::EmptyPrimary { id: 2 }));

    let overlap = |offset| match number(17, offset) {
        SifError::Overlap { first, second } => (first, second),
        other => panic!("{offset}: {other}"),
    };
    assert_eq!(overlap(0), (Region::Header, Region::Object(2)));
    assert_eq!(overlap(127), (Region::Header, Region::Object(2)));
    assert_eq!(overlap(128), (Region::Object(2), Region::Descriptors));
    assert_eq!(overlap(32175), (Region::Descriptors, Region::Object(2)));
    assert_eq!(overlap(32176), (Region::Object(1), Region::Object(2)));
    assert_eq!(overlap(32769), (Region::Object(2), Region::Object(3)));
    // Right behind the definition file is unusual and sound.
    let unaligned = with(PRIMARY_AT + 17, &(32176_i64 + 19).to_le_bytes());
    assert!(Sif::parse(&unaligned).is_ok());

    for id in [0_u32, 1, 3] {
        let found = fault(&with(PRIMARY_AT + 5, &id.to_le_bytes()));
        assert!(
            matches!(found, SifError::ObjectId { id: i } if i == id),
            "{id}: {found}"
        );
    }
}

#[test]
fn hostile_partitions() {
    let extra = PRIMARY_AT + 201;
    let fs = |code: i32| fault(&with(extra, &code.to_le_bytes()));
    assert!(matches!(fs(2), SifError::Ext3));
    assert!(matches!(fs(3), SifError::OtherFileSystem { code: 3 }));
    assert!(matches!(fs(4), SifError::OtherFileSystem { code: 4 }));
    assert!(matches!(fs(5), SifError::Encrypted { how: "LUKS" }));
    assert!(matches!(fs(6), SifError::Encrypted { how: "gocryptfs" }));
    assert!(matches!(fs(-1), SifError::OtherFileSystem { code: -1 }));

    for part_type in [0_i32, 1, 3, 4, 5] {
        assert!(matches!(
            fault(&with(extra + 4, &part_type.to_le_bytes())),
            SifError::NoPrimary
        ));
    }
    for code in [b"00\0", b"99\0", b"02x", b"\0\0\0"] {
        assert!(
            matches!(fault(&with(extra + 8, code)), SifError::UnknownArch { .. }),
            "{code:?}"
        );
    }
    // No partition at all, and one that is not in use.
    assert!(matches!(
        fault(&with(PRIMARY_AT, &0x4007_i32.to_le_bytes())),
        SifError::NoPrimary
    ));
    assert!(matches!(
        fault(&with(PRIMARY_AT + 4, &[0])),
        SifError::NoPrimary
    ));
    assert!(matches!(
        fault(&with(PRIMARY_AT, &0x400a_i32.to_le_bytes())),
        SifError::OciLayers
    ));

    // The JSON object made a second primary partition.
    let mut two = image();
    let second = TABLE_AT + 2 * DESCRIPTOR_LEN;
    let primary: Vec<u8> = two[extra..extra + 11].to_vec();
    two[second..second + 4].copy_from_slice(&0x4004_i32.to_le_bytes());
    two[second + 201..second + 212].copy_from_slice(&primary);
    assert!(matches!(
        fault(&two),
        SifError::TwoPrimaries {
            first: 2,
            second: 3
        }
    ));
}

#[test]
fn groups_links_and_signatures() {
    let mut image = with(TABLE_AT + 2 * DESCRIPTOR_LEN, &0x4005_i32.to_le_bytes());
    let at = TABLE_AT + 2 * DESCRIPTOR_LEN;
    image[at + 9..at + 13].copy_from_slice(&0xf000_0000_u32.to_le_bytes());
    image[at + 13..at + 17].copy_from_slice(&0xf000_0001_u32.to_le_bytes());
    image[at + 201..at + 205].copy_from_slice(&1_i32.to_le_bytes());
    image[at + 205..at + 225].copy_from_slice(&[9; 20]);
    let sif = Sif::parse(&image).expect("readable");
    let signature = sif.object(DataType::Signature).expect("a signature");
    assert_eq!((signature.group, signature.link), (None, Link::Group(1)));
    assert_eq!(
        signature.extra,
        super::Extra::Signature {
            hash: 1,
            fingerprint: [9; 20]
        }
    );
    image[at + 13..at + 17].copy_from_slice(&2_u32.to_le_bytes());
    assert_eq!(
        Sif::parse(&image).expect("readable").descriptors[2].link,
        Link::Object(2)
    );
}

#[test]
fn the_writer_refuses_what_the_reader_would() {
    let primary = || object(Kind::PrimarySquashfs(Arch::Amd64), "", b"hsqs");
    let layout = |objects| Layout {
        id: Uuid([0; 16]),
        created: 0,
        objects,
    };
    let refused = |objects| written(&layout(objects)).expect_err("refused");
    assert!(matches!(
        refused(vec![]),
        WriteError::Primaries { found: 0 }
    ));
    assert!(matches!(
        refused(vec![primary(), primary()]),
        WriteError::Primaries { found: 2 }
    ));
    let empty = object(Kind::PrimarySquashfs(Arch::Amd64), "", b"");
    assert!(matches!(refused(vec![empty]), WriteError::EmptyPrimary));
    let many = (0..49).map(|_| object(Kind::Generic, "", b"")).collect();
    assert!(matches!(
        refused(many),
        WriteError::TooManyObjects { found: 49 }
    ));
    let long = "n".repeat(129);
    assert!(matches!(
        refused(vec![primary(), object(Kind::Generic, &long, b"")]),
        WriteError::Name { .. }
    ));
    let full = "n".repeat(128);
    let bytes = written(&layout(vec![primary(), object(Kind::Generic, &full, b"")])).expect("fits");
    assert_eq!(
        Sif::parse(&bytes).expect("readable").descriptors[1].name,
        full
    );
}

#[test]
fn a_file_is_copied_whole_whatever_its_position() {
    let mut source = tempfile::tempfile().expect("a temporary file");
    source.write_all(&[3; 70_000]).expect("write");
    let object = NewObject {
        kind: Kind::PrimarySquashfs(Arch::Amd64),
        name: String::new(),
        content: Content::File(&source),
    };
    let bytes = written(&Layout {
        id: Uuid([1; 16]),
        created: 0,
        objects: vec![object],
    })
    .expect("an image");
    assert_eq!(&bytes[32768..], [3; 70_000]);
    assert_eq!(
        Sif::parse(&bytes).expect("readable").descriptors[0].size,
        70_000
    );
}

#[test]
fn random_ids_are_uuids_of_version_4() {
    let ids: Vec<Uuid> = (0..50)
        .map(|_| super::random_uuid().expect("random bytes"))
        .collect();
    assert!(ids.iter().all(|id| id.0[6] >> 4 == 4 && id.0[8] >> 6 == 2));
    assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn a_directory_is_a_read_error() {
    let directory = File::open("/").expect("the root directory");
    assert!(matches!(
        Sif::read(&directory),
        Err(SifError::Read { .. } | SifError::NotSif)
    ));
}
