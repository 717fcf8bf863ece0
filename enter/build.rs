//! Links the two programs without the C library: they start at `_start`, hold no
//! dynamic section, and so no variable of the environment is read by anybody but
//! themselves.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for argument in ["-nostartfiles", "-nostdlib", "-static", "-no-pie"] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
}
