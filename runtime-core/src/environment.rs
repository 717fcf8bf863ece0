//! The environment of a rank: what the image sets, what the job keeps.
//!
//! Computed once a node as a list of changes, because the job's variables that
//! differ between ranks (`SLURM_PROCID`, `PMI_FD` …) are never touched.
//!
//! Precedence: `OARLOCKENV_X` of the job, then what `--container-env` chooses from the
//! job, then the image, then the job; but Slurm's, the process managers' and the
//! devices' variables, and the user's own, always come from the job. Pure: no file and
//! no process is touched here.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// An environment longer than this cannot be passed to execve(2), in bytes.
pub const MAX_BYTES: u64 = 2 << 20;

/// What a shell has without any setting.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Beginnings of names that always come from the job.
const FROM_JOB_PREFIXES: &[&str] = &[
    "SLURM_",
    "SLURMD_",
    "SBATCH_",
    "SPANK_",
    "PMI_",
    "PMI2_",
    "PMIX_",
    "PALS_",
    "CUDA_VISIBLE",
    "ROCR_VISIBLE",
    "HIP_VISIBLE",
    "ZE_",
    "OMP_",
    "OARLOCK",
];

/// Names that always come from the job.
const FROM_JOB: &[&str] = &[
    "GPU_DEVICE_ORDINAL",
    "HOME",
    "USER",
    "LOGNAME",
    "PWD",
    "OLDPWD",
    "SHLVL",
    "_",
    "TERM",
    "HOSTNAME",
    "TMPDIR",
    "DISPLAY",
    "XAUTHORITY",
    "KRB5CCNAME",
    "SSH_AUTH_SOCK",
];

/// Locales that the C library has built in.
const BUILT_IN_LOCALES: &[&str] = &["C", "POSIX", "C.UTF-8", "C.utf8"];

/// Names whose value is a locale.
#[must_use]
pub fn is_locale_variable(name: &[u8]) -> bool {
    name == b"LANG" || name == b"LANGUAGE" || name.starts_with(b"LC_")
}

/// Whether a variable always comes from the job, whatever the image says.
#[must_use]
pub fn is_from_job(name: &[u8]) -> bool {
    FROM_JOB.iter().any(|n| n.as_bytes() == name)
        || FROM_JOB_PREFIXES
            .iter()
            .any(|p| name.starts_with(p.as_bytes()))
}

/// One change to the job's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Set, whatever it was.
    Set(OsString, OsString),
    /// Remove.
    Unset(OsString),
}

impl Change {
    /// The variable's name.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        match self {
            Self::Set(name, _) | Self::Unset(name) => name,
        }
    }
}

/// Splits `NAME=value`.
#[must_use]
pub fn split(entry: &OsStr) -> Option<(&[u8], &[u8])> {
    let bytes = entry.as_bytes();
    let equals = bytes.iter().position(|b| *b == b'=')?;
    Some((bytes.get(..equals)?, bytes.get(equals + 1..)?))
}

/// The changes that turn the job's environment into the container's.
///
/// `image` is what the image's own scripts or configuration export; `chosen` are the
/// names that the user wants from the job; `has_locale` answers whether the image
/// knows a locale by name.
pub fn changes(
    job: &[OsString],
    image: &[(OsString, OsString)],
    chosen: &[OsString],
    has_locale: impl Fn(&[u8]) -> bool,
) -> Vec<Change> {
    let own = |text: &[u8]| OsString::from_vec(text.to_vec());
    let in_image = |wanted: &str| {
        image
            .iter()
            .any(|(name, _)| name.as_bytes() == wanted.as_bytes())
    };
    // What is chosen and the job does not have, the image may still have.
    let is_chosen = |wanted: &[u8]| {
        chosen.iter().any(|name| name.as_bytes() == wanted)
            && job
                .iter()
                .filter_map(|entry| split(entry))
                .any(|(name, _)| name == wanted)
    };
    let mut list = Vec::new();
    for (name, value) in image {
        if !is_from_job(name.as_bytes()) && !is_chosen(name.as_bytes()) {
            list.push(Change::Set(name.clone(), value.clone()));
        }
    }
    if !in_image("PATH") && !is_chosen(b"PATH") {
        list.push(Change::Set("PATH".into(), DEFAULT_PATH.into()));
    }
    let mut forced = Vec::new();
    for (name, value) in job.iter().filter_map(|entry| split(entry)) {
        if let Some(name) = name.strip_prefix(b"OARLOCKENV_") {
            if !name.is_empty() {
                forced.push(Change::Set(own(name), own(value)));
            }
        } else if !in_image(&String::from_utf8_lossy(name))
            && !is_chosen(name)
            && is_dropped(name, value, &has_locale)
        {
            list.push(Change::Unset(own(name)));
        }
    }
    list.extend(forced);
    list
}

