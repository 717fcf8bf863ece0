//! Profiles: environment definition files, which `--container-profile` names.
//!
//! A profile is a user's text. It is read, merged with the profiles that it is based
//! on, and filled in with the rights of that user only: by the client, by
//! `oarlock`, and on a node by the process that opens the image
//! ([`crate::prepare`]). What comes of it is plain values; root checks their form
//! once more ([`wire`]) and reads no profile.
//!
//! Everything here but [`library`] is pure: text in, values out. Depth, number and
//! length of files and the length of what comes of them are bounded.

pub mod environment;
pub mod expand;
pub mod file;
pub mod library;
mod merge;
mod options;
mod place;
#[cfg(feature = "construct")]
mod render;
mod site;
pub mod wire;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

pub use merge::{Missing, resolve};
pub use place::Places;
pub use site::Profiles;

use crate::path::{ContainerPath, HostPath, PathError};
use crate::request::{ImageName, ProfileName, RequestError, UserMount};
use expand::FillError;
use file::FileError;

/// A profile is based on no more levels of others.
pub const MAX_LEVELS: usize = 10;

/// No more files are read for one profile.
pub const MAX_FILES: usize = 64;

/// What comes of a profile is no longer, in bytes: it is one message.
pub const MAX_RESULT: usize = 12 << 10;

/// No profile has more mounts.
pub const MAX_MOUNTS: usize = 100;

/// What a profile and those that it is based on ask for, with variables filled in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// `image`.
    pub image: Option<ImageName>,
    /// `workdir`.
    pub workdir: Option<ContainerPath>,
    /// `entrypoint`.
    pub entrypoint: Option<bool>,
    /// `writable`.
    pub writable: Option<bool>,
    /// `mounts`: of two at one place the later.
    pub mounts: Vec<ProfileMount>,
    /// `[env]`, as templates: their variables are the container's, which is not
    /// there yet. An empty value removes the variable.
    pub env: BTreeMap<String, String>,
    /// `[annotations]`.
    pub annotations: BTreeMap<String, String>,
    /// Something was left out, because it is not known here ([`Missing::LeftOut`]).
    pub is_partial: bool,
}

/// One of `mounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileMount {
    /// As it is written, with variables filled in.
    pub text: OsString,
    /// What it means.
    pub mount: UserMount,
}

impl ProfileMount {
    /// Takes an entry with variables filled in.
    ///
    /// # Errors
    /// As [`UserMount::parse_one`].
    pub fn parse(text: &OsStr) -> Result<Self, RequestError> {
        let mount = UserMount::parse_one(text)?;
        Ok(Self {
            text: text.to_owned(),
            mount,
        })
    }
}

/// What a library found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it lies, for messages.
    pub path: PathBuf,
    /// Device and inode: what it is, whatever it is called.
    pub id: (u64, u64),
    /// What it says.
    pub text: String,
}

/// Finds profiles.
pub trait Library {
    /// Reads the profile that is meant.
    ///
    /// # Errors
    /// Any [`ProfileError`].
    fn read(&mut self, name: &ProfileName) -> Result<Found, ProfileError>;
}

/// Why a profile cannot be used. Every message is complete: it names the file and,
/// where there is one, the line.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// In none of the directories.
    #[error(
        "profile {name}: no {name}.toml in {}; see: oarlock profile list{}",
        list(.directories), hint(.name)
    )]
    Unknown {
        /// As typed.
        name: ProfileName,
        /// Where it was looked for.
        directories: Vec<PathBuf>,
    },
    /// No such path.
    #[error("profile {}: no such file or directory", .0.display())]
    Absent(PathBuf),
    /// The user may not read it, or not reach it.
    #[error("profile {}: permission denied for uid {uid}", path.display())]
    Denied {
        /// The file.
        path: PathBuf,
        /// Who tried.
        uid: u32,
    },
    /// A device, a pipe, a directory.
    #[error("profile {}: is {what}, not a file", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It cannot be a profile.
    #[error("profile {}: longer than {} KiB", .0.display(), file::MAX_BYTES >> 10)]
    TooLong(PathBuf),
    /// It cannot be a profile.
    #[error("profile {}: not UTF-8 text", .0.display())]
    NoText(PathBuf),
    /// The kernel said something else.
    #[error("profile {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A relative path, and nobody knows where it starts.
    #[error("profile {0}: the working directory is not known, and the path is relative to it")]
    Nowhere(ProfileName),
    /// A file is wrong.
    #[error("profile {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The line and what is wrong with it.
        error: FileError,
    },
    /// A value is wrong.
    #[error("profile {}: line {line}: {key}: {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// What is wrong with the value.
        problem: ValueProblem,
    },
    /// It is based on itself.
    #[error(
        "profile {}: line {line}: base_environment leads back to this file", path.display()
    )]
    Circle {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// Too many levels.
    #[error(
        "profile {}: line {line}: base_environment: more than {MAX_LEVELS} levels", path.display()
    )]
    Deep {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// Too many files.
    #[error("profile {0}: it and its base_environment are more than {MAX_FILES} files")]
    Many(ProfileName),
    /// Too long altogether.
    #[error(
        "profile {name}: with its base_environment and its variables it is longer than {} KiB, or has more than {MAX_MOUNTS} mounts",
        MAX_RESULT >> 10
    )]
    Large {
        /// As typed.
        name: ProfileName,
    },
}

impl ProfileError {
    /// Whether another machine may know better: the file is not here.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Unknown { .. }
                | Self::Absent(_)
                | Self::Nowhere(_)
                | Self::Value {
                    problem: ValueProblem::Nowhere,
                    ..
                }
        )
    }
}

/// What is wrong with a value, once its variables are filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueProblem {
    /// A variable.
    #[error("{0}")]
    Fill(#[from] FillError),
    /// The value has not the option's form.
    #[error("{0}")]
    Form(#[from] RequestError),
    /// A directory that is none.
    #[error("{0}")]
    Path(#[from] PathError),
    /// Nobody knows where it starts.
    #[error("the working directory is not known, and the path is relative to it")]
    Nowhere,
}

fn list(directories: &[PathBuf]) -> String {
    let texts: Vec<_> = directories
        .iter()
        .map(|d| d.display().to_string())
        .collect();
    texts.join(", ")
}

fn hint(name: &ProfileName) -> &'static str {
    let is_file = name.as_os_str().to_string_lossy().ends_with(".toml");
    if is_file {
        "; the path of a file has a slash, as in ./NAME.toml"
    } else {
        ""
    }
}

/// A path, where `./x` starts at the working directory.
fn absolute(path: &OsStr, cwd: Option<&HostPath>) -> Option<OsString> {
    use std::os::unix::ffi::OsStrExt;
    let bytes = path.as_bytes();
    let is_relative = bytes == b"." || bytes.starts_with(b"./") || bytes.starts_with(b"../");
    if !is_relative {
        return Some(path.to_owned());
    }
    let mut whole = cwd?.as_path().as_os_str().to_owned();
    whole.push("/");
    whole.push(path);
    Some(whole)
}

#[cfg(test)]
mod tests;
