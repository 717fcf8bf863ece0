//! The arguments of the plugstack.conf line: the admin's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use runtime_core::request::{Scope, parse_switch};

use crate::failure::Failure;

/// For the message about an unknown one.
const KNOWN: &str = "prepare=PATH, config=PATH, container_scope=global|job, execute_entrypoint=0|1 and sbatch_support=0|1";

/// What pyxis knows besides, and has no meaning here: there is nothing to unpack and
/// nothing to import. A site that replaces pyxis need not edit its line.
const OF_PYXIS: [&[u8]; 4] = [
    b"runtime_path=",
    b"use_enroot_load=",
    b"use_squashfuse=",
    b"importer=",
];

/// Where the parts of Oarlock lie, and what the site's defaults are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plugstack {
    /// The program `oarlock-prepare`.
    pub(crate) prepare: PathBuf,
    /// Beside it, what a rank goes through after its prologs.
    pub(crate) enter: PathBuf,
    /// Beside it, what lies over prologs that have run.
    pub(crate) nothing: PathBuf,
    /// The site's file.
    pub(crate) config: PathBuf,
    /// How long named containers live.
    pub(crate) scope: Scope,
    /// Whether an image's entry point runs where nobody says so.
    pub(crate) execute_entrypoint: bool,
    /// Whether sbatch and salloc have the options, and their scripts and shells run
    /// in a container.
    pub(crate) sbatch_support: bool,
}

impl Plugstack {
    /// Reads the arguments.
    ///
    /// # Errors
    /// Where one is unknown or its value is wrong.
    pub(crate) fn parse(arguments: &[OsString]) -> Result<Self, Failure> {
        let mut all = Self {
            prepare: PathBuf::from("/usr/libexec/oarlock/oarlock-prepare"),
            enter: PathBuf::new(),
            nothing: PathBuf::new(),
            config: PathBuf::from(runtime_core::CONFIG_PATH),
            scope: Scope::Global,
            execute_entrypoint: false,
            sbatch_support: true,
        };
        for argument in arguments {
            all.take(argument)?;
        }
        all.enter = all.prepare.with_file_name("oarlock-enter");
        all.nothing = all.prepare.with_file_name("oarlock-nothing");
        Ok(all)
    }

    fn take(&mut self, argument: &OsStr) -> Result<(), Failure> {
        let bytes = argument.as_bytes();
        let wrong = |problem: &str| {
            let argument = argument.to_string_lossy();
            Failure(format!(
                "plugstack.conf: argument \"{argument}\": {problem}"
            ))
        };
        let value = |name: &[u8]| bytes.strip_prefix(name).map(OsStr::from_bytes);
        let switch = |name: &'static str, value: &OsStr| {
            parse_switch(name, value)
                .map_err(|_| wrong("write 1, true, yes or y, or 0, false, no or n"))
        };
        if let Some(path) = value(b"prepare=") {
            self.prepare = PathBuf::from(path);
        } else if let Some(path) = value(b"config=") {
            self.config = PathBuf::from(path);
        } else if let Some(scope) = value(b"container_scope=") {
            self.scope = match scope.as_bytes() {
                b"global" => Scope::Global,
                b"job" => Scope::Job,
                _ => return Err(wrong("write global or job")),
            };
        } else if let Some(word) = value(b"execute_entrypoint=") {
            self.execute_entrypoint = switch("execute_entrypoint", word)?;
        } else if let Some(word) = value(b"sbatch_support=") {
            self.sbatch_support = switch("sbatch_support", word)?;
        } else if !OF_PYXIS.iter().any(|name| bytes.starts_with(name)) {
            let argument = argument.to_string_lossy();
            return Err(Failure(format!(
                "plugstack.conf: unknown argument \"{argument}\"; known are {KNOWN}"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Plugstack, Failure> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        Plugstack::parse(&arguments)
    }

    #[test]
    fn a_line_for_pyxis_is_understood() {
        let all = parse(&[
            "runtime_path=/run/pyxis",
            "use_enroot_load=1",
            "importer=/x",
            "use_squashfuse=1",
            "container_scope=job",
            "execute_entrypoint=yes",
            "sbatch_support=0",
        ]);
        let all = all.unwrap();
        assert_eq!(all.scope, Scope::Job);
        assert!(all.execute_entrypoint && !all.sbatch_support);
        let plain = parse(&[]).unwrap();
        assert_eq!(plain.scope, Scope::Global);
        assert!(!plain.execute_entrypoint && plain.sbatch_support);
    }

    #[test]
    fn what_is_unknown_is_an_error_that_names_the_known() {
        for (argument, part) in [
            (
                "scope=job",
                "unknown argument \"scope=job\"; known are prepare=PATH",
            ),
            ("container_scope=node", "write global or job"),
            ("sbatch_support=maybe", "write 1, true"),
        ] {
            let Failure(text) = parse(&[argument]).unwrap_err();
            assert!(text.contains(argument) && text.contains(part), "{text}");
        }
    }
}
