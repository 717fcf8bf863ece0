//! One profile's text, as TOML.
//!
//! Keys that are not known are errors that name their line and the known ones: a
//! misspelt key must not be a silently ignored one. Every value keeps its line, so
//! that what is found out later (a variable that is not set, a path that is none)
//! can name it too. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use super::expand::{self, Template, TemplateError};

/// No profile is longer, in bytes.
pub const MAX_BYTES: usize = 64 << 10;

/// No message about a profile quotes more of it, in characters.
const MAX_QUOTED: usize = 300;

/// What is wrong with a file, and in which line, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct FileError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: FileProblem,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{0}")]
    Syntax(String),
    /// A value with a dollar sign that is neither.
    #[error("{key}: {problem}")]
    Template {
        /// The key.
        key: String,
        /// What is wrong with the value.
        problem: TemplateError,
    },
    /// A name in `[env]` that no variable can have.
    #[error("env: \"{0}\" is no name of a variable")]
    Variable(String),
    /// A value in `[env]` that no variable can have.
    #[error("env.{0}: the value holds a NUL")]
    Nul(String),
    /// A value in `[annotations]` that is neither.
    #[error("annotations.{0}: give a string, a number, true or false")]
    Annotation(String),
    /// `devices`, which is not there yet.
    #[error(
        "devices: profiles cannot ask for devices yet; remove the key: a step's own GPUs are Slurm's to give (--gres)"
    )]
    Devices,
}

/// A value with the line that it was written in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written<T> {
    /// The value.
    pub value: T,
    /// Counted from 1.
    pub line: usize,
}

/// What one file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct File {
    /// `base_environment`: names or paths.
    pub bases: Vec<Written<Template>>,
    /// `image`.
    pub image: Option<Written<Template>>,
    /// `workdir`.
    pub workdir: Option<Written<Template>>,
    /// `entrypoint`.
    pub entrypoint: Option<bool>,
    /// `writable`.
    pub writable: Option<bool>,
    /// `mounts`.
    pub mounts: Vec<Written<Template>>,
    /// `[env]`: the values as they are written, with good templates.
    pub env: BTreeMap<String, String>,
    /// `[annotations]`, by their full names.
    pub annotations: BTreeMap<String, Written<Template>>,
}

/// The file as TOML has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    base_environment: Option<Bases>,
    image: Option<Spanned<String>>,
    workdir: Option<Spanned<String>>,
    entrypoint: Option<bool>,
    writable: Option<bool>,
    #[serde(default)]
    mounts: Vec<Spanned<String>>,
    #[serde(default)]
    env: BTreeMap<String, Spanned<String>>,
    annotations: Option<Spanned<toml::Table>>,
    devices: Option<Spanned<toml::Value>>,
}

/// One string or a list of them.
struct Bases(Vec<Spanned<String>>);

impl<'de> Deserialize<'de> for Bases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The span of a lone string is known where it is read as such: it is taken
        // from the outside.
        let whole = Spanned::<OneOrMany>::deserialize(deserializer)?;
        let span = whole.span();
        Ok(Self(match whole.into_inner() {
            OneOrMany::One(name) => vec![Spanned::new(span, name)],
            OneOrMany::Many(names) => names,
        }))
    }
}

enum OneOrMany {
    One(String),
    Many(Vec<Spanned<String>>),
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a profile, or a list of names")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany::One(name.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMany, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(OneOrMany::Many(names))
            }
        }
        deserializer.deserialize_any(Names)
    }
}

impl File {
    /// Reads a profile's text.
    ///
    /// # Errors
    /// [`FileError`] with the first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let raw: Raw = toml::from_str(text).map_err(|error| FileError {
            line: line_of(text, error.span().map_or(0, |span| span.start)),
            problem: FileProblem::Syntax(short(error.message())),
        })?;
        let at = |span: std::ops::Range<usize>| line_of(text, span.start);
        let template = |key: &str, value: Spanned<String>| {
            let line = at(value.span());
            match Template::parse(value.as_ref()) {
                Ok(value) => Ok(Written { value, line }),
                Err(problem) => Err(FileError {
                    line,
                    problem: FileProblem::Template {
                        key: short(key),
                        problem,
                    },
                }),
            }
        };
        let list = |key: &str, values: Vec<Spanned<String>>| {
            values
                .into_iter()
                .map(|value| template(key, value))
                .collect::<Result<Vec<_>, _>>()
        };
        let one = |key: &str, value: Option<Spanned<String>>| {
            value.map(|value| template(key, value)).transpose()
        };
        if let Some(devices) = raw.devices.filter(|asked| !is_empty(asked.as_ref())) {
            return Err(FileError {
                line: at(devices.span()),
                problem: FileProblem::Devices,
            });
        }
        let mut env = BTreeMap::new();
        for (name, value) in raw.env {
            let line = at(value.span());
            let wrong = |problem| FileError { line, problem };
            if !expand::is_name(&name) {
                return Err(wrong(FileProblem::Variable(short(&name))));
            }
            if value.as_ref().contains('\0') {
                return Err(wrong(FileProblem::Nul(short(&name))));
            }
            let value = value.into_inner();
            Template::parse(&value).map_err(|problem| {
                wrong(FileProblem::Template {
                    key: format!("env.{}", short(&name)),
                    problem,
                })
            })?;
            env.insert(name, value);
        }
        let mut annotations = BTreeMap::new();
        if let Some(table) = raw.annotations {
            let line = at(table.span());
            let mut texts = Vec::new();
            flatten("", table.into_inner(), &mut texts)
                .map_err(|problem| FileError { line, problem })?;
            for (name, value) in texts {
                let value = Template::parse(&value).map_err(|problem| FileError {
                    line,
                    problem: FileProblem::Template {
                        key: format!("annotations.{}", short(&name)),
                        problem,
                    },
                })?;
                annotations.insert(name, Written { value, line });
            }
        }
        Ok(Self {
            bases: list(
                "base_environment",
                raw.base_environment
                    .map(|bases| bases.0)
                    .unwrap_or_default(),
            )?,
            image: one("image", raw.image)?,
            workdir: one("workdir", raw.workdir)?,
            entrypoint: raw.entrypoint,
            writable: raw.writable,
            mounts: list("mounts", raw.mounts)?,
            env,
            annotations,
        })
    }
}

