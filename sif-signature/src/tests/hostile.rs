//! Changed images, and signatures made to deceive: each is an error, and the right one.

use std::sync::LazyLock;

use pgp::composed::{ArmorOptions, CleartextSignedMessage, KeyType, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::types::{KeyDetails, Password, Timestamp};
use proptest::prelude::*;
use runtime_core::image::sif::{Editor, Kind, Link, Removal};

use crate::metadata::Metadata;
use crate::testing::{add, attach, bytes, file, image, object, pgp, pgp_ring, print, sif, signing};
use crate::{DigestError, Keyring, VerifyError, sign, verify};

const ENTRY: usize = 585;
const TABLE: usize = 4096;

/// A signed image, its key and a keyring that knows it.
fn signed() -> (Vec<u8>, SignedSecretKey, Keyring) {
    let key = pgp(KeyType::Ed25519Legacy);
    let ring = pgp_ring([key.to_public_key()]);
    let file = image();
    sign(&file, &signing(&key), None, 0).expect("signed");
    (bytes(&file), key, ring)
}

/// What verifying these bytes fails with.
fn fault(bytes: &[u8], ring: &Keyring) -> VerifyError {
    let file = file(bytes);
    match verify(&file, &sif(&file), ring) {
        Err(error) => error,
        Ok(keys) => panic!("verified: {keys:?}"),
    }
}

#[test]
fn every_covered_byte_counts() {
    let (bytes, _, ring) = signed();
    let flipped = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        fault(&bytes, &ring)
    };
    // First line, id.
    for at in [0, 31, 48, 63] {
        assert!(matches!(flipped(at), VerifyError::Header { id: 5 }), "{at}");
    }
    // Of the JSON's descriptor: type, link, creation time, uid, gid, name to its last byte, extra to its last byte.
    for at in [0, 13, 41, 57, 65, 73, 200, 201, 584] {
        let found = flipped(TABLE + 2 * ENTRY + at);
        assert!(
            matches!(found, VerifyError::Descriptor { id: 5, object: 3 }),
            "{at}: {found}"
        );
    }
    // The first and last bytes of objects.
    for (at, object) in [
        (32176, 1),
        (32768, 2),
        (32768 + 4999, 2),
        (37768, 3),
        (37769, 3),
    ] {
        let found = flipped(at);
        assert!(
            matches!(found, VerifyError::Object { id: 5, object: o } if o == object),
            "{at}: {found}"
        );
    }
}

#[test]
fn an_object_moved_into_the_group_or_out_of_it() {
    let (bytes, _, ring) = signed();
    let mut regrouped = bytes.clone();
    regrouped[TABLE + 3 * ENTRY + 9] = 1;
    assert!(matches!(
        fault(&regrouped, &ring),
        VerifyError::Unsigned { id: 5, object: 4 }
    ));
    let mut regrouped = bytes.clone();
    regrouped[TABLE + 2 * ENTRY + 9] = 2;
    assert!(matches!(
        fault(&regrouped, &ring),
        VerifyError::Missing { id: 5, relative: 2 }
    ));
    // Without the first object the others have other numbers.
    let mut regrouped = bytes.clone();
    regrouped[TABLE + 9] = 2;
    assert!(matches!(
        fault(&regrouped, &ring),
        VerifyError::Descriptor { id: 5, object: 2 }
    ));
    // Out of the group altogether, the root file system has no signature.
    let mut regrouped = bytes;
    regrouped[TABLE + ENTRY + 9] = 0;
    assert!(matches!(
        fault(&regrouped, &ring),
        VerifyError::NoGroup { object: 2 }
    ));
}

#[test]
fn an_object_added_removed_or_replaced_after_signing() {
    let (bytes, _, ring) = signed();
    let added = file(&bytes);
    add(
        &added,
        &object(Kind::Generic, "", b"x"),
        Some(1),
        Link::None,
    );
    assert!(matches!(
        verify(&added, &sif(&added), &ring),
        Err(VerifyError::Unsigned { id: 5, object: 7 })
    ));
    let removed = file(&bytes);
    let mut editor = Editor::new(&removed).expect("an image");
    editor.remove(3, Removal::default(), 0).expect("removed");
    drop(editor);
    assert!(matches!(
        verify(&removed, &sif(&removed), &ring),
        Err(VerifyError::Missing { id: 5, relative: 2 })
    ));
    // In its place and under its id something else.
    let config = object(Kind::GenericJson, "oci-config.json", b"[]");
    assert_eq!(add(&removed, &config, Some(1), Link::None), 3);
    assert!(matches!(
        verify(&removed, &sif(&removed), &ring),
        Err(VerifyError::Object { id: 5, object: 3 })
    ));
}

