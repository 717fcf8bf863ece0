//! Signatures of Apptainer and of Oarlock: each verifies what the other made, and neither what was changed.

use cluster_tests::images::TINY_FUSE;
use cluster_tests::{Case, Cluster, Output, cases};

pub(crate) fn cases() -> Vec<Case> {
    let interchange = cases![
        pgp_signatures_of_apptainer,
        pgp_signatures_of_oarlock,
        pem_signatures_both_ways,
        two_signers_of_two_programs,
    ];
    let own = cases![
        a_changed_image_is_refused,
        a_keyring_is_a_directory,
        what_cannot_be_signed_says_why,
    ];
    let interchange = interchange.into_iter().map(|case| case.needs("apptainer"));
    interchange.chain(own).collect()
}

/// Keys of Apptainer's own making in `keys/`, where it keeps them itself.
const APPTAINER_KEYS: &str = "export APPTAINER_KEYSDIR=$PWD/keys\n\
    apptainer -q key newpair -b 2048 -N Test -E test@example.org -C test -P '' -U=false >/dev/null 2>&1";

/// A script in an empty directory that is gone afterwards, with an image in it.
fn with_image(cluster: &Cluster, script: &str) -> Output {
    cluster.alice(&format!(
        "set -e; d=$(mktemp -d ~/sign.XXXXXX); trap 'rm -rf $d' EXIT; cd $d; cp {TINY_FUSE} a.sif\n{script}"
    ))
}

/// Exit code 0, and this in the lines on standard output.
#[track_caller]
fn says_all(output: Output, wanted: &[&str]) {
    let output = output.succeeds();
    for text in wanted {
        assert!(output.stdout.contains(text), "{text}: {output}");
    }
}

fn pgp_signatures_of_apptainer(cluster: &Cluster) {
    let output = with_image(
        cluster,
        &format!(
            "{APPTAINER_KEYS}\n\
             apptainer -q sign a.sif >/dev/null 2>&1\n\
             oarlock verify --key keys/pgp-public a.sif\n\
             oarlock verify --json --key keys/pgp-public a.sif\n\
             oarlock inspect a.sif | grep -c 'signature (key '\n\
             oarlock exec a.sif cat /etc/oarlock-image"
        ),
    );
    says_all(
        output,
        &[
            "a.sif: group 1 (object 1) is signed by key ",
            "\"not_covered\": []",
            "\n1\ntiny\n",
        ],
    );
}

fn pgp_signatures_of_oarlock(cluster: &Cluster) {
    let output = with_image(
        cluster,
        &format!(
            "{APPTAINER_KEYS}\n\
             oarlock sign --key keys/pgp-secret a.sif\n\
             apptainer verify --local a.sif 2>&1\n\
             apptainer -q exec a.sif /bin/cat /etc/oarlock-image 2>/dev/null\n\
             cp a.sif changed.sif\n\
             printf x | dd of=changed.sif bs=1 seek=40000 conv=notrunc status=none\n\
             apptainer verify --local changed.sif >/dev/null 2>&1 || echo refused\n\
             oarlock verify --key keys/pgp-public changed.sif 2>&1 || echo refused"
        ),
    );
    says_all(
        output,
        &[
            "a.sif: signed group 1 with key ",
            "verified",
            "\ntiny\nrefused\n",
            "the bytes of object 1 are not those of signature 2; do not use the image, or sign it again\nrefused\n",
        ],
    );
}

fn pem_signatures_both_ways(cluster: &Cluster) {
    for (name, generate) in [
        ("Ed25519", "genpkey -algorithm ed25519"),
        ("P-256", "ecparam -name prime256v1 -genkey -noout"),
        (
            "P-384",
            "genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-384",
        ),
        ("RSA", "genrsa -traditional 2048"),
    ] {
        let output = with_image(
            cluster,
            &format!(
                "cp a.sif b.sif\n\
                 openssl {generate} >key.pem 2>/dev/null # {name}\n\
                 openssl pkey -in key.pem -pubout >public.pem\n\
                 apptainer -q sign --key key.pem a.sif >/dev/null 2>&1\n\
                 oarlock verify --key public.pem a.sif\n\
                 oarlock sign --key key.pem b.sif\n\
                 apptainer verify --key public.pem b.sif >/dev/null 2>&1 && echo theirs verified ours\n\
                 oarlock verify --key public.pem b.sif"
            ),
        )
        .succeeds();
        let lines: Vec<&str> = output.stdout.lines().collect();
        let [theirs, signed, "theirs verified ours", ours] = lines[..] else {
            panic!("{name}: {output}");
        };
        // One key has one name, whoever signed.
        let key = |line: &str| line.split("key ").nth(1).map(|rest| rest[..71].to_owned());
        assert!(
            key(theirs).is_some_and(|key| key.starts_with("sha256:")),
            "{output}"
        );
        assert_eq!(key(theirs), key(ours), "{output}");
        assert_eq!(key(theirs), key(signed), "{output}");
    }
}