/// Who the rank is where it is root inside. Its home is the user's, where that is
/// shown: the files in it are root's then.
#[must_use]
pub fn of_root(home_is_shown: bool) -> Vec<Change> {
    let set = |name: &str, value: &str| Change::Set(name.into(), value.into());
    let mut list = vec![set("USER", "root"), set("LOGNAME", "root")];
    if !home_is_shown {
        list.push(set("HOME", "/root"));
    }
    list
}

/// Whether a variable of the job means nothing in the container: a path of the
/// host's libraries, or a locale that the image lacks.
fn is_dropped(name: &[u8], value: &[u8], has_locale: impl Fn(&[u8]) -> bool) -> bool {
    let is_known = |locale: &[u8]| {
        locale.is_empty()
            || BUILT_IN_LOCALES.iter().any(|l| l.as_bytes() == locale)
            || has_locale(locale)
    };
    name == b"LD_LIBRARY_PATH"
        || is_locale_variable(name) && !value.split(|b| *b == b':').all(is_known)
}

/// Changes as bytes: `+NAME=value` or `-NAME`, each ended by NUL.
#[must_use]
pub fn encode(changes: &[Change]) -> Vec<u8> {
    let mut out = Vec::new();
    for change in changes {
        match change {
            Change::Set(name, value) => {
                out.push(b'+');
                out.extend_from_slice(name.as_bytes());
                out.push(b'=');
                out.extend_from_slice(value.as_bytes());
            }
            Change::Unset(name) => {
                out.push(b'-');
                out.extend_from_slice(name.as_bytes());
            }
        }
        out.push(0);
    }
    out
}

/// In place of changes: there is no environment, for this reason.
#[must_use]
pub fn refusal(reason: &str) -> Vec<u8> {
    let mut out = vec![b'!'];
    out.extend(reason.bytes().filter(|b| *b != 0));
    out.push(0);
    out
}

/// The reason that [`refusal`] wrote, if it did.
#[must_use]
pub fn refused(bytes: &[u8]) -> Option<String> {
    let reason = bytes.strip_prefix(b"!")?.split(|b| *b == 0).next()?;
    Some(String::from_utf8_lossy(reason).into_owned())
}

/// Reads what [`encode`] wrote; anything else in it is passed over.
#[must_use]
pub fn decode(bytes: &[u8]) -> Vec<Change> {
    bytes
        .split(|b| *b == 0)
        .filter_map(|entry| {
            let (kind, rest) = entry.split_first()?;
            let text = OsStr::from_bytes(rest);
            match kind {
                b'+' => split(text)
                    .filter(|(name, _)| !name.is_empty())
                    .map(|(name, value)| {
                        Change::Set(
                            OsString::from_vec(name.to_vec()),
                            OsString::from_vec(value.to_vec()),
                        )
                    }),
                b'-' if !rest.is_empty() => Some(Change::Unset(text.to_owned())),
                _ => None,
            }
        })
        .collect()
}

/// Applies changes to a whole environment, for front ends that hold it as a list.
#[must_use]
pub fn apply(job: &[OsString], changes: &[Change]) -> Vec<OsString> {
    let mut out: Vec<OsString> = job
        .iter()
        .filter(|entry| {
            split(entry).is_some_and(|(name, _)| {
                !changes
                    .iter()
                    .any(|change| change.name().as_bytes() == name)
            })
        })
        .cloned()
        .collect();
    for (place, change) in changes.iter().enumerate() {
        let later = changes.get(place + 1..).unwrap_or_default();
        if later.iter().any(|other| other.name() == change.name()) {
            continue;
        }
        if let Change::Set(name, value) = change {
            let mut entry = name.clone();
            entry.push("=");
            entry.push(value);
            out.push(entry);
        }
    }
    out
}

