//! Lists of names as Slurm writes them: `node[1-3,07-09],login`; also the form of
//! `File=/dev/nvidia[0-3]` in gres.conf.
//!
//! Numbers keep the width of the first of their range, as Slurm has it. How many names
//! may come of a text is bounded by the caller; names keep their order and are not
//! made unique.

/// No number is longer: so many digits always fit 64 bits.
const MAX_DIGITS: usize = 18;

/// No name has more ranges in it: rack, chassis, blade, port.
const MAX_BRACKETS: usize = 4;

/// Why a list cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostlistError {
    /// A bracket without its other half, or within another, or one too many.
    #[error("\"{0}\": a bracket without its other half, or more than {MAX_BRACKETS} of them")]
    Bracket(String),
    /// What stands in brackets is no list of numbers and ranges.
    #[error("\"[{0}]\": not a list of numbers and ranges, as in [1-3,7]")]
    Range(String),
    /// More names than the caller wants.
    #[error("\"{text}\": more than {most} names")]
    TooMany {
        /// The list.
        text: String,
        /// The bound.
        most: usize,
    },
}

/// The names that a list stands for, at most so many.
///
/// # Errors
/// Any [`HostlistError`].
pub fn expand(text: &str, most: usize) -> Result<Vec<String>, HostlistError> {
    let mut names = Vec::new();
    for part in parts(text)? {
        let room = most - names.len();
        let more = expand_one(part, room).map_err(|error| match error {
            HostlistError::TooMany { .. } => HostlistError::TooMany {
                text: text.to_owned(),
                most,
            },
            other => other,
        })?;
        names.extend(more);
    }
    Ok(names)
}

/// Whether a name is in a list. A list that cannot be read has no names.
#[must_use]
pub fn contains(text: &str, name: &str) -> bool {
    parts(text).is_ok_and(|parts| parts.into_iter().any(|part| fits(part, name)))
}

/// Splits at the commas that are not in brackets; empty parts are left out.
fn parts(text: &str) -> Result<Vec<&str>, HostlistError> {
    let wrong = || HostlistError::Bracket(text.to_owned());
    let mut parts = Vec::new();
    let (mut from, mut inside) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            '[' if inside => return Err(wrong()),
            '[' => inside = true,
            ']' if !inside => return Err(wrong()),
            ']' => inside = false,
            ',' if !inside => {
                parts.push(text.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(wrong());
    }
    parts.push(text.get(from..).unwrap_or_default());
    let brackets = |part: &&str| part.matches('[').count();
    if parts.iter().map(brackets).any(|many| many > MAX_BRACKETS) {
        return Err(wrong());
    }
    Ok(parts
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect())
}

/// A range of numbers, written with at least so many digits.
#[derive(Debug, Clone, Copy)]
struct Range {
    low: u64,
    high: u64,
    width: usize,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let number = |digits: &str| {
            let plain = digits.len() <= MAX_DIGITS
                && !digits.is_empty()
                && digits.bytes().all(|b| b.is_ascii_digit());
            plain.then(|| digits.parse::<u64>().ok())?
        };
        let range = Self {
            low: number(low)?,
            high: number(high)?,
            width: low.len(),
        };
        (range.low <= range.high).then_some(range)
    }

    fn names(self) -> impl Iterator<Item = String> {
        let width = self.width;
        (self.low..=self.high).map(move |number| format!("{number:0width$}"))
    }

    fn has(self, digits: &str) -> bool {
        let whole = digits.len() <= MAX_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
        whole
            && digits.parse::<u64>().is_ok_and(|number| {
                let width = self.width;
                (self.low..=self.high).contains(&number) && format!("{number:0width$}") == digits
            })
    }
}

fn ranges(inside: &str) -> Result<Vec<Range>, HostlistError> {
    inside
        .split(',')
        .map(|one| Range::parse(one.trim()))
        .collect::<Option<_>>()
        .ok_or_else(|| HostlistError::Range(inside.to_owned()))
}

/// The text before the first bracket, what is in it, and what comes after.
fn first_bracket(part: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = part.split_once('[')?;
    let (inside, after) = rest.split_once(']')?;
    Some((before, inside, after))
}

fn expand_one(part: &str, most: usize) -> Result<Vec<String>, HostlistError> {
    let too_many = || HostlistError::TooMany {
        text: part.to_owned(),
        most,
    };
    let mut names = vec![String::new()];
    let mut rest = part;
    while let Some((before, inside, after)) = first_bracket(rest) {
        let ranges = ranges(inside)?;
        let mut longer = Vec::new();
        for name in &names {
            for number in ranges.iter().flat_map(|range| range.names()) {
                if longer.len() == most {
                    return Err(too_many());
                }
                longer.push(format!("{name}{before}{number}"));
            }
        }
        (names, rest) = (longer, after);
    }
    if names.len() > most {
        return Err(too_many());
    }
    for name in &mut names {
        name.push_str(rest);
    }
    Ok(names)
}

