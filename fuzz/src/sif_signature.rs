//! Keys and signatures of SIF images: the first byte of the input says what the
//! rest is.
//!
//! Two keys are known, and they have signed one image and nothing else. So what
//! verifies is that image, in every byte that a signature covers.

use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pgp::composed::{KeyType, SecretKeyParamsBuilder, SignedSecretKey};
use pgp::ser::Serialize;
use pgp::types::Timestamp;
use rand::SeedableRng as _;
use runtime_core::image::sif::{
    Arch, Content, Editor, Kind, Layout, Link, NewObject, Placement, Sif, Uuid, write,
};
use sif_signature::{Fingerprint, Keyring, SigningKey, sign, verify};

/// The rest is a file of public keys, or a secret key.
const KEYS: u8 = 0;
/// The rest is a signature object of the PGP key.
const PGP: u8 = 1;
/// The rest is a signature object of the PEM key.
const DSSE: u8 = 2;
/// The rest is an image.
const IMAGE: u8 = 3;

const TIME: u32 = 1_700_000_000;
/// No object of an input is longer, in bytes.
const LONGEST: u64 = 1 << 20;

/// The known keys, and the image that they have signed.
struct Known {
    keyring: Keyring,
    pgp: SigningKey,
    pem: SigningKey,
    /// Their files: PGP, then PEM.
    public: [Vec<u8>; 2],
    secret: [Vec<u8>; 2],
    /// The image without a signature, and what is in its only group.
    image: Vec<u8>,
    members: Vec<Member>,
}

/// What a signature covers of an object, as a reader sees it.
#[derive(Debug, PartialEq, Eq)]
struct Member {
    /// Its id less the group's smallest.
    relative: u32,
    /// Type, name and the type's own fields.
    about: String,
    bytes: Vec<u8>,
}

/// Reads the input as keys, as a signature or as an image.
///
/// # Panics
/// Where anything but the signed image verifies, or a message is not one line.
pub fn check(data: &[u8]) {
    let Some((what, rest)) = data.split_first() else {
        return;
    };
    let known = known();
    match *what {
        KEYS => keys(rest),
        PGP | DSSE => {
            let print = known.pgp.fingerprint().as_pgp().unwrap_or_default();
            let fingerprint = if *what == PGP { print } else { [0; 20] };
            let _: bool = verified(&attach(&known.image, rest, fingerprint), known);
        }
        IMAGE => {
            let _: bool = verified(&file(rest), known);
        }
        _ => {}
    }
}

/// A key is a key of some name, and a keyring that was read has one.
fn keys(bytes: &[u8]) {
    let mut named = tempfile::NamedTempFile::new().expect("a temporary file");
    named.write_all(bytes).expect("a file of keys");
    match Keyring::load_file(named.path()) {
        Ok(keyring) => {
            assert!(!keyring.is_empty());
            for key in keyring.fingerprints() {
                assert_eq!(key.to_string().parse::<Fingerprint>().ok(), Some(key));
            }
        }
        Err(error) => crate::assert_one_line(&error),
    }
    let locked = || Err(std::io::ErrorKind::NotFound.into());
    if let Err(error) = SigningKey::parse(bytes, locked) {
        crate::assert_one_line(&error);
    }
}

/// Whether the image is verified; one that is has what was signed.
fn verified(file: &File, known: &Known) -> bool {
    let Ok(sif) = Sif::read(file) else {
        return false;
    };
    let signers = match verify(file, &sif, &known.keyring) {
        Ok(signers) => signers,
        Err(error) => {
            crate::assert_one_line(&error);
            return false;
        }
    };
    assert!(!signers.is_empty());
    for key in &signers {
        assert!(known.keyring.fingerprints().any(|one| one == *key));
    }
    let primary = sif
        .primary_partition()
        .expect("what is verified can be run");
    assert_eq!(primary.descriptor.group, Some(1));
    assert_eq!(members(file, &sif), known.members, "other bytes verify");
    let signed = Sif::parse(&known.image[..]).expect("the signed image");
    assert_eq!(sif.header.id, signed.header.id);
    assert_eq!(sif.header.launch, signed.header.launch);
    true
}

fn members(file: &File, sif: &Sif) -> Vec<Member> {
    let mut group: Vec<_> = sif
        .descriptors
        .iter()
        .filter(|object| object.group == Some(1))
        .collect();
    group.sort_unstable_by_key(|object| object.id);
    let first = group.first().map_or(0, |object| object.id);
    group
        .into_iter()
        .map(|object| Member {
            relative: object.id - first,
            about: format!(
                "{:?} {:?} {:?}",
                object.data_type, object.name, object.extra
            ),
            bytes: sif
                .read_object(file, object, LONGEST)
                .expect("an object of the group"),
        })
        .collect()
}

fn known() -> &'static Known {
    static KNOWN: OnceLock<Known> = OnceLock::new();
    KNOWN.get_or_init(make)
}

