//! From a profile's name to what it asks for: the profiles that it is based on come
//! first, in their order, and what is said later counts. Pure.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;

use super::expand::{FillError, Template, Variables};
use super::file::{File, Written};
use super::{Found, Library, MAX_FILES, MAX_LEVELS, MAX_MOUNTS, MAX_RESULT, Profile, ProfileError};
use super::{ProfileMount, ValueProblem, absolute};
use crate::path::{ContainerPath, HostPath};
use crate::request::{ImageName, ProfileName, RequestError};

/// What happens to a value whose variable is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It is an error: this is where the container will run.
    Refused,
    /// It is left out, and so is a base that is not here: another machine decides.
    LeftOut,
}

/// A value, and the file that it comes from.
struct Sourced {
    path: Rc<PathBuf>,
    written: Written<Template>,
}

/// What the files say so far, nothing filled in yet.
#[derive(Default)]
struct Merged {
    image: Option<Sourced>,
    workdir: Option<Sourced>,
    entrypoint: Option<bool>,
    writable: Option<bool>,
    mounts: Vec<Sourced>,
    env: BTreeMap<String, String>,
    annotations: BTreeMap<String, Sourced>,
}

struct Reader<'a> {
    library: &'a mut dyn Library,
    variable: Variables<'a>,
    missing: Missing,
    top: &'a ProfileName,
    files: usize,
    /// The files that are being read, each based on the next.
    chain: Vec<(u64, u64)>,
    merged: Merged,
    /// Bytes of what was filled in.
    length: usize,
    is_partial: bool,
}

/// Reads a profile and all that it is based on. `variable` answers for the job's
/// environment; `cwd` is where `./x` starts.
///
/// # Errors
/// Any [`ProfileError`].
pub fn resolve(
    name: &ProfileName,
    library: &mut dyn Library,
    variable: Variables<'_>,
    cwd: Option<&HostPath>,
    missing: Missing,
) -> Result<Profile, ProfileError> {
    let mut reader = Reader {
        library,
        variable,
        missing,
        top: name,
        files: 0,
        chain: Vec::new(),
        merged: Merged::default(),
        length: 0,
        is_partial: false,
    };
    let found = reader.find(name)?;
    reader.take(found, None)?;
    reader.finish(cwd)
}

