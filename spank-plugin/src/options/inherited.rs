//! What the environment of a client asks for: options that sbatch or salloc were
//! given, and the user's own variables.
//!
//! Slurm hands an option on to a step by a variable, and gives the node no word on
//! where an option comes from. So that the command line wins on the node as well,
//! all that comes from the environment is put into one option of our own, before
//! Slurm looks: an option under its own name was typed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use runtime_core::request::{RequestError, parse_switch};

use super::known::{KNOWN, Key, Known, Sets};
use super::{OptionsError, Values};

/// Slurm's prefixes of the variables that hand on options: spank.c, `_opt_env_name`,
/// with the prefix of `spank_process_env_options`, for clients; and without it, for a
/// node, which salloc leaves in the environment of its steps.
const HANDED_ON: [&str; 2] = [
    "SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_",
    "_SLURM_SPANK_OPTION_oarlock_",
];

/// The user's own, the first of which wins.
const OWN: [&str; 2] = ["OARLOCK_CONTAINER_", "PYXIS_CONTAINER_"];

/// Between entries, as no value holds a control character.
const BETWEEN: u8 = 0x1f;

/// A client's environment, and the changes that are to be made to it.
pub(crate) trait Environment {
    fn get(&self, name: &str) -> Option<OsString>;
    fn set(&mut self, name: &str, value: &OsStr);
    fn remove(&mut self, name: &str);
}

/// The variables by which Slurm hands this option on.
pub(crate) fn handed_on(option: &Known) -> [String; 2] {
    let name: String = option
        .text
        .name
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    HANDED_ON.map(|prefix| format!("{prefix}{name}"))
}

/// Puts all that the environment asks for into our own option.
///
/// # Errors
/// Where a variable's value is wrong, naming the variable.
pub(crate) fn gather(environment: &mut impl Environment) -> Result<(), OptionsError> {
    let mut values = Values::default();
    let mut ours = None;
    let mut typed = Vec::new();
    for option in &KNOWN {
        let variables = handed_on(option);
        let value = variables.iter().find_map(|name| environment.get(name));
        for variable in &variables {
            environment.remove(variable);
        }
        let Some(value) = value else {
            continue;
        };
        match option.sets {
            Sets::Inherited => ours = Some(value),
            Sets::Value(key) => typed.push((key, value)),
            Sets::Word(key, word) => typed.push((key, word.into())),
        }
    }
    if let Some(list) = &ours {
        read(list, &mut values)?;
    }
    // What sbatch was told goes before what its own environment had said.
    for (key, value) in typed {
        values.set(key, value);
    }
    for key in Key::ALL {
        if values.get(key).is_none()
            && let Some((variable, value)) = own(environment, key)?
        {
            super::check(key, &value).map_err(|error| OptionsError::Variable {
                variable,
                error: Box::new(error),
            })?;
            values.set(key, value);
        }
    }
    let list = write(&values);
    if !list.is_empty() {
        for option in KNOWN.iter().filter(|o| o.sets == Sets::Inherited) {
            let [variable, _] = handed_on(option);
            environment.set(&variable, &list);
        }
    }
    Ok(())
}

/// The variables by which options were handed on to a job.
#[derive(Default)]
struct HandedOn(BTreeMap<String, OsString>);

