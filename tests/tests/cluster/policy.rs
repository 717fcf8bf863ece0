//! Which images a site allows: by path, by owner, by signature, by registry. Each
//! denial names its rule.

use cluster_tests::images::{TINY, TINY_DIRECTORY, TINY_FUSE};
use cluster_tests::{Case, Cluster, Restore, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        paths,
        owners,
        registries,
        signatures,
        a_keyring_that_is_not_there_denies,
        file_systems_of_the_kernel,
    ]
}

const CONFIG: &str = "/etc/oarlock/oarlock.toml";

fn rule<'a>(cluster: &'a Cluster, edit: &str) -> Restore<'a> {
    cluster.change(
        "node1",
        &format!("cp -p {CONFIG} /root/kept && sed -i '{edit}' {CONFIG}"),
        format!("cp -p /root/kept {CONFIG} && rm /root/kept"),
    )
}

fn run(image: &str) -> String {
    format!("srun -w node1 --container-image={image} cat /etc/oarlock-image")
}

fn paths(cluster: &Cluster) {
    let _rule = rule(
        cluster,
        "s|^allow_paths = .*|allow_paths = [\"/opt/images\", \"/shared/test\"]|",
    );
    cluster.alice(&run(TINY)).says("tiny\n");
    let denied = |image: &str, at: &str| {
        format!(
            "oarlock: node1: image {image}: not allowed here: it lies at {at}, and images.allow_paths allows only /opt/images, /shared/test"
        )
    };
    // /shared/test does not allow /shared/tests, and a directory is no exception.
    for image in [TINY_FUSE, TINY_DIRECTORY] {
        cluster
            .alice(&run(image))
            .is_refused([denied(image, image)]);
    }
    // What counts is where a link leads.
    let _links = cluster.change(
        "login",
        &format!("ln -s {TINY_FUSE} /shared/images/linked.sif"),
        "rm -f /shared/images/linked.sif",
    );
    cluster
        .alice(&run("/opt/images/linked.sif"))
        .is_refused([denied("/opt/images/linked.sif", TINY_FUSE)]);
}

fn owners(cluster: &Cluster) {
    let _rule = rule(
        cluster,
        "s|^allow_owners = .*|allow_owners = [\"root\", \"1001\"]|",
    );
    let _images = cluster.change(
        "login",
        &format!("install -o alice {TINY_FUSE} /shared/alices.sif; install -o bob {TINY_FUSE} /shared/bobs.sif"),
        "rm -f /shared/alices.sif /shared/bobs.sif",
    );
    cluster.alice(&run(TINY)).says("tiny\n");
    cluster.alice(&run("/shared/bobs.sif")).says("tiny\n");
    cluster.alice(&run("/shared/alices.sif")).is_refused([
        "oarlock: node1: image /shared/alices.sif: not allowed here: it belongs to uid 1000, and images.allow_owners allows only root, 1001",
    ]);
    // The same rule for those who run without Slurm.
    cluster
        .on("node1", "root", "cd /; su alice -c 'oarlock exec /shared/alices.sif true' 2>&1 | sed 's/.*: not allowed here/not allowed here/'")
        .says("not allowed here: it belongs to uid 1000, and images.allow_owners allows only root, 1001\n");
}

/// The client refuses such names before the site is asked; a forged client's is
/// held to the site's rule.
fn registries(cluster: &Cluster) {
    let _rule = rule(
        cluster,
        "s|^allow_registries = .*|allow_registries = [\"registry.example\"]|",
    );
    let forged = |name: &str| {
        format!(
            "sbatch --export=ALL,_SLURM_SPANK_OPTION_oarlock_container_image={name} -Q -w node1 -W -o ~/out --wrap 'echo ran' >/dev/null; cat ~/out; rm -f ~/out"
        )
    };
    cluster.alice(&forged("docker://elsewhere.example/app")).says(
        "oarlock: node1: image docker://elsewhere.example/app: not allowed here: images.allow_registries allows only registry.example\n",
    );
    cluster.alice(&forged("docker://registry.example/app")).says(
        "oarlock: node1: image docker://registry.example/app: registries are not supported yet; make a file of the image first (as with: apptainer pull app.sif docker://...) and give its path, or ./NAME for a file of that name\n",
    );
}

