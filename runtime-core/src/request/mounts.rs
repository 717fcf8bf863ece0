//! `--container-mounts`: what is shown in the container besides the defaults.
//!
//! The form is that of pyxis: `SOURCE:TARGET[:FLAG+FLAG…]`, where the source may
//! also be one of the words `tmpfs` and `umount`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use super::RequestError;
use crate::path::{ContainerPath, HostPath, PathError};

/// What is wrong with one entry of `--container-mounts`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountProblem {
    /// An empty entry or side.
    #[error("a path is missing")]
    Missing,
    /// A side that is no usable path.
    #[error("{0}")]
    Path(#[from] PathError),
    /// A source that is neither a path nor one of the words.
    #[error("the source \"{0}\" is neither a path (begin it with / or ./) nor tmpfs or umount")]
    Source(String),
    /// A flag that nobody knows.
    #[error("unknown flag \"{0}\"; known are {KNOWN_FLAGS}")]
    Flag(String),
    /// A flag that would weaken the container.
    #[error("flag \"{0}\": set-user-id programs and devices never come with a mount; leave it out")]
    Weakening(String),
    /// A flag of tmpfs on something else, or the reverse.
    #[error("flag \"{0}\" does not go with this source")]
    Unfitting(String),
    /// The value of a flag.
    #[error("flag \"{0}\": its value is wrong")]
    Value(String),
    /// The target is the container's root.
    #[error("the target may not be /")]
    Root,
}

/// For messages and the manual.
const KNOWN_FLAGS: &str = "ro, rw, exec, noexec, nosuid, nodev, bind, rbind, private, slave, shared and their r-forms, nofail, x-create=auto|dir|file, and for tmpfs size= and mode=";

/// Whether a bind can be written through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Reading only.
    ReadOnly,
    /// As the file's own permissions say.
    ReadWrite,
}

/// Where a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of the node, as the user sees it outside the container.
    Host(HostPath),
    /// The same, from the task's working directory.
    Relative(OsString),
    /// An empty file system in memory: its size and mode in the words of tmpfs(5).
    Tmpfs {
        /// As in `1g` or `50%`; the kernel's default where not said.
        size: Option<String>,
        /// Octal digits; 1777 where not said.
        mode: Option<String>,
    },
    /// Nothing: what would be shown at the target and below is left out.
    Umount,
}

impl std::fmt::Display for MountSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(path) => path.fmt(f),
            Self::Relative(path) => f.write_str(&path.to_string_lossy()),
            Self::Tmpfs { .. } => f.write_str("tmpfs"),
            Self::Umount => f.write_str("umount"),
        }
    }
}

/// Whether mounts that are made later on one side are seen on the other,
/// mount_namespaces(7). Nothing that happens in a container is ever seen outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// On neither side.
    Private,
    /// What the node mounts later is seen inside.
    Slave,
    /// The same, and what is mounted inside is seen in copies of it inside.
    Shared,
}

/// What a missing target becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Create {
    /// What the source is.
    #[default]
    Auto,
    /// A directory; the source must be one.
    Directory,
    /// A file; the source must not be a directory.
    File,
}

/// One entry of `--container-mounts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserMount {
    /// What is shown.
    pub source: MountSource,
    /// Where it is shown.
    pub target: ContainerPath,
    /// `ro` or `rw` (the default).
    pub access: Access,
    /// `noexec`: programs there cannot be started.
    pub noexec: bool,
    /// `private`, `slave`, `shared`; `None` leaves it as the namespace has it.
    pub propagation: Option<Propagation>,
    /// `nofail`: left out where the source is not there.
    pub optional: bool,
    /// `x-create`.
    pub create: Create,
}

impl UserMount {
    /// A plain bind.
    #[must_use]
    pub fn bind(source: HostPath, target: ContainerPath, access: Access) -> Self {
        Self {
            source: MountSource::Host(source),
            target,
            access,
            noexec: false,
            propagation: None,
            optional: false,
            create: Create::Auto,
        }
    }

    /// Parses a comma-separated list; a lone `SOURCE` is shown at its own path.
    ///
    /// # Errors
    /// [`RequestError::Mount`] with the entry that is wrong.
    pub fn parse_list(text: &OsStr) -> Result<Vec<Self>, RequestError> {
        if text.as_bytes().iter().any(u8::is_ascii_control) {
            return Err(RequestError::Control("container-mounts"));
        }
        text.as_bytes()
            .split(|b| *b == b',')
            .map(Self::parse)
            .collect()
    }

