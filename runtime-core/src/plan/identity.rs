//! `passwd` and `group` that know the user: the image's own lines, and the
//! user's where they are missing; and whose the image's files are shown to be.
//!
//! Text in, text out; both files are the user's to write (they come from the
//! image), so this runs in the unprivileged half.

/// Consecutive ids of a map, as in user_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The first id that a file has on its file system.
    pub inside: u32,
    /// Whom that file is shown to belong to.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Whom files of an image belong to that have the user's own number in it, where
/// root's files are shown as the user's: a number that nobody has. They cannot be
/// his as well, and must not be root's: a program that is marked to run as its
/// owner could otherwise become a file of root's on the node's disk.
pub const DISPLACED: u32 = 0xffff_fff0;

/// The map by which root's files in an image are the user's: he may then write
/// to them in a layer of his own, as if he had unpacked the image. All other ids
/// stay, because a file whose owner is not in the map cannot be written at all.
/// Empty where nothing would change.
#[must_use]
pub fn root_is(id: u32) -> Vec<Extent> {
    if id == 0 || id >= DISPLACED {
        return Vec::new();
    }
    let extent = |inside, outside, count| Extent {
        inside,
        outside,
        count,
    };
    [
        extent(0, id, 1),
        extent(1, 1, id - 1),
        extent(id, DISPLACED, 1),
        extent(id + 1, id + 1, DISPLACED - id - 1),
    ]
    .into_iter()
    .filter(|extent| extent.count > 0)
    .collect()
}

/// The image's passwd with the user's line appended; `None` where a line has
/// the uid already.
#[must_use]
pub fn passwd_with(image: &[u8], uid: u32, line: &[u8]) -> Option<Vec<u8>> {
    if has_id(image, uid) {
        None
    } else {
        Some(appended(image, &[line.to_vec()]))
    }
}

/// The lines of root, for images that have none.
#[must_use]
pub fn root() -> (Vec<u8>, (u32, Vec<u8>)) {
    let group = (0, b"root:x:0:".to_vec());
    (b"root:x:0:0:root:/root:/bin/sh".to_vec(), group)
}

/// The image's group file with lines for the ids it lacks; `None` where it has all.
#[must_use]
pub fn group_with(image: &[u8], groups: &[(u32, Vec<u8>)]) -> Option<Vec<u8>> {
    let missing: Vec<Vec<u8>> = groups
        .iter()
        .filter(|(gid, _)| !has_id(image, *gid))
        .map(|(_, line)| line.clone())
        .collect();
    if missing.is_empty() {
        None
    } else {
        Some(appended(image, &missing))
    }
}

/// passwd(5) and group(5) both have the number in the third field.
fn has_id(file: &[u8], id: u32) -> bool {
    let id = id.to_string();
    file.split(|b| *b == b'\n')
        .any(|line| line.split(|b| *b == b':').nth(2) == Some(id.as_bytes()))
}

fn appended(file: &[u8], lines: &[Vec<u8>]) -> Vec<u8> {
    let mut out = file.to_vec();
    if !out.is_empty() && !out.ends_with(b"\n") {
        out.push(b'\n');
    }
    for line in lines {
        out.extend(line.iter().filter(|b| **b != b'\n' && **b != 0));
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &[u8] = b"root:x:0:0:root:/root:/bin/sh\nsvc:x:1000:5::/:/bin/false";

    fn shown(map: &[Extent], id: u32) -> Option<u32> {
        map.iter()
            .find(|e| id >= e.inside && id - e.inside < e.count)
            .map(|e| e.outside + (id - e.inside))
    }

    #[test]
    fn roots_files_are_the_users_and_no_two_are_one() {
        for id in [1, 2, 1000, 65534, DISPLACED - 1] {
            let map = root_is(id);
            assert_eq!(shown(&map, 0), Some(id));
            assert_eq!(shown(&map, id), Some(DISPLACED));
            for other in [1, 33, 999, 1001, 65533, 70_000, DISPLACED - 1] {
                if other != id {
                    assert_eq!(shown(&map, other), Some(other), "{other} for {id}");
                }
            }
            // Nothing of an image is shown as root's.
            assert!(map.iter().all(|e| e.outside != 0));
            // The kernel refuses extents that overlap on either side.
            for (number, one) in map.iter().enumerate() {
                for other in map.iter().skip(number + 1) {
                    let apart = |a: u32, b: u32| a + one.count <= b || b + other.count <= a;
                    assert!(apart(one.inside, other.inside), "{map:?}");
                    assert!(apart(one.outside, other.outside), "{map:?}");
                }
            }
        }
        assert_eq!(root_is(0), []);
        assert_eq!(root_is(u32::MAX), []);
    }

    #[test]
    fn the_user_is_added_once() {
        assert_eq!(
            passwd_with(IMAGE, 1000, b"alice:x:1000:1000::/home/alice:/bin/sh"),
            None
        );
        let out = passwd_with(IMAGE, 1001, b"bob:x:1001:1001::/home/bob:/bin/sh").unwrap();
        assert!(out.ends_with(b":/bin/false\nbob:x:1001:1001::/home/bob:/bin/sh\n"));
    }

    #[test]
    fn an_id_is_looked_for_in_its_own_field() {
        // 5 is svc's group, not its uid.
        assert!(passwd_with(IMAGE, 5, b"games:x:5:60::/:/bin/false").is_some());
    }

    #[test]
    fn only_missing_groups_are_added() {
        let image = b"root:x:0:\nchem:x:2000:\n";
        let wanted = [
            (0, b"root:x:0:".to_vec()),
            (2000, b"c:x:2000:".to_vec()),
            (2001, b"gpu:x:2001:alice".to_vec()),
        ];
        assert_eq!(
            group_with(image, &wanted),
            Some(b"root:x:0:\nchem:x:2000:\ngpu:x:2001:alice\n".to_vec())
        );
        assert_eq!(group_with(image, &wanted[..2]), None);
    }

    #[test]
    fn a_line_cannot_bring_a_second_one() {
        let out = passwd_with(b"", 7, b"a:x:7:7::/:/x\nroot2:x:0:0::/:/x").unwrap();
        assert_eq!(out, b"a:x:7:7::/:/xroot2:x:0:0::/:/x\n");
    }
}
