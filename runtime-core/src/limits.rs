//! The job's resource limits, for what is run in its name before and after its ranks.
//!
//! Slurm hands them on as variables and sets them in a task as its last act
//! (`SLURM_RLIMIT_*`, ulimits.c): until then a task has slurmd's own. A value with a
//! `U` before it was asked for by the user.

use std::ffi::{OsStr, OsString};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::environment::split;

const PREFIX: &[u8] = b"SLURM_RLIMIT_";

/// Slurm's word for no limit, as `RLIM_INFINITY`.
const NONE: u64 = u64::MAX;

/// A soft limit; `None` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    resource: Resource,
    value: Option<u64>,
}

/// The limits in a job's environment, in its order; what is no number is passed over.
#[must_use]
pub fn of_job(environment: &[OsString]) -> Vec<Limit> {
    let limit = |entry: &OsString| {
        let (name, value) = split(entry)?;
        let resource = resource(name.strip_prefix(PREFIX)?)?;
        let value = value.strip_prefix(b"U").unwrap_or(value);
        let number: u64 = OsStr::to_str(std::os::unix::ffi::OsStrExt::from_bytes(value))?
            .parse()
            .ok()?;
        let value = (number != NONE).then_some(number);
        Some(Limit { resource, value })
    };
    environment.iter().filter_map(limit).collect()
}

/// A soft and a hard limit; `None` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// What is in force.
    pub soft: Option<u64>,
    /// How far the process may raise it.
    pub hard: Option<u64>,
}

/// How much memory this process may lock, in bytes, getrlimit(2).
#[must_use]
pub fn memlock_now() -> Bounds {
    let now = getrlimit(Resource::Memlock);
    Bounds {
        soft: now.current,
        hard: now.maximum,
    }
}

/// How much memory a task may lock, in bytes, once Slurm has set the job's limits; `now`
/// is what slurmstepd has.
#[must_use]
pub fn memlock(environment: &[OsString], now: Bounds) -> Bounds {
    let limits = of_job(environment);
    let said = limits
        .iter()
        .rfind(|limit| limit.resource == Resource::Memlock);
    let soft = said.map_or(now.soft, |limit| bounded(limit.value, now.hard));
    Bounds { soft, ..now }
}

/// A soft limit, as far as the hard one goes.
fn bounded(wanted: Option<u64>, hard: Option<u64>) -> Option<u64> {
    match (wanted, hard) {
        (Some(wanted), Some(most)) => Some(wanted.min(most)),
        (Some(wanted), None) => Some(wanted),
        (None, most) => most,
    }
}

fn resource(name: &[u8]) -> Option<Resource> {
    Some(match name {
        b"CPU" => Resource::Cpu,
        b"FSIZE" => Resource::Fsize,
        b"DATA" => Resource::Data,
        b"STACK" => Resource::Stack,
        b"CORE" => Resource::Core,
        b"RSS" => Resource::Rss,
        b"NPROC" => Resource::Nproc,
        b"NOFILE" => Resource::Nofile,
        b"MEMLOCK" => Resource::Memlock,
        b"AS" => Resource::As,
        _ => return None,
    })
}

/// Makes them this process' own, as far as its hard limits go. One that cannot be set
/// is not, as with Slurm.
pub fn apply(limits: &[Limit]) {
    for limit in limits {
        let mut now = getrlimit(limit.resource);
        now.current = bounded(limit.value, now.maximum);
        let _ = setrlimit(limit.resource, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read() {
        let environment = [
            "SLURM_RLIMIT_CORE=0",
            "SLURM_RLIMIT_NOFILE=U1024",
            "SLURM_RLIMIT_AS=18446744073709551615",
            "SLURM_RLIMIT_STACK=much",
            "SLURM_RLIMIT_NICE=1",
            "RLIMIT_CPU=1",
        ]
        .map(OsString::from);
        let limit = |resource, value| Limit { resource, value };
        assert_eq!(
            of_job(&environment),
            [
                limit(Resource::Core, Some(0)),
                limit(Resource::Nofile, Some(1024)),
                limit(Resource::As, None),
            ]
        );
    }

    #[test]
    fn a_limit_is_set_and_bounded_by_the_hard_one() {
        // In a thread they would be the process' too: lowered, and put back.
        let before = getrlimit(Resource::Core);
        let core = |value| Limit {
            resource: Resource::Core,
            value,
        };
        apply(&[core(Some(4096.min(before.maximum.unwrap_or(4096))))]);
        let expected = 4096.min(before.maximum.unwrap_or(4096));
        assert_eq!(getrlimit(Resource::Core).current, Some(expected));
        apply(&[core(None)]);
        assert_eq!(getrlimit(Resource::Core).current, before.maximum);
        setrlimit(Resource::Core, before).unwrap();
    }
}
