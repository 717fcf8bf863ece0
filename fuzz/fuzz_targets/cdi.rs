//! See [`oarlock_fuzz::cdi`].
#![no_main]
oarlock_fuzz::target!(cdi);
