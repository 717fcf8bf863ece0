//! How YAML becomes values, and that nothing does not end it in a line.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::{integer, read};
use crate::raw;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Sample {
    text: String,
    number: i64,
    small: Option<u32>,
    flag: bool,
    list: Vec<String>,
    map: BTreeMap<String, String>,
}

fn sample(text: &str) -> Sample {
    read(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_scalar_becomes_what_its_field_is() {
    for (written, text) in [
        ("0", "0"),
        ("1.10", "1.10"),
        ("true", "true"),
        ("'null'", "null"),
        ("\"a\\tb\"", "a\tb"),
        ("0000:3b:00.0", "0000:3b:00.0"),
        ("!!str 12", "12"),
        ("|\n  a\n  b\n", "a\nb\n"),
    ] {
        assert_eq!(sample(&format!("text: {written}")).text, text, "{written}");
    }
    for (written, number) in [
        ("195", 195),
        ("-3", -3),
        ("0660", 0o660),
        ("0x1f", 31),
        ("0o17", 15),
        ("+0", 0),
    ] {
        assert_eq!(
            sample(&format!("number: {written}")).number,
            number,
            "{written}"
        );
    }
    for wrong in [
        "1.5",
        "'1'",
        "1e3",
        "0689",
        "0x",
        "--1",
        "0x-1",
        "9223372036854775808",
        "true",
        "[1]",
    ] {
        assert!(
            read::<Sample>(&format!("number: {wrong}")).is_err(),
            "{wrong}"
        );
    }
    assert!(sample("flag: true").flag);
    assert!(read::<Sample>("flag: yes").is_err());
    assert_eq!(sample("small: ~").small, None);
    assert_eq!(sample("small: 7").small, Some(7));
    assert!(read::<Sample>("small: -7").is_err());
    for none in ["", "-", "+", "0o", "-0x"] {
        assert_eq!(integer(none), None, "{none}");
    }
}

#[test]
fn collections_are_read_in_both_styles() {
    let block = "---\nlist:\n- a\n- 'b'\nmap:\n  k: v\n  0: 1\ntext: x # why\n";
    let flow = "{list: [a, \"b\"], map: {k: v, 0: 1}, text: x}";
    assert_eq!(sample(block), sample(flow));
    assert_eq!(sample(block).list, ["a", "b"]);
    assert_eq!(sample("\u{feff}text: a\n...\n").text, "a");
}

#[test]
fn what_is_wrong_has_its_line() {
    let cases = [
        ("", 1, "empty"),
        ("# only this\n", 2, "empty"),
        ("text: a\nwrong: b\n", 2, "unknown field `wrong`"),
        ("text: a\ntext: b\n", 2, "duplicate field"),
        ("text: a\n\nlist: b\n", 3, "expected a sequence"),
        ("text: &x a\nlist: [*x]\n", 2, "aliases are not read"),
        ("text: a\n---\ntext: b\n", 2, "more than one document"),
        ("map: {<<: {a: b}}\n", 1, "invalid type: map"),
        ("text: [\n", 1, "expected a string"),
        ("? [a]\n: b\n", 1, "invalid type"),
        ("text: \"a\n", 1, "unexpected end"),
        ("text: a: b\n", 1, "mapping values"),
        ("text: *none\n", 1, "anchor"),
    ];
    for (text, line, part) in cases {
        let said = read::<Sample>(text).expect_err(text).to_string();
        assert!(
            said.starts_with(&format!("line {line}: ")),
            "{text:?}: {said}"
        );
        assert!(said.contains(part), "{text:?}: {said}");
        assert!(!said.contains('\n'), "{said:?}");
    }
}

#[test]
fn a_bomb_does_nothing() {
    let mut text = String::from("list:\n- &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..60 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("- &a{level} [{items}]\n"));
    }
    assert!(read::<Sample>(&text).is_err());
    // Nothing takes more than linear time in what is understood until it is refused.
    let long = 1 << 20;
    for text in [
        "[".repeat(long),
        "{".repeat(long),
        "? ".repeat(long),
        "- ".repeat(long),
        format!("text: {}", "[".repeat(long)),
        format!("text: {}", "a ".repeat(long)),
        format!("list: [{}]", "a,".repeat(long / 2)),
        format!("map: {{{}}}", "? ".repeat(long)),
        "&a ".repeat(long),
        "!".repeat(long),
        "#".repeat(long),
        "%TAG ! x\n".repeat(10_000),
        "\n".repeat(long),
        format!("text: \"{}", "\\n".repeat(long)),
    ] {
        let start = std::time::Instant::now();
        let _ = read::<Sample>(&text);
        assert!(start.elapsed().as_secs() < 20, "{}", &text[..20]);
    }
}

proptest! {
    #[test]
    fn texts_survive_quoting(text in "\\PC*") {
        let quoted = serde_json::to_string(&text).expect("JSON");
        prop_assert_eq!(sample(&format!("text: {quoted}")).text, text);
    }

    #[test]
    fn any_text_gives_a_value_or_a_line(text in "([-?:,\\[\\]{}#&*!|>'\"%@` \\n\\t\\\\]|[a-z0]|~|\u{85}|\u{feff}){0,60}") {
        if let Err(error) = read::<Sample>(&text) {
            prop_assert!(!error.to_string().chars().any(char::is_control));
        }
        let _ = read::<raw::Spec>(&text);
    }

    #[test]
    fn any_bytes_give_a_value_or_a_line(text in ".{0,200}") {
        let _ = read::<raw::Spec>(&text);
    }
}
