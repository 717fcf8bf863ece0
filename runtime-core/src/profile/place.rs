//! Where profiles are looked for by their names. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::expand::Variables;

/// The directories, in the order in which they are looked through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Places(pub Vec<PathBuf>);

impl Places {
    /// The user's directories, then the site's. The user's are those of
    /// `OARLOCK_PROFILE_PATH` or else of `EDF_PATH`, lists with colons, and without
    /// both `~/.config/oarlock/profiles` and `~/.edf`. Entries that are not absolute
    /// are passed over.
    #[must_use]
    pub fn new(variable: Variables<'_>, home: Option<&OsStr>, site: &[PathBuf]) -> Self {
        let list = ["OARLOCK_PROFILE_PATH", "EDF_PATH"]
            .into_iter()
            .find_map(|name| variable(name).filter(|value| !value.is_empty()));
        let home = variable("HOME").or_else(|| home.map(OsStr::to_owned));
        let users: Vec<PathBuf> = match (list, home) {
            (Some(list), _) => list
                .as_bytes()
                .split(|b| *b == b':')
                .map(|part| PathBuf::from(OsStr::from_bytes(part)))
                .collect(),
            (None, Some(home)) => [".config/oarlock/profiles", ".edf"]
                .map(|below| Path::new(&home).join(below))
                .into(),
            (None, None) => Vec::new(),
        };
        let all = users.into_iter().chain(site.iter().cloned());
        Self(all.filter(|path| path.is_absolute()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn the_users_come_before_the_sites() {
        let site = [PathBuf::from("/etc/p")];
        let places = |set: &[(&str, &str)], home: Option<&str>| {
            let variable = |name: &str| {
                let found = set.iter().find(|(n, _)| *n == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let places = Places::new(&variable, home.map(OsStr::new), &site);
            let texts: Vec<_> = places.0.iter().map(|p| p.display().to_string()).collect();
            texts.join(" ")
        };
        assert_eq!(
            places(&[("HOME", "/h")], Some("/passwd")),
            "/h/.config/oarlock/profiles /h/.edf /etc/p"
        );
        assert_eq!(
            places(&[], Some("/passwd")),
            "/passwd/.config/oarlock/profiles /passwd/.edf /etc/p"
        );
        assert_eq!(places(&[], None), "/etc/p");
        assert_eq!(
            places(&[("HOME", "/h"), ("EDF_PATH", "/a:b::/c")], None),
            "/a /c /etc/p"
        );
        assert_eq!(
            places(&[("EDF_PATH", "/a"), ("OARLOCK_PROFILE_PATH", "/b")], None),
            "/b /etc/p"
        );
        assert_eq!(
            places(&[("EDF_PATH", ""), ("HOME", "/h")], None),
            "/h/.config/oarlock/profiles /h/.edf /etc/p"
        );
    }
}
