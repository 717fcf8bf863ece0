//! See [`oarlock_fuzz::mounts`].
#![no_main]
oarlock_fuzz::target!(mounts);
