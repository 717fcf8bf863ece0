//! Why an image is refused: one variant a rule, with the place in the image.
//!
//! Never a variant for "something else": a rule without a message of its own
//! cannot be told from a fault of the check.

use std::io;

pub use crate::place::{At, Bound, Damage, NameFault, Table, XattrFault};

/// Why an image is refused. Offsets count from the start of the image.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// The file cannot be read.
    #[error("cannot read the image at {offset:#x}: {source}")]
    Read {
        /// Where.
        offset: u64,
        /// What the system says.
        source: io::Error,
    },
    /// A compression that this crate has no decompressor for.
    #[error("compression {name} cannot be validated; use gzip, lz4, xz or zstd")]
    Compression {
        /// Its name, or that it is unknown.
        name: &'static str,
    },
    /// More than [`crate::Limits`] allows.
    #[error("more than {limit} {bound}")]
    Limit {
        /// Of what.
        bound: Bound,
        /// The bound that the caller set.
        limit: u64,
    },
    /// The image ends too early.
    #[error("truncated: {needed} bytes are promised, there are {len}")]
    Truncated {
        /// The bytes that ought to be there.
        needed: u64,
        /// The bytes that are.
        len: u64,
    },
    /// Something follows the image that is not padding.
    #[error("bytes follow the file system at {offset:#x} that are not padding")]
    NotPadding {
        /// Where they start.
        offset: u64,
    },
    /// No squashfs.
    #[error("superblock: the magic number is {found:#010x}, not that of squashfs")]
    Magic {
        /// The number there.
        found: u32,
    },
    /// Another version than 4.0.
    #[error("superblock: version {major}.{minor}, not 4.0")]
    Version {
        /// Before the dot.
        major: u16,
        /// After the dot.
        minor: u16,
    },
    /// No power of two from 4 KiB to 1 MiB, or not with its logarithm.
    #[error("superblock: block size {size} with logarithm {log}")]
    BlockSize {
        /// The size.
        size: u32,
        /// The logarithm beside it.
        log: u16,
    },
    /// Unknown bits, or bits that do not fit the tables.
    #[error("superblock: flags {flags:#06x} are unknown or do not fit the tables")]
    Flags {
        /// The flags.
        flags: u16,
    },
    /// A count that cannot be.
    #[error("superblock: {count} entries cannot be in the {table}")]
    Count {
        /// Of which table.
        table: Table,
        /// The count.
        count: u64,
    },
    /// The compressor's options are not what that compressor writes.
    #[error("compressor options at 0x60: {fault}")]
    Options {
        /// What is wrong.
        fault: &'static str,
    },
    /// A table does not lie between its neighbours.
    #[error("the {table} is at {start:#x}, which leaves its place before {end:#x}")]
    TablePlace {
        /// Which.
        table: Table,
        /// Where it says it is.
        start: u64,
        /// Where it must end.
        end: u64,
    },
    /// A table's list of blocks does not name its blocks.
    #[error("the {table}'s list at {offset:#x} says {found:#x}, not {expected:#x}")]
    TableList {
        /// Which.
        table: Table,
        /// Where the list's entry is.
        offset: u64,
        /// What it says.
        found: u64,
        /// Where the block is.
        expected: u64,
    },
    /// A table has more or fewer bytes than its entries need.
    #[error("the {table} has {found} bytes, not {expected}")]
    TableLength {
        /// Which.
        table: Table,
        /// Its decompressed length.
        found: u64,
        /// What its entries need.
        expected: u64,
    },
    /// A metadata block's header is no length that a block can have.
    #[error("{table}: the block at {offset:#x} has the header {header:#06x}")]
    BlockHeader {
        /// Of which table.
        table: Table,
        /// Where the block is.
        offset: u64,
        /// The header.
        header: u16,
    },
    /// A metadata block reaches over its table's end.
    #[error("{table}: the block at {offset:#x} ends after the table, at {end:#x}")]
    BlockEnd {
        /// Of which table.
        table: Table,
        /// Where the block is.
        offset: u64,
        /// Where it ends.
        end: u64,
    },
    /// A metadata block before the last one is not full.
    #[error("{table}: the block at {offset:#x} has {length} bytes, not 8192")]
    BlockLength {
        /// Of which table.
        table: Table,
        /// Where the block is.
        offset: u64,
        /// Its decompressed length.
        length: usize,
    },
    /// Compressed bytes do not decompress as they must.
    #[error("the block at {offset:#x} {damage}")]
    Block {
        /// Where the compressed bytes are.
        offset: u64,
        /// What is wrong.
        damage: Damage,
    },
    /// A structure runs over the end of its table.
    #[error("{at}: the table ends in a structure")]
    TableEnd {
        /// Where the structure goes on.
        at: At,
    },
    /// A reference to where nothing starts.
    #[error("{at}: the reference {reference:#x} leads to no place in the {table}")]
    Reference {
        /// Where the reference is.
        at: At,
        /// To which table it should lead.
        table: Table,
        /// The reference.
        reference: u64,
    },
    /// An owner that no file can have.
    #[error("{at}: the id {id:#x} is nobody's")]
    IdValue {
        /// Where.
        at: At,
        /// The id.
        id: u32,
    },
    /// The export table does not name the inode.
    #[error("{at}: inode {number} is said to be at {found:#x}, not {expected:#x}")]
    Export {
        /// Where.
        at: At,
        /// Which inode.
        number: u32,
        /// What the table says.
        found: u64,
        /// Where the inode is.
        expected: u64,
    },
    /// A fragment that is not in the data, or too large.
    #[error("{at}: a fragment at {start:#x} of size {word:#x} is not in the data")]
    Fragment {
        /// Where the entry is.
        at: At,
        /// Where it says the fragment is.
        start: u64,
        /// Its size, with the bit for "not compressed".
        word: u32,
    },
    /// An unknown type of inode.
    #[error("{at}: inode type {kind}")]
    InodeType {
        /// Where.
        at: At,
        /// The type.
        kind: u16,
    },
    /// A mode with more than permissions in it.
    #[error("{at}: mode {mode:#o} says more than permissions")]
    Mode {
        /// Where.
        at: At,
        /// The mode.
        mode: u16,
    },
    /// An owner beyond the id table.
    #[error("{at}: owner {index} of {ids}")]
    Owner {
        /// Where.
        at: At,
        /// The index into the id table.
        index: u16,
        /// How many there are.
        ids: u16,
    },
    /// An inode number that is 0 or too large.
    #[error("{at}: inode number {number} of {inodes}")]
    InodeNumber {
        /// Where.
        at: At,
        /// The number.
        number: u32,
        /// How many there are.
        inodes: u32,
    },
    /// An inode number that another inode has.
    #[error("{at}: inode number {number} is there twice")]
    InodeTwice {
        /// Where.
        at: At,
        /// The number.
        number: u32,
    },
    /// More or fewer inodes than the superblock says.
    #[error("superblock: {said} inodes are promised, there are {found}")]
    InodeCount {
        /// What the superblock says.
        said: u32,
        /// What there is.
        found: u32,
    },
    /// A link count that cannot be.
    #[error("{at}: inode {number} has {links} links")]
    Links {
        /// Where.
        at: At,
        /// Which inode.
        number: u32,
        /// The count.
        links: u32,
    },
    /// An inode that no directory has.
    #[error("inode {number} is in no directory")]
    Lost {
        /// Which.
        number: u32,
    },
    /// The root is no directory, or in one.
    #[error("superblock: the root {reference:#x} is no directory outside of all others")]
    Root {
        /// The reference to it.
        reference: u64,
    },
    /// A root whose parent is neither an inode nor the number after the last.
    #[error("superblock: the root says that {parent} is its parent")]
    RootParent {
        /// What it says.
        parent: u32,
    },
    /// A symbolic link without, or with too long a target.
    #[error("{at}: a symbolic link of {size} bytes")]
    SymlinkSize {
        /// Where.
        at: At,
        /// The target's length.
        size: u32,
    },
    /// A symbolic link with a NUL in its target.
    #[error("{at}: a symbolic link with a NUL")]
    SymlinkNul {
        /// Where.
        at: At,
    },
    /// A file that the kernel cannot address.
    #[error("{at}: a file of {size} bytes")]
    FileSize {
        /// Where.
        at: At,
        /// The size.
        size: u64,
    },
    /// More bytes in holes than in the file.
    #[error("{at}: {sparse} bytes of holes in a file of {size}")]
    Sparse {
        /// Where.
        at: At,
        /// The bytes in holes.
        sparse: u64,
        /// The file's size.
        size: u64,
    },
    /// A size in a block list that no block can have.
    #[error("{at}: a block of size {word:#x}")]
    BlockWord {
        /// Where.
        at: At,
        /// The size, with the bit for "not compressed".
        word: u32,
    },
    /// A block of a file outside of the data.
    #[error("{at}: a block at {start:#x} of {stored} bytes is not in the data")]
    BlockPlace {
        /// Where the block list is.
        at: At,
        /// Where the block would be.
        start: u64,
        /// Its length in the image.
        stored: u32,
    },
    /// A block of a file with more or fewer bytes than the file needs.
    #[error("{at}: the block at {start:#x} has {found} bytes, not {expected}")]
    BlockBytes {
        /// Where the block list is.
        at: At,
        /// Where the block is.
        start: u64,
        /// Its decompressed length.
        found: u32,
        /// What the file needs.
        expected: u32,
    },
    /// A fragment that does not exist.
    #[error("{at}: fragment {index} of {fragments}")]
    FragmentIndex {
        /// Where.
        at: At,
        /// Which.
        index: u32,
        /// How many there are.
        fragments: u32,
    },
    /// The file's end is not in its fragment.
    #[error("{at}: {tail} bytes from {offset} on of a fragment of {length}")]
    FragmentRange {
        /// Where.
        at: At,
        /// Where the file's end starts in the fragment.
        offset: u32,
        /// The bytes that the file needs.
        tail: u32,
        /// The fragment's decompressed length.
        length: u32,
    },
    /// Extended attributes that do not exist.
    #[error("{at}: extended attributes {index} of {ids}")]
    XattrIndex {
        /// Where.
        at: At,
        /// Which.
        index: u32,
        /// How many there are.
        ids: u32,
    },
    /// A directory of a size that none can have.
    #[error("{at}: a directory of size {size}")]
    DirectorySize {
        /// Where.
        at: At,
        /// The size, which is three more than its entries' bytes.
        size: u32,
    },
    /// A directory's entries do not end where its size says.
    #[error("{at}: entries reach over the directory's end")]
    DirectoryEnd {
        /// Where.
        at: At,
    },
    /// More than 256 entries behind one header.
    #[error("{at}: a header for {count} entries")]
    DirectoryHeader {
        /// Where.
        at: At,
        /// The count.
        count: u64,
    },
    /// A directory's entries that do not follow those of the directory before.
    #[error("{at}: the entries of directory {number} are not the next in the directory table")]
    DirectoryPlace {
        /// Where the directory table's next entries are.
        at: At,
        /// The directory's inode number.
        number: u32,
    },
    /// A directory's index does not lead to its entries.
    #[error("{at}: entry {entry} of the directory's index {fault}")]
    DirectoryIndex {
        /// Where the entries are.
        at: At,
        /// Which, from 0.
        entry: u16,
        /// What is wrong.
        fault: &'static str,
    },
    /// A name that the kernel or a walker would stumble over.
    #[error("{at}: a name {fault}")]
    Name {
        /// Where.
        at: At,
        /// What is wrong.
        fault: NameFault,
    },
    /// An entry for an inode that is not before its directory; a loop of
    /// directories would need one.
    #[error("{at}: an entry for inode {number}, which is not before its directory")]
    EntryInode {
        /// Where.
        at: At,
        /// The inode's number.
        number: i64,
    },
    /// An entry whose reference leads elsewhere than its number.
    #[error("{at}: inode {number} is said to be at {found:#x}, not {expected:#x}")]
    EntryReference {
        /// Where.
        at: At,
        /// The inode's number.
        number: u32,
        /// Where the entry says it is.
        found: u64,
        /// Where it is.
        expected: u64,
    },
    /// An entry whose type is not its inode's.
    #[error("{at}: inode {number} is of type {expected}, the entry says {found}")]
    EntryType {
        /// Where.
        at: At,
        /// The inode's number.
        number: u32,
        /// What the entry says.
        found: u16,
        /// What the inode is.
        expected: u16,
    },
    /// A directory that is in two directories.
    #[error("{at}: directory {number} is there twice")]
    DirectoryTwice {
        /// Where.
        at: At,
        /// The directory's number.
        number: u32,
    },
    /// A directory whose parent is another than the directory that has it.
    #[error("{at}: directory {number} says that {parent} is its parent")]
    Parent {
        /// Where.
        at: At,
        /// The directory's number.
        number: u32,
        /// What it says.
        parent: u32,
    },
    /// Extended attributes that are not as they must be.
    #[error("{at}: extended attributes {index}: {fault}")]
    Xattr {
        /// Where.
        at: At,
        /// Which set of them.
        index: u32,
        /// What is wrong.
        fault: XattrFault,
    },
    /// Bytes in the directory or xattr table that no directory or attribute has.
    #[error("{at}: bytes that belong to nothing")]
    Rest {
        /// Where they start.
        at: At,
    },
}