impl Environment for HandedOn {
    fn get(&self, name: &str) -> Option<OsString> {
        self.0.get(name).cloned()
    }
    fn set(&mut self, name: &str, value: &OsStr) {
        self.0.insert(name.to_owned(), value.to_owned());
    }
    fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// What a job's environment holds of options that were handed on, as our own
/// option's value. A user's own variables are the client's matter and not looked at.
///
/// # Errors
/// Where such a variable is no list of ours.
pub(super) fn handed_on_to_job(job: &[OsString]) -> Result<Option<OsString>, OptionsError> {
    let mut found = HandedOn::default();
    for entry in job {
        let entry = entry.as_bytes();
        let mut sides = entry.splitn(2, |byte| *byte == b'=');
        let name = sides.next().and_then(|name| str::from_utf8(name).ok());
        if let (Some(name), Some(value)) = (name, sides.next())
            && HANDED_ON.iter().any(|prefix| name.starts_with(prefix))
        {
            found.set(name, OsStr::from_bytes(value));
        }
    }
    gather(&mut found)?;
    let ours = KNOWN.iter().find(|option| option.sets == Sets::Inherited);
    Ok(ours.and_then(|option| {
        let [variable, _] = handed_on(option);
        found.get(&variable)
    }))
}

/// The user's variable for a key, and its name.
fn own(
    environment: &impl Environment,
    key: Key,
) -> Result<Option<(String, OsString)>, OptionsError> {
    for prefix in OWN {
        let variable = format!("{prefix}{}", key.variable());
        if let Some(value) = environment.get(&variable).filter(|v| !v.is_empty()) {
            return Ok(Some((variable, value)));
        }
        if key == Key::Writable {
            let variable = format!("{prefix}READONLY");
            if let Some(value) = environment.get(&variable).filter(|v| !v.is_empty()) {
                let read_only = parse_switch("--container-readonly", &value).map_err(|error| {
                    OptionsError::Variable {
                        variable: variable.clone(),
                        error: Box::new(error.into()),
                    }
                })?;
                let word = if read_only { "no" } else { "yes" };
                return Ok(Some((variable, word.into())));
            }
        }
    }
    Ok(None)
}

/// `NAME=VALUE`, with [`BETWEEN`] between them.
fn write(values: &Values) -> OsString {
    let mut out = Vec::new();
    for key in Key::ALL {
        if let Some(value) = values.get(key) {
            if !out.is_empty() {
                out.push(BETWEEN);
            }
            out.extend_from_slice(key.variable().as_bytes());
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
        }
    }
    OsString::from_vec(out)
}

/// Reads what [`write()`] wrote, or somebody else made up.
///
/// # Errors
/// Where it is no such list; the values are checked by whoever uses them.
pub(super) fn read(list: &OsStr, values: &mut Values) -> Result<(), OptionsError> {
    for entry in list.as_bytes().split(|b| *b == BETWEEN) {
        let equals = entry.iter().position(|b| *b == b'=');
        let (name, value) = equals
            .and_then(|place| Some((entry.get(..place)?, entry.get(place + 1..)?)))
            .ok_or(RequestError::Control("container-inherited"))?;
        let key = Key::ALL
            .into_iter()
            .find(|key| key.variable().as_bytes() == name)
            .ok_or(RequestError::Control("container-inherited"))?;
        values.set(key, OsStr::from_bytes(value).to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(pairs: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let mut fake = HandedOn::default();
        for (name, value) in pairs {
            fake.set(name, OsStr::new(value));
        }
        gather(&mut fake).map_err(|e| e.to_string())?;
        let ours = fake.get("SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_container_inherited");
        let others = fake.0.keys().filter(|name| {
            HANDED_ON.iter().any(|prefix| name.starts_with(prefix)) && !name.ends_with("inherited")
        });
        assert_eq!(others.count(), 0, "Slurm would take them for typed");
        Ok(ours
            .map(|list| {
                list.to_str()
                    .unwrap()
                    .split('\x1f')
                    .map(str::to_owned)
                    .collect()
            })
            .unwrap_or_default())
    }

    #[test]
    fn ours_before_pyxis() {
        let seen = gathered(&[
            ("PYXIS_CONTAINER_IMAGE", "/p.sif"),
            ("OARLOCK_CONTAINER_IMAGE", "/o.sif"),
            ("PYXIS_CONTAINER_WORKDIR", "/w"),
        ]);
        assert_eq!(seen, Ok(vec!["IMAGE=/o.sif".into(), "WORKDIR=/w".into()]));
    }

    #[test]
    fn what_sbatch_was_told_before_variables() {
        let seen = gathered(&[
            (
                "SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_container_image",
                "/s.sif",
            ),
            (
                "SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_container_readonly",
                "(null)",
            ),
            ("_SLURM_SPANK_OPTION_oarlock_container_readonly", ""),
            ("OARLOCK_CONTAINER_IMAGE", "/o.sif"),
            ("OARLOCK_CONTAINER_WRITABLE", "1"),
        ]);
        assert_eq!(seen, Ok(vec!["IMAGE=/s.sif".into(), "WRITABLE=no".into()]));
    }

    #[test]
    fn what_is_handed_on_is_handed_on_again() {
        let seen = gathered(&[
            (
                "SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_container_inherited",
                "IMAGE=/a.sif\x1fWORKDIR=/w",
            ),
            (
                "SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_container_image",
                "/b.sif",
            ),
        ]);
        assert_eq!(seen, Ok(vec!["IMAGE=/b.sif".into(), "WORKDIR=/w".into()]));
    }

    #[test]
    fn a_wrong_variable_is_named() {
        let error = gathered(&[("PYXIS_CONTAINER_WRITABLE", "maybe")]).unwrap_err();
        assert!(error.starts_with("PYXIS_CONTAINER_WRITABLE: "), "{error}");
        let error = gathered(&[("OARLOCK_CONTAINER_READONLY", "maybe")]).unwrap_err();
        assert!(error.starts_with("OARLOCK_CONTAINER_READONLY: "), "{error}");
        assert_eq!(
            gathered(&[("PYXIS_CONTAINER_READONLY", "0")]),
            Ok(vec!["WRITABLE=yes".into()])
        );
    }

    #[test]
    fn a_jobs_environment_hands_on_options_and_nothing_else() {
        let job = |entries: &[&str]| {
            let entries: Vec<OsString> = entries.iter().map(OsString::from).collect();
            handed_on_to_job(&entries)
        };
        assert_eq!(job(&["A=1", "OARLOCK_CONTAINER_IMAGE=/o.sif"]), Ok(None));
        assert_eq!(
            job(&["SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_container_image=/s.sif"]),
            Ok(Some("IMAGE=/s.sif".into()))
        );
        assert!(job(&["SLURM_SPANK__SLURM_SPANK_OPTION_oarlock_container_inherited=x"]).is_err());
    }

    #[test]
    fn a_made_up_list_is_an_error() {
        for list in ["", "x", "NOTHING=1", "\x1f"] {
            let mut values = Values::default();
            assert!(read(OsStr::new(list), &mut values).is_err(), "{list:?}");
        }
    }
}
