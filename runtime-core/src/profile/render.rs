//! A profile as TOML again: all that it is based on merged in, and its variables
//! filled in, but for those of `[env]`, which are the container's.
//!
//! What is printed is a profile, and means the same. Pure.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use serde::Serialize;

use super::Profile;
use super::expand::quote;

#[derive(Serialize)]
struct Printed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workdir: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entrypoint: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    writable: Option<bool>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, String>,
}

impl Profile {
    /// As TOML. Paths that are no UTF-8 are shown as well as they can be.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let printed = Printed {
            image: self.image.as_ref().map(|image| quote(image.as_os_str())),
            workdir: self
                .workdir
                .as_ref()
                .map(|path| quote(path.as_path().as_os_str())),
            entrypoint: self.entrypoint,
            writable: self.writable,
            mounts: self.mounts.iter().map(|m| quote(&m.text)).collect(),
            env: &self.env,
            annotations: self
                .annotations
                .iter()
                .map(|(name, value)| (name.as_str(), quote(OsStr::new(value))))
                .collect(),
        };
        toml::to_string(&printed).unwrap_or_default()
    }
}
