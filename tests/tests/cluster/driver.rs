//! NVIDIA's driver where no CDI spec stands for a GPU: what the node has, as far as the
//! image can load it.
//!
//! The GPUs are made up, and so is what the driver's libraries do. All else is real: the
//! devices' names in gres.conf, ldconfig's cache, the libraries with their names and the
//! versions that they need, the images' C libraries, and the loader.

use cluster_tests::images::{DEMO, TINY, TINY_FUSE};
use cluster_tests::{Case, Cluster, Output, Restore, cases};

use crate::devices::without_constraint;

pub(crate) fn cases() -> Vec<Case> {
    cases![
        the_nodes_driver_is_there_and_loads,
        what_is_shown_cannot_be_changed,
        who_has_no_gpu_has_no_driver,
        what_the_image_cannot_load_is_left_out,
        an_image_that_is_too_old_has_the_devices_alone,
        an_image_that_lies_gets_nothing_and_runs,
        capabilities_say_what_is_wanted,
        what_others_can_write_is_not_shown,
        a_spec_goes_before_what_is_found,
        a_node_without_a_driver_says_so,
        a_site_shows_the_devices_alone,
        what_would_be_shown_is_explained,
        a_writable_container_has_it_too,
        channels_between_nodes_come_with_a_gpu,
        the_doctor_looks_at_it,
    ]
}

/// The driver's parts, an old C library and images that have it, all below one directory.
const MAKE: &str = r#"set -e; umask 022
d=/opt/fake-nvidia; mkdir -p $d/lib $d/stub $d/new $d/bin $d/images; cd $d/stub
library() { # file, SONAME, source and options
    local file=$1 soname=$2; shift 2
    gcc -shared -fPIC -Wl,-soname,$soname -o $file "$@"
}
cat >cuda.c <<'END'
#define _GNU_SOURCE
#include <stdlib.h>
/* Needs GLIBC_2.17. */
int cuInit(unsigned flags) { return secure_getenv("NO_SUCH") ? 1 : (int)flags; }
END
echo 'int nvmlInit_v2(void) { return 0; }' >ml.c
echo 'int old(void) { return 0; } int future(void) { return 0; }' >libc.c
echo 'GLIBC_2.2.5 { global: old; }; GLIBC_2.99 { global: future; } GLIBC_2.2.5;' >new.map
echo 'GLIBC_2.2.5 { global: old; local: *; };' >old.map
echo 'int future(void); int compile(void) { return future(); }' >ptx.c
library $d/lib/libcuda.so.550.54.15 libcuda.so.1 cuda.c
library $d/lib/libnvidia-ml.so.550.54.15 libnvidia-ml.so.1 ml.c
library $d/stub/new.so libc.so.6 -nostdlib -Wl,--version-script=new.map libc.c
library $d/stub/old.so libc.so.6 -nostdlib -Wl,--version-script=old.map libc.c
library $d/new/libnvidia-ptxjitcompiler.so.550.54.15 libnvidia-ptxjitcompiler.so.1 -nostdlib ptx.c ./new.so
ln -s libcuda.so.550.54.15 $d/lib/libcuda.so.1; ln -s libcuda.so.1 $d/lib/libcuda.so
cat >smi.c <<'END'
#include <stdio.h>
#include <unistd.h>
int main(void) {
    char path[32];
    for (int n = 0; n < 8; n++) {
        snprintf(path, sizeof path, "/dev/nvidia%d", n);
        if (access(path, F_OK) == 0) printf("GPU %d\n", n);
    }
}
END
gcc -o /usr/bin/nvidia-smi smi.c
cat >use.c <<'END'
#include <dlfcn.h>
#include <stdio.h>
int main(void) {
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) return puts(dlerror()), 1;
    int (*init)(unsigned) = (int (*)(unsigned))dlsym(library, "cuInit");
    printf("cuInit %d\n", init(0));
}
END
gcc -o $d/bin/use use.c -ldl
cat >look.c <<'END'
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
    DIR *libs = opendir("/.oarlock/libs");
    printf("%s, %s\n", access("/dev/nvidia0", F_OK) ? "no GPU" : "a GPU", libs ? "libraries" : "no library");
}
END
gcc -static -o look look.c
image() { install -D look $d/images/$1/bin/look; mkdir -p $d/images/$1/lib64 $d/images/$1/etc $d/images/$1/lib; }
image old; cp old.so $d/images/old/lib64/libc.so.6
image none
image musl; cp look $d/images/musl/lib/ld-musl-x86_64.so.1
image garbage; head -c 1000000 /dev/urandom >$d/images/garbage/etc/ld.so.cache
head -c 1000000 /dev/urandom >$d/images/garbage/lib64/libc.so.6
image header; head -c 100 old.so >$d/images/header/lib64/libc.so.6
image loop; ln -s libc.so.6 $d/images/loop/lib64/libc.so.6; ln -s /etc/ld.so.cache $d/images/loop/etc/ld.so.cache
image huge; truncate -s 1T $d/images/huge/lib64/libc.so.6; truncate -s 1T $d/images/huge/etc/ld.so.cache
image pipe; mkfifo $d/images/pipe/lib64/libc.so.6 $d/images/pipe/etc/ld.so.cache
image closed; cp old.so $d/images/closed/lib64/libc.so.6; chmod 0 $d/images/closed/lib64/libc.so.6
image away; ln -s /../../../../../lib/x86_64-linux-gnu/libc.so.6 $d/images/away/lib64/libc.so.6
# A cache as ldconfig writes it, which names files of the node's.
image node; cp /etc/ld.so.cache $d/images/node/etc/ld.so.cache
rm -f *.c *.map look
"#;

