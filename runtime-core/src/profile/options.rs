//! A profile and the options beside it, as one: what was typed counts. Pure.

use super::Profile;
use crate::request::{Options, UserMount};

impl Profile {
    /// The options with this profile below them: key by key the option wins, and of
    /// two mounts at one place the option's.
    #[must_use]
    pub fn below(self, options: &Options) -> Options {
        let is_free = |mount: &UserMount| {
            let mut typed = options.mounts.iter();
            !typed.any(|other| other.target == mount.target)
        };
        let mut mounts: Vec<UserMount> = self.mounts.into_iter().map(|m| m.mount).collect();
        mounts.retain(is_free);
        mounts.extend(options.mounts.iter().cloned());
        Options {
            image: options.image.clone().or(self.image),
            mounts,
            workdir: options.workdir.clone().or(self.workdir),
            entrypoint: options.entrypoint.or(self.entrypoint),
            writable: options.writable.or(self.writable),
            set: self.env.into_iter().collect(),
            annotations: self.annotations.into_iter().collect(),
            ..options.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;
    use crate::profile::ProfileMount;
    use crate::request::{ImageName, parse_workdir};

    #[test]
    fn the_command_line_wins_key_by_key() {
        let os = OsStr::new;
        let profile = Profile {
            image: ImageName::parse(os("/p.sif")).ok(),
            workdir: parse_workdir(os("/p")).ok(),
            entrypoint: Some(true),
            writable: Some(true),
            mounts: ["/1:/one", "/2:/two"]
                .map(|text| ProfileMount::parse(os(text)).unwrap())
                .into(),
            env: [("A".to_owned(), "1".to_owned())].into(),
            ..Profile::default()
        };
        let none = profile.clone().below(&Options::default());
        assert_eq!(none.image, profile.image);
        assert_eq!(none.workdir, profile.workdir);
        assert_eq!((none.entrypoint, none.writable), (Some(true), Some(true)));
        assert_eq!(none.set, [("A".to_owned(), "1".to_owned())]);
        let typed = Options {
            image: ImageName::parse(os("/o.sif")).ok(),
            workdir: parse_workdir(os("/o")).ok(),
            writable: Some(false),
            mounts: UserMount::parse_list(os("/3:/two,/4:/four")).unwrap(),
            ..Options::default()
        };
        let both = profile.below(&typed);
        assert_eq!(both.image, typed.image);
        assert_eq!(both.workdir, typed.workdir);
        assert_eq!((both.entrypoint, both.writable), (Some(true), Some(false)));
        let shown: Vec<_> = both
            .mounts
            .iter()
            .map(|m| format!("{}:{}", m.source, m.target))
            .collect();
        assert_eq!(shown, ["/1:/one", "/3:/two", "/4:/four"]);
    }
}
