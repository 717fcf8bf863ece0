//! Editing against the reader, and against a crash between any two writes.

use std::fs::File;
use std::io::{Read, Seek, Write};

use super::{EditError, Editor, Removal};
use crate::image::sif::{
    Arch, Content, DataType, Extra, FsType, Kind, Layout, Link, NewObject, PartType, PartitionInfo,
    Placement, SbomFormat, Sif, Uuid, write,
};

fn image() -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let object = |kind, name: &str, bytes| NewObject {
        kind,
        name: name.to_owned(),
        content: Content::Bytes(bytes),
    };
    let layout = Layout {
        id: Uuid([7; 16]),
        created: 1_700_000_000,
        objects: vec![
            object(Kind::Deffile, "app.def", b"bootstrap: oarlock\n"),
            object(Kind::PrimarySquashfs(Arch::Arm64), "rootfs", &[0xa5; 5000]),
        ],
    };
    write(&mut file, &layout).expect("an image");
    file
}

fn place(group: Option<u32>, link: Link) -> Placement {
    Placement {
        group,
        link,
        align: None,
        created: 1_800_000_000,
    }
}

fn overlay() -> Kind {
    Kind::Partition(PartitionInfo {
        fs_type: FsType::Ext3,
        part_type: PartType::Overlay,
        arch_code: Arch::Arm64.code(),
    })
}

fn new(kind: Kind, bytes: &[u8]) -> NewObject<'_> {
    NewObject {
        kind,
        name: "new".to_owned(),
        content: Content::Bytes(bytes),
    }
}

fn bytes(mut file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().expect("seek");
    file.read_to_end(&mut bytes).expect("read");
    bytes
}

#[test]
fn every_kind_is_added_and_read() {
    let file = image();
    let mut editor = Editor::new(&file).expect("an image");
    let kinds = [
        Kind::Environment,
        Kind::Labels,
        overlay(),
        Kind::Signature {
            hash: 1,
            fingerprint: [9; 20],
        },
        Kind::GenericJson,
        Kind::Generic,
        Kind::CryptoMessage {
            format: 2,
            message: 0x200,
        },
        Kind::Sbom(SbomFormat::SpdxJson),
        Kind::OciRootIndex([1; 32]),
        Kind::OciBlob([2; 32]),
    ];
    for (kind, id) in kinds.into_iter().zip(3..) {
        let at = place(Some(id), Link::Object(2));
        assert_eq!(editor.add(&new(kind, b"content"), &at).expect("added"), id);
        let object = editor.sif().descriptors.last().expect("one");
        assert_eq!(
            (object.id, object.group, object.link),
            (id, Some(id), at.link)
        );
        assert_eq!(object.extra, kind.extra());
        assert_eq!(object.data_type, kind.data_type());
        let data = editor.sif().read_object(&file, object, 7).expect("read");
        assert_eq!(data, b"content");
    }
    let codes: Vec<i32> = (0x4001..=0x400b).collect();
    for code in codes {
        let data_type = DataType::from_code(code);
        assert!(editor.sif().object(data_type).is_some(), "{data_type}");
    }
    let header = &editor.sif().header;
    assert_eq!(
        (header.descriptors_free, header.modified),
        (36, 1_800_000_000)
    );
    assert_eq!(header.created, 1_700_000_000);
    assert_eq!(
        header.data_offset + header.data_size,
        bytes(&file).len() as u64
    );
}

#[test]
fn overlays_are_those_of_the_root_file_systems_group() {
    let file = image();
    let mut editor = Editor::new(&file).expect("an image");
    for group in [Some(1), Some(2), None, Some(1)] {
        editor
            .add(&new(overlay(), b"ext3"), &place(group, Link::None))
            .expect("added");
    }
    let found: Vec<_> = editor
        .sif()
        .overlays()
        .map(|object| (object.id, object.offset % 4096))
        .collect();
    assert_eq!(found, [(3, 0), (6, 0)]);
    editor.remove(2, Removal::default(), 0).expect("removed");
    assert_eq!(editor.sif().overlays().count(), 0);
}

