//! Images and keys for the tests, all made here: nothing comes from a file.

use std::fs::File;
use std::io::{Read, Seek, Write};

use pgp::composed::{
    KeyType, SecretKeyParamsBuilder, SignedPublicKey, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::ser::Serialize;
use rand::rngs::OsRng;
use runtime_core::image::sif::{
    Arch, Content, Editor, Kind, Layout, Link, NewObject, Placement, Sif, Uuid, write,
};

use crate::Fingerprint;
use crate::keyring::Keyring;
use crate::pem::PrivateKey;
use crate::pgp_keys::PgpKey;
use crate::signing_key::SigningKey;

/// When everything in the tests was made.
pub(crate) const TIME: i64 = 1_700_000_000;

pub(crate) fn object<'a>(kind: Kind, name: &str, bytes: &'a [u8]) -> NewObject<'a> {
    NewObject {
        kind,
        name: name.to_owned(),
        content: Content::Bytes(bytes),
    }
}

/// In group 1 a definition file (1), a root file system (2) and JSON (3); in group 2 something (4).
pub(crate) fn image() -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    let layout = Layout {
        id: Uuid([7; 16]),
        created: TIME,
        objects: vec![
            object(Kind::Deffile, "app.def", b"bootstrap: oarlock\n"),
            object(Kind::PrimarySquashfs(Arch::Amd64), "rootfs", &[0xa5; 5000]),
            object(Kind::GenericJson, "oci-config.json", b"{}"),
        ],
    };
    write(&mut file, &layout).expect("an image");
    add(
        &file,
        &object(Kind::Generic, "other", b"two"),
        Some(2),
        Link::None,
    );
    file
}

pub(crate) fn add(file: &File, object: &NewObject<'_>, group: Option<u32>, link: Link) -> u32 {
    let place = Placement {
        group,
        link,
        align: None,
        created: TIME,
    };
    let mut editor = Editor::new(file).expect("an image");
    editor.add(object, &place).expect("added")
}

/// Adds a signature object over group 1 as it stands.
pub(crate) fn attach(file: &File, bytes: &[u8], hash: i32, fingerprint: [u8; 20]) -> u32 {
    let kind = Kind::Signature { hash, fingerprint };
    add(file, &object(kind, "", bytes), None, Link::Group(1))
}

pub(crate) fn bytes(mut file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().expect("seek");
    file.read_to_end(&mut bytes).expect("read");
    bytes
}

pub(crate) fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("write");
    file
}

pub(crate) fn sif(file: &File) -> Sif {
    Sif::read(file).expect("an image")
}

/// A PGP key of this kind that signs by itself.
pub(crate) fn pgp(kind: KeyType) -> SignedSecretKey {
    let mut params = SecretKeyParamsBuilder::default();
    params
        .key_type(kind)
        .can_certify(true)
        .can_sign(true)
        .primary_user_id("Test".to_owned());
    params
        .build()
        .expect("parameters")
        .generate(OsRng)
        .expect("a key")
}

/// A PGP key whose primary key only certifies and whose subkey signs.
pub(crate) fn pgp_with_subkey() -> SignedSecretKey {
    let subkey = SubkeyParamsBuilder::default()
        .key_type(KeyType::Ed25519)
        .can_sign(true)
        .build()
        .expect("parameters");
    let mut params = SecretKeyParamsBuilder::default();
    params
        .key_type(KeyType::Ed25519)
        .can_certify(true)
        .can_sign(false)
        .primary_user_id("Test".to_owned())
        .subkey(subkey);
    params
        .build()
        .expect("parameters")
        .generate(OsRng)
        .expect("a key")
}

pub(crate) fn signing(key: &SignedSecretKey) -> SigningKey {
    let bytes = key.to_bytes().expect("a key");
    SigningKey::parse(&bytes, || unreachable!("it is not locked")).expect("a key that signs")
}

/// A keyring of these public keys.
pub(crate) fn pgp_ring(keys: impl IntoIterator<Item = SignedPublicKey>) -> Keyring {
    Keyring {
        pgp: keys
            .into_iter()
            .map(|key| PgpKey::new(key).expect("a key of use"))
            .collect(),
        dsse: Vec::new(),
    }
}

/// A keyring that has the public half of a PEM key.
pub(crate) fn pem_ring(pem: &str) -> Keyring {
    let private = PrivateKey::parse(pem).expect("a private key");
    Keyring {
        pgp: Vec::new(),
        dsse: vec![private.public().expect("its public half")],
    }
}

/// The 20 bytes of a PGP key's fingerprint.
pub(crate) fn print(key: &SigningKey) -> [u8; 20] {
    key.fingerprint().as_pgp().expect("a PGP key")
}

/// What a keyring of one key says.
pub(crate) fn only(keyring: &Keyring) -> Vec<Fingerprint> {
    keyring.fingerprints().collect()
}
