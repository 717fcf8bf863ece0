//! See [`oarlock_fuzz::library_cache`].
#![no_main]
oarlock_fuzz::target!(library_cache);
