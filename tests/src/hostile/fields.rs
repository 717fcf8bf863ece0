//! Every number of a SIF's header and descriptors and of a squashfs superblock,
//! by its place, so that each can be set to its extremes.
//!
//! Widths in bits, texts as `t` and their length in bytes.

/// Where a SIF's header has what, and a descriptor, in bytes from its start.
/// `partition` is the descriptor of the root file system; `unused` is a second
/// one of the same, which comes into use with an altered number.
pub const SIF: &str = "
header launch 0 t32
header magic 32 t10
header version 42 t3
header arch 45 t3
header id 48 t16
header created 64 64
header modified 72 64
header free 80 64
header total 88 64
header table-offset 96 64
header table-size 104 64
header data-offset 112 64
header data-size 120 64
partition type 0 32
partition used 4 8
partition id 5 32
partition group 9 32
partition link 13 32
partition offset 17 64
partition size 25 64
partition padded-size 33 64
partition created 41 64
partition uid 57 64
partition name 73 t128
partition file-system 201 32
partition purpose 205 32
partition arch 209 t3
unused type 0 32
unused id 5 32
unused group 9 32
unused link 13 32
unused offset 17 64
unused size 25 64
unused padded-size 33 64
unused purpose 205 32
";

/// A squashfs superblock; linux/fs/squashfs/squashfs_fs.h.
pub const SUPERBLOCK: &str = "
squashfs magic 0 t4
squashfs inodes 4 32
squashfs created 8 32
squashfs block-size 12 32
squashfs fragments 16 32
squashfs compression 20 16
squashfs block-log 22 16
squashfs flags 24 16
squashfs ids 26 16
squashfs major 28 16
squashfs minor 30 16
squashfs root-inode 32 64
squashfs length 40 64
squashfs id-table 48 64
squashfs xattr-table 56 64
squashfs inode-table 64 64
squashfs directory-table 72 64
squashfs fragment-table 80 64
squashfs export-table 88 64
";

/// A number that is wrong, and what a step says of it.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Its file is `NAME.sif`.
    pub name: &'static str,
    /// Region, offset, width and value; a signed value is relative.
    pub change: &'static str,
    /// The message behind the image's name; `*` for what differs.
    pub message: &'static str,
}

const fn sample(name: &'static str, change: &'static str, message: &'static str) -> Sample {
    Sample {
        name,
        change,
        message,
    }
}

/// Some of every kind, for steps.
pub const SAMPLES: &[Sample] = &[
    sample(
        "endless-table",
        "header 88 64 0x7fffffffffffffff",
        "damaged SIF header: 9223372036854775807 descriptors, at most 4096 are read; copy or build the image again",
    ),
    sample(
        "table-past-the-end",
        "header 96 64 0x4000000000000000",
        "truncated: header promises 4 EiB, file has *; copy it again",
    ),
    sample(
        "object-past-the-end",
        "partition 17 64 0x4000000000000000",
        "truncated: header promises 4 EiB, file has *; copy it again",
    ),
    sample(
        "object-past-any-end",
        "partition 17 64 0x7fffffffffffffff",
        "damaged SIF: object 1 at 9223372036854775807 with * bytes is beyond any file; copy or build the image again",
    ),
    sample(
        "negative-object",
        "partition 25 64 0xffffffffffffffff",
        "damaged SIF: the size of object 1 is negative (-1); copy or build the image again",
    ),
    sample(
        "object-on-the-header",
        "partition 17 64 0",
        "damaged SIF: the header and object 1 overlap; copy or build the image again",
    ),
    sample(
        "object-beside-itself",
        "partition 17 64 -1",
        "no squashfs: the magic is missing; build or copy the image again",
    ),
    sample(
        "object-without-an-id",
        "partition 5 32 0",
        "damaged SIF: object id 0 is 0 or used twice; copy or build the image again",
    ),
    sample(
        "no-object",
        "partition 4 8 0",
        "the SIF holds no root file system (no primary system partition); build one with `oarlock build` or `apptainer build`",
    ),
    sample(
        "endless-file-system",
        "squashfs 40 64 0x7fffffffffffffff",
        "truncated: header promises 8 EiB, file has *; copy it again",
    ),
    sample(
        "block-of-no-size",
        "squashfs 22 16 0",
        "damaged squashfs: block size * with logarithm 0; copy or build the image again",
    ),
    sample(
        "root-outside",
        "squashfs 32 64 0xffffffffffffffff",
        "damaged squashfs: its root directory is outside the inode table; copy or build the image again",
    ),
];

/// The commands that make the samples, in a directory with `fields.sif`.
pub(super) fn script() -> String {
    SAMPLES
        .iter()
        .map(|sample| {
            let (name, change) = (sample.name, sample.change);
            format!("python3 patch.py set fields.sif {name}.sif {change}\n")
        })
        .collect()
}
