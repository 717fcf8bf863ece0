//! See [`oarlock_fuzz::profile`].
#![no_main]
oarlock_fuzz::target!(profile);
