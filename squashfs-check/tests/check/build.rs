//! Writes small images by hand, so that each table can be made wrong on purpose.
//!
//! The image: `/f` (a block and an end in a fragment), `/l` (a link), `/p` (a
//! pipe), `/s/g` (a block, with extended attributes) and `/s` (with an index).

/// Where the fields of the superblock are.
pub(crate) mod at {
    pub(crate) const INODES: usize = 4;
    pub(crate) const BLOCK_SIZE: usize = 12;
    pub(crate) const FRAGMENTS: usize = 16;
    pub(crate) const COMPRESSION: usize = 20;
    pub(crate) const BLOCK_LOG: usize = 22;
    pub(crate) const FLAGS: usize = 24;
    pub(crate) const IDS: usize = 26;
    pub(crate) const MAJOR: usize = 28;
    pub(crate) const ROOT: usize = 32;
    pub(crate) const USED: usize = 40;
    pub(crate) const ID_TABLE: usize = 48;
    pub(crate) const XATTR_TABLE: usize = 56;
    pub(crate) const INODE_TABLE: usize = 64;
    pub(crate) const DIRECTORY_TABLE: usize = 72;
    pub(crate) const FRAGMENT_TABLE: usize = 80;
    pub(crate) const EXPORT_TABLE: usize = 88;
}

/// The bit of a block's size that says "not compressed".
pub(crate) const STORED: u32 = 1 << 24;
const NONE: u32 = u32::MAX;

/// The contents of all tables, and where in them things are.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) block_log: u16,
    /// Bytes before the data: the compressor's options.
    pub(crate) options: Vec<u8>,
    pub(crate) data: Vec<u8>,
    pub(crate) inodes: Vec<u8>,
    pub(crate) directories: Vec<u8>,
    pub(crate) fragments: Vec<u8>,
    pub(crate) export: Vec<u8>,
    pub(crate) ids: Vec<u8>,
    pub(crate) values: Vec<u8>,
    pub(crate) sets: Vec<u8>,
    pub(crate) count: u32,
    pub(crate) root: usize,
    /// Offsets in `inodes`.
    pub(crate) f: usize,
    pub(crate) l: usize,
    pub(crate) p: usize,
    pub(crate) g: usize,
    pub(crate) s: usize,
    /// Offsets in `directories`: the listing of `/`, whose entries start 12
    /// bytes later and take 9 bytes each.
    pub(crate) listing: usize,
}

/// Appends numbers, each in the width of its type.
macro_rules! put {
    ($to:expr, $($number:expr),* $(,)?) => {{ $( $to.extend($number.to_le_bytes()); )* }};
}
pub(crate) use put;

/// Replaces bytes by a number in the width of its type.
macro_rules! set {
    ($bytes:expr, $at:expr, $number:expr) => {{
        let number = $number.to_le_bytes();
        let at: usize = $at;
        $bytes[at..at + number.len()].copy_from_slice(&number);
    }};
}
pub(crate) use set;

/// What all inodes have.
pub(crate) fn base(to: &mut Vec<u8>, kind: u16, number: u32) -> usize {
    let at = to.len();
    put!(to, kind, 0o644_u16, 0_u16, 1_u16, 0_u32, number);
    at
}

/// A directory's entry.
pub(crate) fn entry(to: &mut Vec<u8>, inode: usize, delta: i16, kind: u16, name: &[u8]) {
    let inode = u16::try_from(inode).expect("small tables");
    let size = u16::try_from(name.len() - 1).expect("short names");
    put!(to, inode, delta, kind, size);
    to.extend(name);
}

