//! All specs of a node.
//!
//! What is wrong with a file stays with the file. A device that two files of one
//! directory have is nobody's: to choose one of them would be to guess.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use crate::edits::Edits;
use crate::error::{FileError, Problem, shown};
use crate::host::{Host, Trust};
use crate::limits;
use crate::merge::merge;
use crate::name::{Kind, NameError, QualifiedName};
use crate::spec::{Device, Format, Spec};

/// Why a device cannot be had. One line.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Not a device's name.
    #[error("CDI device {0}")]
    Name(#[from] NameError),
    /// No spec that can be used has it.
    #[error("CDI device {name}: no spec has {what}{doubts}")]
    Unknown {
        /// Which.
        name: QualifiedName,
        /// It, or any device of its kind.
        what: &'static str,
        /// The files that cannot be used and might have it, with the first's error.
        doubts: String,
    },
    /// Two files of the same rank have it.
    #[error(
        "CDI device {name}: both {} and {} have it; remove one of them",
        shown(first),
        shown(second)
    )]
    Conflict {
        /// Which.
        name: QualifiedName,
        /// A file that has it.
        first: PathBuf,
        /// Another one.
        second: PathBuf,
    },
}

/// A device and the spec that has it.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The spec.
    pub spec: &'a Spec,
    /// The device.
    pub device: &'a Device,
}

/// Specs and what is wrong with others.
#[derive(Debug, Default)]
pub struct Registry {
    specs: Vec<Spec>,
    devices: BTreeMap<QualifiedName, Entry>,
    errors: Vec<FileError>,
}

/// Where a device is.
#[derive(Debug)]
struct Entry {
    /// The directory's place in the list.
    priority: usize,
    /// In [`Registry::specs`].
    spec: usize,
    /// In [`Spec::devices`].
    device: usize,
    /// Another spec of this priority that has it.
    rival: Option<usize>,
}

impl Registry {
    /// Reads the specs of all directories, later ones being more important;
    /// [`crate::DIRECTORIES`] where the site says nothing else.
    ///
    /// `root` is where the host's file system is, "/" in production; directories are
    /// seen from there, and so are links. A directory that is not there has no specs.
    /// What else is wrong is in [`Registry::errors`].
    pub fn load(root: &Path, directories: &[impl AsRef<Path>], trust: Trust) -> Self {
        let mut registry = Self::default();
        let host = match Host::at(root, trust) {
            Ok(host) => host,
            Err(problem) => {
                registry.wrong(Path::new("/"), problem);
                return registry;
            }
        };
        let mut files = 0;
        for (priority, directory) in directories.iter().enumerate() {
            registry.load_directory(&host, directory.as_ref(), priority, &mut files);
        }
        registry
    }

    fn load_directory(
        &mut self,
        host: &Host,
        directory: &Path,
        priority: usize,
        files: &mut usize,
    ) {
        let (names, is_cut) = match host.list(directory, |name| Format::of(name).is_some()) {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(problem) => return self.wrong(directory, problem),
        };
        if is_cut {
            let (limit, what) = (limits::ENTRIES, "entries");
            self.wrong(directory, Problem::TooManyFiles { limit, what });
        }
        for name in names {
            let path = directory.join(&name);
            let Some(format) = Format::of(&path) else {
                continue;
            };
            if *files >= limits::FILES {
                let (limit, what) = (limits::FILES, "spec files");
                return self.wrong(directory, Problem::TooManyFiles { limit, what });
            }
            *files += 1;
            let spec = match host.read(&path) {
                Ok(Some(bytes)) => Spec::parse(&bytes, format, &path),
                // It was there a moment ago: a generator writes them anew.
                Ok(None) => continue,
                Err(problem) => Err(problem),
            };
            match spec {
                Ok(spec) => self.add(spec, priority),
                Err(problem) => self.wrong(&path, problem),
            }
        }
    }

    /// Adds a spec of a directory; the higher its place in the list, the more it
    /// counts. Specs of one directory come in the order of their names.
    pub fn add(&mut self, spec: Spec, priority: usize) {
        if self.devices.len() + spec.devices.len() > limits::DEVICES {
            return self.wrong(&spec.path, Problem::TooManyDevices);
        }
        let place = self.specs.len();
        for (number, device) in spec.devices.iter().enumerate() {
            // The names of a spec were checked when it was read.
            let Ok(name) = QualifiedName::new(spec.kind.clone(), &device.name) else {
                continue;
            };
            let entry = Entry {
                priority,
                spec: place,
                device: number,
                rival: None,
            };
            match self.devices.get_mut(&name) {
                Some(old) if old.priority > priority => (),
                Some(old) if old.priority == priority => {
                    old.rival.get_or_insert(place);
                }
                _ => {
                    self.devices.insert(name, entry);
                }
            }
        }
        self.specs.push(spec);
    }

