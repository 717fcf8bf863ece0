//! See [`oarlock_fuzz::store_check`].
#![no_main]
oarlock_fuzz::target!(store_check);