    /// Parses one entry, in which a comma is a part of a path.
    ///
    /// # Errors
    /// [`RequestError::Mount`].
    pub fn parse_one(entry: &OsStr) -> Result<Self, RequestError> {
        if entry.as_bytes().iter().any(u8::is_ascii_control) {
            return Err(RequestError::Control("mounts"));
        }
        Self::parse(entry.as_bytes())
    }

    fn parse(entry: &[u8]) -> Result<Self, RequestError> {
        Self::parse_entry(entry).map_err(|problem| RequestError::Mount {
            entry: String::from_utf8_lossy(entry).into_owned(),
            problem,
        })
    }

    fn parse_entry(entry: &[u8]) -> Result<Self, MountProblem> {
        let mut fields = entry.splitn(3, |b| *b == b':');
        let source = fields
            .next()
            .filter(|s| !s.is_empty())
            .ok_or(MountProblem::Missing)?;
        let target = fields.next().unwrap_or(source);
        if target.is_empty() {
            return Err(MountProblem::Missing);
        }
        let mut mount = Self {
            source: parse_source(source)?,
            target: parse_target(target)?,
            access: Access::ReadWrite,
            noexec: false,
            propagation: None,
            optional: false,
            create: Create::Auto,
        };
        let flags = fields.next().unwrap_or_default();
        for flag in flags.split(|b| *b == b'+').filter(|f| !f.is_empty()) {
            mount.take(flag)?;
        }
        if mount.target.as_bytes() == b"/" {
            return Err(MountProblem::Root);
        }
        Ok(mount)
    }

    fn take(&mut self, flag: &[u8]) -> Result<(), MountProblem> {
        let shown = || String::from_utf8_lossy(flag).into_owned();
        let is_bind = matches!(self.source, MountSource::Host(_) | MountSource::Relative(_));
        let unless = |fits: bool| {
            if fits {
                Ok(())
            } else {
                Err(MountProblem::Unfitting(shown()))
            }
        };
        match flag {
            b"ro" => self.access = Access::ReadOnly,
            b"rw" => self.access = Access::ReadWrite,
            b"exec" => self.noexec = false,
            b"noexec" => self.noexec = true,
            // Always so.
            b"nosuid" | b"nodev" => {}
            b"suid" | b"dev" => return Err(MountProblem::Weakening(shown())),
            // The same: without what is mounted on it a directory would show what the
            // node has covered.
            b"bind" | b"rbind" => unless(is_bind)?,
            b"private" | b"rprivate" => self.propagation = Some(Propagation::Private),
            b"slave" | b"rslave" => self.propagation = Some(Propagation::Slave),
            b"shared" | b"rshared" => self.propagation = Some(Propagation::Shared),
            b"nofail" => self.optional = true,
            b"x-create=auto" => self.create = Create::Auto,
            b"x-create=dir" => self.create = Create::Directory,
            b"x-create=file" => {
                unless(is_bind)?;
                self.create = Create::File;
            }
            b"x-detach" => unless(self.source == MountSource::Umount)?,
            _ => return self.take_value(flag),
        }
        Ok(())
    }

    /// `size=` and `mode=`.
    fn take_value(&mut self, flag: &[u8]) -> Result<(), MountProblem> {
        let shown = || String::from_utf8_lossy(flag).into_owned();
        let (name, value) = match flag.iter().position(|b| *b == b'=') {
            Some(place) => flag.split_at(place + 1),
            None => return Err(MountProblem::Flag(shown())),
        };
        let text = String::from_utf8_lossy(value).into_owned();
        let (size, mode) = match &mut self.source {
            MountSource::Tmpfs { size, mode } => (size, mode),
            _ if matches!(name, b"size=" | b"mode=") => {
                return Err(MountProblem::Unfitting(shown()));
            }
            _ => return Err(MountProblem::Flag(shown())),
        };
        match name {
            b"size=" if is_size(value) => *size = Some(text),
            b"mode=" if is_mode(value) => *mode = Some(text),
            b"size=" | b"mode=" => return Err(MountProblem::Value(shown())),
            _ => return Err(MountProblem::Flag(shown())),
        }
        Ok(())
    }
}

