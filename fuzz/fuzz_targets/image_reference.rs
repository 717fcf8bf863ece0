//! See [`oarlock_fuzz::image_reference`].
#![no_main]
oarlock_fuzz::target!(image_reference);
