//! The images of the tests: the two big ones of the demo, which are there, and
//! small and odd ones, which are made once a run and removed at its end.

use crate::cluster::Cluster;

/// Debian with Open MPI; mounted by the kernel.
pub const DEMO: &str = "/opt/images/demo.sif";
/// The same file, on a path that users could change: served by FUSE.
pub const DEMO_FUSE: &str = "/shared/images/demo.sif";
/// Debian with MPICH; mounted by the kernel.
pub const MPICH: &str = "/opt/images/mpich.sif";
/// The same file, served by FUSE.
pub const MPICH_FUSE: &str = "/shared/images/mpich.sif";

/// Where users reach the tests' own images; root's, but in a directory that is
/// everybody's, and so served by FUSE.
pub const DIRECTORY: &str = "/shared/tests";
/// Where root writes those that are to be trusted; nodes have them in
/// /opt/images/tests.
pub(crate) const TRUSTED: &str = "/shared/images/tests";

/// A shell and little else, with an environment and marked programs; by the
/// kernel.
pub const TINY: &str = "/opt/images/tests/tiny.sif";
/// The same, served by FUSE.
pub const TINY_FUSE: &str = "/shared/tests/tiny.sif";
/// The same as a bare squashfs, served by FUSE.
pub const TINY_SQUASHFS: &str = "/shared/tests/tiny.sqsh";
/// The same as a bare squashfs, by the kernel.
pub const TINY_SQUASHFS_TRUSTED: &str = "/opt/images/tests/tiny.sqsh";
/// The same as a directory.
pub const TINY_DIRECTORY: &str = "/shared/tests/tiny.d";

/// The same root file system in every form that can be run, with its name for
/// messages.
pub const TINIES: [(&str, &str); 5] = [
    ("SIF by the kernel", TINY),
    ("SIF by FUSE", TINY_FUSE),
    ("squashfs by the kernel", TINY_SQUASHFS_TRUSTED),
    ("squashfs by FUSE", TINY_SQUASHFS),
    ("directory", TINY_DIRECTORY),
];

const BUILD: &str = include_str!("../images/build.sh");
const PROBE: &str = include_str!("../images/probe.c");

/// Proof that the images were made.
#[derive(Debug)]
pub struct Images(());

impl Images {
    pub(crate) fn make(cluster: &Cluster) -> Self {
        let script = format!(
            "set -e; d=$(mktemp -d); trap 'rm -rf $d' EXIT\n\
             cat >$d/build.sh <<'END-OF-BUILD'\n{BUILD}END-OF-BUILD\n\
             cat >$d/probe.c <<'END-OF-PROBE'\n{PROBE}END-OF-PROBE\n\
             bash $d/build.sh {DIRECTORY} {TRUSTED} $d/probe.c"
        );
        cluster.root("login", &script).succeeds();
        Self(())
    }

    pub(crate) fn remove(cluster: &Cluster) {
        cluster.root(
            "login",
            &format!("rm -rf --one-file-system {DIRECTORY} {TRUSTED}"),
        );
    }
}
