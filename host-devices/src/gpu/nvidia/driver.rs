//! NVIDIA's driver as a node has it: its version, its libraries by SONAME, and its other files.
//!
//! The libraries must be of the kernel module's own version, which refuses others. Where an update left some of
//! both, those of the module's version count; where there are only others, that is said.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::capabilities::Capabilities;
use super::{files, names};
use crate::libraries::elf::Elf;
use crate::libraries::judge::Demands;
use crate::libraries::machine::Machine;
use crate::libraries::{Libraries, look};
use crate::{Host, Problem};

pub use files::{DriverFile, Kind};

/// The version alone, where the module tells it.
const MODULE: &str = "/sys/module/nvidia/version";
/// The version in a sentence.
const VERSION: &str = "/proc/driver/nvidia/version";
/// The library without which no program uses a GPU.
const CUDA: &str = "libcuda.so.1";

/// A library of the driver's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Library {
    /// The name that programs load it by.
    pub soname: String,
    /// The file, as the loader finds it; links may be in it.
    pub path: PathBuf,
    /// Other names that the node has it by, such as `libcuda.so`.
    pub links: Vec<String>,
    /// What it is for.
    pub capabilities: Capabilities,
    /// What it needs of the image: for [`refusals`](crate::libraries::judge::refusals).
    #[serde(skip)]
    pub demands: Demands,
}

/// What a node has of the driver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Driver {
    /// The kernel module's version, such as `550.54.15`; none where no module is loaded.
    pub version: Option<String>,
    /// Its libraries, sorted by name.
    pub libraries: Vec<Library>,
    /// Its other files, sorted by path.
    pub files: Vec<DriverFile>,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

impl Driver {
    /// Finds it. `node` is a GPU's device, where there is one: then libraries are missed.
    #[must_use]
    pub fn find(host: &Host, libraries: &Libraries, node: Option<&Path>) -> Self {
        let version = version(host);
        let mut search = Search {
            host,
            all: libraries,
            module: version.as_deref(),
            found: BTreeMap::new(),
            problems: Vec::new(),
        };
        for (name, capabilities) in names::LIBRARIES {
            search.name(name, capabilities);
        }
        search.along();
        let Search {
            found,
            mut problems,
            ..
        } = search;
        if let Some(node) = node.filter(|_| !found.contains_key(CUDA)) {
            problems.push(Problem::NoLibrary {
                node: node.to_owned(),
                soname: CUDA.to_owned(),
            });
        }
        let beside: BTreeSet<PathBuf> = found
            .values()
            .filter_map(|library| library.path.parent().map(Path::to_owned))
            .collect();
        Self {
            files: files::find(host, version.as_deref(), &beside),
            version,
            libraries: found.into_values().collect(),
            problems,
        }
    }

    /// The libraries for these capabilities.
    pub fn libraries_for(&self, capabilities: Capabilities) -> impl Iterator<Item = &Library> {
        let all = self.libraries.iter();
        all.filter(move |library| library.capabilities.meets(capabilities))
    }

    /// The other files for these capabilities.
    pub fn files_for(&self, capabilities: Capabilities) -> impl Iterator<Item = &DriverFile> {
        let all = self.files.iter();
        all.filter(move |file| file.capabilities.meets(capabilities))
    }
}

struct Search<'a> {
    host: &'a Host,
    all: &'a Libraries,
    module: Option<&'a str>,
    found: BTreeMap<String, Library>,
    problems: Vec<Problem>,
}