/// node1 with GPUs and a driver as NVIDIA names them, as long as the result lives.
fn with_driver(cluster: &Cluster) -> Restore<'_> {
    const GRES: &str = "/etc/slurm/gres.conf";
    cluster.change(
        "node1",
        &format!(
            "{MAKE}echo $d/lib >/etc/ld.so.conf.d/fake-nvidia.conf; ldconfig\n\
             for n in 0 1 2 3; do mknod -m 0666 /dev/nvidia$n c 240 $n; done\n\
             cp -p {GRES} /root/gres.kept; sed -i 's#/dev/fakegpu#/dev/nvidia#' {GRES}; slurm-node restart\n\
             for t in $(seq 100); do sinfo -h -n node1 -o %t | grep -qx idle && break; sleep 0.1; done"
        ),
        format!(
            "mv /root/gres.kept {GRES}; rm -rf /opt/fake-nvidia /etc/ld.so.conf.d/fake-nvidia.conf /dev/nvidia[0-3] /usr/bin/nvidia-smi; ldconfig; slurm-node restart"
        ),
    )
}

/// A step with as many GPUs, whose program runs in a shell.
#[track_caller]
fn step(cluster: &Cluster, gpus: usize, more: &str, image: &str, script: &str) -> Output {
    cluster.alice(&format!(
        "srun -w node1 --gres=gpu:{gpus} {more} --container-image={image} --container-mounts=/opt/fake-nvidia/bin:/use sh -c '{script}'"
    ))
}

const LIBS: &str = "ls /.oarlock/libs 2>/dev/null; true";
const ALL: &str = "libcuda.so\nlibcuda.so.1\nlibnvidia-ml.so.1\n";

fn the_nodes_driver_is_there_and_loads(cluster: &Cluster) {
    let _driver = with_driver(cluster);
    for image in [TINY, TINY_FUSE] {
        step(
            cluster,
            2,
            "",
            image,
            &format!("echo $LD_LIBRARY_PATH; {LIBS}; /use/use; nvidia-smi"),
        )
        .succeeds()
        .says(&format!("/.oarlock/libs\n{ALL}cuInit 0\nGPU 0\nGPU 1\n"));
    }
    // Behind what the user says, and only there: the loader finds no driver else.
    step(
        cluster,
        1,
        "",
        TINY,
        "LD_LIBRARY_PATH= /use/use 2>&1 | grep -c \"cannot open shared object file\"",
    )
    .succeeds()
    .says("1\n");
    // srun takes the program's path on the host for the one in the container.
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:1 --container-image={TINY} /usr/bin/nvidia-smi"
        ))
        .succeeds()
        .says("GPU 0\n");
}

