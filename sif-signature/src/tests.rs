//! Signing and verifying against each other, and against whoever changes the image in between.

mod hostile;
mod keyrings;
mod keys;

use runtime_core::image::sif::{DataType, Extra, Kind, Link};

use crate::testing::{
    add, attach, bytes, file, image, object, only, pgp, pgp_ring, pgp_with_subkey, print, sif,
    signing,
};
use crate::{Keyring, VerifyError, sign, verify, verify_group};

use pgp::composed::KeyType;

#[test]
fn every_group_gets_a_signature_that_verifies() {
    let key = pgp(KeyType::Ed25519Legacy);
    let ring = pgp_ring([key.to_public_key()]);
    let file = image();
    let signed = sign(&file, &signing(&key), None, 42).expect("signed");
    let places: Vec<_> = signed.iter().map(|s| (s.group, s.id)).collect();
    assert_eq!(places, [(1, 5), (2, 6)]);
    let sif = sif(&file);
    let signature = sif.object(DataType::Signature).expect("a signature");
    assert_eq!((signature.group, signature.link), (None, Link::Group(1)));
    assert_eq!(signature.created, 42);
    let fingerprint = print(&signing(&key));
    assert_eq!(
        signature.extra,
        Extra::Signature {
            hash: 1,
            fingerprint
        }
    );
    assert_eq!(verify(&file, &sif, &ring).expect("good"), only(&ring));
    assert_eq!(
        verify_group(&file, &sif, &ring, 2).expect("good"),
        only(&ring)
    );
    assert!(matches!(
        verify_group(&file, &sif, &ring, 3),
        Err(VerifyError::EmptyGroup { group: 3 })
    ));
}

#[test]
fn one_group_is_signed_and_the_other_is_not() {
    let key = pgp(KeyType::Ed25519Legacy);
    let ring = pgp_ring([key.to_public_key()]);
    let file = image();
    sign(&file, &signing(&key), Some(2), 0).expect("signed");
    assert!(verify_group(&file, &sif(&file), &ring, 2).is_ok());
    assert!(matches!(
        verify(&file, &sif(&file), &ring),
        Err(VerifyError::NotSigned { group: 1 })
    ));
    assert!(matches!(
        sign(&file, &signing(&key), Some(9), 0),
        Err(crate::SignError::EmptyGroup { group: 9 })
    ));
}

#[test]
fn signatures_by_strangers_do_not_count_and_do_no_harm() {
    let [ours, theirs] = [pgp(KeyType::Ed25519Legacy), pgp(KeyType::Ed25519Legacy)];
    let ring = pgp_ring([ours.to_public_key()]);
    let file = image();
    sign(&file, &signing(&theirs), Some(1), 0).expect("signed");
    let why = verify(&file, &sif(&file), &ring)
        .expect_err("unknown")
        .to_string();
    let named = theirs.to_public_key();
    let named = pgp::types::KeyDetails::fingerprint(&named).to_string();
    assert!(
        why.starts_with(&format!(
            "not signed by a known key: signature 5 is by unknown PGP key {named}; "
        )),
        "{why}"
    );
    assert!(matches!(
        verify(&file, &sif(&file), &Keyring::default()),
        Err(VerifyError::NoKnownKey { .. })
    ));

    sign(&file, &signing(&ours), Some(1), 0).expect("signed");
    assert_eq!(
        verify(&file, &sif(&file), &ring).expect("good"),
        only(&ring)
    );
    let both = pgp_ring([ours.to_public_key(), theirs.to_public_key()]);
    assert_eq!(verify(&file, &sif(&file), &both).expect("good").len(), 2);
}

#[test]
fn a_subkey_signs_in_the_primary_keys_name() {
    let key = pgp_with_subkey();
    let ring = pgp_ring([key.to_public_key()]);
    let file = image();
    sign(&file, &signing(&key), Some(1), 0).expect("signed");
    let primary = pgp::types::KeyDetails::fingerprint(&key.primary_key);
    let found = verify(&file, &sif(&file), &ring).expect("good");
    assert_eq!(found[0].to_string(), primary.to_string());

    // Somebody else's key with that subkey stolen into it: the subkey never agreed to that.
    let mut thief = pgp(KeyType::Ed25519).to_public_key();
    thief.public_subkeys = key.to_public_key().public_subkeys;
    assert!(matches!(
        verify(&file, &sif(&file), &pgp_ring([thief])),
        Err(VerifyError::NoKnownKey { .. })
    ));
}

#[test]
fn a_good_signature_does_not_heal_a_bad_one() {
    let [one, other] = [pgp(KeyType::Ed25519Legacy), pgp(KeyType::Ed25519Legacy)];
    let ring = pgp_ring([one.to_public_key(), other.to_public_key()]);
    let file = image();
    sign(&file, &signing(&one), Some(1), 0).expect("signed");
    add(
        &file,
        &object(Kind::Generic, "", b"later"),
        Some(1),
        Link::None,
    );
    sign(&file, &signing(&other), Some(1), 0).expect("signed");
    assert!(matches!(
        verify(&file, &sif(&file), &ring),
        Err(VerifyError::Unsigned { id: 5, object: 6 })
    ));
    // Whoever does not know the first signer has nothing against the second.
    let ring = pgp_ring([other.to_public_key()]);
    assert!(verify(&file, &sif(&file), &ring).is_ok());
}

#[test]
fn what_is_not_covered_may_change() {
    let key = pgp(KeyType::Ed25519Legacy);
    let ring = pgp_ring([key.to_public_key()]);
    let signed = image();
    sign(&signed, &signing(&key), Some(1), 0).expect("signed");
    let descriptor = 4096 + 585;
    // The header's architecture, its modification time, an object's modification time, another group's bytes.
    for at in [
        45,
        72,
        descriptor + 49,
        usize::try_from(sif(&signed).descriptors[3].offset).expect("an offset"),
    ] {
        let mut bytes = bytes(&signed);
        bytes[at] ^= 1;
        let changed = file(&bytes);
        assert!(verify(&changed, &sif(&changed), &ring).is_ok(), "{at}");
    }
    // An object outside of the group, and the image under other ids: digests know them relative to the first.
    add(
        &signed,
        &object(Kind::Generic, "", b"beside"),
        None,
        Link::None,
    );
    assert!(verify(&signed, &sif(&signed), &ring).is_ok());
    let mut bytes = bytes(&signed);
    for entry in 0..3 {
        bytes[4096 + entry * 585 + 5] += 100;
    }
    let moved = file(&bytes);
    assert!(verify(&moved, &sif(&moved), &ring).is_ok());
}

#[test]
fn signatures_of_before_descriptors_were_covered_do_not_count() {
    let key = pgp(KeyType::Ed25519Legacy);
    let signer = signing(&key);
    let file = image();
    let old = signer.sign("SIFHASH:\n00\n").expect("signed");
    attach(&file, &old.bytes, 1, print(&signer));
    let why = verify(&file, &sif(&file), &pgp_ring([key.to_public_key()]))
        .expect_err("not counted")
        .to_string();
    assert!(why.contains("signature 5 is of the old form"), "{why}");
}