#[test]
fn a_signature_of_another_group_or_image() {
    let (bytes, key, ring) = signed();
    // Group 2's signature linked to group 1, and group 1's to none.
    let mut relinked = bytes.clone();
    relinked[TABLE + 4 * ENTRY + 13] = 3;
    assert!(matches!(
        fault(&relinked, &ring),
        VerifyError::NotSigned { group: 1 }
    ));
    relinked[TABLE + 5 * ENTRY + 13] = 1;
    assert!(matches!(
        fault(&relinked, &ring),
        VerifyError::Descriptor { id: 6, object: 1 }
    ));
    // A link to the object 1 is no link to the group 1.
    let mut relinked = bytes.clone();
    relinked[TABLE + 4 * ENTRY + 16] = 0;
    assert!(matches!(
        fault(&relinked, &ring),
        VerifyError::NotSigned { group: 1 }
    ));
    // The good signature of an image that differs in its root file system only.
    let other = file(&bytes);
    let mut editor = Editor::new(&other).expect("an image");
    editor.remove(2, Removal::default(), 0).expect("removed");
    drop(editor);
    let rootfs = object(
        Kind::PrimarySquashfs(runtime_core::image::sif::Arch::Amd64),
        "rootfs",
        &[0xa6; 5000],
    );
    add(&other, &rootfs, Some(1), Link::None);
    assert!(matches!(
        verify(&other, &sif(&other), &ring),
        Err(VerifyError::Object { id: 5, object: 2 })
    ));
    drop(key);
}

#[test]
fn a_forged_message_is_no_stranger() {
    let (bytes, _, ring) = signed();
    let text = b"\"version\":1";
    let at = bytes
        .windows(text.len())
        .position(|part| part == text)
        .expect("a payload");
    let mut forged = bytes.clone();
    forged[at + text.len() - 1] = b'2';
    assert!(matches!(
        fault(&forged, &ring),
        VerifyError::Forged { id: 5, .. }
    ));
    // The descriptor names another key.
    let mut forged = bytes.clone();
    forged[TABLE + 4 * ENTRY + 205] ^= 1;
    assert!(matches!(
        fault(&forged, &ring),
        VerifyError::OtherKey { id: 5, .. }
    ));
    // No signature at all, where one should be.
    let mut forged = bytes;
    let start = at - 1 - b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n".len();
    forged[start] = b'x';
    assert!(matches!(
        fault(&forged, &ring),
        VerifyError::Malformed { id: 5, .. }
    ));
}

/// RSA, for no other key lets itself be used with a weak hash.
static KEY: LazyLock<SignedSecretKey> = LazyLock::new(|| pgp(KeyType::Rsa(2048)));

/// Signs any text with a known key and any hash, and attaches it.
fn attached(text: &str, hash: HashAlgorithm) -> (Vec<u8>, Keyring) {
    let key = &*KEY;
    let mut config = SignatureConfig::v4(SignatureType::Text, key.primary_key.algorithm(), hash);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::now())).expect("time"),
        Subpacket::regular(SubpacketData::IssuerFingerprint(
            key.primary_key.fingerprint(),
        ))
        .expect("issuer"),
    ];
    let message = CleartextSignedMessage::new(text, config, &key.primary_key, &Password::empty())
        .expect("signed");
    let bytes_of = message
        .to_armored_bytes(ArmorOptions::default())
        .expect("armor");
    let file = image();
    attach(&file, &bytes_of, 1, print(&signing(key)));
    (bytes(&file), pgp_ring([key.to_public_key()]))
}

fn list() -> String {
    let file = image();
    let list = Metadata::of_group(&file, &sif(&file), 1).expect("digests");
    list.to_json().expect("JSON")
}

#[test]
fn only_hashes_of_sha_2_count() {
    let (bytes, ring) = attached(&list(), HashAlgorithm::Sha256);
    let good = file(&bytes);
    assert!(
        verify(&good, &sif(&good), &ring).is_ok(),
        "else the test shows nothing"
    );
    for hash in [HashAlgorithm::Sha1, HashAlgorithm::Sha3_256] {
        let (bytes, ring) = attached(&list(), hash);
        assert!(matches!(
            fault(&bytes, &ring),
            VerifyError::WeakHash { id: 5, .. }
        ));
    }
    // CVE-2022-39237: the digests inside of the list.
    for name in ["sha1", "md5", "blake2b_256", "sha3_256"] {
        let text = list().replace("sha256:", &format!("{name}:"));
        let (bytes, ring) = attached(&text, HashAlgorithm::Sha256);
        let VerifyError::Digest { id: 5, source } = fault(&bytes, &ring) else {
            panic!("{name}");
        };
        assert_eq!(source, DigestError::Algorithm(name.to_owned()));
    }
    let weak = list().replacen(
        "descriptorDigest\":\"sha256:",
        "descriptorDigest\":\"sha1:",
        1,
    );
    let (bytes, ring) = attached(&weak, HashAlgorithm::Sha256);
    assert!(matches!(fault(&bytes, &ring), VerifyError::Digest { .. }));
}

