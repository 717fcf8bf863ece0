//! Variables in a profile's values: `${NAME}`, `${NAME:-text}`, and `$$` for a
//! dollar sign.
//!
//! Nothing else follows a dollar sign, and a default holds no variables: a value
//! that means something in a shell and something else here is refused. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// No value is longer, in bytes, with its variables filled in.
pub const MAX_VALUE: usize = 64 << 10;

/// What is wrong with a value as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A dollar sign before something else than `{` and `$`.
    #[error("a \"$\" stands alone; write ${{NAME}} for a variable, $$ for a dollar sign")]
    Dollar,
    /// `${` without its end.
    #[error("\"${{\" without \"}}\"; the forms are ${{NAME}} and ${{NAME:-text}}")]
    Open,
    /// What stands in the braces is no variable.
    #[error("\"${{{0}}}\" names no variable; the forms are ${{NAME}} and ${{NAME:-text}}")]
    Name(String),
    /// A variable in a default.
    #[error("\"${{{0}}}\": a default may not hold a \"$\"")]
    Default(String),
}

/// Why a value cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// A variable that nobody has set.
    #[error("the variable {0} is not set; export it, or write ${{{0}:-}} where it may be missing")]
    Unset(String),
    /// The value would be longer than [`MAX_VALUE`].
    #[error("longer than {} KiB with its variables", MAX_VALUE >> 10)]
    TooLong,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable {
        name: String,
        default: Option<String>,
    },
}

/// A value with variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

impl Template {
    /// Reads a value as it is written.
    ///
    /// # Errors
    /// Any [`TemplateError`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            plain.push_str(before);
            if let Some(tail) = after.strip_prefix('$') {
                plain.push('$');
                rest = tail;
                continue;
            }
            let inside = after.strip_prefix('{').ok_or(TemplateError::Dollar)?;
            let (inside, tail) = inside.split_once('}').ok_or(TemplateError::Open)?;
            let (name, default) = match inside.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inside, None),
            };
            if !is_name(name) {
                return Err(TemplateError::Name(shown(inside)));
            }
            if default.is_some_and(|text| text.contains('$')) {
                return Err(TemplateError::Default(shown(inside)));
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Variable {
                name: name.to_owned(),
                default: default.map(str::to_owned),
            });
            rest = tail;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// Fills in the variables. As in a shell, a default stands for a variable that
    /// is not set or empty.
    ///
    /// # Errors
    /// Any [`FillError`].
    pub fn fill(&self, variable: Variables<'_>) -> Result<OsString, FillError> {
        let mut out = Vec::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Variable { name, default } => match (variable(name), default) {
                    (Some(value), None) => out.extend_from_slice(value.as_bytes()),
                    (Some(value), Some(_)) if !value.is_empty() => {
                        out.extend_from_slice(value.as_bytes());
                    }
                    (_, Some(default)) => out.extend_from_slice(default.as_bytes()),
                    (None, None) => return Err(FillError::Unset(name.clone())),
                },
            }
            if out.len() > MAX_VALUE {
                return Err(FillError::TooLong);
            }
        }
        Ok(OsString::from_vec(out))
    }
}

/// A part of a value in a message: short, and one line.
fn shown(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(80).collect()
}

/// Answers what a variable holds.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// A value that means itself, in the form that [`Template::parse`] reads.
#[must_use]
pub fn quote(value: &OsStr) -> String {
    value.to_string_lossy().replace('$', "$$")
}

/// Whether a shell would take it for a variable's name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|b| b == b'_' || b.is_ascii_alphabetic())
        && bytes.all(|b| b == b'_' || b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> Result<String, String> {
        let variable = |name: &str| match name {
            "A" => Some(OsString::from("one")),
            "EMPTY" => Some(OsString::new()),
            "DOLLAR" => Some(OsString::from("${A}")),
            "LONG" => Some("x".repeat(MAX_VALUE).into()),
            _ => None,
        };
        Template::parse(text)
            .map_err(|e| e.to_string())?
            .fill(&variable)
            .map(|value| value.into_string().unwrap())
            .map_err(|e| e.to_string())
    }

    #[test]
    fn values_are_filled_in() {
        for (text, wanted) in [
            ("", ""),
            ("plain", "plain"),
            ("${A}", "one"),
            ("/x/${A}/y/${A}", "/x/one/y/one"),
            ("${NONE:-}", ""),
            ("${NONE:-two}", "two"),
            ("${EMPTY}", ""),
            ("${EMPTY:-two}", "two"),
            ("${A:-two}", "one"),
            ("$${A}", "${A}"),
            ("$$$${A}", "$${A}"),
            ("$$${A}", "$one"),
            // What a variable holds is no template.
            ("${DOLLAR}", "${A}"),
            ("${NONE:-a:-b}", "a:-b"),
        ] {
            assert_eq!(filled(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_a_shell_would_take_otherwise_is_refused() {
        for (text, part) in [
            ("$A", "a \"$\" stands alone"),
            ("100$", "a \"$\" stands alone"),
            ("$(id)", "a \"$\" stands alone"),
            ("${A", "without \"}\""),
            ("${}", "\"${}\" names no variable"),
            ("${1}", "names no variable"),
            ("${A-x}", "\"${A-x}\" names no variable"),
            ("${A:=x}", "names no variable"),
            ("${A:-${B}}", "a default may not hold"),
            (
                "${NONE}",
                "the variable NONE is not set; export it, or write ${NONE:-}",
            ),
            ("${LONG}x", "longer than 64 KiB"),
        ] {
            let error = filled(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_quoted_value_means_itself(value in ".*") {
            let template = Template::parse(&quote(OsStr::new(&value))).unwrap();
            proptest::prop_assert_eq!(template.fill(&|_| None), Ok(OsString::from(value)));
        }
    }
}