/// Reads /etc/environment, where images that `enroot import` wrote keep what their
/// configuration sets: a line for each, the value as it is or in quotes.
#[must_use]
pub fn parse_environment_file(text: &[u8]) -> Vec<OsString> {
    text.split(|b| *b == b'\n')
        .filter_map(|line| {
            let equals = line.iter().position(|b| *b == b'=')?;
            let (name, value) = (line.get(..equals)?, line.get(equals + 1..)?);
            let is_name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
            if name.is_empty() || !name.iter().all(is_name) || value.contains(&0) {
                return None;
            }
            let quoted = |quote: u8| value.strip_prefix(&[quote])?.strip_suffix(&[quote]);
            let value = quoted(b'"').or_else(|| quoted(b'\'')).unwrap_or(value);
            Some(OsString::from_vec([name, b"=", value].concat()))
        })
        .collect()
}

/// Reads the output of a POSIX shell's `export -p`: lines of `export NAME=word`
/// (bash: `declare -x`), quoted so that a shell could read them back.
#[must_use]
pub fn parse_exports(text: &[u8]) -> Vec<(OsString, OsString)> {
    let mut out = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let body = rest
            .strip_prefix(b"export ")
            .or_else(|| rest.strip_prefix(b"declare -x "));
        let Some(body) = body else {
            rest = after_line(rest);
            continue;
        };
        let end = body
            .iter()
            .position(|b| *b == b'=' || *b == b'\n')
            .unwrap_or(body.len());
        let name = body.get(..end).unwrap_or_default();
        rest = body.get(end..).unwrap_or_default();
        // A name alone is exported but not set.
        if rest.first() != Some(&b'=') {
            rest = after_line(rest);
            continue;
        }
        let (value, tail) = unquote(rest.get(1..).unwrap_or_default());
        rest = tail;
        if !name.is_empty() && !value.contains(&0) {
            out.push((OsString::from_vec(name.to_vec()), OsString::from_vec(value)));
        }
    }
    out
}

fn after_line(text: &[u8]) -> &[u8] {
    let end = text
        .iter()
        .position(|b| *b == b'\n')
        .map_or(text.len(), |p| p + 1);
    text.get(end..).unwrap_or_default()
}

/// One shell word up to an unquoted newline; returns what follows that.
fn unquote(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut word = Vec::new();
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'\n' => break,
            b'\'' => {
                let end = rest.iter().position(|b| *b == b'\'').unwrap_or(rest.len());
                word.extend_from_slice(rest.get(..end).unwrap_or_default());
                rest = rest.get(end + 1..).unwrap_or_default();
            }
            b'"' => rest = double_quoted(rest, &mut word),
            b'$' if rest.first() == Some(&b'\'') => {
                rest = ansi_quoted(rest.get(1..).unwrap_or_default(), &mut word);
            }
            b'\\' => {
                if let Some((next, tail)) = rest.split_first() {
                    word.push(*next);
                    rest = tail;
                }
            }
            other => word.push(*other),
        }
    }
    (word, rest)
}

fn double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> &'a [u8] {
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match (first, rest.first()) {
            (b'"', _) => break,
            (b'\\', Some(next)) => {
                if !matches!(next, b'"' | b'\\' | b'$' | b'`' | b'\n') {
                    word.push(b'\\');
                }
                if *next != b'\n' {
                    word.push(*next);
                }
                rest = rest.get(1..).unwrap_or_default();
            }
            (other, _) => word.push(*other),
        }
    }
    rest
}

/// bash's `$'…'`, which it uses for control characters.
fn ansi_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> &'a [u8] {
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'\'' => break,
            b'\\' => {
                let Some((code, tail)) = rest.split_first() else {
                    break;
                };
                let octal = rest.get(..3).and_then(|digits| {
                    std::str::from_utf8(digits)
                        .ok()
                        .and_then(|d| u8::from_str_radix(d, 8).ok())
                });
                if let Some(byte) = octal {
                    word.push(byte);
                    rest = rest.get(3..).unwrap_or_default();
                    continue;
                }
                rest = tail;
                word.push(match code {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'a' => 7,
                    b'b' => 8,
                    b'f' => 12,
                    b'v' => 11,
                    b'e' | b'E' => 27,
                    other => *other,
                });
            }
            other => word.push(*other),
        }
    }
    rest
}

#[cfg(test)]
mod tests;
