//! One file: a kind and its devices.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::edits::Edits;
use crate::error::{Problem, one_line, quoted};
use crate::name::{Kind, check_device};
use crate::version::Version;
use crate::{check, limits, raw, yaml};

/// How a spec is written. A file's name tells, not its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.json`
    Json,
    /// `.yaml`, `.yml`
    Yaml,
}

impl Format {
    /// That of a file, or none where it is no spec.
    #[must_use]
    pub fn of(file: &Path) -> Option<Self> {
        // Not Path::extension(), for which `.yaml` has none.
        match file.file_name()?.to_str()?.rsplit_once('.')?.1 {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            _ => None,
        }
    }
}

/// A spec that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Where it was read, as seen from the host's root.
    pub path: PathBuf,
    /// What it declares.
    pub version: Version,
    /// What its devices are.
    pub kind: Kind,
    /// What a container needs for any of its devices.
    pub edits: Edits,
    /// The devices, at least one, in the file's order; no name is there twice.
    pub devices: Vec<Device>,
}

/// A device of a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name, without the kind.
    pub name: String,
    /// What a container needs for it; never nothing.
    pub edits: Edits,
}

impl Spec {
    /// Reads a spec. `path` is for messages, and kept.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8], format: Format, path: &Path) -> Result<Self, Problem> {
        if u64::try_from(bytes.len()).is_ok_and(|length| length > limits::FILE) {
            return Err(Problem::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Problem::NotText)?;
        let raw: raw::Spec = match format {
            Format::Json => serde_json::from_str(text).map_err(|error| Problem::Syntax {
                line: None,
                message: one_line(&error.to_string()),
            })?,
            Format::Yaml => yaml::read(text)?,
        };
        Self::check(raw, path)
    }

    fn check(raw: raw::Spec, path: &Path) -> Result<Self, Problem> {
        let version = Version::parse(&raw.cdi_version)?;
        version.check(&raw)?;
        let kind: Kind = raw.kind.parse()?;
        check::annotations(&raw.annotations)?;
        let edits = check::edits(raw.container_edits, None)?;
        if raw.devices.is_empty() {
            return Err(Problem::NoDevices);
        }
        if raw.devices.len() > limits::DEVICES {
            return Err(Problem::TooManyDevices);
        }
        let mut names = HashSet::new();
        let mut devices = Vec::with_capacity(raw.devices.len());
        for device in raw.devices {
            check_device(&device.name)?;
            check::annotations(&device.annotations)?;
            if !names.insert(device.name.clone()) {
                return Err(Problem::Twice(quoted(&device.name)));
            }
            let edits = check::edits(device.container_edits, Some(&device.name))?;
            if edits.is_empty() {
                return Err(Problem::EmptyDevice(quoted(&device.name)));
            }
            devices.push(Device {
                name: device.name,
                edits,
            });
        }
        Ok(Self {
            path: path.to_owned(),
            version,
            kind,
            edits,
            devices,
        })
    }
}

#[cfg(test)]
mod tests;