/// A sound image.
pub(crate) fn sound() -> Parts {
    let mut data = vec![b'f'; 4096];
    data.extend([b'e'; 100]);
    data.extend([b'g'; 10]);
    let mut inodes = Vec::new();
    let to = &mut inodes;
    let f = base(to, 2, 1);
    put!(to, 96_u32, 0_u32, 40_u32, 4156_u32, 4096 | STORED);
    let l = base(to, 3, 2);
    put!(to, 1_u32, 4_u32);
    to.extend(b"../x");
    let p = base(to, 6, 3);
    put!(to, 1_u32);
    let g = base(to, 9, 4);
    put!(to, 96 + 4196_u64, 10_u64, 0_u64, 1_u32, NONE, 0_u32, 0_u32);
    put!(to, 10 | STORED);
    let s = base(to, 8, 5);
    put!(to, 2_u32, 24_u32, 0_u32, 6_u32, 1_u16, 0_u16, NONE);
    put!(to, 0_u32, 0_u32, 0_u32);
    to.push(b'g');
    let root = base(to, 1, 6);
    put!(to, 0_u32, 3_u32, 51_u16, 21_u16, 7_u32);

    let mut directories = Vec::new();
    let to = &mut directories;
    put!(to, 0_u32, 0_u32, 4_u32);
    entry(to, g, 0, 2, b"g");
    let listing = to.len();
    put!(to, 3_u32, 0_u32, 3_u32);
    entry(to, f, -2, 2, b"f");
    entry(to, l, -1, 3, b"l");
    entry(to, p, 0, 6, b"p");
    entry(to, s, 2, 1, b"s");

    let mut fragments = Vec::new();
    put!(fragments, 96 + 4096_u64, 100 | STORED, 0_u32);
    let mut ids = Vec::new();
    put!(ids, 0_u32, 1000_u32);
    let mut export = Vec::new();
    for place in [f, l, p, g, s, root] {
        put!(export, place as u64);
    }
    let mut values = Vec::new();
    put!(values, 3_u32);
    values.extend(b"abc");
    put!(values, 0x100_u16, 1_u16, b'x', 8_u32, 0_u64);
    put!(values, 2_u16, 1_u16, b'y', 1_u32, b'z');
    let mut sets = Vec::new();
    put!(sets, 7_u64, 2_u32, 22_u32);
    Parts {
        block_log: 12,
        options: Vec::new(),
        data,
        inodes,
        directories,
        fragments,
        export,
        ids,
        values,
        sets,
        count: 6,
        root,
        f,
        l,
        p,
        g,
        s,
        listing,
    }
}

/// Appends a table as metadata blocks that are not compressed; says where each
/// starts.
fn blocks(to: &mut Vec<u8>, table: &[u8]) -> Vec<u64> {
    let mut starts = Vec::new();
    for block in table.chunks(8192) {
        starts.push(to.len() as u64);
        let length = u16::try_from(block.len()).expect("8192 at most");
        put!(to, 0x8000 | length);
        to.extend(block);
    }
    starts
}

/// A reference to a place in a table that is not compressed.
pub(crate) fn reference(place: usize) -> u64 {
    (((place / 8192 * 8194) << 16) | (place % 8192)) as u64
}

impl Parts {
    /// The image, gzip by name though nothing of it is compressed.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 96];
        out.extend(&self.options);
        out.extend(&self.data);
        let inode_start = out.len() as u64;
        blocks(&mut out, &self.inodes);
        let directory_start = out.len() as u64;
        blocks(&mut out, &self.directories);
        let mut listed = |table: &[u8]| {
            let starts = blocks(&mut out, table);
            let list = out.len() as u64;
            for start in starts {
                put!(out, start);
            }
            list
        };
        let fragment_start = listed(&self.fragments);
        let export_start = listed(&self.export);
        let id_start = listed(&self.ids);
        let values = out.len() as u64;
        blocks(&mut out, &self.values);
        let starts = blocks(&mut out, &self.sets);
        let xattr_start = out.len() as u64;
        put!(out, values, self.sets.len() as u32 / 16, 0_u32);
        for start in starts {
            put!(out, start);
        }
        let flags = if self.options.is_empty() {
            0x80_u16
        } else {
            0x480
        };
        let mut first = Vec::new();
        put!(
            first,
            0x7371_7368_u32,
            self.count,
            0_u32,
            1_u32 << self.block_log
        );
        put!(
            first,
            self.fragments.len() as u32 / 16,
            1_u16,
            self.block_log
        );
        put!(first, flags, self.ids.len() as u16 / 4, 4_u16, 0_u16);
        put!(first, reference(self.root), out.len() as u64);
        put!(first, id_start, xattr_start, inode_start, directory_start);
        put!(first, fragment_start, export_start);
        out[..96].copy_from_slice(&first);
        out
    }
}