fn parse_source(source: &[u8]) -> Result<MountSource, MountProblem> {
    match source {
        b"tmpfs" => Ok(MountSource::Tmpfs {
            size: None,
            mode: None,
        }),
        b"umount" => Ok(MountSource::Umount),
        [b'/', ..] => Ok(MountSource::Host(HostPath::new(OsStr::from_bytes(source))?)),
        [b'.', ..] => {
            let path = OsStr::from_bytes(source);
            // Whether it fits below the working directory is known on the node; that
            // it goes up only at its beginning, now.
            HostPath::root().join_relative(path)?;
            Ok(MountSource::Relative(path.to_owned()))
        }
        _ => Err(MountProblem::Source(
            String::from_utf8_lossy(source).into_owned(),
        )),
    }
}

/// A relative target begins at the container's root.
fn parse_target(target: &[u8]) -> Result<ContainerPath, MountProblem> {
    match target {
        [b'.', b'/', ..] => {
            let rest = target.get(1..).unwrap_or_default();
            Ok(ContainerPath::new(OsStr::from_bytes(rest))?)
        }
        _ => Ok(ContainerPath::new(OsStr::from_bytes(target))?),
    }
}

/// As tmpfs(5) has it: digits and k, m, g or %.
fn is_size(value: &[u8]) -> bool {
    let digits = match value.split_last() {
        Some((b'k' | b'K' | b'm' | b'M' | b'g' | b'G' | b'%', digits)) => digits,
        _ => value,
    };
    (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
}

fn is_mode(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"0").unwrap_or(value);
    (1..=4).contains(&digits.len()) && digits.iter().all(|b| (b'0'..=b'7').contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(text: &str) -> Result<Vec<(String, String, Access)>, String> {
        UserMount::parse_list(OsStr::new(text))
            .map(|list| {
                list.into_iter()
                    .map(|m| (m.source.to_string(), m.target.to_string(), m.access))
                    .collect()
            })
            .map_err(|e| e.to_string())
    }

    fn one(text: &str) -> UserMount {
        UserMount::parse_list(OsStr::new(text)).unwrap().remove(0)
    }

    #[test]
    fn mounts_in_every_form() {
        let rw = Access::ReadWrite;
        let ro = Access::ReadOnly;
        assert_eq!(mounts("/a"), Ok(vec![("/a".into(), "/a".into(), rw)]));
        assert_eq!(
            mounts("/a:/b,/c:/d:ro"),
            Ok(vec![
                ("/a".into(), "/b".into(), rw),
                ("/c".into(), "/d".into(), ro)
            ])
        );
        assert_eq!(
            mounts("/a:/b:ro+rw"),
            Ok(vec![("/a".into(), "/b".into(), rw)])
        );
        assert_eq!(
            mounts("./a:./b,../c:/d"),
            Ok(vec![
                ("./a".into(), "/b".into(), rw),
                ("../c".into(), "/d".into(), rw)
            ])
        );
        assert_eq!(
            mounts("tmpfs:/x,umount:/tmp:x-detach"),
            Ok(vec![
                ("tmpfs".into(), "/x".into(), rw),
                ("umount".into(), "/tmp".into(), rw)
            ])
        );
    }

    #[test]
    fn flags_of_every_kind() {
        let m = one("/a:/b:bind+noexec+rslave+nofail+x-create=dir+nosuid");
        assert!(m.noexec && m.optional);
        assert_eq!(m.propagation, Some(Propagation::Slave));
        assert_eq!(m.create, Create::Directory);
        assert_eq!(
            one("tmpfs:/x:size=64m+mode=0700").source,
            MountSource::Tmpfs {
                size: Some("64m".into()),
                mode: Some("0700".into())
            }
        );
    }

    #[test]
    fn wrong_mounts_name_the_entry() {
        for (text, part) in [
            ("", "a path is missing"),
            ("/a,,/b", "a path is missing"),
            ("/a:", "a path is missing"),
            ("a:/b", "the source \"a\" is neither a path"),
            ("/a:b", "\"b\" is not an absolute path"),
            ("/a:/b:rx", "unknown flag \"rx\""),
            ("/a:/b:suid", "set-user-id programs and devices"),
            ("/a:/b:size=1g", "does not go with this source"),
            ("/a:/b:x-detach", "does not go with this source"),
            ("tmpfs:/b:rbind", "does not go with this source"),
            ("tmpfs:/b:size=1t", "its value is wrong"),
            ("tmpfs:/b:mode=9", "its value is wrong"),
            ("tmpfs", "\"tmpfs\" is not an absolute path"),
            ("/a:/", "may not be /"),
            ("umount:/", "may not be /"),
            ("/a:/b/../c", "\"..\""),
            ("./a/../b:/c", "\"..\""),
        ] {
            let error = mounts(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
