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

    /// The image's name in a registry, where it can be nothing else:
    /// `docker://debian:13`, or `registry.example#debian:13` in the words of enroot.
    #[must_use]
    pub fn in_registry(&self) -> Option<String> {
        if self.is_a_path() {
            return None;
        }
        let text = self.0.to_string_lossy();
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, text.as_ref()),
        };
        // docker://USER@HOST#IMAGE:TAG
        match rest.split_once('#') {
            Some((host, image)) if scheme.is_some() || is_host(host) => {
                Some(format!("{}://{host}/{image}", scheme.unwrap_or("docker")))
            }
            _ => scheme.map(|_| text.clone().into_owned()),
        }
    }

    /// Whether the name says itself that it is a path: by its beginning.
    #[must_use]
    pub fn is_a_path(&self) -> bool {
        let bytes = self.0.as_bytes();
        [b"/".as_slice(), b"./", b"../"]
            .iter()
            .any(|beginning| bytes.starts_with(beginning))
            || bytes == b"."
            || bytes == b".."
    }

    /// Whether a file of this name may well be meant as an image in a registry, as in
    /// `ubuntu:22.04` and `library/ubuntu`: there is no such file, and what is said
    /// of it depends on this.
    #[must_use]
    pub fn looks_like_registry(&self) -> bool {
        const FILES: [&str; 6] = [".sif", ".sqsh", ".squashfs", ".sfs", ".img", ".erofs"];
        let Some(text) = self.0.to_str() else {
            return false;
        };
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-/".contains(&b);
        let end = text.find([':', '@']).unwrap_or(text.len());
        let (name, tag) = text.split_at(end);
        !self.is_a_path()
            && !FILES.iter().any(|end| text.ends_with(end))
            && !name.is_empty()
            && name.bytes().all(is_plain)
            && (name.contains('/') || !tag.is_empty())
    }

    /// Refuses what no part of Oarlock can fetch yet.
    ///
    /// # Errors
    /// [`RequestError::Registry`].
    pub fn must_be_a_path(&self) -> Result<(), RequestError> {
        self.in_registry()
            .map_or(Ok(()), |_| Err(RequestError::Registry(self.to_string())))
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

/// Whether the word before a `#` names a registry: it has a dot, a port or is the
/// machine itself, perhaps behind a user's name.
fn is_host(text: &str) -> bool {
    let host = text.rsplit('@').next().unwrap_or(text);
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b".-:".contains(&b);
    !host.is_empty()
        && host.bytes().all(is_plain)
        && (host.contains(['.', ':']) || host == "localhost")
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
        let named = |text: &str| ImageName::parse(OsStr::new(text)).unwrap();
        for (text, wanted) in [
            ("docker://debian:13", Some("docker://debian:13")),
            ("docker://r.example#a/b:1", Some("docker://r.example/a/b:1")),
            ("oras://r.example/a", Some("oras://r.example/a")),
            ("library://a/b/c", Some("library://a/b/c")),
            ("r.example#a/b:1", Some("docker://r.example/a/b:1")),
            ("me@r.example:5000#a", Some("docker://me@r.example:5000/a")),
            ("localhost#a", Some("docker://localhost/a")),
            ("app#1.sif", None),
            ("dir/v1.0#x", None),
            ("./r.example#a", None),
            ("/a://b", None),
            ("ubuntu:22.04", None),
        ] {
            assert_eq!(named(text).in_registry().as_deref(), wanted, "{text}");
        }
        for (text, wanted) in [
            ("ubuntu:22.04", true),
            ("library/ubuntu", true),
            ("nvidia/cuda@sha256:00", true),
            ("ubuntu", false),
            ("app.sif", false),
            ("images/app.sqsh", false),
            ("./ubuntu:22.04", false),
            ("Work/App", false),
        ] {
            assert_eq!(named(text).looks_like_registry(), wanted, "{text}");
        }
        for (text, wanted) in [("./a", true), ("..", true), ("a/b", false), (".a", false)] {
            assert_eq!(named(text).is_a_path(), wanted, "{text}");
        }
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