fn what_is_shown_cannot_be_changed(cluster: &Cluster) {
    let _driver = with_driver(cluster);
    for more in ["", "--container-remap-root", "--container-writable"] {
        step(
            cluster,
            1,
            more,
            TINY,
            "for f in /.oarlock/libs/libcuda.so.1 /usr/bin/nvidia-smi; do (echo x >$f) 2>/dev/null && echo written; rm -f $f 2>/dev/null && echo removed; done; /use/use",
        )
        .says("cuInit 0\n");
    }
    cluster
        .root(
            "node1",
            "grep -c . /opt/fake-nvidia/lib/libcuda.so.1 >/dev/null && nvidia-smi",
        )
        .succeeds()
        .says("GPU 0\nGPU 1\nGPU 2\nGPU 3\n");
}

fn who_has_no_gpu_has_no_driver(cluster: &Cluster) {
    let _driver = with_driver(cluster);
    cluster
        .alice(&format!(
            "srun -w node1 --container-image={TINY} sh -c '{LIBS}; ls -d /usr/bin/nvidia-smi /.oarlock /dev/nvidia0 2>/dev/null; echo $LD_LIBRARY_PATH'"
        ))
        .succeeds()
        .says("\n");
}

fn what_the_image_cannot_load_is_left_out(cluster: &Cluster) {
    let _driver = with_driver(cluster);
    cluster
        .root(
            "node1",
            "cp /opt/fake-nvidia/new/* /opt/fake-nvidia/lib && ldconfig",
        )
        .succeeds();
    let output = step(
        cluster,
        1,
        "-n2",
        TINY,
        "[ $SLURM_PROCID = 1 ] || ls /.oarlock/libs",
    );
    output
        .stdout_and_code(ALL, 0)
        .tells([
            "oarlock: node1: GPUs: host library libnvidia-ptxjitcompiler.so.1 needs GLIBC_2.99, the image has GLIBC_2.*; it is left out; use an image with a newer C library",
        ]);
}

/// A program in one of the images that [`MAKE`] made.
#[track_caller]
fn look(cluster: &Cluster, image: &str) -> Output {
    cluster.alice(&format!(
        "srun -w node1 --gres=gpu:1 --container-image=/opt/fake-nvidia/images/{image} /bin/look"
    ))
}

fn an_image_that_is_too_old_has_the_devices_alone(cluster: &Cluster) {
    const ONLY_DEVICES: &str = "the container has the devices and not the driver's libraries";
    let _driver = with_driver(cluster);
    for (image, why, advice) in [
        (
            "old",
            "needs GLIBC_2.17, the image has GLIBC_2.2.5",
            "use an image with a newer C library",
        ),
        (
            "musl",
            "needs glibc, the image has musl",
            "use an image with glibc",
        ),
        ("none", NO_LIBC, "use an image with glibc"),
    ] {
        look(cluster, image)
            .stdout_and_code("a GPU, no library\n", 0)
            .tells([format!(
                "oarlock: node1: GPUs: host library libcuda.so.1 {why}; {ONLY_DEVICES}; {advice}"
            )]);
    }
}

const NO_LIBC: &str = "needs glibc, the image has no libc.so.6";

/// A cache or a library that is none, leads elsewhere or has no end is as good as none:
/// what is said is the same, and nothing of the node's is read for it.
fn an_image_that_lies_gets_nothing_and_runs(cluster: &Cluster) {
    let _driver = with_driver(cluster);
    for image in [
        "garbage", "header", "loop", "huge", "pipe", "closed", "away", "node",
    ] {
        look(cluster, image)
            .stdout_and_code("a GPU, no library\n", 0)
            .tells([format!(
                "oarlock: node1: GPUs: host library libcuda.so.1 {NO_LIBC}; *; use an image with glibc"
            )]);
    }
}

fn capabilities_say_what_is_wanted(cluster: &Cluster) {
    let _driver = with_driver(cluster);
    let with = |value: &str| {
        step(
            cluster,
            1,
            &format!("--export=ALL,NVIDIA_DRIVER_CAPABILITIES={value}"),
            TINY,
            &format!("{LIBS}; ls /usr/bin/nvidia-smi 2>/dev/null; true"),
        )
    };
    with("utility")
        .succeeds()
        .says("libnvidia-ml.so.1\n/usr/bin/nvidia-smi\n");
    with("compute")
        .succeeds()
        .says("libcuda.so\nlibcuda.so.1\n");
    with("all")
        .succeeds()
        .says(&format!("{ALL}/usr/bin/nvidia-smi\n"));
    with("everything")
        .stdout_and_code(&format!("{ALL}/usr/bin/nvidia-smi\n"), 0)
        .tells([
            "oarlock: node1: GPUs: NVIDIA_DRIVER_CAPABILITIES: \"everything\" is none; known are all, compute, utility, video, graphics, ngx, display and compat32; compute,utility are shown",
        ]);
}