fn make() -> Known {
    let pgp = pgp_key();
    let pem = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    // The fixed beginnings of RFC 8410's structures, then the key.
    let secret_pem = armored(
        "PRIVATE KEY",
        &[
            0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
        ],
        &pem.to_bytes(),
    );
    let public_pem = armored(
        "PUBLIC KEY",
        &[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0],
        pem.verifying_key().as_bytes(),
    );
    let secret = [pgp.to_bytes().expect("a key"), secret_pem];
    let public = [
        pgp.to_public_key().to_bytes().expect("its public half"),
        public_pem,
    ];
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, bytes) in ["a.gpg", "b.pem"].into_iter().zip(&public) {
        std::fs::write(dir.path().join(name), bytes).expect("a key's file");
    }
    let parse = |bytes: &[u8]| SigningKey::parse(bytes, || unreachable!("it is not locked"));
    let image = image();
    let (signed, sif) = opened(&image);
    Known {
        keyring: Keyring::load(dir.path()).expect("a keyring"),
        pgp: parse(&secret[0]).expect("a key that signs"),
        pem: parse(&secret[1]).expect("a key that signs"),
        public,
        secret,
        members: members(&signed, &sif),
        image,
    }
}

/// The same key in each run, but for when it says that it signed itself.
fn pgp_key() -> SignedSecretKey {
    let mut params = SecretKeyParamsBuilder::default();
    params
        .key_type(KeyType::Ed25519)
        .created_at(Timestamp::from_secs(TIME))
        .can_certify(true)
        .can_sign(true)
        .primary_user_id(String::from("Fuzz"));
    params
        .build()
        .expect("parameters")
        .generate(rand::rngs::StdRng::from_seed([7; 32]))
        .expect("a key")
}

fn armored(label: &str, before: &[u8], key: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode([before, key].concat());
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n").into_bytes()
}

fn image() -> Vec<u8> {
    let object = |kind, name: &str, bytes| NewObject {
        kind,
        name: name.to_owned(),
        content: Content::Bytes(bytes),
    };
    let layout = Layout {
        id: Uuid([7; 16]),
        created: i64::from(TIME),
        objects: vec![
            object(Kind::Deffile, "app.def", b"Bootstrap: scratch\n"),
            object(Kind::PrimarySquashfs(Arch::Amd64), "rootfs", b"hsqs"),
            object(Kind::GenericJson, "oci-config.json", b"{}"),
        ],
    };
    let mut file = tempfile::tempfile().expect("a temporary file");
    write(&mut file, &layout).expect("an image");
    bytes(&file)
}

fn attach(image: &[u8], signature: &[u8], fingerprint: [u8; 20]) -> File {
    let file = file(image);
    let object = NewObject {
        kind: Kind::Signature {
            hash: 1,
            fingerprint,
        },
        name: String::new(),
        content: Content::Bytes(signature),
    };
    let place = Placement {
        group: None,
        link: Link::Group(1),
        align: None,
        created: i64::from(TIME),
    };
    Editor::new(&file)
        .and_then(|mut editor| editor.add(&object, &place))
        .expect("a signature more");
    file
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("its bytes");
    file
}

fn opened(bytes: &[u8]) -> (File, Sif) {
    let file = file(bytes);
    let sif = Sif::read(&file).expect("an image");
    (file, sif)
}

fn bytes(file: &File) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let length = file.metadata().expect("its length").len();
    let mut bytes = vec![0; usize::try_from(length).expect("a small file")];
    file.read_exact_at(&mut bytes, 0).expect("its bytes");
    bytes
}

/// Keys; the signatures of each known key; the image signed by each and by both,
/// with a table in which a fuzzer finds the fields.
///
/// # Panics
/// Where the keys are not read or the signatures are not good.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let known = known();
    let of = |what: u8, bytes: &[u8]| [&[what], bytes].concat();
    let mut seeds: Vec<_> = [&known.public, &known.secret]
        .into_iter()
        .flatten()
        .map(|key| of(KEYS, key))
        .collect();
    assert_eq!(known.keyring.fingerprints().count(), 2);

    let both = file(&known.image);
    for (what, key) in [(PGP, &known.pgp), (DSSE, &known.pem)] {
        let one = file(&known.image);
        for image in [&one, &both] {
            sign(image, key, None, i64::from(TIME)).expect("a signature");
        }
        let sif = Sif::read(&one).expect("the signed image");
        let signature = sif.descriptors.last().expect("a signature");
        let signature = sif
            .read_object(&one, signature, LONGEST)
            .expect("a signature");
        seeds.push(of(what, &signature));
        seeds.push(of(IMAGE, &crate::sif::with_small_table(&bytes(&one))));
    }
    seeds.push(of(IMAGE, &crate::sif::with_small_table(&bytes(&both))));
    for seed in &seeds {
        let rest = &seed[1..];
        let print = known.pgp.fingerprint().as_pgp().unwrap_or_default();
        assert!(match seed[0] {
            PGP => verified(&attach(&known.image, rest, print), known),
            DSSE => verified(&attach(&known.image, rest, [0; 20]), known),
            IMAGE => verified(&file(rest), known),
            _ => true,
        });
    }
    seeds
}
