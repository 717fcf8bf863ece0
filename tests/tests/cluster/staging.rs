//! Copies of images in a node's store: made once, checked, used by the kernel's
//! mount, and never in anybody's way.

use cluster_tests::images::{TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, Restore, cases};

pub(crate) fn cases() -> Vec<Case> {
    cases![
        the_first_step_is_served_and_later_ones_run_from_the_copy,
        a_step_that_asks_waits_for_its_copy,
        steps_share_a_copys_mount,
        a_users_own_mount_is_told_apart,
        off_means_off,
        a_site_can_stage_before_the_first_step,
        another_users_equal_file_is_not_copied_again,
        a_staged_image_stays_private,
        a_changed_image_is_staged_anew,
        an_image_that_is_not_well_formed_stays_with_fuse,
        without_validation_no_copy_is_mounted,
        a_full_disk_is_told_and_the_original_runs,
        a_small_store_is_told_and_the_original_runs,
        a_store_of_somebody_else_is_not_used,
        a_missing_checker_is_told_and_the_original_runs,
        the_copying_process_is_the_jobs_and_ends_with_the_step,
        a_trusted_image_is_staged_without_questions,
        a_users_copy_does_not_speak_for_roots_file,
        gc_empties_the_store,
    ]
}

const CONFIG: &str = "/etc/oarlock/oarlock.toml";
const STORE: &str = "/var/lib/oarlock/store";

/// An image of alice's, which nobody else can read.
const OWN: &str = "/shared/alices-own.sif";

/// Shows from where and by whom the image is served: the store's object that a
/// device holds, or nothing, and how many FUSE servers there are.
const LOOK: &str = "cat /sys/block/loop*/loop/backing_file 2>/dev/null | grep -c oarlock/store/objects; \
    cat /proc/[0-9]*/comm 2>/dev/null | grep -c squashfuse_ll; true";
const BY_KERNEL: &str = "1\n0\n";
const BY_FUSE: &str = "0\n1\n";

/// A rule of the site for node1, and an empty store; all of it is put back.
struct Site<'a> {
    _rule: Restore<'a>,
    _store: Restore<'a>,
}

fn site<'a>(cluster: &'a Cluster, edit: &str) -> Site<'a> {
    let store = cluster.change(
        "node1",
        &format!("rm -rf {STORE} /run/oarlock/index"),
        format!("rm -rf {STORE} /run/oarlock/index"),
    );
    let rule = cluster.change(
        "node1",
        &format!("cp -p {CONFIG} /root/kept && sed -i '{edit}' {CONFIG}"),
        format!("cp -p /root/kept {CONFIG} && rm /root/kept"),
    );
    Site {
        _rule: rule,
        _store: store,
    }
}

const THEN_STAGE: &str = "s/^untrusted = .*/untrusted = \"fuse-then-stage\"/";

/// Alice's own copy of the tiny image, removed at the end. Old enough that a change
/// would show.
fn own_image<'a>(cluster: &'a Cluster) -> Restore<'a> {
    cluster.change(
        "login",
        &format!("install -o alice -m 600 {TINY_FUSE} {OWN} && sleep 2.1"),
        format!("rm -f {OWN}"),
    )
}

fn run(options: &str, script: &str) -> String {
    format!("srun -w node1 {options} --container-image={OWN} sh -c '{script}'")
}

/// Waits in the step until its image is in the index.
const WAIT: &str = "for i in $(seq 150); do [ -e /run/oarlock/index/1000 ] && [ -n \"$(ls /run/oarlock/index/1000)\" ] && break; sleep 0.1; done";

