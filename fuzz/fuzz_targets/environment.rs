//! See [`oarlock_fuzz::environment`].
#![no_main]
oarlock_fuzz::target!(environment);