/// Without expanding: a list may stand for a whole machine's nodes.
fn fits(part: &str, name: &str) -> bool {
    let Some((before, inside, after)) = first_bracket(part) else {
        return part == name;
    };
    let Some(rest) = name.strip_prefix(before) else {
        return false;
    };
    let Ok(ranges) = ranges(inside) else {
        return false;
    };
    let digits = rest
        .bytes()
        .take_while(u8::is_ascii_digit)
        .count()
        .min(MAX_DIGITS);
    // What follows may begin with digits too: each length is a possible number.
    (1..=digits).any(|length| {
        let (number, left) = rest.split_at(length);
        ranges.iter().any(|range| range.has(number)) && fits(after, left)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_stand_for_names() {
        for (text, names) in [
            ("node1", vec!["node1"]),
            ("a,b", vec!["a", "b"]),
            ("", vec![]),
            ("a,,b,", vec!["a", "b"]),
            ("n[1-3]", vec!["n1", "n2", "n3"]),
            ("n[1-2,07-09]", vec!["n1", "n2", "n07", "n08", "n09"]),
            ("n[08-11]", vec!["n08", "n09", "n10", "n11"]),
            ("n[1-2]-ib,login", vec!["n1-ib", "n2-ib", "login"]),
            ("r[0-1]n[1-2]", vec!["r0n1", "r0n2", "r1n1", "r1n2"]),
            ("/dev/nvidia[0,2]", vec!["/dev/nvidia0", "/dev/nvidia2"]),
            ("n[5]", vec!["n5"]),
            ("n[9-10]", vec!["n9", "n10"]),
        ] {
            assert_eq!(expand(text, 100).unwrap(), names, "{text}");
            for name in names {
                assert!(contains(text, name), "{name} in {text}");
            }
        }
    }

    #[test]
    fn names_that_are_not_in_a_list() {
        for (text, name) in [
            ("n[1-3]", "n4"),
            ("n[1-3]", "n01"),
            ("n[01-03]", "n1"),
            ("n[1-3]", "n"),
            ("n[1-3]", "n1x"),
            ("n1", "n10"),
            ("n[1", "n1"),
            ("n[a]", "na"),
            ("", ""),
            ("n[1-2]1", "n1"),
        ] {
            assert!(!contains(text, name), "{name} in {text}");
        }
        assert!(contains("n[1-12]1", "n111") && contains("n[1-12]1", "n11"));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        let bracket = |text: &str| Err(HostlistError::Bracket(text.to_owned()));
        let range = |text: &str| Err(HostlistError::Range(text.to_owned()));
        for (text, wanted) in [
            ("n[1-3", bracket("n[1-3")),
            ("n1]", bracket("n1]")),
            ("n[[1]]", bracket("n[[1]]")),
            ("[1][1][1][1][1]", bracket("[1][1][1][1][1]")),
            ("n[]", range("")),
            ("n[3-1]", range("3-1")),
            ("n[a-b]", range("a-b")),
            ("n[1-2-3]", range("1-2-3")),
            ("n[+1]", range("+1")),
            ("n[1234567890123456789]", range("1234567890123456789")),
        ] {
            assert_eq!(expand(text, 100), wanted, "{text}");
        }
    }

    #[test]
    fn a_list_is_bounded_and_no_memory_is_taken_for_it() {
        let huge = "n[0-999999999999999999]";
        for text in [huge, "a[1-60]b[1-60]", "n[1-50],m[1-51]", "a,b[1-100]"] {
            let error = expand(text, 100).unwrap_err();
            assert_eq!(
                error,
                HostlistError::TooMany {
                    text: text.to_owned(),
                    most: 100
                }
            );
        }
        assert_eq!(expand("n[1-50],m[1-50]", 100).unwrap().len(), 100);
        assert!(expand("a", 0).is_err() && expand("", 0).unwrap().is_empty());
        assert!(contains(huge, "n123456789"));
    }

    proptest! {
        #[test]
        fn any_text_ends(text in "[an0-9,\\[\\]-]{0,60}") {
            if let Ok(names) = expand(&text, 1000) {
                prop_assert!(names.len() <= 1000);
                for name in names {
                    prop_assert!(contains(&text, &name), "{} in {}", name, text);
                }
            }
        }

        #[test]
        fn numbers_keep_their_width(low in 0_u64..500, count in 0_u64..50, width in 1_usize..6) {
            let text = format!("n[{low:0width$}-{}]", low + count);
            let names = expand(&text, 100).unwrap();
            prop_assert_eq!(names.len() as u64, count + 1);
            let width = format!("{low:0width$}").len();
            for (name, number) in names.iter().zip(low..) {
                prop_assert_eq!(name, &format!("n{number:0width$}"));
            }
        }
    }
}
