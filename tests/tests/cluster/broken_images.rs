//! Images that cannot be used: one line a node says why, and nothing runs.

use cluster_tests::images::{DIRECTORY, TINY};
use cluster_tests::{Case, Cluster, cases};

const DENIED: &str = "permission denied for uid 1000; the file must be readable, and each directory above it searchable, by you";

/// The image below the tests' directory, and what is said of it.
const REFUSALS: [(&str, &str); 13] = [
    (
        "missing.sif",
        "no such file or directory; check the path, and that this node has it",
    ),
    (
        "tiny.sif/below",
        "no such file or directory; check the path, and that this node has it",
    ),
    (
        "truncated.sif",
        "truncated: header promises * MiB, file has 293 KiB; copy it again",
    ),
    (
        "stub.sif",
        "truncated: header promises 128 bytes, file has 100 bytes; copy it again",
    ),
    (
        "truncated.sqsh",
        "truncated: header promises * MiB, file has 293 KiB; copy it again",
    ),
    ("empty.sif", "the file is empty; copy it again"),
    (
        "text.sif",
        "neither a SIF nor a squashfs file; give one of those, an EROFS file or a directory",
    ),
    (
        "pipe.sif",
        "is a pipe; give a SIF file, a squashfs file or a directory",
    ),
    // Root could read these.
    ("rootonly.sif", DENIED),
    ("closed/tiny.sif", DENIED),
    ("closed.d", DENIED),
    (
        "arm64.sif",
        "the image is built for arm64, this machine is amd64; build or pull it for amd64",
    ),
    (
        "loop.sif",
        "too many levels of symbolic links, or a magic link of /proc; name the file itself",
    ),
];

pub(crate) fn cases() -> Vec<Case> {
    REFUSALS
        .into_iter()
        .map(|(name, message)| {
            Case::new(module_path!(), name, move |cluster: &Cluster| {
                is_refused(cluster, name, message);
            })
        })
        .chain(cases![
            a_device,
            a_magic_link,
            damaged_inside,
            an_empty_directory,
            one_node_of_two_lacks_the_image,
        ])
        .collect()
}

fn is_refused(cluster: &Cluster, name: &str, message: &str) {
    let image = format!("{DIRECTORY}/{name}");
    let lines = ["node1", "node2"].map(|node| format!("oarlock: {node}: image {image}: {message}"));
    cluster
        .alice(&format!("srun -N2 -n4 --container-image={image} echo ran"))
        .is_refused(lines);
}

fn a_device(cluster: &Cluster) {
    cluster
        .alice("srun -w node1 -n2 --container-image=/dev/null echo ran")
        .is_refused([
            "oarlock: node1: image /dev/null: is a device; give a SIF file, a squashfs file or a directory",
        ]);
}

fn a_magic_link(cluster: &Cluster) {
    cluster
        .alice("srun -w node1 --container-image=/proc/self/cwd/x.sif echo ran")
        .is_refused([
            "oarlock: node1: image /proc/self/cwd/x.sif: too many levels of symbolic links, or a magic link of /proc; name the file itself",
        ]);
}

/// The beginning is whole and the rest is noise: whatever is read of it, a node
/// must not hang, and an error is told in one line or is the program's own.
fn damaged_inside(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "cp {TINY} ~/damaged.sif; chmod u+w ~/damaged.sif\n\
         size=$(stat -c %s ~/damaged.sif)\n\
         dd if=/dev/urandom of=~/damaged.sif bs=4096 seek=10 count=$((size / 4096 - 12)) conv=notrunc 2>/dev/null\n\
         srun -w node1 -n2 --container-image=$HOME/damaged.sif echo ran; code=$?; rm ~/damaged.sif; exit $code"
    ));
    assert_ne!(output.code, 0, "{output}");
    assert_eq!(output.stdout, "", "{output}");
    let told = output
        .stderr
        .lines()
        .filter(|line| line.starts_with("oarlock: "));
    assert!(told.count() <= 1, "{output}");
}

/// A directory is taken for a root file system; that it is none shows when the
/// program is looked for.
fn an_empty_directory(cluster: &Cluster) {
    let output = cluster.alice("mkdir ~/empty.d; srun -w node1 --container-image=$HOME/empty.d echo ran; code=$?; rmdir ~/empty.d; exit $code");
    assert_ne!(output.code, 0, "{output}");
    assert_eq!(output.stdout, "", "{output}");
    output.tells([
        "oarlock: node1: program echo: not in the image /home/alice/empty.d nor in what is mounted into it; check the name, the image's PATH and --container-mounts",
    ]);
}

fn one_node_of_two_lacks_the_image(cluster: &Cluster) {
    let _restore = cluster.change(
        "node1",
        &format!("cp {TINY} /var/tmp/only-here.sif"),
        "rm -f /var/tmp/only-here.sif",
    );
    let output = cluster.alice(
        "srun -N2 -n4 --kill-on-bad-exit=0 --container-image=/var/tmp/only-here.sif sh -c 'echo $SLURMD_NODENAME'",
    );
    assert_eq!(output.code, 1, "{output}");
    assert!(!output.stdout.contains("node2"), "{output}");
    output.tells([
        "oarlock: node2: image /var/tmp/only-here.sif: no such file or directory; check the path, and that this node has it",
    ]);
}