impl Reader<'_> {
    fn find(&mut self, name: &ProfileName) -> Result<Found, ProfileError> {
        self.files += 1;
        if self.files > MAX_FILES {
            return Err(ProfileError::Many(self.top.clone()));
        }
        self.library.read(name)
    }

    /// Reads one file and merges it over what was read; `from` is the place that
    /// names it.
    fn take(&mut self, found: Found, from: Option<(&PathBuf, usize)>) -> Result<(), ProfileError> {
        if let Some((path, line)) = from {
            let path = path.clone();
            if self.chain.contains(&found.id) {
                return Err(ProfileError::Circle { path, line });
            }
            if self.chain.len() > MAX_LEVELS {
                return Err(ProfileError::Deep { path, line });
            }
        }
        let path = Rc::new(found.path);
        let file = File::parse(&found.text).map_err(|error| ProfileError::File {
            path: (*path).clone(),
            error,
        })?;
        self.chain.push(found.id);
        for base in &file.bases {
            self.take_base(base, &path)?;
        }
        self.chain.pop();
        self.merge(file, &path);
        if self.merged.mounts.len() > MAX_MOUNTS {
            return Err(ProfileError::Large {
                name: self.top.clone(),
            });
        }
        Ok(())
    }

    fn take_base(
        &mut self,
        base: &Written<Template>,
        path: &Rc<PathBuf>,
    ) -> Result<(), ProfileError> {
        let wrong = |problem| ProfileError::Value {
            path: (**path).clone(),
            line: base.line,
            key: "base_environment",
            problem,
        };
        let text = match base.value.fill(self.variable) {
            Ok(text) => text,
            Err(FillError::Unset(_)) if self.missing == Missing::LeftOut => {
                self.is_partial = true;
                return Ok(());
            }
            Err(error) => return Err(wrong(error.into())),
        };
        let name = ProfileName::parse(&text).map_err(|error| wrong(error.into()))?;
        match self.find(&name) {
            Ok(found) => self.take(found, Some((path, base.line))),
            Err(error) if error.is_absence() && self.missing == Missing::LeftOut => {
                self.is_partial = true;
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn merge(&mut self, file: File, path: &Rc<PathBuf>) {
        let sourced = |written| Sourced {
            path: Rc::clone(path),
            written,
        };
        let merged = &mut self.merged;
        if let Some(image) = file.image {
            merged.image = Some(sourced(image));
        }
        if let Some(workdir) = file.workdir {
            merged.workdir = Some(sourced(workdir));
        }
        merged.entrypoint = file.entrypoint.or(merged.entrypoint);
        merged.writable = file.writable.or(merged.writable);
        merged.mounts.extend(file.mounts.into_iter().map(sourced));
        merged.env.extend(file.env);
        let annotations = file.annotations.into_iter();
        merged
            .annotations
            .extend(annotations.map(|(name, written)| (name, sourced(written))));
    }

    /// Fills in what has remained, and checks its form.
    fn finish(mut self, cwd: Option<&HostPath>) -> Result<Profile, ProfileError> {
        let merged = std::mem::take(&mut self.merged);
        let image = self.one(merged.image, "image", |text| Ok(ImageName::parse(text)?))?;
        let workdir = self.one(merged.workdir, "workdir", |text| {
            if text.as_bytes().iter().any(u8::is_ascii_control) {
                return Err(RequestError::Control("workdir").into());
            }
            Ok(ContainerPath::new(from_cwd(text, cwd)?)?)
        })?;
        let mut mounts: Vec<ProfileMount> = Vec::new();
        for mount in merged.mounts {
            let mount = self.one(Some(mount), "mounts", |text| Ok(ProfileMount::parse(text)?))?;
            if let Some(mount) = mount {
                mounts.retain(|other| other.mount.target != mount.mount.target);
                mounts.push(mount);
            }
        }
        let mut annotations = BTreeMap::new();
        for (name, value) in merged.annotations {
            let text = self.one(Some(value), "annotations", |text| Ok(text.to_owned()))?;
            if let Some(text) = text {
                annotations.insert(name, text.to_string_lossy().into_owned());
            }
        }
        let profile = Profile {
            image,
            workdir,
            entrypoint: merged.entrypoint,
            writable: merged.writable,
            mounts,
            env: merged.env,
            annotations,
            is_partial: self.is_partial,
        };
        for (name, value) in profile.env.iter().chain(&profile.annotations) {
            self.count(name.len() + value.len())?;
        }
        Ok(profile)
    }

    /// Counts a text and its lengths.
    fn count(&mut self, bytes: usize) -> Result<(), ProfileError> {
        self.length += bytes + 6;
        if self.length > MAX_RESULT {
            return Err(ProfileError::Large {
                name: self.top.clone(),
            });
        }
        Ok(())
    }

    fn one<T>(
        &mut self,
        value: Option<Sourced>,
        key: &'static str,
        check: impl FnOnce(&OsStr) -> Result<T, ValueProblem>,
    ) -> Result<Option<T>, ProfileError> {
        let Some(Sourced { path, written }) = value else {
            return Ok(None);
        };
        let text = match written.value.fill(self.variable) {
            Err(FillError::Unset(_)) if self.missing == Missing::LeftOut => {
                self.is_partial = true;
                return Ok(None);
            }
            other => other.map_err(ValueProblem::from),
        };
        self.count(text.as_ref().map_or(0, |text| text.len()))?;
        let checked = text.and_then(|text| check(&text));
        checked.map(Some).map_err(|problem| ProfileError::Value {
            path: (*path).clone(),
            line: written.line,
            key,
            problem,
        })
    }
}

fn from_cwd(text: &OsStr, cwd: Option<&HostPath>) -> Result<OsString, ValueProblem> {
    absolute(text, cwd).ok_or(ValueProblem::Nowhere)
}