fn two_signers_of_two_programs(cluster: &Cluster) {
    let output = with_image(
        cluster,
        &format!(
            "{APPTAINER_KEYS}\n\
             openssl genpkey -algorithm ed25519 >key.pem\n\
             mkdir keys.d; cp keys/pgp-public keys.d/site.gpg; openssl pkey -in key.pem -pubout >keys.d/site.pem\n\
             apptainer -q sign a.sif >/dev/null 2>&1\n\
             oarlock sign --key key.pem a.sif >/dev/null\n\
             oarlock verify --keyring keys.d a.sif | grep -c 'is signed by key'\n\
             apptainer verify --local a.sif >/dev/null 2>&1 || echo it wants every signature verified\n\
             oarlock sif del 3 a.sif\n\
             apptainer verify --local a.sif >/dev/null 2>&1 && echo with its own it is content\n\
             oarlock verify --keyring keys.d a.sif | grep -c 'is signed by key'"
        ),
    );
    output
        .succeeds()
        .says("2\nit wants every signature verified\nwith its own it is content\n1\n");
}

/// A key of openssl's and an image that is signed with it.
const SIGNED: &str = "openssl genpkey -algorithm ed25519 >key.pem\n\
    openssl pkey -in key.pem -pubout >public.pem\n\
    oarlock sign --key key.pem a.sif >/dev/null";

fn a_changed_image_is_refused(cluster: &Cluster) {
    let output = with_image(
        cluster,
        &format!(
            "{SIGNED}\n\
             told() {{ oarlock verify --key public.pem $1 2>&1 || echo code $?; }}\n\
             cp a.sif b.sif; echo '{{}}' >extra; oarlock sif add --datatype 6 --groupid 1 b.sif extra >/dev/null; told b.sif\n\
             cp a.sif c.sif; oarlock sif add --datatype 6 c.sif extra >/dev/null; told c.sif | cut -d' ' -f2-6\n\
             cp a.sif d.sif; oarlock sif del 2 d.sif; told d.sif\n\
             cp a.sif e.sif; printf y | dd of=e.sif bs=1 seek=50 conv=notrunc status=none; told e.sif\n\
             openssl genpkey -algorithm ed25519 | openssl pkey -pubout >public.pem; told a.sif"
        ),
    );
    output.succeeds().says(
        "oarlock: image b.sif: object 3 was added to the group after signature 2; do not use the image, or sign it again\ncode 1\n\
         group 1 (object 1) is\nnot covered: object 3\n\
         oarlock: image d.sif: not signed: no signature over group 1; sign it with `oarlock sign` or `apptainer sign`\ncode 1\n\
         oarlock: image e.sif: signature 2 is over another image: the header (first line or id) is not the signed one\ncode 1\n\
         oarlock: image a.sif: not signed by a known key: signature 2 is by no PEM key of the keyring; add the signer's public key to the keyring, or sign the image with a key of it\ncode 1\n",
    );
}

fn a_keyring_is_a_directory(cluster: &Cluster) {
    let output = with_image(
        cluster,
        &format!(
            "{SIGNED}\n\
             told() {{ oarlock verify --keyring keys.d a.sif 2>&1 || echo code $?; }}\n\
             told; mkdir keys.d; told; cp public.pem keys.d/site.pem; echo notes >keys.d/README; told | cut -d' ' -f1-7\n\
             cp key.pem keys.d/oops.pem; told\n\
             echo >keys.d/oops.pem; told"
        ),
    );
    output.succeeds().says(
        "oarlock: keyring keys.d: No such file or directory; give a directory with *.asc, *.gpg, *.pgp or *.pem\ncode 1\n\
         oarlock: keyring keys.d: no key in it; put public keys there as *.asc, *.gpg, *.pgp or *.pem\ncode 1\n\
         a.sif: group 1 (object 1) is signed\n\
         oarlock: key keys.d/oops.pem: holds a secret key; replace it with the public one, and renew the key if others could read it\ncode 1\n\
         oarlock: key keys.d/oops.pem: no complete PEM block; write it with `openssl pkey -pubout`\ncode 1\n",
    );
}

fn what_cannot_be_signed_says_why(cluster: &Cluster) {
    let output = with_image(
        cluster,
        &format!(
            "{SIGNED}\n\
             told() {{ oarlock sign --key $1 $2 2>&1 || echo code $?; }}\n\
             told public.pem a.sif; told missing a.sif; told key.pem {TINY_FUSE}; told key.pem key.pem\n\
             openssl pkcs8 -topk8 -in key.pem -passout pass:x >locked.pem; told locked.pem a.sif\n\
             flock a.sif oarlock sign --key key.pem a.sif 2>&1 || echo code $?"
        ),
    );
    output.succeeds().says(&format!(
        "oarlock: key public.pem: PEM block \"PUBLIC KEY\" is not a private key\ncode 1\n\
         oarlock: key missing: No such file or directory\ncode 1\n\
         oarlock: image {TINY_FUSE}: Permission denied\ncode 1\n\
         oarlock: image key.pem: not a SIF image: no SIF magic; give a .sif file, a squashfs file or a directory\ncode 1\n\
         oarlock: key locked.pem: the private key is encrypted; decrypt it first with `openssl pkcs8 -in KEY -out PLAIN`\ncode 1\n\
         oarlock: image a.sif: another program is changing the image; try again when it has finished\ncode 1\n"
    ));
}
