//! Names of devices: `vendor.com/class=name`.
//!
//! The characters are those of the reference's parser, which is stricter than the
//! specification's text in one place (a class starts with a letter) and laxer in
//! another (underscores and capitals in a vendor). Lengths are the text's.

use std::fmt;
use std::str::FromStr;

use crate::error::quoted;
use crate::limits;

/// Why a name is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not of the form `vendor/class=name`.
    #[error("{0} is not of the form vendor.com/class=name")]
    Form(String),
    /// Not of the form `vendor/class`.
    #[error("kind {0} is not of the form vendor.com/class")]
    Kind(String),
    /// A wrong start.
    #[error("{part} {name} must start with a {}", if *.is_digit_allowed { "letter or a digit" } else { "letter" })]
    Start {
        /// Vendor, class or device.
        part: &'static str,
        /// The name, quoted.
        name: String,
        /// Whether a digit would do.
        is_digit_allowed: bool,
    },
    /// A wrong end.
    #[error("{part} {name} must end with a letter or a digit")]
    End {
        /// Vendor, class or device.
        part: &'static str,
        /// The name, quoted.
        name: String,
    },
    /// A character that cannot be in it.
    #[error("{part} {name} must not have {character:?} in it")]
    Character {
        /// Vendor, class or device.
        part: &'static str,
        /// The name, quoted.
        name: String,
        /// The first such character.
        character: char,
    },
    /// Too long.
    #[error("{part} {name} is longer than {limit} bytes")]
    Long {
        /// Vendor, class or device.
        part: &'static str,
        /// Its start, quoted.
        name: String,
        /// The bound.
        limit: usize,
    },
}

/// `vendor.com/class`: what one spec's devices are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    vendor: String,
    class: String,
}

impl Kind {
    /// Before the slash.
    #[must_use]
    pub fn vendor(&self) -> &str {
        &self.vendor
    }

    /// After the slash.
    #[must_use]
    pub fn class(&self) -> &str {
        &self.class
    }
}

impl FromStr for Kind {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (vendor, class) = text
            .split_once('/')
            .filter(|(vendor, class)| !vendor.is_empty() && !class.is_empty())
            .ok_or_else(|| NameError::Kind(quoted(text)))?;
        check("vendor", vendor, limits::NAME, Rules::KIND)?;
        check("class", class, 63, Rules::KIND)?;
        Ok(Self {
            vendor: vendor.to_owned(),
            class: class.to_owned(),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vendor, self.class)
    }
}

/// `vendor.com/class=name`: one device.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QualifiedName {
    kind: Kind,
    device: String,
}

impl QualifiedName {
    /// A device of a kind.
    ///
    /// # Errors
    /// Where the name has what no device's name can have.
    pub fn new(kind: Kind, device: &str) -> Result<Self, NameError> {
        check_device(device)?;
        Ok(Self {
            kind,
            device: device.to_owned(),
        })
    }

    /// Before the equals sign.
    #[must_use]
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// After it.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }
}

impl FromStr for QualifiedName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (kind, device) = text
            .split_once('=')
            .filter(|(kind, device)| kind.contains('/') && !device.is_empty())
            .ok_or_else(|| NameError::Form(quoted(text)))?;
        Self::new(kind.parse()?, device)
    }
}

impl fmt::Display for QualifiedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.kind, self.device)
    }
}

/// Whether a device can have this name; the same with and without its kind.
pub(crate) fn check_device(name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Start {
            part: "device",
            name: quoted(name),
            is_digit_allowed: true,
        });
    }
    check("device", name, limits::NAME, Rules::DEVICE)
}

#[derive(Clone, Copy)]
struct Rules {
    is_digit_first: bool,
    has_colons: bool,
}

impl Rules {
    const KIND: Self = Self {
        is_digit_first: false,
        has_colons: false,
    };
    const DEVICE: Self = Self {
        is_digit_first: true,
        has_colons: true,
    };
}

/// One part, which is not empty.
fn check(part: &'static str, name: &str, limit: usize, rules: Rules) -> Result<(), NameError> {
    if name.len() > limit {
        let name = quoted(name);
        return Err(NameError::Long { part, name, limit });
    }
    let is_first = |c: char| c.is_ascii_alphabetic() || rules.is_digit_first && c.is_ascii_digit();
    if !name.starts_with(is_first) {
        return Err(NameError::Start {
            part,
            name: quoted(name),
            is_digit_allowed: rules.is_digit_first,
        });
    }
    let is_known =
        |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c) || rules.has_colons && c == ':';
    if let Some(character) = name.chars().find(|c| !is_known(*c)) {
        return Err(NameError::Character {
            part,
            name: quoted(name),
            character,
        });
    }
    if !name.ends_with(|c: char| c.is_ascii_alphanumeric()) {
        let name = quoted(name);
        return Err(NameError::End { part, name });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_printed() {
        for text in [
            "nvidia.com/gpu=0",
            "nvidia.com/gpu=0:1",
            "nvidia.com/gpu=GPU-955ef018-3bd9-5f27-80b3-fa20ee8d19c5",
            "Vendor_x/c.1-2=a",
            "v/c=all",
        ] {
            let name: QualifiedName = text.parse().expect(text);
            assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_name_is_said_in_one_line() {
        let cases = [
            ("", "not of the form"),
            ("all", "not of the form"),
            ("/dev/nvidia0", "not of the form"),
            ("nvidia.com/gpu", "not of the form"),
            ("nvidia.com/gpu=", "not of the form"),
            ("nvidia.com=0", "not of the form"),
            ("/gpu=0", "not of the form vendor.com/class"),
            ("nvidia.com/=0", "not of the form vendor.com/class"),
            (
                "0vidia.com/gpu=0",
                "vendor \"0vidia.com\" must start with a letter",
            ),
            (
                "nvidia.com/0gpu=0",
                "class \"0gpu\" must start with a letter",
            ),
            ("nvidia.com/gpu/x=0", "must not have '/' in it"),
            ("nvidia.com/gpu=-0", "must start with a letter or a digit"),
            ("nvidia.com/gpu=0-", "must end with a letter or a digit"),
            ("nvidia.com/gpu=a=b", "must not have '=' in it"),
            ("nvidia.com/gpu=a\nb", "must not have '\\n' in it"),
            ("nvidia.com./gpu=0", "vendor \"nvidia.com.\" must end"),
            ("nvidia.com/g:u=0", "must not have ':' in it"),
        ];
        for (text, part) in cases {
            let said = text.parse::<QualifiedName>().expect_err(text).to_string();
            assert!(said.contains(part), "{text}: {said}");
            assert!(!said.contains('\n'), "{said:?}");
        }
        let long = format!("v/c={}", "a".repeat(limits::NAME + 1));
        assert!(matches!(
            long.parse::<QualifiedName>(),
            Err(NameError::Long { .. })
        ));
        let long = format!("v/{}=a", "c".repeat(64));
        assert!(matches!(
            long.parse::<QualifiedName>(),
            Err(NameError::Long { limit: 63, .. })
        ));
    }
}