fn signatures(cluster: &Cluster) {
    let _store = cluster.change(
        "node1",
        "rm -rf /var/lib/oarlock/store /run/oarlock/index; install -d /etc/oarlock/keys.d",
        "rm -rf /var/lib/oarlock/store /run/oarlock/index /etc/oarlock/keys.d",
    );
    let _rule = rule(
        cluster,
        "s|^require_signature = .*|require_signature = \"all\"|",
    );
    let _images = cluster.change(
        "login",
        &format!(
            "install -m 644 {TINY_FUSE} /shared/signed.sif && install -m 644 {TINY_FUSE} /shared/foreign.sif && \
             cd /root && openssl genpkey -algorithm ed25519 -out site.key 2>/dev/null && openssl pkey -in site.key -pubout -out site.pem && \
             openssl genpkey -algorithm ed25519 -out other.key 2>/dev/null && \
             oarlock sign --key site.key /shared/signed.sif >/dev/null && oarlock sign --key other.key /shared/foreign.sif >/dev/null && \
             cp site.pem /shared/site.pem"
        ),
        "rm -f /shared/signed.sif /shared/foreign.sif /shared/site.pem /root/site.* /root/other.key",
    );
    cluster
        .root("node1", "cp /shared/site.pem /etc/oarlock/keys.d/")
        .succeeds();
    let denied = |image: &str, why: &str| {
        format!(
            "oarlock: node1: image {image}: not allowed here: images.require_signature asks for a signature by a key of /etc/oarlock/keys.d: {why}"
        )
    };
    cluster.alice(&run("/shared/signed.sif")).says("tiny\n");
    cluster.alice(&run(TINY)).is_refused([denied(TINY, "*")]);
    cluster
        .alice(&run("/shared/foreign.sif"))
        .is_refused([denied("/shared/foreign.sif", "*")]);
    cluster
        .alice(&run(TINY_DIRECTORY))
        .is_refused([denied(TINY_DIRECTORY, "a directory cannot be signed")]);
    // The key is taken out of the keyring: its signatures count no longer.
    cluster
        .root("node1", "rm /etc/oarlock/keys.d/site.pem")
        .succeeds();
    cluster
        .alice(&run("/shared/signed.sif"))
        .is_refused([denied("/shared/signed.sif", "the keyring has no key")]);
}

fn a_keyring_that_is_not_there_denies(cluster: &Cluster) {
    let _store = cluster.change(
        "node1",
        "rm -rf /var/lib/oarlock/store /run/oarlock/index",
        "rm -rf /var/lib/oarlock/store /run/oarlock/index",
    );
    let _rule = rule(
        cluster,
        "s|^require_signature = .*|require_signature = \"untrusted\"|",
    );
    // What only root can have written needs none.
    cluster.alice(&run(TINY)).says("tiny\n");
    cluster.alice(&run(TINY_FUSE)).is_refused([format!(
        "oarlock: node1: image {TINY_FUSE}: not allowed here: images.require_signature asks for a signature by a key of /etc/oarlock/keys.d: *"
    )]);
}

/// EROFS is the kernel's alone: by the site's list, and for trusted files only.
fn file_systems_of_the_kernel(cluster: &Cluster) {
    let _image = cluster.change(
        "login",
        &format!(
            "oarlock exec {TINY_DIRECTORY} true 2>/dev/null; mkfs.erofs -zlz4 /shared/images/tests/tiny.erofs {TINY_DIRECTORY} >/dev/null 2>&1 && \
             cp /shared/images/tests/tiny.erofs /shared/tiny.erofs"
        ),
        "rm -f /shared/images/tests/tiny.erofs /shared/tiny.erofs",
    );
    let trusted = "/opt/images/tests/tiny.erofs";
    cluster.alice(&run(trusted)).says("tiny\n");
    let refused = |image: &str| {
        format!(
            "oarlock: node1: image {image}: its erofs file system can only be mounted by the kernel, which parses none that others than root may have written; put the image where only root can write, or use squashfs"
        )
    };
    cluster
        .alice(&run("/shared/tiny.erofs"))
        .is_refused([refused("/shared/tiny.erofs")]);
    let _rule = rule(
        cluster,
        "s|^kernel_filesystems = .*|kernel_filesystems = [\"squashfs\"]|",
    );
    cluster.alice(&run(trusted)).is_refused([format!(
        "oarlock: node1: image {trusted}: its erofs file system can only be mounted by the kernel, and the site's images.kernel_mount or images.kernel_filesystems forbids that; use squashfs"
    )]);
}
