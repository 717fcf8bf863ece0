//! See [`oarlock_fuzz::squashfs_check`].
#![no_main]
oarlock_fuzz::target!(squashfs_check);