#[test]
fn what_is_removed_is_gone_and_its_place_is_used_again() {
    let file = image();
    let mut editor = Editor::new(&file).expect("an image");
    let before = editor.sif().clone();
    let secret = new(Kind::Generic, b"secret");
    let id = editor
        .add(&secret, &place(None, Link::Group(1)))
        .expect("added");
    assert_eq!(id, 3);
    editor.remove(3, Removal::default(), 5).expect("removed");
    assert_eq!(editor.sif().descriptors, before.descriptors);
    assert_eq!(editor.sif().header.modified, 5);
    assert_eq!(editor.sif().header.data_size, before.header.data_size);
    let left = bytes(&file);
    assert!(left.ends_with(b"secret"), "the bytes stay without --zero");

    assert_eq!(
        editor
            .add(&secret, &place(None, Link::None))
            .expect("added"),
        3
    );
    assert_eq!(bytes(&file).len(), left.len(), "the place was used again");
    let zero = Removal {
        zero: true,
        compact: false,
    };
    editor.remove(3, zero, 6).expect("removed");
    assert!(bytes(&file).ends_with(&[0; 6]));
    assert_eq!(bytes(&file).len(), left.len());

    let all = Removal {
        zero: true,
        compact: true,
    };
    editor.remove(2, all, 7).expect("removed");
    let sif = editor.sif();
    assert_eq!((sif.header.arch, sif.descriptors.len()), (None, 1));
    assert_eq!(sif.file_len, sif.header.data_offset + 19);
    assert!(!bytes(&file).contains(&0xa5));
    editor
        .add(
            &new(Kind::PrimarySquashfs(Arch::Amd64), b"hsqs"),
            &place(Some(1), Link::None),
        )
        .expect("a new root file system");
    assert_eq!(editor.sif().header.arch, Some(Arch::Amd64));
    assert!(editor.sif().primary_partition().is_ok());
}

#[test]
fn a_refusal_leaves_the_image_as_it_was() {
    let file = image();
    let before = bytes(&file);
    let mut editor = Editor::new(&file).expect("an image");
    let primary = new(Kind::PrimarySquashfs(Arch::Amd64), b"hsqs");
    assert!(matches!(
        editor.add(&primary, &place(Some(1), Link::None)),
        Err(EditError::SecondPrimary { id: 2 })
    ));
    for group in [0, 1 << 28, u32::MAX] {
        assert!(matches!(
            editor.add(&new(Kind::Generic, b""), &place(Some(group), Link::None)),
            Err(EditError::Number { what: "group", .. })
        ));
        assert!(matches!(
            editor.add(&new(Kind::Generic, b""), &place(None, Link::Group(group))),
            Err(EditError::Number { what: "link", .. })
        ));
    }
    for align in [0, u64::MAX, (1 << 30) + 1] {
        let align = Placement {
            align: Some(align),
            ..place(None, Link::None)
        };
        assert!(matches!(
            editor.add(&new(Kind::Generic, b""), &align),
            Err(EditError::Align { .. })
        ));
    }
    let mut itself = new(Kind::Generic, b"");
    itself.content = Content::File(&file);
    assert!(matches!(
        editor.add(&itself, &place(None, Link::None)),
        Err(EditError::Itself)
    ));
    let directory = File::open("/").expect("the root directory");
    itself.content = Content::File(&directory);
    assert!(matches!(
        editor.add(&itself, &place(None, Link::None)),
        Err(EditError::Write(_))
    ));
    for id in [0, 3, u32::MAX] {
        assert!(matches!(
            editor.remove(id, Removal::default(), 0),
            Err(EditError::NoObject { .. })
        ));
    }
    assert_eq!(bytes(&file), before);

    for id in 3..=48 {
        let added = editor.add(&new(Kind::Generic, b""), &place(None, Link::None));
        assert_eq!(added.expect("room"), id);
    }
    assert!(matches!(
        editor.add(&new(Kind::Generic, b"49"), &place(None, Link::None)),
        Err(EditError::Full { total: 48 })
    ));
}