/// Runs a step that lasts until the copy behind it is there.
fn run_until_staged(cluster: &Cluster) {
    cluster
        .alice(&format!(
            "rm -f /home/alice/staged; {} >~/out 2>&1 & wait_for /home/alice/is-in; rm -f /home/alice/is-in",
            run(
                "",
                &format!(
                    "{LOOK}; echo >/home/alice/is-in; until [ -e /home/alice/staged ]; do sleep 0.1; done"
                )
            )
        ))
        .succeeds();
    cluster.root("node1", WAIT).succeeds();
    cluster
        .alice("echo >/home/alice/staged; until [ -z \"$(squeue -h -u alice)\" ]; do sleep 0.1; done; rm -f /home/alice/staged; cat ~/out; rm -f ~/out")
        .succeeds()
        .says(BY_FUSE);
}

fn the_first_step_is_served_and_later_ones_run_from_the_copy(cluster: &Cluster) {
    let _site = site(cluster, THEN_STAGE);
    let _image = own_image(cluster);
    run_until_staged(cluster);
    cluster
        .alice(&run("-n2", LOOK))
        .succeeds()
        .lines([BY_KERNEL, BY_KERNEL].iter().flat_map(|text| text.lines()));
    cluster
        .root(
            "node1",
            &format!("ls {STORE}/objects | wc -l; ls {STORE}/partial | wc -l; stat -c '%U %a' {STORE} {STORE}/objects/*"),
        )
        .says("1\n0\nroot 700\nroot 400\n");
}

fn a_step_that_asks_waits_for_its_copy(cluster: &Cluster) {
    let _site = site(cluster, "s/^#/#/");
    let _image = own_image(cluster);
    cluster
        .alice(&run("--container-stage=node", LOOK))
        .succeeds()
        .says(BY_KERNEL);
    // By the environment, and where the site says so for all.
    cluster
        .alice(&format!("OARLOCK_CONTAINER_STAGE=node {}", run("", LOOK)))
        .succeeds()
        .says(BY_KERNEL);
    cluster
        .alice(&run("--container-stage=maybe", "true"))
        .tells(["oarlock: --container-stage=maybe: write off or node"])
        .stdout_and_code("", 255);
}

/// As the node's other images: one device, and one mount that is kept for the job.
fn steps_share_a_copys_mount(cluster: &Cluster) {
    let _site = site(cluster, "s/^untrusted = .*/untrusted = \"stage\"/");
    let _image = own_image(cluster);
    let step = format!("srun --container-image={OWN}");
    let look = "cat /sys/block/loop*/loop/backing_file | grep -c oarlock/store/objects; grep -c run/oarlock/kept /proc/1/mountinfo";
    cluster
        .alice(&format!(
            "salloc -Q -w node1 bash -c '{step} true; sleep 0.2; {step} true; sleep 0.2; {step} true; sleep 0.2; srun bash -c \"{look}\"'"
        ))
        .succeeds()
        .says("1\n1\n");
}

/// What a user mounted for himself root cannot even look at.
fn a_users_own_mount_is_told_apart(cluster: &Cluster) {
    let output = cluster.alice(&format!(
        "mkdir -p ~/own; salloc -Q -w node1 bash -c 'srun bash -c \"rm -rf /tmp/own-mount; mkdir /tmp/own-mount /tmp/own-source; cp {TINY_FUSE} /tmp/own-source/x.sif; \
         mksquashfs /tmp/own-source /tmp/own.sqsh -quiet -no-progress >/dev/null; squashfuse /tmp/own.sqsh /tmp/own-mount; sleep 6; fusermount3 -u /tmp/own-mount; rm -rf /tmp/own-mount /tmp/own-source /tmp/own.sqsh\" & \
         sleep 2; srun --overlap --container-image=/tmp/own-mount/x.sif true; echo $?; wait'; rmdir ~/own"
    ));
    output
        .tells([
            "oarlock: node1: the image lies on a file system that a user mounted for himself (FUSE), and root cannot look at it; copy it to another one",
        ])
        .says("1\n");
}

