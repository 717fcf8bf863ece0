//! What must hold for whatever bytes a parser is given, one module a parser.
//!
//! Each module has `check`, which panics where a property is broken, and `seeds`,
//! the inputs that fuzzing starts from: made by code, most of them valid, so
//! that they follow the formats without a binary file in the repository. A seed
//! that should be valid and is not ends the target at once.
//!
//! Nothing here touches the machine beyond temporary files.

pub mod cdi;
pub mod config;
pub mod environment;
pub mod image_reference;
pub mod image_versions;
pub mod library_cache;
pub mod mounts;
pub mod profile;
pub mod protocol;
pub mod shared_library;
pub mod sif;
pub mod sif_signature;
pub mod squashfs_check;
pub mod squashfs_superblock;
pub mod store_check;

use std::path::Path;

/// The variable with the directory that a target writes its seeds into before
/// it starts; without it a target starts from nothing.
pub const SEEDS: &str = "OARLOCK_FUZZ_SEEDS";

/// Makes a module into a libFuzzer program.
#[macro_export]
macro_rules! target {
    ($module:ident) => {
        libfuzzer_sys::fuzz_target!(
            init: $crate::write_seeds(&$crate::$module::seeds()),
            |data: &[u8]| $crate::$module::check(data)
        );
    };
}

/// Writes the seeds where [`SEEDS`] says; libFuzzer reads them after that.
///
/// # Panics
/// Where they cannot be written.
pub fn write_seeds(seeds: &[Vec<u8>]) {
    let Some(place) = std::env::var_os(SEEDS) else {
        return;
    };
    for (number, seed) in seeds.iter().enumerate() {
        let file = Path::new(&place).join(format!("seed-{number:02}"));
        std::fs::write(&file, seed).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
}

/// A message is one line that a terminal shows as it is, whatever the input had.
///
/// # Panics
/// Where it is not.
pub fn assert_one_line(message: &dyn std::fmt::Display) {
    let text = message.to_string();
    assert!(!text.is_empty(), "an empty message");
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
