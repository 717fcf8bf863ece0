//! Kinds of keys, and what a key's own signatures make of it.

use pgp::composed::{KeyType, SignedSecretKey};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{Duration, KeyDetails, Password, SignedUser, Tag, Timestamp};
use pkcs8::{EncodePrivateKey, LineEnding};
use rand::rngs::OsRng;
use zeroize::Zeroizing;

use crate::testing::{attach, bytes, file, image, only, pem_ring, pgp, pgp_ring, sif, signing};
use crate::{PemError, PgpKeyError, SigningKey, SigningKeyError, VerifyError, sign, verify};

#[test]
fn pgp_keys_of_every_kind_sign() {
    for (kind, code) in [
        (KeyType::Ed25519, 1),
        (KeyType::ECDSA(ECCCurve::P256), 1),
        (KeyType::ECDSA(ECCCurve::P384), 2),
        (KeyType::ECDSA(ECCCurve::P521), 3),
        (KeyType::Rsa(2048), 1),
    ] {
        let key = pgp(kind.clone());
        let ring = pgp_ring([key.to_public_key()]);
        let file = image();
        sign(&file, &signing(&key), Some(1), 0).expect("signed");
        let found = verify(&file, &sif(&file), &ring);
        assert_eq!(found.expect("good"), only(&ring), "{kind:?}");
        assert_eq!(bytes(&file)[4096 + 4 * 585 + 201], code, "{kind:?}");
    }
}

fn pems() -> Vec<(&'static str, String)> {
    let mut seed = [0; 32];
    rand::RngCore::fill_bytes(&mut OsRng, &mut seed);
    let text = |pem: pkcs8::Result<Zeroizing<String>>| pem.expect("PEM").to_string();
    let p256 = p256::SecretKey::random(&mut OsRng);
    let p384 = p384::SecretKey::random(&mut OsRng);
    let rsa = rsa::RsaPrivateKey::new(&mut OsRng, 2048).expect("a key");
    let sec1 = p384.to_sec1_pem(LineEnding::LF).expect("PEM").to_string();
    vec![
        (
            "Ed25519",
            text(ed25519_dalek::SigningKey::from_bytes(&seed).to_pkcs8_pem(LineEnding::LF)),
        ),
        ("P-256", text(p256.to_pkcs8_pem(LineEnding::LF))),
        ("P-384", text(p384.to_pkcs8_pem(LineEnding::LF))),
        (
            "P-384 of openssl ecparam",
            format!(
                "-----BEGIN EC PARAMETERS-----\nBgUrgQQAIg==\n-----END EC PARAMETERS-----\n{sec1}"
            ),
        ),
        ("RSA", text(rsa.to_pkcs8_pem(LineEnding::LF))),
    ]
}

fn pem_key(pem: &str) -> Result<SigningKey, SigningKeyError> {
    SigningKey::parse(pem.as_bytes(), || unreachable!("it is not locked"))
}

#[test]
fn pem_keys_of_every_kind_sign() {
    for (name, pem) in pems() {
        let key = pem_key(&pem).expect(name);
        let ring = pem_ring(&pem);
        let signed = image();
        sign(&signed, &key, None, 0).expect(name);
        assert_eq!(
            verify(&signed, &sif(&signed), &ring).expect(name),
            only(&ring)
        );
        assert!(
            key.fingerprint().to_string().starts_with("sha256:"),
            "{name}"
        );
        assert_eq!(key.fingerprint(), only(&ring)[0], "{name}");

        let mut changed = bytes(&signed);
        changed[32768] ^= 1;
        let changed = file(&changed);
        assert!(matches!(
            verify(&changed, &sif(&changed), &ring),
            Err(VerifyError::Object { id: 5, object: 2 })
        ));
        // Another hash in the descriptor than the one that signed, and one that is not of SHA-2.
        for (code, is_ed25519_good) in [(2, true), (4, false), (0, false)] {
            let mut other = bytes(&signed);
            other[4096 + 4 * 585 + 201] = code;
            let other = file(&other);
            let found = verify(&other, &sif(&other), &ring);
            assert_eq!(
                found.is_ok(),
                is_ed25519_good && name == "Ed25519",
                "{name} {code}"
            );
        }
    }
}

