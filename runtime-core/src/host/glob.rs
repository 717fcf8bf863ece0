//! Whether a name fits a pattern, glob(7). Bytes in, an answer out; no file is looked at.

/// Whether a name fits a pattern, glob(7). In time of the product of their lengths.
pub(super) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut rest, mut text) = (pattern, name);
    // Where to go on when the last star has to take one byte more.
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        let step = match (rest.split_first(), text.split_first()) {
            (None, None) => return true,
            (Some((b'*', after)), _) => {
                again = Some((after, text));
                rest = after;
                continue;
            }
            (Some(_), Some((byte, after))) => one(rest, *byte).map(|left| (left, after)),
            _ => None,
        };
        match (step, again) {
            (Some((left, after)), _) => (rest, text) = (left, after),
            (None, Some((star, from))) => {
                let Some((_, later)) = from.split_first() else {
                    return false;
                };
                again = Some((star, later));
                (rest, text) = (star, later);
            }
            (None, None) => return false,
        }
    }
}

/// Takes what stands for one byte from a pattern: what is left, where it fits.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (first, after) = pattern.split_first()?;
    if *first == b'?' {
        return Some(after);
    }
    let close = after
        .iter()
        .skip(1)
        .position(|b| *b == b']')
        .map(|at| at + 1);
    let (b'[', Some(close)) = (*first, close) else {
        return (*first == byte).then_some(after);
    };
    let set = after.get(..close)?;
    let (inverted, set) = match set.split_first() {
        Some((b'!' | b'^', rest)) if !rest.is_empty() => (true, rest),
        _ => (false, set),
    };
    let mut inside = false;
    let mut left = set;
    while let Some((low, more)) = left.split_first() {
        match more {
            [b'-', high, behind @ ..] => {
                inside |= (*low..=*high).contains(&byte);
                left = behind;
            }
            _ => {
                inside |= *low == byte;
                left = more;
            }
        }
    }
    (inside != inverted).then(|| after.get(close + 1..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_fit_patterns() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcd", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[a", "[a", true),
            ("?", "", false),
            ("**b", "aab", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                fits,
                "{pattern} {name}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_pattern_ends(pattern in "[ab*?\\[\\]!-]{0,40}", name in "[ab]{0,40}") {
            let _ = matches(pattern.as_bytes(), name.as_bytes());
        }

        #[test]
        fn a_star_takes_all(name in "[a-z]{0,20}", cut in 0_usize..20) {
            let cut = cut.min(name.len());
            let pattern = format!("{}*", &name[..cut]);
            prop_assert!(matches(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