fn what_others_can_write_is_not_shown(cluster: &Cluster) {
    const ML: &str = "/opt/fake-nvidia/lib/libnvidia-ml.so.550.54.15";
    let _driver = with_driver(cluster);
    for (change, back) in [("chmod 666", "chmod 755"), ("chown alice", "chown root")] {
        cluster.root("node1", &format!("{change} {ML}")).succeeds();
        step(cluster, 1, "", TINY, LIBS)
            .succeeds()
            .says("libcuda.so\nlibcuda.so.1\n");
        cluster.root("node1", &format!("{back} {ML}")).succeeds();
    }
    step(cluster, 1, "", TINY, LIBS).succeeds().says(ALL);
    cluster
        .root("node1", "chmod 777 /opt/fake-nvidia/lib")
        .succeeds();
    step(cluster, 1, "", TINY, LIBS)
        .stdout_and_code("", 0)
        .tells([
            "oarlock: node1: GPUs: NVIDIA's driver: /opt/fake-nvidia/lib/libcuda.so.1 is left out: others than root can write it or a directory above it; the container has the devices and not the driver's libraries; for admins: oarlock doctor gpu",
        ]);
}

fn a_spec_goes_before_what_is_found(cluster: &Cluster) {
    let _driver = with_driver(cluster);
    let _spec = cluster.change(
        "node1",
        "umask 022; mkdir -p /etc/cdi; cat >/etc/cdi/site.yaml <<'END'\n\
         cdiVersion: 0.6.0\nkind: site.org/gpu\ndevices:\n- name: '0'\n  containerEdits: {deviceNodes: [{path: /dev/nvidia0}], env: [OF_SPEC=1]}\nEND\n",
        "rm -rf /etc/cdi",
    );
    let script = format!("echo $OF_SPEC; {LIBS}");
    step(cluster, 1, "", TINY, &script).succeeds().says("1\n");
    // For the second GPU there is none.
    step(cluster, 2, "", TINY, &script)
        .succeeds()
        .says(&format!("1\n{ALL}"));
}

fn a_node_without_a_driver_says_so(cluster: &Cluster) {
    let _driver = with_driver(cluster);
    cluster
        .root("node1", "rm /opt/fake-nvidia/lib/libcuda*; ldconfig")
        .succeeds();
    step(cluster, 1, "", TINY, &format!("ls /dev | grep nvidia; {LIBS}"))
        .stdout_and_code("nvidia0\n", 0)
        .tells([
            "oarlock: node1: GPUs: no CDI spec of this node stands for them, and /dev/nvidia0 is there, but the node has no libcuda.so.1; install the driver's libraries and run ldconfig; the container has the devices and not the driver's libraries",
        ]);
}

const CONFIG: &str = "/etc/oarlock/oarlock.toml";

fn a_site_shows_the_devices_alone(cluster: &Cluster) {
    let _driver = with_driver(cluster);
    let _never = cluster.change(
        "node1",
        &format!(
            "cp -p {CONFIG} /root/kept && sed -i 's/^driver = .*/driver = \"never\"/' {CONFIG}"
        ),
        format!("cp -p /root/kept {CONFIG} && rm /root/kept"),
    );
    step(cluster, 1, "", TINY, &format!("ls /dev | grep nvidia; {LIBS}"))
        .stdout_and_code("nvidia0\n", 0)
        .tells([
            "oarlock: node1: GPUs: no CDI spec of this node stands for them, and devices.driver = \"never\" in oarlock.toml, so that the container has the devices and not the driver's libraries; for admins: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
        ]);
}

