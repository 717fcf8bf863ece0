//! Objects of SIF files: what Oarlock writes Apptainer reads, and the other way.

use cluster_tests::images::TINY_FUSE;
use cluster_tests::{Case, Cluster, Output, cases};

pub(crate) fn cases() -> Vec<Case> {
    let interchange = cases![
        both_add_the_same_objects,
        both_remove_objects,
        both_show_the_same_header,
        an_overlay_partition_is_apptainers_too,
    ];
    let ext3 = cases![an_overlay_that_apptainer_created];
    let own = cases![objects_come_out_as_they_went_in, an_image_in_use_is_edited];
    let interchange = interchange.into_iter().map(|case| case.needs("apptainer"));
    let ext3 = ext3.into_iter().map(|case| case.needs("apptainer"));
    interchange.chain(ext3).chain(own).collect()
}

/// Options for one object of each kind, as `apptainer sif add` has them.
const OBJECTS: [&str; 12] = [
    "--datatype 1",
    "--datatype 2",
    "--datatype 3 --groupid 1",
    "--datatype 4 --partfs 1 --parttype 4 --partarch 2 --groupid 1",
    "--datatype 4 --partfs 4 --parttype 3 --partarch 4 --groupid 2 --alignment 512",
    "--datatype 5 --signhash 3 --signentity 433FE984155206BD962725E20E8713472A879943 --link 4026531841",
    "--datatype 6 --link 1",
    "--datatype 7 --groupid 7 --alignment 100",
    "--datatype 8",
    "--datatype 9 --sbomformat spdx-json",
    "--datatype 10",
    "--datatype 11 --groupid 268435455",
];

fn with_image(cluster: &Cluster, script: &str) -> Output {
    cluster.alice(&format!(
        "set -e; d=$(mktemp -d ~/sif.XXXXXX); trap 'rm -rf $d' EXIT; cd $d; cp {TINY_FUSE} a.sif; cp a.sif b.sif\n\
         echo content >object\n{script}"
    ))
}

/// Adds every kind of object to a.sif with Apptainer and to b.sif with Oarlock. The name that Apptainer's help
/// promises as the default is Oarlock's; Apptainer itself gives none.
fn added() -> String {
    let mut script = String::new();
    for options in OBJECTS {
        script += &format!(
            "apptainer sif add {options} --filename object a.sif object\noarlock sif add {options} b.sif object >/dev/null\n"
        );
    }
    script
}

fn both_add_the_same_objects(cluster: &Cluster) {
    let output = with_image(
        cluster,
        &format!(
            "{}\
             apptainer sif list a.sif >theirs; apptainer sif list b.sif >ours; diff theirs ours && echo same to Apptainer\n\
             oarlock sif list --json a.sif | grep -v created >theirs; oarlock sif list --json b.sif | grep -v created >ours\n\
             diff theirs ours && echo same to Oarlock\n\
             grep -c '\"id\"' ours; grep -c 'sha256:434728a410a78f56fc1b5899c3593436e61ab0c731e9072d95e96db290205e53' ours\n\
             for id in $(seq 13); do diff <(apptainer sif info $id a.sif | grep -v ' At:') <(apptainer sif info $id b.sif | grep -v ' At:'); done\n\
             [ $(stat -c %s a.sif) = $(stat -c %s b.sif) ] && echo same length",
            added()
        ),
    );
    output
        .succeeds()
        .says("same to Apptainer\nsame to Oarlock\n13\n2\nsame length\n");
}

fn both_remove_objects(cluster: &Cluster) {
    let output = with_image(
        cluster,
        &format!(
            "{}\
             for id in 13 3 8; do oarlock sif del $id a.sif; apptainer sif del $id b.sif; done\n\
             diff <(apptainer sif list a.sif) <(apptainer sif list b.sif) && echo same\n\
             oarlock sif add --datatype 7 a.sif object >/dev/null; apptainer sif add --datatype 7 --filename object b.sif object\n\
             diff <(oarlock sif list a.sif) <(oarlock sif list b.sif) && echo same\n\
             oarlock sif del 5 b.sif # an overlay partition that is none\n\
             apptainer -q exec a.sif /bin/cat /etc/oarlock-image 2>/dev/null | tail -n 1; oarlock exec b.sif cat /etc/oarlock-image",
            added()
        ),
    );
    output.succeeds().says("same\nsame\ntiny\ntiny\n");
}

