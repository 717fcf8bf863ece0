//! `passwd` and `group` that know the user: the image's own lines, and the
//! user's where they are missing.
//!
//! Text in, text out; both files are the user's to write (they come from the
//! image), so this runs in the unprivileged half.

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