    fn wrong(&mut self, path: &Path, problem: Problem) {
        let path = path.to_owned();
        self.errors.push(FileError { path, problem });
    }

    /// Files and directories that could not be used, for a report.
    #[must_use]
    pub fn errors(&self) -> &[FileError] {
        &self.errors
    }

    /// The specs that were accepted, the more important ones last.
    #[must_use]
    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// All devices that can be used, by name.
    pub fn devices(&self) -> impl Iterator<Item = &QualifiedName> {
        let usable = |entry: &&Entry| entry.rival.is_none();
        self.devices
            .iter()
            .filter_map(move |(name, entry)| Some(entry).filter(usable).map(|_| name))
    }

    /// The devices that two files have, as errors, by name; for a report.
    pub fn conflicts(&self) -> impl Iterator<Item = ResolveError> {
        self.devices
            .iter()
            .filter_map(|(name, entry)| self.conflict(name, entry))
    }

    /// The kinds of all devices that can be used, by name.
    #[must_use]
    pub fn kinds(&self) -> Vec<&Kind> {
        let mut kinds: Vec<&Kind> = self.devices().map(QualifiedName::kind).collect();
        kinds.dedup();
        kinds
    }

    /// The device of a name.
    ///
    /// # Errors
    /// Where there is none, or two.
    pub fn find(&self, name: &QualifiedName) -> Result<Found<'_>, ResolveError> {
        let Some(entry) = self.devices.get(name) else {
            let has_kind = self.devices().any(|other| other.kind() == name.kind());
            return Err(ResolveError::Unknown {
                name: name.clone(),
                what: if has_kind {
                    "it"
                } else {
                    "a device of this kind"
                },
                doubts: self.doubts(),
            });
        };
        if let Some(conflict) = self.conflict(name, entry) {
            return Err(conflict);
        }
        self.at(entry).ok_or_else(|| ResolveError::Unknown {
            name: name.clone(),
            what: "it",
            doubts: self.doubts(),
        })
    }

    /// What a container needs for all of these: what a spec says of all its devices
    /// once, before its first device, then each device's own, in the order asked for.
    /// A name that is there twice counts once. The last word on a variable, or on a
    /// place in the container, counts; mounts have their parents before them.
    ///
    /// # Errors
    /// Where one of them cannot be had.
    pub fn resolve(&self, names: &[QualifiedName]) -> Result<Edits, ResolveError> {
        let (mut specs, mut seen) = (HashSet::new(), HashSet::new());
        let mut all = Vec::new();
        for name in names {
            let found = self.find(name)?;
            if !seen.insert(name) {
                continue;
            }
            if specs.insert(std::ptr::from_ref(found.spec)) {
                all.push(&found.spec.edits);
            }
            all.push(&found.device.edits);
        }
        Ok(merge(all))
    }

    /// The devices of a kind that can be used, by name.
    pub(crate) fn of_kind(&self, kind: &Kind) -> Vec<(&QualifiedName, Found<'_>)> {
        self.devices
            .iter()
            .filter(|(name, entry)| name.kind() == kind && entry.rival.is_none())
            .filter_map(|(name, entry)| Some((name, self.at(entry)?)))
            .collect()
    }

    /// What files might have besides, for an error: nothing where all are good.
    pub(crate) fn doubts(&self) -> String {
        match self.errors.as_slice() {
            [] => String::new(),
            [one] => format!("; this one cannot be used: {one}"),
            [first, others @ ..] => {
                format!("; {} cannot be used, the first: {first}", others.len() + 1)
            }
        }
    }

    fn conflict(&self, name: &QualifiedName, entry: &Entry) -> Option<ResolveError> {
        Some(ResolveError::Conflict {
            name: name.clone(),
            first: self.specs.get(entry.spec)?.path.clone(),
            second: self.specs.get(entry.rival?)?.path.clone(),
        })
    }

    fn at(&self, entry: &Entry) -> Option<Found<'_>> {
        let spec = self.specs.get(entry.spec)?;
        let device = spec.devices.get(entry.device)?;
        Some(Found { spec, device })
    }
}

#[cfg(test)]
mod tests;
