//! See [`oarlock_fuzz::shared_library`].
#![no_main]
oarlock_fuzz::target!(shared_library);
