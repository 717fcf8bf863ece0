//! Makes a step fail on a node that has no plugin.
//!
//! There Slurm passes over the options, in every version: it logs "option not
//! found" where no user reads it, and runs the program on the host. Nothing of
//! ours runs on that node, so the clients send something along that only this
//! plugin takes away again: a limit of no address space. Slurm sets it in the task
//! as its last act (`SLURM_RLIMIT_*`, ulimits.c; the `U` says that the user asked
//! for it, whatever the site propagates), and `execve` fails for any program. Words
//! for the user come out of Slurm, too: it names a `TMPDIR` that it cannot make.
//!
//! `SLURM_` in front of a variable's name makes it pass through every form of
//! `--export`. It must never change a step of a job that asked for no container.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::environment::{Change, split};

/// Slurm's variable for the limit, and the value that no program survives.
const LIMIT: &str = "SLURM_RLIMIT_AS";
const NOTHING: &str = "U0";
/// What slurmstepd names in the job's output: "Unable to create TMPDIR […]". No
/// such directory can be made, for there is no `/oarlock: …` to make it in.
const WORDS: &str = "/oarlock: this node has no plugin spank_oarlock.so/so there is no container, and nothing may run; tell the administrators";
const TMPDIR: &str = "TMPDIR";
/// The limit that the job would have had.
const KEPT_LIMIT: &str = "SLURM_OARLOCK_LIMIT";
/// The TMPDIR that the job would have had.
const KEPT_TMPDIR: &str = "SLURM_OARLOCK_TMPDIR";

/// What a client adds to its own environment, which its job gets.
#[derive(Debug, PartialEq, Eq)]
pub struct Arms {
    /// Variables to set.
    pub set: Vec<(&'static str, OsString)>,
    /// This one has to stay in force although the client itself sets the variable
    /// of this name afterwards, for the limits that the site propagates.
    pub lasting: (&'static str, &'static str),
}

/// What a client adds for a step or batch job that asks for a container; nothing
/// where it has done so. `limit` is the client's own soft limit of address space, in
/// bytes; `look` reads its environment.
#[must_use]
pub fn arm(limit: u64, look: impl Fn(&str) -> Option<OsString>) -> Option<Arms> {
    if look(KEPT_LIMIT).is_some() {
        return None;
    }
    let mut set = vec![
        (KEPT_LIMIT, OsString::from(limit.to_string())),
        (LIMIT, OsString::from(NOTHING)),
        (TMPDIR, OsString::from(WORDS)),
    ];
    if let Some(tmpdir) = look(TMPDIR) {
        set.push((KEPT_TMPDIR, tmpdir));
    }
    Some(Arms {
        set,
        lasting: (LIMIT, NOTHING),
    })
}

/// On a node that has the plugin: what makes the job's environment the one that it
/// would have been. `None` where no client asked for a container.
#[must_use]
pub fn disarm(environment: &[OsString]) -> Option<Vec<Change>> {
    let look = |wanted: &str| {
        let mut all = environment.iter().filter_map(|entry| split(entry));
        all.find_map(|(name, value)| (name == wanted.as_bytes()).then_some(value))
    };
    let set =
        |name: &str, value: &[u8]| Change::Set(name.into(), OsStr::from_bytes(value).to_owned());
    let limit = look(KEPT_LIMIT)?;
    let mut changes = vec![
        Change::Unset(KEPT_LIMIT.into()),
        Change::Unset(KEPT_TMPDIR.into()),
        // Without the U: slurmstepd takes it where the site propagates this limit.
        set(LIMIT, limit),
    ];
    if look(TMPDIR) == Some(WORDS.as_bytes()) {
        changes.push(match look(KEPT_TMPDIR) {
            Some(tmpdir) => set(TMPDIR, tmpdir),
            None => Change::Unset(TMPDIR.into()),
        });
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::Change;
    use super::{KEPT_LIMIT, KEPT_TMPDIR, LIMIT, TMPDIR, WORDS, arm, disarm};

    /// The job's environment after a client has armed it.
    fn armed(tmpdir: Option<&str>) -> Vec<OsString> {
        let own = |name: &str| (name == TMPDIR).then(|| tmpdir.map(OsString::from))?;
        let arms = arm(77, own).expect("armed");
        let mut environment = vec![OsString::from("SLURM_JOB_ID=1")];
        for (name, value) in arms.set {
            let mut entry = OsString::from(format!("{name}="));
            entry.push(value);
            environment.push(entry);
        }
        environment
    }

    #[test]
    fn what_is_armed_is_disarmed() {
        assert_eq!(
            disarm(&armed(Some("/scratch"))),
            Some(vec![
                Change::Unset(KEPT_LIMIT.into()),
                Change::Unset(KEPT_TMPDIR.into()),
                Change::Set(LIMIT.into(), "77".into()),
                Change::Set(TMPDIR.into(), "/scratch".into()),
            ])
        );
        let without = disarm(&armed(None)).expect("armed");
        assert_eq!(without.last(), Some(&Change::Unset(TMPDIR.into())));
    }

    /// As a TMPDIR of `--export=TMPDIR=…` would be.
    #[test]
    fn a_variable_of_the_users_is_left_alone() {
        let environment = [
            OsString::from(format!("{KEPT_LIMIT}=5")),
            OsString::from("TMPDIR=/mine"),
        ];
        let changes = disarm(&environment).expect("armed");
        assert!(!changes.iter().any(|change| matches!(
            change,
            Change::Set(name, _) | Change::Unset(name) if name == TMPDIR
        )));
    }

    #[test]
    fn a_job_without_a_container_is_left_alone() {
        assert_eq!(
            disarm(&["TMPDIR=/mine".into(), "SLURM_RLIMIT_AS=9".into()]),
            None
        );
    }

    #[test]
    fn twice_is_once() {
        assert_eq!(
            arm(1, |name| (name == KEPT_LIMIT).then(|| "1".into())),
            None
        );
    }

    /// The kernel's bound for a name, and Slurm's for a line of its log.
    #[test]
    fn slurm_can_name_it() {
        assert!(WORDS.split('/').all(|part| part.len() < 255));
        assert!(!WORDS.contains(['\n', '=', '%']));
    }
}
