//! See [`oarlock_fuzz::sif`].
#![no_main]
oarlock_fuzz::target!(sif);
