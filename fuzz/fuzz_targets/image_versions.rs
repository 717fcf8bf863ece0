//! See [`oarlock_fuzz::image_versions`].
#![no_main]
oarlock_fuzz::target!(image_versions);