fn is_empty(value: &toml::Value) -> bool {
    match value {
        toml::Value::Array(list) => list.is_empty(),
        toml::Value::Table(table) => table.is_empty(),
        _ => false,
    }
}

/// `com.hooks.ssh.enabled` is a table in a table for TOML, and one name for OCI.
/// The depth is bounded by the TOML parser.
fn flatten(
    above: &str,
    table: toml::Table,
    out: &mut Vec<(String, String)>,
) -> Result<(), FileProblem> {
    for (key, value) in table {
        let name = match above {
            "" => key,
            above => format!("{above}.{key}"),
        };
        // Deep tables of long keys would make long names out of a short text.
        if name.len() > MAX_QUOTED {
            return Err(FileProblem::Annotation(short(&name)));
        }
        let text = match value {
            toml::Value::Table(inner) => {
                flatten(&name, inner, out)?;
                continue;
            }
            toml::Value::String(text) => text,
            toml::Value::Boolean(word) => word.to_string(),
            toml::Value::Integer(number) => number.to_string(),
            _ => return Err(FileProblem::Annotation(short(&name))),
        };
        out.push((name, text));
    }
    Ok(())
}

/// One short line, whatever the file holds.
fn short(text: &str) -> String {
    text.chars()
        .take(MAX_QUOTED)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read() {
        let file = File::parse(
            r#"
base_environment = ["a", "./b.toml"]
image = "/opt/${APP}.sif"
workdir = "/work"
entrypoint = true
writable = false
mounts = ["/a:/b", "/c:/d:ro"]
devices = []
[env]
OMP_NUM_THREADS = "4"
GONE = ""
[annotations]
com.hooks.cxi.enabled = "false"
[annotations.com.hooks.ssh]
enabled = true
port = 22
"#,
        )
        .unwrap();
        assert_eq!(file.bases.len(), 2);
        assert_eq!(file.image.map(|i| i.line), Some(3));
        assert_eq!(file.workdir.map(|i| i.line), Some(4));
        assert_eq!((file.entrypoint, file.writable), (Some(true), Some(false)));
        assert_eq!(file.mounts.len(), 2);
        assert_eq!(file.env["GONE"], "");
        let names: Vec<_> = file.annotations.keys().collect();
        assert_eq!(
            names,
            [
                "com.hooks.cxi.enabled",
                "com.hooks.ssh.enabled",
                "com.hooks.ssh.port"
            ]
        );
    }

    #[test]
    fn a_base_may_be_one_string() {
        let file = File::parse("\nbase_environment = \"a\"").unwrap();
        assert_eq!(file.bases.len(), 1);
        assert_eq!(file.bases[0].line, 2);
        assert!(File::parse("").unwrap().bases.is_empty());
    }

    #[test]
    fn what_is_wrong_names_its_line() {
        for (text, wanted) in [
            (
                "image = \"a\"\nimge = \"b\"",
                "line 2: unknown field `imge`, expected one of `base_environment`, `image`, `workdir`, `entrypoint`, `writable`, `mounts`, `env`, `annotations`, `devices`",
            ),
            (
                "\nimage = 1",
                "line 2: invalid type: integer `1`, expected a string",
            ),
            (
                "[env]\nA = 1",
                "line 2: invalid type: integer `1`, expected a string",
            ),
            (
                "writable = \"yes\"",
                "line 1: invalid type: string \"yes\", expected a boolean",
            ),
            (
                "\n\nbase_environment = 1",
                "line 3: invalid type: integer `1`, expected the name of a profile, or a list of names",
            ),
            (
                "image = \"$HOME/a.sif\"",
                "line 1: image: a \"$\" stands alone",
            ),
            ("[env]\nA = \"${A\"", "line 2: env.A: \"${\" without \"}\""),
            (
                "[env]\n\"A B\" = \"\"",
                "line 2: env: \"A B\" is no name of a variable",
            ),
            (
                "[env]\nA = \"\\u0000\"",
                "line 2: env.A: the value holds a NUL",
            ),
            (
                "[annotations]\na.b = [1]",
                "line 1: annotations.a.b: give a string",
            ),
            (
                "devices = [\"nvidia.com/gpu=all\"]",
                "line 1: devices: profiles cannot ask for devices yet",
            ),
            ("image = \"a\"\nimage = \"b\"", "line 2: duplicate key"),
            ("image", "line 1: "),
        ] {
            let error = File::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("annotations = {}1{}", "{a=".repeat(9000), "}".repeat(9000));
        assert!(File::parse(&deep).is_err());
        let deep = format!("image = {}{}", "[".repeat(30_000), "]".repeat(30_000));
        assert!(File::parse(&deep).is_err());
        let keys = vec!["k"; 5000].join(".");
        assert!(File::parse(&format!("annotations.{keys} = 1")).is_err());
    }
}
