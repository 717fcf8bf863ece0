//! What was asked for: the options, and what is known of the asking task.
//!
//! Everything here is text that a user wrote: it is checked for form (twice: by
//! the client, so that a typo fails before the queue, and on the node, because
//! a client can be forged) and never opened here.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use crate::path::{ContainerPath, HostPath, PathError};

/// Why an option's value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// `--container-image=` with nothing behind it.
    #[error("no image is named; give a path, as in --container-image=/path/app.sif")]
    EmptyImage,
    /// An image named by a URL, which needs a registry.
    #[error(
        "image {0}: registries are not supported yet; give a path to a SIF file, a squashfs file or a directory"
    )]
    Registry(String),
    /// A value that holds a NUL or newline.
    #[error("{0}: the value holds a control character")]
    Control(&'static str),
    /// One entry of `--container-mounts` is not `SRC:DST[:FLAGS]`.
    #[error("mount \"{entry}\": {problem}; the form is SOURCE:TARGET[:ro|rw]")]
    Mount {
        /// The entry as typed.
        entry: String,
        /// What is wrong with it.
        problem: MountProblem,
    },
    /// `--container-stage` is neither of its words.
    #[error("--container-stage={0}: write off or node")]
    Stage(String),
    /// `--container-workdir` is not absolute.
    #[error("working directory {0}")]
    Workdir(PathError),
}

/// What is wrong with one entry of `--container-mounts`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountProblem {
    /// An empty entry or side.
    #[error("a path is missing")]
    Missing,
    /// A side that is no absolute path.
    #[error("{0}")]
    Path(#[from] PathError),
    /// A flag that is neither `ro` nor `rw`.
    #[error("unknown flag \"{0}\"")]
    Flag(String),
    /// The target is the container's root.
    #[error("the target may not be /")]
    Root,
}

/// An image, as named by the user and checked for form only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageName(OsString);

impl ImageName {
    /// Takes a path, absolute or relative to the task's working directory, or the
    /// name of an image in a registry.
    ///
    /// # Errors
    /// [`RequestError`] for an empty name or control characters.
    pub fn parse(text: &OsStr) -> Result<Self, RequestError> {
        let bytes = text.as_bytes();
        if bytes.is_empty() {
            return Err(RequestError::EmptyImage);
        }
        if bytes.iter().any(u8::is_ascii_control) {
            return Err(RequestError::Control("image"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The image's name in a registry, where it is no path: `docker://debian:13`.
    #[must_use]
    pub fn in_registry(&self) -> Option<String> {
        let is_url = self.0.as_bytes().windows(3).any(|w| w == b"://");
        is_url.then(|| self.0.to_string_lossy().into_owned())
    }

    /// Refuses what no part of Oarlock can fetch yet.
    ///
    /// # Errors
    /// [`RequestError::Registry`].
    pub fn must_be_a_path(&self) -> Result<(), RequestError> {
        self.in_registry()
            .map_or(Ok(()), |name| Err(RequestError::Registry(name)))
    }

    /// The name as typed.
    #[must_use]
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }

    /// Whether the name can be resolved without knowing the working directory.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.0.as_bytes().first() == Some(&b'/')
    }
}

impl std::fmt::Display for ImageName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.to_string_lossy())
    }
}

/// Whether a bind can be written through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Reading only.
    ReadOnly,
    /// As the file's own permissions say.
    ReadWrite,
}

/// One entry of `--container-mounts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserMount {
    /// What is shown, as the user sees it outside the container.
    pub source: HostPath,
    /// Where it is shown.
    pub target: ContainerPath,
    /// `ro` or `rw` (the default).
    pub access: Access,
}

