//! See [`oarlock_fuzz::config`].
#![no_main]
oarlock_fuzz::target!(config);