fn both_show_the_same_header(cluster: &Cluster) {
    let output = with_image(
        cluster,
        "apptainer sif add --datatype 7 a.sif object; oarlock sif add --datatype 7 b.sif object >/dev/null\n\
         diff <(apptainer sif header a.sif | grep -v Modified) <(apptainer sif header b.sif | grep -v Modified) && echo same\n\
         apptainer sif header b.sif | sed -n 's/^Descriptors Free: *//p'; oarlock sif header b.sif | grep -o '[0-9]* of 48 free'\n\
         oarlock sif header --json b.sif | grep -o '\"arch\": \"amd64\"'",
    );
    output
        .succeeds()
        .says("same\n46\n46 of 48 free\n\"arch\": \"amd64\"\n");
}

fn an_overlay_partition_is_apptainers_too(cluster: &Cluster) {
    let output = with_image(
        cluster,
        "mkdir -p over/upper over/work; echo from the overlay >over/upper/overlaid\n\
         mksquashfs over over.sqsh -quiet -no-progress -no-xattrs >/dev/null\n\
         oarlock sif add --datatype 4 --partfs 1 --parttype 4 --partarch 2 --groupid 1 a.sif over.sqsh\n\
         apptainer sif list a.sif | grep -o 'FS (Squashfs/Overlay/amd64)'\n\
         oarlock sif dump 2 a.sif | cmp - over.sqsh && echo same bytes\n\
         oarlock inspect a.sif | grep -c 'partition (overlay, squashfs)'",
    );
    output
        .succeeds()
        .says("a.sif: added object 2\nFS (Squashfs/Overlay/amd64)\nsame bytes\n1\n");
}

/// ext3, as `apptainer overlay create` puts it into an image.
fn an_overlay_that_apptainer_created(cluster: &Cluster) {
    let output = with_image(
        cluster,
        "apptainer -q overlay create --size 64 a.sif >/dev/null 2>&1\n\
         oarlock sif list a.sif | grep -o 'partition (overlay, ext3)'\n\
         oarlock exec a.sif cat /etc/oarlock-image",
    );
    output.succeeds().says("partition (overlay, ext3)\ntiny\n");
}

fn objects_come_out_as_they_went_in(cluster: &Cluster) {
    let output = with_image(
        cluster,
        "head -c 5000000 /dev/urandom >big\n\
         oarlock sif add --datatype 7 a.sif big\n\
         oarlock sif dump 2 a.sif | cmp - big && echo same\n\
         before=$(stat -c %s b.sif); oarlock sif del --zero --compact 2 a.sif; [ $(stat -c %s a.sif) = $before ] && echo compact\n\
         cmp <(oarlock sif dump 1 a.sif) <(oarlock sif dump 1 b.sif) && echo untouched\n\
         oarlock sif dump 2 a.sif 2>&1 || echo code $?\n\
         oarlock sif add --datatype 4 a.sif object 2>&1 || echo code $?\n\
         oarlock sif del 9 object 2>&1 || echo code $?",
    );
    output.succeeds().says(
        "a.sif: added object 2\nsame\ncompact\nuntouched\n\
         oarlock: image a.sif: no object 2; `oarlock sif list` shows the ids\ncode 1\n\
         oarlock: --datatype 4 needs --partfs, --parttype and --partarch\ncode 1\n\
         oarlock: image object: not a SIF image: no SIF magic; give a .sif file, a squashfs file or a directory\ncode 1\n",
    );
}

/// A running container is not disturbed: the bytes of its root file system stay where they are.
fn an_image_in_use_is_edited(cluster: &Cluster) {
    let output = with_image(
        cluster,
        "oarlock exec a.sif sh -c 'echo ready >ready; until [ -e go ]; do sleep 0.1; done; cat /etc/oarlock-image; only-in-the-image' >out &\n\
         wait_for $PWD/ready\n\
         oarlock sif add --datatype 7 a.sif object; oarlock sif del --zero --compact 2 a.sif\n\
         touch go; wait $!; cat out",
    );
    output
        .succeeds()
        .says("a.sif: added object 2\ntiny\nonly here\n");
}
