//! How much is read at most. Every bound is far above what generators write for
//! the largest nodes, and small enough for a process that ranks wait for.

/// Bytes of one file. A node with eight GPUs in seven parts each has some 300 KiB.
pub const FILE: u64 = 2 << 20;
/// Spec files of all directories.
pub const FILES: usize = 128;
/// Entries of one directory that are looked at.
pub const ENTRIES: usize = 4096;
/// Devices of all files.
pub const DEVICES: usize = 4096;
/// Links on the way to one file, as in the kernel.
pub const LINKS: usize = 40;
/// Bytes of a path, as in the kernel.
pub const PATH: usize = 4096;
/// Bytes of a vendor, a class or a device's name.
pub const NAME: usize = 253;
/// Bytes of all annotations of a spec or a device: 256 KiB in the reference.
pub const ANNOTATIONS: usize = 256 << 10;
/// Characters of an error's text that come from a file.
pub const QUOTED: usize = 160;
