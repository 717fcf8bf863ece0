//! A whole squashfs, walked by the checker: what it accepts keeps within the
//! bounds that it was given and needs every byte that it accounts for.

use squashfs_check::{Limits, Report, check as walk};

/// The writer of the checker's own tests.
#[allow(
    dead_code,
    unused_macros,
    unused_imports,
    clippy::cast_possible_truncation
)]
#[path = "../../squashfs-check/tests/check/build.rs"]
mod image;

/// Bytes before the image where it is walked at another place.
const BEFORE: usize = 512;

/// So small that inputs of some KiB come to each bound.
const LIMITS: Limits = Limits {
    inodes: 64,
    entries: 64,
    depth: 8,
    path: 256,
    metadata: 64 << 10,
    decompressed: 4 << 20,
    blocks: 64,
};

/// Walks the bytes and holds the report to what the checker promises.
///
/// # Panics
/// Where a promise is broken.
pub fn check(data: &[u8]) {
    let len = data.len() as u64;
    let report = match walk(data, 0, len, &LIMITS) {
        Ok(report) => report,
        Err(error) => return crate::assert_one_line(&error),
    };
    within_limits(&report);
    assert!(report.used <= len);

    let used = usize::try_from(report.used).expect("no longer than the input");
    assert_eq!(
        walk(data, 0, report.used, &LIMITS).as_ref().ok(),
        Some(&report),
        "padding says nothing"
    );
    for short in [walk(data, 0, report.used - 1, &LIMITS), {
        let cut = data.get(..used - 1).expect("part of the input");
        walk(cut, 0, cut.len() as u64, &LIMITS)
    }] {
        assert!(short.is_err(), "a byte less is no image");
    }

    let moved = [&[0xff; BEFORE], data].concat();
    assert_eq!(
        walk(&moved[..], BEFORE as u64, len, &LIMITS).ok(),
        Some(report),
        "its place says nothing"
    );
}

fn within_limits(report: &Report) {
    let kinds = [
        report.directories,
        report.files,
        report.links,
        report.special,
    ];
    assert_eq!(kinds.iter().sum::<u32>(), report.inodes);
    assert!(report.directories > 0, "there is a root");
    assert!(report.inodes <= LIMITS.inodes);
    assert!(report.entries <= LIMITS.entries);
    // All but the root are in a directory, files by several names perhaps.
    assert!(report.entries >= u64::from(report.inodes) - 1);
    assert!(report.decompressed <= LIMITS.decompressed);
    let blocks = LIMITS.blocks + u64::from(report.files);
    assert!(
        report.bytes <= blocks << 20,
        "no block is longer than 1 MiB"
    );
}

/// Small images with everything in them that the format has, as each compressor
/// may have left them, and with one or two things less.
///
/// # Panics
/// Where one of them is not accepted.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let sound = image::sound().encode();
    let mut seeds = Vec::new();
    for compression in [1_u16, 4, 6] {
        let mut seed = sound.clone();
        image::set!(seed, image::at::COMPRESSION, compression);
        seeds.push(seed);
    }
    let mut padded = sound.clone();
    padded.resize(sound.len().next_multiple_of(4096), 0);
    seeds.push(padded);
    let mut no_export = sound;
    image::set!(no_export, image::at::EXPORT_TABLE, u64::MAX);
    image::set!(no_export, image::at::FLAGS, 0_u16);
    for seed in &seeds {
        let report = walk(&seed[..], 0, seed.len() as u64, &LIMITS);
        let report = report.expect("a seed is well-formed");
        assert_eq!((report.files, report.directories), (2, 2));
    }
    // A gap where the table was: not accepted.
    seeds.push(no_export);
    seeds
}
