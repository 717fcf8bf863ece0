//! Directories of keys, good and bad.

use std::fs;
use std::path::Path;

use pgp::composed::{ArmorOptions, KeyType};
use pgp::ser::Serialize;
use pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use rand::rngs::OsRng;

use crate::testing::{image, pgp, sif, signing};
use crate::{Keyring, KeyringError, sign, verify};

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn put(directory: &Path, name: &str, bytes: &[u8]) {
    fs::write(directory.join(name), bytes).expect("write");
}

#[test]
fn every_form_of_a_public_key_is_read() {
    let place = directory();
    let keys = [(); 4].map(|()| pgp(KeyType::Ed25519));
    let armor = |number: usize| {
        let key = keys[number].to_public_key();
        key.to_armored_string(ArmorOptions::default())
            .expect("armor")
    };
    put(place.path(), "a.asc", armor(0).as_bytes());
    put(
        place.path(),
        "b.gpg",
        &keys[1].to_public_key().to_bytes().expect("a key"),
    );
    // Two blocks in one file, with words around them.
    put(
        place.path(),
        "c.pgp",
        format!("Ours:\n{}and\n{}", armor(2), armor(3)).as_bytes(),
    );
    let pem = p256::SecretKey::random(&mut OsRng).public_key();
    let pem = pem.to_public_key_pem(LineEnding::LF).expect("PEM");
    put(place.path(), "d.pem", format!("{pem}{pem}").as_bytes());
    put(place.path(), "README", b"no key");
    put(place.path(), ".hidden.asc", b"no key");

    let ring = Keyring::load(place.path()).expect("a keyring");
    assert!(!ring.is_empty());
    assert_eq!(ring.fingerprints().count(), 6);
    for key in &keys {
        let file = image();
        sign(&file, &signing(key), Some(1), 0).expect("signed");
        assert!(verify(&file, &sif(&file), &ring).is_ok());
    }
    let one = Keyring::load_file(&place.path().join("b.gpg")).expect("a key");
    assert_eq!(one.fingerprints().count(), 1);
    // A single file may have any name.
    for (name, keys) in [("a.asc", 1), ("b.gpg", 1), ("d.pem", 2)] {
        let other = place.path().join("key");
        fs::copy(place.path().join(name), &other).expect("copy");
        let ring = Keyring::load_file(&other).expect("a key");
        assert_eq!(ring.fingerprints().count(), keys, "{name}");
    }
}

#[test]
fn an_empty_directory_is_an_empty_keyring_and_a_missing_one_is_none() {
    let place = directory();
    assert!(Keyring::load(place.path()).expect("a keyring").is_empty());
    let missing = Keyring::load(&place.path().join("keys.d")).expect_err("missing");
    assert!(matches!(missing, KeyringError::Directory { .. }));
}

#[test]
fn what_is_no_public_key_is_named() {
    let secret = pgp(KeyType::Ed25519);
    let pem = p256::SecretKey::random(&mut OsRng);
    let pem = pem.to_pkcs8_pem(LineEnding::LF).expect("PEM");
    let small = rsa::RsaPrivateKey::new(&mut OsRng, 1024)
        .expect("a key")
        .to_public_key();
    let small = small.to_public_key_pem(LineEnding::LF).expect("PEM");
    let cut = secret.to_public_key().to_bytes().expect("a key");
    type Wanted = fn(&KeyringError) -> bool;
    let cases: [(&str, Vec<u8>, Wanted); 8] = [
        ("a.asc", b"words".to_vec(), |e| {
            matches!(e, KeyringError::Pgp { .. })
        }),
        ("a.asc", Vec::new(), |e| {
            matches!(e, KeyringError::Pgp { .. })
        }),
        ("a.gpg", cut[..cut.len() / 2].to_vec(), |e| {
            matches!(e, KeyringError::Pgp { .. } | KeyringError::PgpKey { .. })
        }),
        ("a.gpg", secret.to_bytes().expect("a key"), |e| {
            matches!(e, KeyringError::Secret { .. })
        }),
        ("a.pem", pem.as_bytes().to_vec(), |e| {
            matches!(e, KeyringError::Secret { .. })
        }),
        ("a.pem", b"words".to_vec(), |e| {
            matches!(e, KeyringError::Pem { .. })
        }),
        ("a.pem", small.into_bytes(), |e| {
            matches!(e, KeyringError::Pem { .. })
        }),
        ("a.pem", vec![b'-'; (8 << 20) + 1], |e| {
            matches!(e, KeyringError::TooLarge { .. })
        }),
    ];
    for (name, content, wanted) in cases {
        let place = directory();
        put(place.path(), name, &content);
        let found = Keyring::load(place.path()).expect_err("refused");
        assert!(wanted(&found), "{found}");
        assert!(found.to_string().contains(name), "{found}");
    }
}
