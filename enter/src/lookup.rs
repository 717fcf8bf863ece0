//! How the program is found: as Slurm finds it (`_build_path`, slurmstepd's
//! task.c), but in the container.

use core::ffi::CStr;

/// Where a program may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// Named by an absolute path.
    Absolute,
    /// Begins with a dot: below the working directory.
    Dotted,
    /// In one of PATH's directories, or else as it stands.
    Searched,
}

/// How a program is named.
#[must_use]
pub fn kind(program: &[u8]) -> Name {
    match program.first() {
        Some(b'/') => Name::Absolute,
        Some(b'.') => Name::Dotted,
        _ => Name::Searched,
    }
}

/// The directories of a PATH; empty ones do not count.
pub fn directories(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b':').filter(|d| !d.is_empty())
}

/// The numbers of descriptors: decimal, with commas between. `None` where one is
/// none, or there are more than there are places.
#[must_use]
pub fn descriptors<'a>(text: &[u8], places: &'a mut [i32]) -> Option<&'a [i32]> {
    let mut have = 0;
    for field in text.split(|b| *b == b',') {
        let number = core::str::from_utf8(field).ok()?.parse().ok()?;
        if number < 0 || field.first() == Some(&b'+') {
            return None;
        }
        *places.get_mut(have)? = number;
        have += 1;
    }
    places.get(..have)
}

/// Puts the parts one after the other into `place`, with NUL behind; `None` where
/// they do not fit.
pub fn put<'a>(place: &'a mut [u8], parts: &[&[u8]]) -> Option<&'a CStr> {
    let mut have = 0;
    for part in parts.iter().copied().chain([&b"\0"[..]]) {
        place
            .get_mut(have..have + part.len())?
            .copy_from_slice(part);
        have += part.len();
    }
    CStr::from_bytes_with_nul(place.get(..have)?).ok()
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn programs_are_named_in_three_ways() {
        assert_eq!(kind(b"/bin/x"), Name::Absolute);
        assert_eq!(kind(b"./x"), Name::Dotted);
        assert_eq!(kind(b"../x"), Name::Dotted);
        assert_eq!(kind(b"x"), Name::Searched);
        assert_eq!(kind(b"bin/x"), Name::Searched);
        assert_eq!(kind(b""), Name::Searched);
    }

    #[test]
    fn a_path_has_directories() {
        let got: Vec<_> = directories(b":/a::/b/c:").collect();
        assert_eq!(got, [&b"/a"[..], b"/b/c"]);
        assert_eq!(directories(b"").count(), 0);
    }

    #[test]
    fn descriptors_are_numbers() {
        let mut places = [0; 3];
        assert_eq!(descriptors(b"3,14,15", &mut places), Some(&[3, 14, 15][..]));
        for wrong in ["", "3,", "-1", "+1", "x", "1,2,3,4", "99999999999"] {
            assert_eq!(descriptors(wrong.as_bytes(), &mut places), None, "{wrong}");
        }
    }

    #[test]
    fn what_does_not_fit_is_not_cut() {
        let mut place = [1; 6];
        assert_eq!(put(&mut place, &[b"/a", b"/", b"b"]), Some(c"/a/b"));
        assert_eq!(put(&mut place, &[b"/ab", b"/", b"b"]), Some(c"/ab/b"));
        assert_eq!(put(&mut place, &[b"/abc", b"/", b"b"]), None);
    }
}
