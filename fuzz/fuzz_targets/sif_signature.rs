//! See [`oarlock_fuzz::sif_signature`].
#![no_main]
oarlock_fuzz::target!(sif_signature);