fn what_would_be_shown_is_explained(cluster: &Cluster) {
    let _driver = with_driver(cluster);
    cluster
        .alice(&format!(
            "srun -w node1 --gres=gpu:1 --container-explain --container-image={TINY} true | grep -e ^node1:.driver: -e oarlock/libs -e nvidia-smi | sed 's/^node1: //; s/GLIBC_[0-9.]*/GLIBC_N/'"
        ))
        .succeeds()
        .lines([
            "driver: NVIDIA of unknown version, as no kernel module says its own, found on the node: no CDI spec stands for the GPUs",
            "driver: for compute,utility (NVIDIA_DRIVER_CAPABILITIES: nobody says otherwise)",
            "driver: libcuda.so.1 (compute,video): /opt/fake-nvidia/lib/libcuda.so.550.54.15, as the loader finds it, where the image has GLIBC_N",
            "driver: libnvidia-ml.so.1 (utility): /opt/fake-nvidia/lib/libnvidia-ml.so.550.54.15, as the loader finds it",
            "driver: /usr/bin/nvidia-smi (utility): /usr/bin/nvidia-smi, at its usual place, where the image has GLIBC_N",
            "bind /opt/fake-nvidia/lib/libcuda.so.550.54.15 at /.oarlock/libs/libcuda.so ro (where the node has it)",
            "bind /opt/fake-nvidia/lib/libcuda.so.550.54.15 at /.oarlock/libs/libcuda.so.1 ro (where the node has it)",
            "bind /opt/fake-nvidia/lib/libnvidia-ml.so.550.54.15 at /.oarlock/libs/libnvidia-ml.so.1 ro (where the node has it)",
            "bind /usr/bin/nvidia-smi at /usr/bin/nvidia-smi ro (where the node has it)",
        ]);
}

fn a_writable_container_has_it_too(cluster: &Cluster) {
    let _driver = with_driver(cluster);
    let _clean = cluster.change(
        "node1",
        "true",
        "rm -rf /var/lib/oarlock/containers/1000/global/driven /run/oarlock-names/*; true",
    );
    for _ in 0..2 {
        step(
            cluster,
            1,
            "-Q --container-name=driven",
            TINY,
            &format!("{LIBS}; /use/use; nvidia-smi"),
        )
        .succeeds()
        .says(&format!("{ALL}cuInit 0\nGPU 0\n"));
    }
}

/// A channel as switch/nvidia_imex makes one for a job, in the place where it does; the
/// kernel lets the step open it where Oarlock holds it to its devices.
fn channels_between_nodes_come_with_a_gpu(cluster: &Cluster) {
    const PLACE: &str = "/dev/nvidia-caps-imex-channels";
    let _driver = with_driver(cluster);
    let _off = without_constraint(cluster);
    let _channel = cluster.change(
        "node1",
        &format!(
            "mkdir {PLACE} && mknod -m 0666 {PLACE}/channel7 c 240 3 && touch {PLACE}/channel8"
        ),
        format!("rm -r {PLACE}"),
    );
    for (gpus, expected) in [
        (1, "channel7\nNo such device or address\n"),
        (0, "No such file or directory\n"),
    ] {
        let look = format!("ls {PLACE} 2>/dev/null; cat {PLACE}/channel7 2>&1 | sed \"s/.*: //\"");
        step(cluster, gpus, "", DEMO, &look)
            .succeeds()
            .says(expected);
    }
}

fn the_doctor_looks_at_it(cluster: &Cluster) {
    let _driver = with_driver(cluster);
    let look = "oarlock doctor gpu | sed 's/  */ /g' | grep -e NVIDIA -e gres.conf -e CDI -e problem -e ::";
    cluster.root("node1", look).succeeds().says(
        " ok NVIDIA 0 /dev/nvidia0\n ok NVIDIA 1 /dev/nvidia1\n ok NVIDIA 2 /dev/nvidia2\n ok NVIDIA 3 /dev/nvidia3\n \
         ok gres.conf all 4 devices are there\n \
         not here CDI no spec stands for an NVIDIA GPU\n \
         WARNING NVIDIA driver no kernel module is loaded; containers get what follows\n \
         ok NVIDIA libraries libcuda.so.1 libnvidia-ml.so.1\n \
         ok NVIDIA files /usr/bin/nvidia-smi\n",
    );
    for (change, told) in [
        ("rm /dev/nvidia3", "names what is not there: /dev/nvidia3"),
        (
            "chmod 777 /opt/fake-nvidia/lib",
            "libcuda.so.1: others than root can write it",
        ),
        (
            "rm /opt/fake-nvidia/lib/libcuda*; ldconfig",
            "the node has no libcuda.so.1",
        ),
    ] {
        cluster
            .root(
                "node1",
                &format!("{change}; oarlock doctor gpu >/root/told; code=$?; grep -c '{told}' /root/told; rm /root/told; exit $code"),
            )
            .stdout_and_code("1\n", 1);
    }
}
