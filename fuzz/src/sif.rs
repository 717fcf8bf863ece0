//! A SIF file: whatever was accepted lies within the file, apart from everything
//! else in it.

use std::fs::File;
use std::io::Read;

use runtime_core::image::sif::{
    Arch, Content, DESCRIPTOR_LEN, FsType, HEADER_LEN, Kind, Layout, NewObject, PartType, Sif,
    Uuid, write,
};

/// Parses the bytes and holds the result to what the parser promises.
///
/// # Panics
/// Where a promise is broken.
pub fn check(data: &[u8]) {
    let sif = match Sif::parse(data) {
        Ok(sif) => sif,
        Err(error) => return crate::assert_one_line(&error),
    };
    let len = data.len() as u64;
    assert_eq!(sif.file_len, len);

    let table = sif.header.descriptors_offset;
    let table_end = table + sif.header.descriptors_total * DESCRIPTOR_LEN as u64;
    let mut places = vec![(0, HEADER_LEN as u64), (table, table_end)];
    let objects = sif.descriptors.iter();
    places.extend(objects.map(|object| (object.offset, object.offset + object.size)));
    places.retain(|(start, end)| start < end);
    places.sort_unstable();
    for (_, end) in &places {
        assert!(*end <= len, "{end} of {len}");
    }
    for (one, next) in places.iter().zip(places.iter().skip(1)) {
        assert!(one.1 <= next.0, "{one:?} and {next:?} overlap");
    }

    let mut ids: Vec<u32> = sif.descriptors.iter().map(|object| object.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), sif.descriptors.len(), "ids are unique");
    assert!(!ids.contains(&0));

    match sif.primary_partition() {
        Ok(primary) => {
            assert!(primary.descriptor.size > 0);
            assert_eq!(primary.info.fs_type, FsType::Squashfs);
            assert_eq!(primary.info.part_type, PartType::PrimarySystem);
            let primaries = sif.descriptors.iter().filter(|object| {
                object
                    .partition()
                    .is_some_and(|info| info.part_type == PartType::PrimarySystem)
            });
            assert_eq!(primaries.count(), 1);
        }
        Err(error) => crate::assert_one_line(&error),
    }
}

/// Images as the writer makes them, whole and cut off, and the same with a table
/// of two entries, in which a fuzzer finds the fields sooner.
///
/// # Panics
/// Where the writer's images are not accepted.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let plain = image(&[]);
    let rich = image(&[
        (Kind::Deffile, "Singularity", b"Bootstrap: scratch\n"),
        (Kind::GenericJson, "oci-config.json", b"{\"config\":{}}"),
        (Kind::Generic, "empty", b""),
    ]);
    let small = with_small_table(&rich);
    for whole in [&plain, &rich, &small] {
        let sif = Sif::parse(whole).expect("a seed is a SIF");
        sif.primary_partition().expect("a seed can be run");
    }
    let mut seeds = Vec::new();
    for cut in [HEADER_LEN, 4096, small.len() - 1] {
        seeds.push(small.iter().copied().take(cut).collect());
    }
    seeds.extend([plain, rich, small]);
    seeds
}

fn image(objects: &[(Kind, &str, &[u8])]) -> Vec<u8> {
    let mut objects: Vec<NewObject<'_>> = objects
        .iter()
        .map(|(kind, name, bytes)| NewObject {
            kind: *kind,
            name: (*name).to_owned(),
            content: Content::Bytes(bytes),
        })
        .collect();
    objects.push(NewObject {
        kind: Kind::PrimarySquashfs(Arch::Amd64),
        name: String::from("rootfs"),
        content: Content::Bytes(b"hsqs and nothing more"),
    });
    let layout = Layout {
        id: Uuid([7; 16]),
        created: 1,
        objects,
    };
    let mut file: File = tempfile::tempfile().expect("a temporary file");
    write(&mut file, &layout).expect("a SIF");
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut file)
        .and_then(|()| file.read_to_end(&mut bytes))
        .expect("the SIF again");
    bytes
}

/// The used descriptors right behind the header, and their data behind them.
pub(crate) fn with_small_table(image: &[u8]) -> Vec<u8> {
    let sif = Sif::parse(image).expect("a SIF");
    let count = sif.descriptors.len();
    let table = 4096..4096 + count * DESCRIPTOR_LEN;
    let mut out = image[..HEADER_LEN].to_vec();
    out.extend_from_slice(&image[table]);
    for (place, object) in sif.descriptors.iter().enumerate() {
        let at = HEADER_LEN + place * DESCRIPTOR_LEN + 17;
        let start = usize::try_from(object.offset).expect("an offset");
        let size = usize::try_from(object.size).expect("a size");
        let offset = out.len() as u64;
        out[at..at + 8].copy_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&image[start..start + size]);
    }
    let table_size = (count * DESCRIPTOR_LEN) as u64;
    let data = HEADER_LEN as u64 + table_size;
    let numbers = [
        0,
        count as u64,
        HEADER_LEN as u64,
        table_size,
        data,
        out.len() as u64 - data,
    ];
    for (at, number) in (80..).step_by(8).zip(numbers) {
        out[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
    out
}