fn off_means_off(cluster: &Cluster) {
    let _site = site(cluster, "s/^untrusted = .*/untrusted = \"stage\"/");
    let _image = own_image(cluster);
    cluster
        .alice(&run("--container-stage=off", LOOK))
        .succeeds()
        .says(BY_FUSE);
    cluster
        .root("node1", &format!("ls {STORE}/objects 2>/dev/null | wc -l"))
        .says("0\n");
}

fn a_site_can_stage_before_the_first_step(cluster: &Cluster) {
    let _site = site(cluster, "s/^untrusted = .*/untrusted = \"stage\"/");
    let _image = own_image(cluster);
    cluster.alice(&run("", LOOK)).succeeds().says(BY_KERNEL);
}

fn another_users_equal_file_is_not_copied_again(cluster: &Cluster) {
    let _site = site(cluster, "s/^untrusted = .*/untrusted = \"stage\"/");
    let _image = own_image(cluster);
    let _other = cluster.change(
        "login",
        &format!("install -o bob -m 600 {TINY_FUSE} /shared/bobs.sif && sleep 2.1"),
        "rm -f /shared/bobs.sif",
    );
    cluster.alice(&run("", LOOK)).succeeds().says(BY_KERNEL);
    cluster
        .bob(&format!(
            "srun -w node1 --container-image=/shared/bobs.sif sh -c '{LOOK}'"
        ))
        .succeeds()
        .says(BY_KERNEL);
    cluster
        .root(
            "node1",
            &format!("ls {STORE}/objects | wc -l; ls /run/oarlock/index/1000 /run/oarlock/index/1001 | grep -c -"),
        )
        .says("1\n2\n");
}

fn a_staged_image_stays_private(cluster: &Cluster) {
    let _site = site(cluster, "s/^untrusted = .*/untrusted = \"stage\"/");
    let _image = own_image(cluster);
    cluster.alice(&run("", LOOK)).succeeds().says(BY_KERNEL);
    cluster.bob(&run("", LOOK)).is_refused([format!(
        "oarlock: node1: image {OWN}: permission denied for uid 1001; the file must be readable, and each directory above it searchable, by you"
    )]);
    // Nor can its owner reach the copy, or what the node keeps.
    cluster
        .alice(&format!(
            "srun -w node1 sh -c 'ls {STORE} /run/oarlock 2>&1 | grep -c \"Permission denied\"'"
        ))
        .says("2\n");
}

fn a_changed_image_is_staged_anew(cluster: &Cluster) {
    let _site = site(cluster, "s/^untrusted = .*/untrusted = \"stage\"/");
    let _image = own_image(cluster);
    cluster
        .alice(&run("", "cat /etc/oarlock-image"))
        .says("tiny\n");
    cluster
        .alice(&format!("cat /shared/images/mpich.sif >{OWN}; sleep 2.1"))
        .succeeds();
    cluster
        .alice(&run("", "cat /etc/oarlock-image"))
        .says("mpich\n");
    cluster
        .root("node1", &format!("ls {STORE}/objects | wc -l"))
        .says("2\n");
}

/// One inode more than there is: no driver minds, and no writer does that.
const DAMAGE: &str = "import sys\nfile = open(sys.argv[1], 'r+b')\nat = file.read().index(b'hsqs')\nfile.seek(at + 4)\ncount = int.from_bytes(file.read(4), 'little')\nfile.seek(at + 4)\nfile.write((count + 1).to_bytes(4, 'little'))\n";

fn an_image_that_is_not_well_formed_stays_with_fuse(cluster: &Cluster) {
    let _site = site(cluster, THEN_STAGE);
    let _image = own_image(cluster);
    cluster
        .alice(&format!(
            "python3 - {OWN} <<'PYTHON'\n{DAMAGE}PYTHON\nsleep 2.1"
        ))
        .succeeds();
    run_until_staged(cluster);
    cluster.alice(&run("", LOOK)).succeeds().says(BY_FUSE);
    cluster
        .root(
            "node1",
            &format!("ls {STORE}/objects | wc -l; ls {STORE}/partial | wc -l; grep -c ^invalid {STORE}/records/*"),
        )
        .says("0\n0\n1\n");
    // Who asks for a copy gets one, and still no kernel's mount of it.
    cluster
        .alice(&run("--container-stage=node", LOOK))
        .succeeds()
        .says(BY_FUSE);
}

