//! What a key is called: by it a site says which signatures it requires.
//!
//! A name only: that a signature is good is said by `verify` alone.

use std::fmt;
use std::str::FromStr;

/// A key's fingerprint. Shown as 40 hexadecimal digits for a PGP key (its primary key's), and as `sha256:` with 64
/// digits for a DSSE key (the SHA-256 of its `SubjectPublicKeyInfo`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(Form);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Form {
    Pgp([u8; 20]),
    Spki([u8; 32]),
}

impl Fingerprint {
    pub(crate) fn pgp(bytes: [u8; 20]) -> Self {
        Self(Form::Pgp(bytes))
    }

    pub(crate) fn spki(digest: [u8; 32]) -> Self {
        Self(Form::Spki(digest))
    }

    /// The 20 bytes of a PGP key's; `None` for a DSSE key.
    #[must_use]
    pub fn as_pgp(&self) -> Option<[u8; 20]> {
        match self.0 {
            Form::Pgp(bytes) => Some(bytes),
            Form::Spki(_) => None,
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match &self.0 {
            Form::Pgp(bytes) => &bytes[..],
            Form::Spki(digest) => {
                f.write_str("sha256:")?;
                digest
            }
        };
        bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The text is no fingerprint.
#[derive(Debug, thiserror::Error)]
#[error(
    "{text:?} is no key's fingerprint; give 40 hexadecimal digits (PGP), or sha256: and 64 digits (PEM key), as `oarlock verify` shows them"
)]
pub struct FingerprintError {
    text: String,
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Reads what is shown; digits in either case, with spaces between them as `gpg --fingerprint` has them.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || FingerprintError {
            text: text.to_owned(),
        };
        let plain: String = text.chars().filter(|c| *c != ' ').collect();
        let form = match plain.strip_prefix("sha256:") {
            Some(hex) => from_hex(hex).map(Form::Spki),
            None => from_hex(plain.strip_prefix("0x").unwrap_or(&plain)).map(Form::Pgp),
        };
        form.map(Self).ok_or_else(wrong)
    }
}

/// Exactly `N` bytes of hexadecimal digits in either case.
pub(crate) fn from_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let digit = |c: &u8| char::from(*c).to_digit(16);
        let [high, low] = pair else { return None };
        *byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::Fingerprint;

    #[test]
    fn what_is_shown_is_read() {
        for known in [Fingerprint::pgp([0xab; 20]), Fingerprint::spki([0x0c; 32])] {
            let shown = known.to_string();
            assert_eq!(shown.parse::<Fingerprint>().expect("read"), known);
            let upper = shown.to_uppercase().replace("SHA256", "sha256");
            assert_eq!(upper.parse::<Fingerprint>().expect("read"), known);
        }
        let spaced = "ABAB ABAB ABAB ABAB ABAB  ABAB ABAB ABAB ABAB ABAB";
        assert_eq!(
            spaced.parse::<Fingerprint>().expect("read"),
            Fingerprint::pgp([0xab; 20])
        );
    }

    #[test]
    fn a_short_or_odd_text_is_none() {
        for text in [
            "",
            "abab",
            "sha256:",
            "sha1:00",
            &"g".repeat(40),
            &"a".repeat(16),
            &"+1".repeat(20),
            "é",
        ] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }
}
