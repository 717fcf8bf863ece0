//! Images by somebody who wants harm, made by code: root file systems with odd
//! things in them ([`roots`]), and files whose numbers lie ([`fields`]).
//!
//! Made at first use, on the login node, below the directories of the other
//! tests' images, and removed with them. What the images should do is said in
//! the tables here; the tests only look.

pub mod fields;
pub mod roots;

use std::sync::OnceLock;

use crate::cluster::Cluster;
use crate::images::{DIRECTORY, TINY_DIRECTORY, TRUSTED};

/// What every root file system has in `/marker`.
pub const MARKER: &str = "hostile";

/// Patches squashfs files where mksquashfs makes only valid ones, and tries
/// altered numbers; see there.
const PATCH: &str = include_str!("../../images/patch.py");

/// Where users reach them: served by FUSE.
#[must_use]
pub fn by_fuse(name: &str) -> String {
    format!("{DIRECTORY}/hostile/{name}")
}

/// Where they are root's alone: mounted by the kernel.
#[must_use]
pub fn by_kernel(name: &str) -> String {
    format!("/opt/images/tests/hostile/{name}")
}

/// Makes them, once a run.
///
/// # Panics
/// Where that fails.
#[track_caller]
pub fn make(cluster: &Cluster) {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let script = format!(
            "set -e; out={DIRECTORY}/hostile trusted={TRUSTED}/hostile\n\
             mkdir -p $out $trusted; cd $out\n\
             {BASE}\n\
             cat >patch.py <<'END-OF-PATCH'\n{PATCH}END-OF-PATCH\n\
             {}\n\
             oarlock build --processors 1 fields.sif base >/dev/null\n\
             mksquashfs base fields.sqsh -noappend -quiet -no-progress -processors 1\n\
             {}\n\
             rm -rf base scratch *.pseudo; chmod 0644 *; ln -f *.sqsh *.sif $trusted/",
            roots::script(),
            fields::script()
        );
        let script = script.replace("TINY", TINY_DIRECTORY);
        cluster.root("login", &script).succeeds();
    });
}

/// A shell, a few programs, and nothing that a mount could be put on.
const BASE: &str = "mkdir -p base/bin scratch\n\
    cp -a TINY/lib TINY/lib64 base/\n\
    cp -a TINY/bin/{bash,sh,cat,ls,readlink,stat,touch} base/bin/\n\
    echo hostile >base/marker";
