//! Messages as people read them: one line, no control characters, no error
//! numbers.

/// Makes a text fit for a terminal: control characters become spaces, and the
/// " (os error 2)" that the standard library puts behind every message of the
/// kernel goes.
#[must_use]
pub fn for_people(text: &str) -> String {
    let mut rest = text;
    let mut out = String::with_capacity(text.len());
    while let Some((before, after)) = rest.split_once(" (os error ") {
        match after.split_once(')') {
            Some((number, tail)) if number.bytes().all(|b| b.is_ascii_digit()) => {
                out.push_str(before);
                rest = tail;
            }
            _ => {
                out.push_str(before);
                out.push_str(" (os error ");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_control_characters_go() {
        assert_eq!(
            for_people("a: No such file (os error 2); b (os error 13)"),
            "a: No such file; b"
        );
        assert_eq!(for_people("a (os error x) b"), "a (os error x) b");
        assert_eq!(for_people("a (os error 2"), "a (os error 2");
        assert_eq!(for_people("a\nb\x1b[1m"), "a b [1m");
    }
}
