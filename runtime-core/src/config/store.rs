//! `[store]`: where a node keeps copies of images, and how much of them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// A directory of root's on a disk of the node.
    pub path: PathBuf,
    /// How much it may hold: bytes with a unit, or a part of the file system.
    pub size: Size,
    /// Seconds that a step waits for a copy before it runs from the original.
    pub timeout: u32,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/var/lib/oarlock/store"),
            size: Size::Percent(20),
            timeout: 120,
        }
    }
}

/// How much a store may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Size {
    /// This many bytes.
    Bytes(u64),
    /// This part of the file system that it lies on, in percent.
    Percent(u8),
}

/// Why a size cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no size; write \"20%\", or a number with KiB, MiB, GiB or TiB, as \"50GiB\"")]
pub struct NoSize(String);

const UNITS: [(&str, u32); 5] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0)];

impl TryFrom<String> for Size {
    type Error = NoSize;

    fn try_from(text: String) -> Result<Self, NoSize> {
        let wrong = || NoSize(text.clone());
        if let Some(percent) = text.strip_suffix('%') {
            return match percent.trim().parse() {
                Ok(percent @ 0..=100) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            };
        }
        let (number, shift) = UNITS
            .iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
            .unwrap_or((&text, 0));
        let number: u64 = number.trim().parse().map_err(|_| wrong())?;
        number
            .checked_mul(1 << shift)
            .map(Self::Bytes)
            .ok_or_else(wrong)
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        match size {
            Size::Percent(percent) => format!("{percent}%"),
            Size::Bytes(bytes) => UNITS
                .iter()
                .rev()
                .filter(|(_, shift)| *shift > 0)
                .find(|(_, shift)| bytes > 0 && bytes.is_multiple_of(1 << shift))
                .map_or_else(
                    || format!("{bytes}B"),
                    |(unit, shift)| format!("{}{unit}", bytes >> shift),
                ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_in_every_form() {
        let size = |text: &str| Size::try_from(text.to_owned());
        assert_eq!(size("20%"), Ok(Size::Percent(20)));
        assert_eq!(size("50GiB"), Ok(Size::Bytes(50 << 30)));
        assert_eq!(size("1 TiB"), Ok(Size::Bytes(1 << 40)));
        assert_eq!(size("4096"), Ok(Size::Bytes(4096)));
        for wrong in ["", "101%", "-1", "5 GB", "99999999999TiB", "%"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        for text in ["0%", "20%", "50GiB", "1TiB", "4097B", "0B"] {
            assert_eq!(String::from(size(text).unwrap()), text);
        }
    }
}
