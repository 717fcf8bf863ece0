//! An image's name, as typed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use super::RequestError;

/// An image, as named by the user and checked for form only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageName(OsString);

impl ImageName {
    /// Where no image is named: a container that exists has its own.
    pub(super) const NONE: Self = Self(OsString::new());

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
        if self.0.is_empty() {
            return f.write_str("(none named)");
        }
        f.write_str(&self.0.to_string_lossy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
