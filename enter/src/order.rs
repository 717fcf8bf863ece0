//! The order: what is done in the container before the program starts.
//!
//! Records, each ended by NUL; the first byte is the kind. A change to the
//! environment has before it what the variable was when the plugin gave the order:
//! Slurm's prologs run afterwards, and what they have said stands.

use core::ffi::CStr;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Go to this directory; the first that can be entered is it.
    Directory = b'd',
    /// Go to this directory or fail: the user asked for it.
    Asked = b'D',
    /// A program whose name ends with `/` has this behind it: where `srun --bcast`
    /// has put it.
    Suffix = b'b',
    /// What the next change's variable was, `NAME=value`.
    Was = b'w',
    /// The next change's variable, by its name, was not there.
    WasAbsent = b'a',
    /// Set, `NAME=value`, if it is as it was.
    Set = b's',
    /// Remove, by its name, if it is as it was.
    Unset = b'u',
    /// Set to the working directory, by its name, if it is as it was.
    SetToHere = b'h',
}

const KINDS: [Kind; 8] = [
    Kind::Directory,
    Kind::Asked,
    Kind::Suffix,
    Kind::Was,
    Kind::WasAbsent,
    Kind::Set,
    Kind::Unset,
    Kind::SetToHere,
];

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it says.
    pub kind: Kind,
    /// Of what.
    pub text: &'a CStr,
}

/// The records of an order; what is none, and what has no end, is passed over.
#[derive(Debug, Clone)]
pub struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        loop {
            let record = CStr::from_bytes_until_nul(self.0).ok()?.to_bytes_with_nul();
            self.0 = self.0.get(record.len()..).unwrap_or_default();
            let Some((first, text)) = record.split_first() else {
                continue;
            };
            let kind = KINDS.into_iter().find(|kind| *kind as u8 == *first);
            if let (Some(kind), Ok(text)) = (kind, CStr::from_bytes_with_nul(text)) {
                return Some(Record { kind, text });
            }
        }
    }
}

/// The name in `NAME=value`, or the whole where there is no `=`.
#[must_use]
pub fn name(entry: &[u8]) -> &[u8] {
    let end = entry.iter().position(|b| *b == b'=');
    end.and_then(|end| entry.get(..end)).unwrap_or(entry)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn every_kind_is_read() {
        let mut bytes = Vec::new();
        for kind in KINDS {
            bytes.extend_from_slice(&[kind as u8, b'A', b'=', 0]);
        }
        let got: Vec<_> = Records::of(&bytes).collect();
        assert_eq!(got.iter().map(|r| r.kind).collect::<Vec<_>>(), KINDS);
        assert!(got.iter().all(|r| r.text == c"A="));
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        let got: Vec<_> = Records::of(b"\0?x\0d/\0d\0dcut").collect();
        let record = |text| Record {
            kind: Kind::Directory,
            text,
        };
        assert_eq!(got, [record(c"/"), record(c"")]);
    }

    #[test]
    fn a_name_ends_at_the_first_equals_sign() {
        assert_eq!(name(b"A=b=c"), b"A");
        assert_eq!(name(b"A"), b"A");
    }
}