#[test]
fn envelopes_that_deceive() {
    let (_, pem) = pems().swap_remove(0);
    let (key, ring) = (pem_key(&pem).expect("a key"), pem_ring(&pem));
    let signed = image();
    sign(&signed, &key, Some(1), 0).expect("signed");
    let all = bytes(&signed);
    let at = usize::try_from(sif(&signed).descriptors[4].offset).expect("an offset");
    let text = String::from_utf8(all[at..].to_vec()).expect("JSON");
    let found = |envelope: &str| {
        let file = image();
        attach(&file, envelope.as_bytes(), 1, [0; 20]);
        verify(&file, &sif(&file), &ring)
    };
    assert!(found(&text).is_ok(), "else the test shows nothing");
    // A hint that names another key is only a hint.
    assert!(found(&text.replace("\"keyid\":\"\"", "\"keyid\":\"SHA256:x\"")).is_ok());
    assert!(found(&text.replace("\"keyid\":\"\",", "")).is_ok());
    for (envelope, wanted) in [
        (text.replace("sif-metadata", "other"), "DSSE of type"),
        (
            text.replace("\"payload\":\"ey", "\"payload\":\"!!"),
            "base64",
        ),
        (text.replace("\"sig\":\"", "\"sig\":\"!"), "base64"),
        (
            text.split("\"signatures\"")
                .next()
                .map(|s| format!("{s}\"signatures\":[]}}"))
                .expect("JSON"),
            "0 DSSE",
        ),
        (format!("{text}x"), "trailing"),
    ] {
        let why = found(&envelope).expect_err("refused").to_string();
        assert!(why.contains(wanted), "{why}");
    }
    // The payload changed: no key signed that.
    let why =
        found(&text.replace("\"payload\":\"eyJ2", "\"payload\":\"eyJ3")).expect_err("refused");
    assert!(matches!(why, VerifyError::NoKnownKey { .. }), "{why}");
}

/// Puts a self-signature with this lifetime and these flags in the place of the key's own.
fn renewed(
    mut key: SignedSecretKey,
    hash: HashAlgorithm,
    lifetime: u32,
    can_sign: bool,
) -> SignedSecretKey {
    let mut flags = KeyFlags::default();
    flags.set_certify(true);
    flags.set_sign(can_sign);
    let mut config = SignatureConfig::v4(
        SignatureType::CertPositive,
        key.primary_key.algorithm(),
        hash,
    );
    let part = |data| Subpacket::regular(data).expect("a subpacket");
    config.hashed_subpackets = vec![
        part(SubpacketData::SignatureCreationTime(Timestamp::now())),
        part(SubpacketData::IssuerFingerprint(
            key.primary_key.fingerprint(),
        )),
        part(SubpacketData::KeyExpirationTime(Duration::from_secs(
            lifetime,
        ))),
        part(SubpacketData::KeyFlags(flags)),
    ];
    let id = key.details.users[0].id.clone();
    let public = key.primary_key.public_key();
    let signature = config
        .sign_certification(
            &key.primary_key,
            public,
            &Password::empty(),
            Tag::UserId,
            &id,
        )
        .expect("signed");
    key.details.users = vec![SignedUser::new(id, vec![signature])];
    key
}