#[test]
fn two_editors_do_not_meet() {
    let place = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(place.path(), bytes(&image())).expect("write");
    let first = File::options()
        .read(true)
        .write(true)
        .open(place.path())
        .expect("open");
    let second = File::options()
        .read(true)
        .write(true)
        .open(place.path())
        .expect("open");
    let editor = Editor::new(&first).expect("the first");
    assert!(matches!(Editor::new(&second), Err(EditError::Busy)));
    drop(editor);
    assert!(Editor::new(&second).is_ok());
}

/// The states a crash can leave are those between two syncs, with any part of the write between them: each must
/// be read as the image of before or of after.
#[test]
fn a_crash_leaves_the_image_of_before_or_after() {
    let file = image();
    let before = bytes(&file);
    let mut editor = Editor::new(&file).expect("an image");
    editor
        .add(&new(overlay(), &[0x5a; 9000]), &place(Some(1), Link::None))
        .expect("added");
    let added = bytes(&file);
    let old = Sif::parse(&before).expect("before").descriptors;
    let new = Sif::parse(&added).expect("after").descriptors;

    // The steps in their order: the data, the entry unused, its "used" byte, the header.
    let slot = 4096 + 2 * 585;
    let mut steps: Vec<(usize, Vec<u8>)> = vec![
        (before.len(), added[before.len()..].to_vec()),
        (slot, added[slot..slot + 585].to_vec()),
        (slot + 4, vec![1]),
        (0, added[..128].to_vec()),
    ];
    steps[1].1[4] = 0;
    let mut now = before.clone();
    for (number, (at, bytes)) in steps.into_iter().enumerate() {
        for part in (0..=bytes.len()).step_by(if number == 0 { 1000 } else { 1 }) {
            let mut torn = now.clone();
            torn.resize(torn.len().max(at + part), 0);
            torn[at..at + part].copy_from_slice(&bytes[..part]);
            let found = Sif::parse(&torn).expect("readable").descriptors;
            let expected = if number < 2 || (number == 2 && part == 0) {
                &old
            } else {
                &new
            };
            assert_eq!(&found, expected, "step {number}, {part} bytes of it");
        }
        now.resize(now.len().max(at + bytes.len()), 0);
        now[at..at + bytes.len()].copy_from_slice(&bytes);
    }
    assert_eq!(now, added, "these are all the writes there are");
}

#[test]
fn a_hostile_data_offset_grows_no_file() {
    let mut file = image();
    let len = bytes(&file).len();
    file.seek(std::io::SeekFrom::Start(112)).expect("seek");
    file.write_all(&(1_i64 << 50).to_le_bytes()).expect("write");
    assert!(matches!(
        Editor::new(&file),
        Err(EditError::DataOffset { .. })
    ));
    assert_eq!(bytes(&file).len(), len);
}

#[test]
fn what_signatures_cover_does_not_depend_on_the_place() {
    let file = image();
    let sif = Sif::read(&file).expect("an image");
    let object = &sif.descriptors[1];
    let covered = object.signed_bytes(1);
    assert_eq!(covered.len(), 4 + 1 + 4 + 4 + 8 * 4 + 128 + 384);
    assert_eq!(covered[..9], [4, 0x40, 0, 0, 1, 1, 0, 0, 0]);
    assert_eq!(covered[13..21], 5000_u64.to_le_bytes());
    assert_eq!(sif.header.signed_bytes().len(), 32 + 10 + 3 + 16);
    assert!(sif.header.signed_bytes().ends_with(&[7; 16]));
    assert!(matches!(object.extra, Extra::Partition(_)));
}