#[test]
fn only_a_list_of_digests_counts() {
    for (text, expected) in [
        (String::new(), "EOF"),
        ("{}".to_owned(), "missing field"),
        (
            list().replace("\"version\":1", "\"version\":2"),
            "version 2",
        ),
        (
            list().replace("{\"version\":1", "{\"version\":1,\"extra\":0"),
            "unknown field",
        ),
        (
            list().replace("\"version\":1", "\"version\":1,\"version\":1"),
            "duplicate field",
        ),
        (
            list().replace("\"relativeId\":2", "\"relativeId\":1"),
            "relative id 1 is there twice",
        ),
        (
            list().replace("\"relativeId\":2", "\"relativeId\":-1"),
            "invalid value",
        ),
    ] {
        let (bytes, ring) = attached(&text, HashAlgorithm::Sha256);
        let found = fault(&bytes, &ring);
        assert!(
            matches!(&found, VerifyError::Payload { id: 5, reason } if reason.contains(expected)),
            "{found}"
        );
    }
}

#[test]
fn large_many_and_empty_signatures() {
    let (bytes, _, ring) = signed();
    let large = file(&bytes);
    attach(&large, &vec![b'-'; (256 << 10) + 1], 1, [0; 20]);
    assert!(matches!(
        verify(&large, &sif(&large), &ring),
        Err(VerifyError::Sif(_))
    ));
    let empty = file(&bytes);
    attach(&empty, b"", 1, [0; 20]);
    assert!(matches!(
        verify(&empty, &sif(&empty), &ring),
        Err(VerifyError::Malformed { id: 7, .. })
    ));
    // 65 signatures need a table of more than 48 entries, at the end of the file.
    let mut many = bytes;
    let table = many.len();
    let mut entries = many[TABLE..TABLE + 6 * ENTRY].to_vec();
    let signature = entries[4 * ENTRY..5 * ENTRY].to_vec();
    for id in 10_u32..74 {
        let mut entry = signature.clone();
        entry[5..9].copy_from_slice(&id.to_le_bytes());
        entry[25..33].fill(0);
        entries.extend_from_slice(&entry);
    }
    let count = (entries.len() / ENTRY) as u64;
    many.extend_from_slice(&entries);
    many[88..96].copy_from_slice(&count.to_le_bytes());
    many[96..104].copy_from_slice(&(table as u64).to_le_bytes());
    many[104..112].copy_from_slice(&(entries.len() as u64).to_le_bytes());
    assert!(matches!(
        fault(&many, &ring),
        VerifyError::TooMany {
            group: 1,
            count: 65
        }
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    /// Whatever is changed in the table, the header or a signature: what verifies is what was signed.
    #[test]
    fn what_verifies_is_what_was_signed(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        static SIGNED: LazyLock<(Vec<u8>, SignedSecretKey, Keyring)> =
            LazyLock::new(signed);
        let (good, _, ring) = &*SIGNED;
        let mut bytes = good.clone();
        // Header, used entries, and what lies behind the objects; rarely the objects.
        let places: Vec<usize> = (0..128).chain(TABLE..TABLE + 6 * ENTRY).chain(37760..good.len()).collect();
        for (place, value) in changes {
            bytes[*place.get(&places)] = value;
        }
        let changed = file(&bytes);
        let Ok(read) = runtime_core::image::sif::Sif::read(&changed) else { return Ok(()) };
        if verify(&changed, &read, ring).is_ok() {
            let original = file(good);
            let before = sif(&original);
            prop_assert_eq!(read.header.signed_bytes(), before.header.signed_bytes());
            let group = read.primary_partition().expect("a root").descriptor.group;
            let members = crate::metadata::members(&read, group.expect("a group"));
            let old = crate::metadata::members(&before, 1);
            prop_assert_eq!(members.len(), old.len());
            for ((id, object), (old_id, old_object)) in members.into_iter().zip(old) {
                prop_assert_eq!(object.signed_bytes(id), old_object.signed_bytes(old_id));
                prop_assert_eq!(
                    read.read_object(&changed, object, 1 << 20).expect("read"),
                    before.read_object(&original, old_object, 1 << 20).expect("read")
                );
            }
        }
    }
}