impl Search<'_> {
    /// Takes the libraries of one name of the list: `NAME.so`, and that with a version.
    fn name(&mut self, name: &str, capabilities: Capabilities) {
        let prefix = format!("{name}.so");
        let mut others = Vec::new();
        let mut some = false;
        // Names are sorted: the plain one, which is a link, comes before the SONAME.
        let sonames: Vec<&str> = self.all.names(&prefix).collect();
        for soname in sonames {
            let end = soname.strip_prefix(&prefix).unwrap_or_default();
            if !end.is_empty() && !end.strip_prefix('.').is_some_and(is_version) {
                continue;
            }
            match self.choose(soname) {
                Ok(Some((path, elf))) => {
                    some = true;
                    self.take(soname, path, &elf, capabilities);
                }
                Ok(None) => {}
                Err(problem) => others.push(problem),
            }
        }
        if !some {
            self.problems.extend(others.into_iter().next());
        }
    }

    /// What is needed by what was found, and is the driver's as well: of a driver that is newer than the list.
    fn along(&mut self) {
        let mut queue: Vec<String> = self.found.keys().cloned().collect();
        while let Some(soname) = queue.pop() {
            let Some(library) = self.found.get(&soname) else {
                continue;
            };
            let capabilities = library.capabilities;
            for needed in library.demands.needed.clone() {
                let own = needed.starts_with("libnvidia-") || needed.starts_with("libcuda");
                if !own || self.found.contains_key(&needed) {
                    continue;
                }
                match self.choose(&needed) {
                    Ok(Some((path, elf))) => {
                        self.take(&needed, path, &elf, capabilities);
                        queue.push(needed);
                    }
                    Ok(None) => {}
                    Err(problem) => self.problems.push(problem),
                }
            }
        }
    }

    fn take(&mut self, name: &str, path: PathBuf, elf: &Elf, capabilities: Capabilities) {
        let soname = elf.soname.clone().unwrap_or_else(|| name.to_owned());
        let library = self.found.entry(soname.clone()).or_insert_with(|| Library {
            demands: Demands::of(&soname, elf),
            path: path.clone(),
            links: Vec::new(),
            capabilities,
            soname,
        });
        library.capabilities = library.capabilities.and(capabilities);
        if library.soname == name {
            library.path = path;
        } else if !library.links.iter().any(|link| link == name) {
            library.links.push(name.to_owned());
        }
    }

    /// The first file of a name that is of this machine and of the module's version, or else the first of no
    /// version (a library with versions of its own, or a stub for linking); an error where there are only others.
    fn choose(&self, soname: &str) -> Result<Option<(PathBuf, Elf)>, Problem> {
        let mut plain = None;
        let mut problem = None;
        for path in self.all.files(soname) {
            let elf = match look(self.host, path) {
                Ok(Some(elf)) if elf.machine == Machine::own().elf => elf,
                Ok(_) => continue,
                Err(why) => {
                    problem = problem.or(Some(why));
                    continue;
                }
            };
            match (driver_version(&self.host.target(path)), self.module) {
                (Some(version), Some(module)) if version != module => {
                    problem = problem.or(Some(Problem::OtherVersion {
                        path: path.clone(),
                        version,
                        module: module.to_owned(),
                    }));
                }
                (None, Some(_)) => plain = plain.or(Some((path.clone(), elf))),
                _ => return Ok(Some((path.clone(), elf))),
            }
        }
        match (plain, problem) {
            (None, Some(problem)) => Err(problem),
            (plain, _) => Ok(plain),
        }
    }
}

/// The version at the end of a file's name, where it is a driver's: three digits first. Some of its libraries have
/// versions of their own, such as 1.1.7.
fn driver_version(file: &Path) -> Option<String> {
    let (_, version) = file.file_name()?.to_str()?.split_once(".so.")?;
    let (first, _) = version.split_once('.')?;
    (first.len() >= 3 && is_version(version)).then(|| version.to_owned())
}

/// Numbers with dots between.
fn is_version(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split('.').all(digits)
}

fn version(host: &Host) -> Option<String> {
    let is_drivers = |word: &&str| word.contains('.') && is_version(word);
    if let Some(word) = host.word(Path::new(MODULE)) {
        return Some(word).filter(|word| is_drivers(&word.as_str()));
    }
    let text = host.text(Path::new(VERSION))?;
    let line = text.lines().find(|line| line.starts_with("NVRM"))?;
    line.split_whitespace().find(is_drivers).map(str::to_owned)
}

#[cfg(test)]
mod tests;