impl UserMount {
    /// Parses a comma-separated list of `SRC:DST[:FLAGS]`; a lone `SRC` is shown
    /// at its own path. Flags are joined by `+`.
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
        let mut access = Access::ReadWrite;
        if let Some(flags) = fields.next() {
            for flag in flags.split(|b| *b == b'+') {
                access = match flag {
                    b"ro" => Access::ReadOnly,
                    b"rw" => Access::ReadWrite,
                    other => {
                        return Err(MountProblem::Flag(
                            String::from_utf8_lossy(other).into_owned(),
                        ));
                    }
                };
            }
        }
        let mount = Self {
            source: HostPath::new(OsStr::from_bytes(source))?,
            target: ContainerPath::new(OsStr::from_bytes(target))?,
            access,
        };
        if mount.target.as_bytes() == b"/" {
            return Err(MountProblem::Root);
        }
        Ok(mount)
    }
}

/// Parses `--container-workdir`.
///
/// # Errors
/// [`RequestError::Workdir`] where it is not absolute.
pub fn parse_workdir(text: &OsStr) -> Result<ContainerPath, RequestError> {
    ContainerPath::new(text).map_err(RequestError::Workdir)
}

/// The options that make a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `--container-image`.
    pub image: ImageName,
    /// `--container-mounts`.
    pub mounts: Vec<UserMount>,
    /// `--container-workdir`.
    pub workdir: Option<ContainerPath>,
    /// `--container-stage`; `None` for what the site says.
    pub stage: Option<Stage>,
}

/// Whether an image is copied to the node's own disk before it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It runs from where it lies.
    #[default]
    Off,
    /// The step waits for a copy on each node's own disk, and runs from that.
    Node,
}

impl Stage {
    /// Parses `--container-stage`.
    ///
    /// # Errors
    /// [`RequestError::Stage`].
    pub fn parse(text: &OsStr) -> Result<Self, RequestError> {
        match text.as_bytes() {
            b"off" => Ok(Self::Off),
            b"node" => Ok(Self::Node),
            _ => Err(RequestError::Stage(text.to_string_lossy().into_owned())),
        }
    }
}

/// Whose job it is: the host's ids, which the container keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids, as the task has them.
    pub groups: Vec<u32>,
}

/// What `oarlock-prepare` is asked to do for one node of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What the user asked for.
    pub options: Options,
    /// Who the user is.
    pub identity: Identity,
    /// The job's environment, `NAME=value`.
    pub environment: Vec<OsString>,
    /// The task's program as it was typed.
    pub program: Option<OsString>,
    /// The task's program where it is a batch script in Slurm's spool.
    pub script: Option<HostPath>,
    /// Where the step's PMIx server is expected to meet its clients, so that the
    /// container can be built before a task says so.
    pub mpi: Option<HostPath>,
    /// Ranks on this node: as many answers are given.
    pub ranks: u32,
    /// The job's number; 0 where there is no job.
    pub job: u32,
    /// For the log: job and step, in Slurm's own notation.
    pub label: String,
}

impl Request {
    /// The value of a variable in the job's environment.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment.iter().find_map(|entry| {
            let rest = entry.as_bytes().strip_prefix(name.as_bytes())?;
            rest.strip_prefix(b"=").map(OsStr::from_bytes)
        })
    }
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
    }

    #[test]
    fn wrong_mounts_name_the_entry() {
        for (text, part) in [
            ("", "a path is missing"),
            ("/a,,/b", "a path is missing"),
            ("/a:", "a path is missing"),
            ("a:/b", "\"a\" is not an absolute path"),
            ("/a:/b:rx", "unknown flag \"rx\""),
            ("/a:/", "may not be /"),
            ("/a:/b/../c", "\"..\""),
        ] {
            let error = mounts(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn image_names() {
        assert!(ImageName::parse(OsStr::new("a.sif")).is_ok_and(|i| !i.is_absolute()));
        assert!(ImageName::parse(OsStr::new("/a.sif")).is_ok_and(|i| i.is_absolute()));
        assert_eq!(
            ImageName::parse(OsStr::new("")),
            Err(RequestError::EmptyImage)
        );
        let registry = ImageName::parse(OsStr::new("docker://debian")).unwrap();
        assert_eq!(
            registry.must_be_a_path(),
            Err(RequestError::Registry("docker://debian".to_owned()))
        );
        assert!(matches!(
            ImageName::parse(OsStr::new("a\nb")),
            Err(RequestError::Control(_))
        ));
    }
}
