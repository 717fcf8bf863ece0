//! See [`oarlock_fuzz::squashfs_superblock`].
#![no_main]
oarlock_fuzz::target!(squashfs_superblock);
