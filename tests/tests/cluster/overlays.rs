//! Overlay partitions of a SIF: what Apptainer made of an image is seen here too.

use cluster_tests::images::TINY_FUSE;
use cluster_tests::{Case, Cluster, cases};

pub(crate) fn cases() -> Vec<Case> {
    let of_apptainer = cases![an_overlay_that_apptainer_made];
    let own = cases![
        a_signed_image_that_only_the_kernel_can_mount,
        a_squashfs_overlay_by_kernel_and_by_fuse,
        overlays_by_older_mount_calls,
    ];
    let of_apptainer = of_apptainer.into_iter();
    of_apptainer
        .map(|case| case.needs("apptainer"))
        .chain(own)
        .collect()
}

const TRUSTED: &str = "/opt/images/tests/overlaid.sif";
const OWN: &str = "/shared/overlaid.sif";

fn run(image: &str) -> String {
    format!(
        "srun -w node1 --container-image={image} sh -c 'cat /etc/oarlock-image /upon; echo no >/upon' 2>&1 | grep -v srun"
    )
}

const SEEN: &str = "tiny\nfrom the overlay\n/bin/sh: line 1: /upon: Read-only file system\n";

fn an_overlay_that_apptainer_made(cluster: &Cluster) {
    let _image = cluster.change(
        "login",
        &format!(
            "export HOME=/root/overlay-home; cd /root && mkdir -p overlay-home && rm -rf overlay overlay.img && mkdir -p overlay/upper overlay/work && echo 'from the overlay' >overlay/upper/upon && \
             chmod 755 overlay/upper && cp {TINY_FUSE} overlaid.sif && \
             mke2fs -q -t ext3 -d overlay overlay.img 4m && \
             apptainer sif add --datatype 4 --partfs 2 --parttype 4 --partarch 2 --groupid 1 overlaid.sif overlay.img && \
             cp overlaid.sif /shared/images/tests/overlaid.sif && install -o alice overlaid.sif {OWN}"
        ),
        format!("rm -rf /shared/images/tests/overlaid.sif {OWN} /root/overlay-home /root/overlay /root/overlay.img /root/overlaid.sif"),
    );
    cluster.alice(&run(TRUSTED)).says(SEEN);
    // The kernel's ext3 meets nothing that a user wrote: a FUSE server has it.
    cluster.alice(&run(OWN)).says(SEEN);
    let _missing = cluster.change(
        "node1",
        "mv /usr/bin/fuse2fs /usr/bin/fuse2fs.away",
        "mv /usr/bin/fuse2fs.away /usr/bin/fuse2fs",
    );
    cluster
        .alice(&format!("srun -w node1 --container-image={OWN} true"))
        .is_refused([format!(
            "oarlock: node1: image {OWN}: its ext3 file system can only be mounted by the kernel, which parses none that others than root may have written; put the image where only root can write, or use squashfs"
        )]);
}

/// Its step waits for the copy, also where the site stages nothing else.
fn a_signed_image_that_only_the_kernel_can_mount(cluster: &Cluster) {
    let _image = cluster.change(
        "login",
        &format!(
            "cd /root && rm -rf overlay && mkdir -p overlay/upper overlay/work && echo 'from the overlay' >overlay/upper/upon && \
             cp {TINY_FUSE} overlaid.sif && mke2fs -q -t ext3 -d overlay overlay.img 4m && \
             oarlock sif add --datatype 4 --partfs 2 --parttype 4 --partarch 2 --groupid 1 overlaid.sif overlay.img >/dev/null && \
             openssl genpkey -algorithm ed25519 -out site.key 2>/dev/null && openssl pkey -in site.key -pubout -out /shared/site.pem && \
             oarlock sign --key site.key overlaid.sif >/dev/null && install -o alice overlaid.sif {OWN} && sleep 2.1"
        ),
        format!("rm -rf {OWN} /shared/site.pem /root/site.key /root/overlay /root/overlay.img /root/overlaid.sif"),
    );
    let _node = cluster.change(
        "node1",
        "rm -rf /var/lib/oarlock/store /run/oarlock/index; install -d /etc/oarlock/keys.d; cp /shared/site.pem /etc/oarlock/keys.d/; \
         mv /usr/bin/fuse2fs /usr/bin/fuse2fs.away",
        "rm -rf /var/lib/oarlock/store /run/oarlock/index /etc/oarlock/keys.d; mv /usr/bin/fuse2fs.away /usr/bin/fuse2fs",
    );
    cluster.alice(&run(OWN)).says(SEEN);
    // From the copy: its two partitions are two devices.
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={OWN} sh -c 'cat /sys/block/loop*/loop/backing_file | grep -c oarlock/store/objects'"
        ))
        .says("2\n");
}

fn with_squashfs(cluster: &Cluster) -> cluster_tests::Restore<'_> {
    cluster.change(
        "login",
        &format!(
            "cd /root && rm -rf upper && mkdir upper && echo 'from the overlay' >upper/upon && chmod 755 upper && \
             mksquashfs upper upper.sqsh -quiet -no-progress && cp {TINY_FUSE} overlaid.sif && \
             oarlock sif add --datatype 4 --partfs 1 --parttype 4 --partarch 2 --groupid 1 overlaid.sif upper.sqsh >/dev/null && \
             cp overlaid.sif /shared/images/tests/overlaid.sif && install -o alice overlaid.sif {OWN}"
        ),
        format!("rm -rf /shared/images/tests/overlaid.sif {OWN} /root/upper /root/upper.sqsh /root/overlaid.sif"),
    )
}

fn a_squashfs_overlay_by_kernel_and_by_fuse(cluster: &Cluster) {
    let _image = with_squashfs(cluster);
    cluster.alice(&run(TRUSTED)).says(SEEN);
    cluster.alice(&run(OWN)).says(SEEN);
}

fn overlays_by_older_mount_calls(cluster: &Cluster) {
    const CONFIG: &str = "/etc/oarlock/oarlock.toml";
    let _image = with_squashfs(cluster);
    let _old = cluster.change(
        "node1",
        &format!("cp -p {CONFIG} /root/kept && sed -i 's/^mount_calls = .*/mount_calls = \"old\"/' {CONFIG}"),
        format!("cp -p /root/kept {CONFIG} && rm /root/kept"),
    );
    cluster.alice(&run(TRUSTED)).says(SEEN);
    cluster.alice(&run(OWN)).says(SEEN);
}
