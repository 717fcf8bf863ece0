//! A profile on its way from the process that read it, the user's, to root.
//!
//! Bytes that a user's process may have made up: every value is checked for its form
//! again, as an option from a forged client is. Pure.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use super::{MAX_MOUNTS, MAX_RESULT, Profile, ProfileMount, expand};
use crate::path::ContainerPath;
use crate::request::ImageName;

/// No profile is longer as bytes: the texts, and some numbers. With it there is room
/// for more in one message ([`crate::sys::ipc::MAX_MESSAGE`]).
pub const MAX_BYTES: usize = MAX_RESULT + 64;

#[derive(Serialize, Deserialize)]
struct Words {
    image: Option<Vec<u8>>,
    workdir: Option<Vec<u8>>,
    entrypoint: Option<bool>,
    writable: Option<bool>,
    mounts: Vec<Vec<u8>>,
    env: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
}

/// As bytes.
#[must_use]
pub fn encode(profile: &Profile) -> Vec<u8> {
    let words = Words {
        image: profile
            .image
            .as_ref()
            .map(|image| image.as_os_str().as_bytes().to_vec()),
        workdir: profile
            .workdir
            .as_ref()
            .map(|path| path.as_bytes().to_vec()),
        entrypoint: profile.entrypoint,
        writable: profile.writable,
        mounts: profile
            .mounts
            .iter()
            .map(|mount| mount.text.as_bytes().to_vec())
            .collect(),
        env: profile.env.clone().into_iter().collect(),
        annotations: profile.annotations.clone().into_iter().collect(),
    };
    // Writing to memory does not fail.
    postcard::to_stdvec(&words).unwrap_or_default()
}

/// Reads what [`encode`] wrote, or somebody else made up; `None` where a value has
/// not its form.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Profile> {
    if bytes.len() > MAX_BYTES {
        return None;
    }
    let words: Words = postcard::from_bytes(bytes).ok()?;
    if words.mounts.len() > MAX_MOUNTS {
        return None;
    }
    let is_env = |(name, value): &(String, String)| expand::is_name(name) && !value.contains('\0');
    let is_annotation = |(name, _): &(String, String)| !name.chars().any(char::is_control);
    if !words.env.iter().all(is_env) || !words.annotations.iter().all(is_annotation) {
        return None;
    }
    let image = words
        .image
        .map(|text| ImageName::parse(OsStr::from_bytes(&text)));
    let workdir = words
        .workdir
        .map(|text| ContainerPath::new(OsStr::from_bytes(&text)));
    let mounts = words.mounts.iter();
    Some(Profile {
        image: image.transpose().ok()?,
        workdir: workdir.transpose().ok()?,
        entrypoint: words.entrypoint,
        writable: words.writable,
        mounts: mounts
            .map(|text| ProfileMount::parse(OsStr::from_bytes(text)))
            .collect::<Result<_, _>>()
            .ok()?,
        env: words.env.into_iter().collect(),
        annotations: words.annotations.into_iter().collect(),
        is_partial: false,
    })
}
