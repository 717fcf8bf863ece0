//! What must hold for any bytes: whatever is read is sound, and whatever is written is read.

use proptest::prelude::*;

use super::tests::{TABLE_AT, image, written};
use super::{Arch, Content, DESCRIPTOR_LEN, Kind, Layout, NewObject, Sif, Uuid};

/// What must hold for anything that the reader lets through.
fn sound(bytes: &[u8]) {
    let Ok(sif) = Sif::parse(bytes) else { return };
    let len = bytes.len() as u64;
    let mut ends: Vec<(u64, u64)> = sif
        .descriptors
        .iter()
        .filter(|d| d.size > 0)
        .map(|d| (d.offset, d.offset.checked_add(d.size).expect("no overflow")))
        .collect();
    ends.sort_unstable();
    assert!(ends.iter().all(|(start, end)| *start >= 128 && *end <= len));
    assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    assert!(sif.descriptors.len() * DESCRIPTOR_LEN <= bytes.len());
    if let Ok(primary) = sif.primary_partition() {
        assert!(primary.descriptor.size > 0);
    }
}

/// Numbers that break parsers, and any.
fn nasty() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(0),
        Just(-1),
        Just(i64::MAX),
        Just(i64::MIN),
        Just(1 << 32),
        0..40_000_i64,
        any::<i64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn round_trip(
        id in any::<[u8; 16]>(),
        created in any::<i64>(),
        name in "[a-zA-Z0-9._-]{0,128}",
        before in proptest::collection::vec(any::<u8>(), 0..5000),
        rootfs in proptest::collection::vec(any::<u8>(), 1..9000),
        arch in prop_oneof![Just(Arch::Amd64), Just(Arch::Loong64), Just(Arch::Mips64le)],
    ) {
        let layout = Layout {
            id: Uuid(id),
            created,
            objects: vec![
                NewObject { kind: Kind::Generic, name: name.clone(), content: Content::Bytes(&before) },
                NewObject { kind: Kind::PrimarySquashfs(arch), name, content: Content::Bytes(&rootfs) },
            ],
        };
        let bytes = written(&layout).expect("an image");
        let sif = Sif::parse(&bytes).expect("readable");
        prop_assert_eq!((sif.header.id, sif.header.created), (Uuid(id), created));
        let primary = sif.primary_partition().expect("a root file system");
        prop_assert_eq!(primary.arch, arch);
        prop_assert_eq!(primary.descriptor.offset % 4096, 0);
        for (read, put) in sif.descriptors.iter().zip([&before, &rootfs]) {
            let start = usize::try_from(read.offset).expect("small");
            prop_assert_eq!(&bytes[start..start + put.len()], put.as_slice());
            prop_assert_eq!(&read.name, &layout.objects[0].name);
        }
    }

    #[test]
    fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        sound(&bytes);
        let mut bytes = bytes;
        bytes.resize(bytes.len().max(128), 0);
        bytes[32..45].copy_from_slice(b"SIF_MAGIC\x0001\0");
        sound(&bytes);
    }

    #[test]
    fn mutated_images_are_an_answer(
        header in proptest::collection::vec((64_usize..121, nasty()), 0..2),
        table in proptest::collection::vec((0_usize..3 * DESCRIPTOR_LEN, nasty()), 0..4),
        bytes in proptest::collection::vec((0_usize..6000, any::<u8>()), 0..4),
        cut in prop_oneof![Just(usize::MAX), 0_usize..38_000],
    ) {
        let mut image = image();
        for (at, value) in header {
            image[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in table {
            image[TABLE_AT + at..TABLE_AT + at + 8].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in bytes {
            image[at] = value;
        }
        image.truncate(cut);
        sound(&image);
    }
}
