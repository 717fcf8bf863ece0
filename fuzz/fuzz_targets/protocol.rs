//! See [`oarlock_fuzz::protocol`].
#![no_main]
oarlock_fuzz::target!(protocol);
