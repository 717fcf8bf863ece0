//! Which ids there are where the user is root: root is the user, and the ids after
//! it are his subordinate ones, where root has given him some.
//!
//! Text in, map out: subuid(5) and subgid(5), which only root can write.

use super::identity::Extent;

/// The kernel takes 340 lines in one map, and no file gives a user so many.
const MAX_RANGES: usize = 64;

/// The ranges of one user, by name or by number: first id and how many. What cannot
/// be used is passed over: the host's root must not be among them.
#[must_use]
pub fn ranges(file: &[u8], name: Option<&[u8]>, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    let is_his = |who: &[u8]| who == number.as_bytes() || Some(who) == name;
    file.split(|b| *b == b'\n')
        .filter_map(|line| {
            let mut fields = line.split(|b| *b == b':');
            let (who, first, count) = (fields.next()?, fields.next()?, fields.next()?);
            (is_his(who) && fields.next().is_none())
                .then(|| Some((decimal(first)?, decimal(count)?)))?
        })
        .filter(|(first, count)| *first != 0 && *count != 0 && first.checked_add(*count).is_some())
        .take(MAX_RANGES)
        .collect()
}

/// Whether a file names users otherwise than by number: then the user's name matters.
#[must_use]
pub fn has_names(file: &[u8]) -> bool {
    file.split(|b| *b == b'\n')
        .filter_map(|line| line.split(|b| *b == b':').next())
        .any(|who| !who.is_empty() && decimal(who).is_none())
}

fn decimal(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// Root is `own`, and the ids from 1 on are those of the ranges, one after the other.
/// A range that has `own` in it, or meets one before it, is left out: no two ids
/// inside are one outside.
#[must_use]
pub fn map(own: u32, ranges: &[(u32, u32)]) -> Vec<Extent> {
    let mut extents = vec![Extent {
        inside: 0,
        outside: own,
        count: 1,
    }];
    let mut inside: u32 = 1;
    for (first, count) in ranges {
        let meets = extents.iter().any(|known| {
            u64::from(*first) < u64::from(known.outside) + u64::from(known.count)
                && u64::from(known.outside) < u64::from(*first) + u64::from(*count)
        });
        let Some(next) = inside.checked_add(*count).filter(|_| !meets) else {
            continue;
        };
        extents.push(Extent {
            inside,
            outside: *first,
            count: *count,
        });
        inside = next;
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &[u8] = b"alice:100000:65536\n1000:300000:10\nbob:165536:65536\n\
        alice:0:5\nalice:7\nalice:5:x\nalice:+5:1\nalice:4294967295:2\nalice:9:1:1\nalice:8:0\n";

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        assert_eq!(
            ranges(FILE, Some(b"alice"), 1000),
            [(100_000, 65_536), (300_000, 10)]
        );
        assert_eq!(ranges(FILE, None, 1000), [(300_000, 10)]);
        assert_eq!(ranges(FILE, Some(b"bob"), 1001), [(165_536, 65_536)]);
        assert_eq!(ranges(FILE, Some(b"eve"), 1002), []);
        assert_eq!(ranges(b"", Some(b""), 0), []);
    }

    #[test]
    fn names_are_told_from_numbers() {
        assert!(has_names(FILE));
        assert!(!has_names(b"1000:1:2\n\n"));
    }

    #[test]
    fn a_map_begins_with_the_user_and_has_nothing_twice() {
        let triples = |own, ranges: &[(u32, u32)]| -> Vec<(u32, u32, u32)> {
            map(own, ranges)
                .iter()
                .map(|e| (e.inside, e.outside, e.count))
                .collect()
        };
        assert_eq!(triples(1000, &[]), [(0, 1000, 1)]);
        assert_eq!(
            triples(1000, &[(100_000, 10), (500_000, 5)]),
            [(0, 1000, 1), (1, 100_000, 10), (11, 500_000, 5)]
        );
        // His own number, and a range that meets another.
        assert_eq!(
            triples(
                1000,
                &[(990, 20), (100_000, 10), (100_009, 3), (u32::MAX - 1, 1)]
            ),
            [(0, 1000, 1), (1, 100_000, 10), (11, u32::MAX - 1, 1)]
        );
        assert_eq!(triples(7, &[(10, u32::MAX - 11), (3, 2)]).len(), 3);
        assert_eq!(triples(7, &[(10, u32::MAX - 11), (3, 5)]).len(), 2);
    }
}