fn without_validation_no_copy_is_mounted(cluster: &Cluster) {
    let _site = site(
        cluster,
        "s/^validate = .*/validate = false/; s/^untrusted = .*/untrusted = \"stage\"/",
    );
    let _image = own_image(cluster);
    cluster.alice(&run("", LOOK)).succeeds().says(BY_FUSE);
}

fn not_staged(why: &str) -> String {
    format!("oarlock: node1: image {OWN}: it is not staged and runs from where it lies: {why}")
}

fn a_full_disk_is_told_and_the_original_runs(cluster: &Cluster) {
    let _site = site(cluster, "s/^size = .*/size = \"100%\"/");
    let _image = own_image(cluster);
    let _disk = cluster.change(
        "node1",
        &format!("mkdir -p {STORE} && mount -t tmpfs -o size=512k,mode=0700 small {STORE}"),
        format!("umount {STORE}"),
    );
    cluster
        .alice(&run("--container-stage=node", LOOK))
        .tells([not_staged(&format!("store {STORE}: no room for *"))])
        .stdout_and_code(BY_FUSE, 0);
    cluster
        .root(
            "node1",
            &format!("find {STORE}/objects {STORE}/partial -type f 2>/dev/null | wc -l"),
        )
        .says("0\n");
}

fn a_small_store_is_told_and_the_original_runs(cluster: &Cluster) {
    let _site = site(cluster, "s/^size = .*/size = \"64KiB\"/");
    let _image = own_image(cluster);
    cluster
        .alice(&run("--container-stage=node", LOOK))
        .tells([not_staged(&format!("store {STORE}: no room for *"))])
        .stdout_and_code(BY_FUSE, 0);
}

fn a_store_of_somebody_else_is_not_used(cluster: &Cluster) {
    let _site = site(cluster, "s/^untrusted = .*/untrusted = \"stage\"/");
    let _image = own_image(cluster);
    cluster
        .root(
            "node1",
            &format!("install -d -o alice -m 700 {STORE} && install -d -o alice {STORE}/objects {STORE}/records {STORE}/partial"),
        )
        .succeeds();
    cluster.alice(&run("", LOOK)).succeeds().says(BY_FUSE);
    cluster
        .root(
            "node1",
            &format!("find {STORE}/objects {STORE}/partial -type f 2>/dev/null | wc -l"),
        )
        .says("0\n");
}

fn a_missing_checker_is_told_and_the_original_runs(cluster: &Cluster) {
    const CHECK: &str = "/usr/libexec/oarlock/oarlock-check";
    let _site = site(cluster, "s/^#/#/");
    let _image = own_image(cluster);
    let _missing = cluster.change(
        "node1",
        &format!("mv {CHECK} {CHECK}.away"),
        format!("mv {CHECK}.away {CHECK}"),
    );
    cluster
        .alice(&run("--container-stage=node", LOOK))
        .tells([not_staged(&format!(
            "{CHECK} cannot be executed as its account; is Oarlock installed whole?"
        ))])
        .stdout_and_code(BY_FUSE, 0);
}

