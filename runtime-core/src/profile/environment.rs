//! A profile's `[env]` over the environment that a rank would have without it.
//!
//! Its variables are those of that environment: `PATH = "/x:${PATH}"` is about the
//! image's programs. It is worked out where the image's environment is known, by a
//! process of the user's. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::expand::{FillError, Template, TemplateError};
use crate::environment::{Change, MAX_BYTES, split};

/// Why there is no environment: one line for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// A variable that is set nowhere.
    #[error(
        "profile: env.{name}: the variable {missing} is set neither in the job nor in the image; write ${{{missing}:-}} where it may be missing"
    )]
    Unset {
        /// The variable that is to be set.
        name: String,
        /// The variable that its value names.
        missing: String,
    },
    /// A value that cannot be filled in.
    #[error("profile: env.{name}: {error}")]
    Fill {
        /// The variable that is to be set.
        name: String,
        /// What is wrong.
        error: FillError,
    },
    /// A value that is no template, though one was checked.
    #[error("profile: env.{name}: {error}")]
    Template {
        /// The variable that is to be set.
        name: String,
        /// What is wrong.
        error: TemplateError,
    },
    /// No program could be started with it.
    #[error("profile: [env] is longer than {} MiB with its variables", MAX_BYTES >> 20)]
    TooLong,
}

/// The changes to the job's environment, with those of `[env]` after them. A variable
/// that was chosen elsewhere stays as it is: by `OARLOCKENV_NAME`, or by an option,
/// which `is_chosen` knows.
///
/// # Errors
/// Any [`EnvironmentError`].
pub fn over(
    mut changes: Vec<Change>,
    job: &[OsString],
    env: &[(String, String)],
    is_chosen: impl Fn(&str) -> bool,
) -> Result<Vec<Change>, EnvironmentError> {
    let in_job = |name: &[u8]| {
        let found = job.iter().find_map(|entry| {
            let (own, value) = split(entry)?;
            (own == name).then_some(value)
        });
        found.map(|value| OsString::from_vec(value.to_vec()))
    };
    let mut added = Vec::new();
    let mut length = 0;
    for (name, text) in env {
        if is_chosen(name) || in_job(format!("OARLOCKENV_{name}").as_bytes()).is_some() {
            continue;
        }
        let known = |wanted: &str| match last(&changes, wanted) {
            Some(Change::Set(_, value)) => Some(value.clone()),
            Some(Change::Unset(_)) => None,
            None => in_job(wanted.as_bytes()),
        };
        let template = Template::parse(text).map_err(|error| EnvironmentError::Template {
            name: name.clone(),
            error,
        })?;
        let value = template.fill(&known).map_err(|error| match error {
            FillError::Unset(missing) => EnvironmentError::Unset {
                name: name.clone(),
                missing,
            },
            error @ FillError::TooLong => EnvironmentError::Fill {
                name: name.clone(),
                error,
            },
        })?;
        length += (name.len() + value.len()) as u64;
        if length > MAX_BYTES {
            return Err(EnvironmentError::TooLong);
        }
        added.push(if value.is_empty() {
            Change::Unset(name.into())
        } else {
            Change::Set(name.into(), value)
        });
    }
    changes.extend(added);
    Ok(changes)
}

/// The last word on a variable.
fn last<'a>(changes: &'a [Change], wanted: &str) -> Option<&'a Change> {
    changes.iter().rev().find(|change| {
        let (Change::Set(name, _) | Change::Unset(name)) = change;
        OsStr::as_bytes(name) == wanted.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::{apply, changes};

    fn result(env: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let job: Vec<OsString> = [
            "PATH=/host",
            "LD_LIBRARY_PATH=/host",
            "A=job",
            "OARLOCKENV_B=user",
            "SLURM_JOB_ID=7",
        ]
        .map(OsString::from)
        .into();
        let image = [("PATH".into(), "/img".into()), ("I".into(), "image".into())];
        let env: Vec<_> = env
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
        let list = over(changes(&job, &image, &[], |_| false), &job, &env, |name| {
            name == "K"
        })
        .map_err(|e| e.to_string())?;
        let mut all: Vec<String> = apply(&job, &list)
            .into_iter()
            .map(|entry| entry.into_string().unwrap())
            .filter(|entry| !entry.starts_with("OARLOCKENV_"))
            .collect();
        all.sort();
        Ok(all)
    }

    #[test]
    fn the_profile_is_over_image_and_job() {
        assert_eq!(
            result(&[
                ("PATH", "/x:${PATH}"),
                ("A", "${A}-${I}"),
                ("I", ""),
                // Chosen by OARLOCKENV_B, and by an option.
                ("B", "profile"),
                ("K", "profile"),
                ("N", "${LD_LIBRARY_PATH:-none}"),
                ("S", "${SLURM_JOB_ID}"),
                ("E", "${NONE:-}"),
                ("D", "$$"),
            ]),
            Ok([
                "A=job-image",
                "B=user",
                "D=$",
                "N=none",
                "PATH=/x:/img",
                "S=7",
                "SLURM_JOB_ID=7"
            ]
            .map(String::from)
            .into())
        );
    }

    #[test]
    fn what_is_set_nowhere_is_told() {
        assert_eq!(
            result(&[("A", "${NONE}")]),
            Err("profile: env.A: the variable NONE is set neither in the job nor in the image; write ${NONE:-} where it may be missing".to_owned())
        );
        // Entries do not see each other.
        assert!(result(&[("X", "1"), ("Y", "${X}")]).is_err());
        assert!(result(&[("LD_LIBRARY_PATH", "/x:${LD_LIBRARY_PATH}")]).is_err());
    }
}