#[test]
fn expired_revoked_and_other_keys_make_no_good_signature() {
    let key = pgp(KeyType::Ed25519);
    let file = image();
    sign(&file, &signing(&key), Some(1), 0).expect("signed");
    let why = |key: SignedSecretKey| {
        verify(&file, &sif(&file), &pgp_ring([key.to_public_key()]))
            .expect_err("not counted")
            .to_string()
    };
    let sha2 = HashAlgorithm::Sha256;
    let kept = renewed(key.clone(), sha2, 0, true);
    assert!(verify(&file, &sif(&file), &pgp_ring([kept.to_public_key()])).is_ok());
    let kept = renewed(key.clone(), sha2, 1000, true);
    assert!(verify(&file, &sif(&file), &pgp_ring([kept.to_public_key()])).is_ok());

    let other = renewed(key.clone(), sha2, 0, false);
    assert!(why(other.clone()).contains("which is not for signing"));
    let unable = SigningKey::parse(&other.to_bytes().expect("a key"), || unreachable!());
    assert!(matches!(unable, Err(SigningKeyError::Barred { .. })));

    // A lifetime of one second, over once the clock has moved.
    let expired = renewed(key.clone(), sha2, 1, true);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    assert!(why(expired).contains("which has expired"));

    let mut revoked = key.clone();
    let mut config = SignatureConfig::v4(
        SignatureType::KeyRevocation,
        key.primary_key.algorithm(),
        sha2,
    );
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::now())).expect("time"),
    ];
    let revocation = config
        .sign_key(
            &key.primary_key,
            &Password::empty(),
            key.primary_key.public_key(),
        )
        .expect("signed");
    revoked.details.revocation_signatures.push(revocation);
    assert!(why(revoked).contains("which is revoked"));

    // Only RSA lets itself be used with SHA-1.
    let weak = renewed(pgp(KeyType::Rsa(2048)), HashAlgorithm::Sha1, 0, true).to_public_key();
    assert!(matches!(
        crate::pgp_keys::PgpKey::new(weak),
        Err(PgpKeyError::SelfSignature { .. })
    ));
}

#[test]
fn a_locked_key_needs_its_passphrase() {
    let mut key = pgp(KeyType::Ed25519);
    let password = Password::from("open sesame");
    key.primary_key
        .set_password(OsRng, &password)
        .expect("locked");
    let locked = key.to_bytes().expect("a key");
    let with = |word: &str| SigningKey::parse(&locked, || Ok(Zeroizing::new(word.to_owned())));
    let file = image();
    sign(&file, &with("open sesame").expect("unlocked"), None, 0).expect("signed");
    let ring = pgp_ring([key.to_public_key()]);
    assert!(verify(&file, &sif(&file), &ring).is_ok());
    assert!(matches!(
        with("open barley"),
        Err(SigningKeyError::Locked { .. })
    ));
    let none = SigningKey::parse(&locked, || Err(std::io::ErrorKind::NotFound.into()));
    assert!(matches!(none, Err(SigningKeyError::NoPassphrase { .. })));
}

#[test]
fn what_is_no_signing_key_says_what_it_is() {
    let public = pgp(KeyType::Ed25519)
        .to_public_key()
        .to_bytes()
        .expect("a key");
    let parse = |bytes: &[u8]| SigningKey::parse(bytes, || unreachable!()).expect_err("refused");
    assert!(matches!(parse(&public), SigningKeyError::Public));
    let key = pgp(KeyType::Ed25519).to_bytes().expect("a key");
    assert!(matches!(
        parse(&[key.clone(), key].concat()),
        SigningKeyError::Several
    ));
    assert!(matches!(
        parse(b""),
        SigningKeyError::Pem(PemError::NoBlock)
    ));
    assert!(matches!(
        parse(
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n"
        ),
        SigningKeyError::Pem(PemError::Encrypted)
    ));
    assert!(matches!(
        parse(b"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"),
        SigningKeyError::Pem(PemError::Label { .. })
    ));
    let small = rsa::RsaPrivateKey::new(&mut OsRng, 1024).expect("a key");
    let small = small.to_pkcs8_pem(LineEnding::LF).expect("PEM");
    assert!(matches!(
        parse(small.as_bytes()),
        SigningKeyError::Pem(PemError::Algorithm)
    ));
}
