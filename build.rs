//! Build script of the SPANK plugin: reads Slurm's own headers.
//!
//! `OARLOCK_SLURM_INCLUDE` names the directory that holds `slurm/spank.h` of the
//! Slurm that will load the plugin; without it the system's headers are used.
//! bindgen turns spank.h into Rust, and a C stub expands `SPANK_PLUGIN`, which
//! only the C compiler can evaluate.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=OARLOCK_SLURM_INCLUDE");
    println!("cargo:rerun-if-changed=src/version.c");
    println!("cargo:rerun-if-changed=../build.rs");
    let include = env::var_os("OARLOCK_SLURM_INCLUDE")
        .map_or_else(|| PathBuf::from("/usr/include"), PathBuf::from);
    let header = include.join("slurm/spank.h");
    assert!(
        header.is_file(),
        "{} is not there: set OARLOCK_SLURM_INCLUDE to the directory that holds slurm/spank.h (Debian: libslurm-dev)",
        header.display()
    );
    println!("cargo:rerun-if-changed={}", header.display());
    println!(
        "cargo:rerun-if-changed={}",
        include.join("slurm/slurm_version.h").display()
    );

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    bindgen::Builder::default()
        .header(header.display().to_string())
        .clang_arg(format!("-I{}", include.display()))
        .allowlist_function("spank_.*|slurm_error")
        .allowlist_type("spank_.*|slurm_err_t")
        .default_enum_style(bindgen::EnumVariation::ModuleConsts)
        .derive_debug(false)
        .layout_tests(false)
        .generate()
        .expect("bindgen reads spank.h")
        .write_to_file(out.join("spank.rs"))
        .expect("OUT_DIR is writable");

    cc::Build::new()
        .file("src/version.c")
        .include(&include)
        .warnings(true)
        .compile("oarlock_version");
}