/// The copy is held up by a lock on it, as another step's would; what waits is in
/// the task's control groups, and goes with the step.
fn the_copying_process_is_the_jobs_and_ends_with_the_step(cluster: &Cluster) {
    let _site = site(cluster, "s/^#/#/");
    let _image = own_image(cluster);
    let partial = cluster
        .root(
            "node1",
            &format!(
                "python3 -c '\nimport os\ns = os.stat(\"{OWN}\")\nt = lambda n: \"%x.%x\" % divmod(n, 10**9)\nboot = open(\"/proc/sys/kernel/random/boot_id\").read().replace(\"-\", \"\")[:12]\nprint(\"boot%s-1000-%x-%x-%x-%s-%s\" % (boot, s.st_dev, s.st_ino, s.st_size, t(s.st_mtime_ns), t(s.st_ctime_ns)))'"
            ),
        )
        .succeeds()
        .stdout;
    let partial = format!("{STORE}/partial/{}", partial.trim());
    let _held = cluster.change(
        "node1",
        &format!(
            "install -d -m 700 {STORE} {STORE}/objects {STORE}/records {STORE}/partial; \
             (flock {partial} sleep 90 >/dev/null 2>&1 & echo $! >/root/holder); sleep 0.3"
        ),
        "pkill -P $(cat /root/holder); rm /root/holder",
    );
    cluster
        .alice(&format!(
            "{} >~/out 2>&1 & sleep 0.2; until [ -s ~/out ]; do sleep 0.2; done; grep -c \"waiting for another step's copy\" ~/out",
            run("-J waits --container-stage=node", "echo ran")
        ))
        .says("1\n");
    cluster
        .root(
            "node1",
            "job=$(squeue -h -n waits -o %i); for pid in $(pgrep oarlock-prepare); do grep -c \"memory:.*job_$job/\" /proc/$pid/cgroup; done | sort | uniq -c | grep -c ' 1$'",
        )
        .says("1\n");
    cluster
        .alice("scancel -n waits; until [ -z \"$(squeue -h -n waits)\" ]; do sleep 0.1; done; rm -f ~/out")
        .succeeds();
    cluster
        .root("node1", "sleep 0.3; pgrep -c oarlock-prepare; true")
        .says("0\n");
}

fn a_trusted_image_is_staged_without_questions(cluster: &Cluster) {
    let _site = site(cluster, "s/^stage = .*/stage = \"node\"/");
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} sh -c '{LOOK}'"
        ))
        .succeeds()
        .says(BY_KERNEL);
    cluster
        .root("node1", &format!("grep -h ^trusted {STORE}/records/*"))
        .says("trusted = true\n");
}

/// The same bytes: refused as a user's, and mounted as root's.
fn a_users_copy_does_not_speak_for_roots_file(cluster: &Cluster) {
    let _site = site(cluster, "s/^#/#/");
    let _image = own_image(cluster);
    let trusted = "/shared/images/tests/damaged.sif";
    let _trusted = cluster.change(
        "login",
        &format!(
            "python3 - {OWN} <<'PYTHON'\n{DAMAGE}PYTHON\ninstall -m 644 {OWN} {trusted}; chmod 644 {OWN}; sleep 2.1"
        ),
        format!("rm -f {trusted}"),
    );
    cluster
        .alice(&run("--container-stage=node", LOOK))
        .succeeds()
        .says(BY_FUSE);
    cluster
        .alice(&format!(
            "srun -w node1 --container-stage=node --container-image=/opt/images/tests/damaged.sif sh -c '{LOOK}'"
        ))
        .succeeds()
        .says(BY_KERNEL);
    cluster
        .root("node1", &format!("grep -h ^trusted {STORE}/records/*"))
        .says("trusted = true\n");
}

fn gc_empties_the_store(cluster: &Cluster) {
    let _site = site(cluster, "s/^untrusted = .*/untrusted = \"stage\"/");
    let _image = own_image(cluster);
    cluster.alice(&run("", LOOK)).succeeds().says(BY_KERNEL);
    cluster
        .root(
            "node1",
            &format!("sleep 1; oarlock gc >/dev/null; ls {STORE}/objects | wc -l; oarlock gc --store >/dev/null; ls {STORE}/objects | wc -l"),
        )
        .says("1\n0\n");
    // And the next step is none the worse.
    cluster.alice(&run("", LOOK)).succeeds().says(BY_KERNEL);
}
