//! Paths on the host and paths in the container, as types that do not mix.
//!
//! Both hold bytes as the kernel does, are absolute, hold no NUL, and are
//! normal: no `.`, no `..`, no empty component. Nothing here touches a file.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// No path is longer, in bytes: the kernel takes `PATH_MAX` with the NUL at the end.
pub const MAX_LENGTH: usize = 4095;

/// Why a string is no usable absolute path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The path does not begin with `/`.
    #[error("\"{0}\" is not an absolute path")]
    Relative(String),
    /// The path has a `..` component.
    #[error("\"{0}\" has a \"..\" in it")]
    Parent(String),
    /// The path is empty.
    #[error("the path is empty")]
    Empty,
    /// The path holds a NUL byte.
    #[error("the path holds a NUL byte")]
    Nul,
    /// The kernel takes none that is so long.
    #[error("the path is longer than {MAX_LENGTH} bytes")]
    Long,
}

/// Splits an absolute path into its components, without `.` and empty ones.
fn normal(bytes: &[u8]) -> Result<Vec<u8>, PathError> {
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    match bytes.first() {
        None => return Err(PathError::Empty),
        Some(b'/') => {}
        Some(_) => return Err(PathError::Relative(shown())),
    }
    if bytes.contains(&0) {
        return Err(PathError::Nul);
    }
    let mut out = Vec::with_capacity(bytes.len());
    for part in bytes.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(PathError::Parent(shown())),
            name => {
                out.push(b'/');
                out.extend_from_slice(name);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    if out.len() > MAX_LENGTH {
        return Err(PathError::Long);
    }
    Ok(out)
}

macro_rules! absolute_path {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(OsString);

        impl $name {
            /// Takes an absolute path, normalised.
            ///
            /// # Errors
            /// [`PathError`] where it is relative, empty, holds `..` or NUL.
            pub fn new(path: impl AsRef<OsStr>) -> Result<Self, PathError> {
                normal(path.as_ref().as_bytes()).map(|bytes| Self(OsString::from_vec(bytes)))
            }

            /// The path for system calls.
            #[must_use]
            pub fn as_path(&self) -> &Path {
                Path::new(&self.0)
            }

            /// The bytes, always starting with `/`.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }

            /// The path relative to the root: `.` for the root itself.
            #[must_use]
            pub fn relative(&self) -> &Path {
                match self.as_bytes() {
                    b"/" => Path::new("."),
                    bytes => Path::new(OsStr::from_bytes(bytes.get(1..).unwrap_or_default())),
                }
            }

            /// What is left of this path below `above`: `None` where it does not
            /// lie there, `Some("")` where it is the same.
            #[must_use]
            pub fn below(&self, above: &Self) -> Option<&OsStr> {
                let rest = match above.as_bytes() {
                    b"/" => self.as_bytes(),
                    prefix => self.as_bytes().strip_prefix(prefix)?,
                };
                match rest.first() {
                    None => Some(OsStr::new("")),
                    Some(b'/') => Some(OsStr::from_bytes(rest.get(1..).unwrap_or_default())),
                    Some(_) => None,
                }
            }

            /// Joins a name or a relative path given by the program itself.
            #[must_use]
            pub fn join(&self, name: &str) -> Self {
                Self(self.as_path().join(name).into_os_string())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0.to_string_lossy())
            }
        }
    };
}

absolute_path!(
    /// An absolute path on the host, as the task would see it without a container.
    HostPath
);
absolute_path!(
    /// An absolute path inside the container.
    ContainerPath
);

impl HostPath {
    /// The root directory.
    #[must_use]
    pub fn root() -> Self {
        Self(OsString::from("/"))
    }

    /// The path that `relative` leads to from this directory, which is one without
    /// links, as getcwd(3) gives it: so each `..` at the beginning goes up by name.
    ///
    /// # Errors
    /// [`PathError`] where there is a `..` further on: what it leads to is not known
    /// without looking.
    pub fn join_relative(&self, relative: &OsStr) -> Result<Self, PathError> {
        let mut base = self.as_path();
        let mut rest = relative.as_bytes();
        loop {
            rest = if let Some(after) = rest.strip_prefix(b"./") {
                after
            } else if let Some(after) = rest.strip_prefix(b"../") {
                base = base.parent().unwrap_or(base);
                after
            } else if let Some(after) = rest.strip_prefix(b"/") {
                after
            } else {
                break;
            };
        }
        match rest {
            b".." => base = base.parent().unwrap_or(base),
            b"." => {}
            _ => return Self::new(base.join(OsStr::from_bytes(rest))),
        }
        Self::new(base)
    }

    /// The same path inside the container.
    #[must_use]
    pub fn same_inside(&self) -> ContainerPath {
        ContainerPath(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised() {
        for (given, kept) in [
            ("/", "/"),
            ("//a///b/", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/.", "/"),
        ] {
            assert_eq!(
                HostPath::new(given).map(|p| p.to_string()),
                Ok(kept.to_owned())
            );
        }
    }

    #[test]
    fn no_path_is_longer_than_the_kernels() {
        let path = |length: usize| ContainerPath::new(format!("/{}", "x".repeat(length)));
        assert!(path(MAX_LENGTH - 1).is_ok());
        assert_eq!(path(MAX_LENGTH), Err(PathError::Long));
        // What the kernel would leave out does not count.
        assert!(ContainerPath::new("/./a".repeat(MAX_LENGTH / 3)).is_ok());
    }

    #[test]
    fn relative_paths_begin_at_a_directory() {
        let base = HostPath::new("/a/b").unwrap();
        for (relative, kept) in [
            ("./c", "/a/b/c"),
            ("c", "/a/b/c"),
            (".", "/a/b"),
            ("..", "/a"),
            ("../c", "/a/c"),
            ("././../../../c/", "/c"),
            ("..//c", "/a/c"),
        ] {
            let joined = base.join_relative(OsStr::new(relative));
            assert_eq!(joined.map(|p| p.to_string()), Ok(kept.to_owned()));
        }
        assert!(base.join_relative(OsStr::new("./c/../d")).is_err());
    }

    #[test]
    fn what_is_no_absolute_path_is_refused() {
        assert_eq!(HostPath::new(""), Err(PathError::Empty));
        assert_eq!(HostPath::new("a"), Err(PathError::Relative("a".into())));
        assert_eq!(
            HostPath::new("/a/../b"),
            Err(PathError::Parent("/a/../b".into()))
        );
        assert_eq!(HostPath::new("/a\0b"), Err(PathError::Nul));
    }

    #[test]
    fn below_respects_component_borders() {
        let path = |p: &str| HostPath::new(p).unwrap();
        assert_eq!(path("/home/al").below(&path("/home/a")), None);
        assert_eq!(
            path("/home/a").below(&path("/home/a")),
            Some(OsStr::new(""))
        );
        assert_eq!(
            path("/home/a/b").below(&path("/home")),
            Some(OsStr::new("a/b"))
        );
        assert_eq!(path("/home").below(&path("/")), Some(OsStr::new("home")));
    }
}
