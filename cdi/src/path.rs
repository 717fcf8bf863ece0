//! Paths that a spec names.
//!
//! A path that is not absolute or goes up means another place than it seems to;
//! no generator writes such a one. Nothing is looked up here.

use std::path::{Component, Path, PathBuf};

use crate::error::quoted;
use crate::limits;

/// Checks a path of a spec; the result is without `.`, doubled and trailing slashes.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn absolute(text: &str) -> Result<PathBuf, String> {
    let wrong = |what: &str| Err(format!("path {} {what}", quoted(text)));
    if text.is_empty() {
        return Err(String::from("the path is empty"));
    }
    if !text.starts_with('/') {
        return wrong("must be absolute");
    }
    if text.len() >= limits::PATH {
        return wrong("is too long");
    }
    if text.chars().any(char::is_control) {
        return wrong("has control characters");
    }
    let mut path = PathBuf::from("/");
    for part in Path::new(text).components() {
        match part {
            Component::RootDir | Component::CurDir => (),
            Component::Normal(name) => path.push(name),
            Component::ParentDir | Component::Prefix(_) => return wrong("must not have .. in it"),
        }
    }
    Ok(path)
}

/// As [`absolute`], for a place in the container, which cannot be all of it.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn inside(text: &str) -> Result<PathBuf, String> {
    let path = absolute(text)?;
    if path == Path::new("/") {
        return Err(String::from("the whole container cannot be covered"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute_and_plain() {
        let good = [
            ("/dev/nvidia0", "/dev/nvidia0"),
            ("//dev/./dri//card0/", "/dev/dri/card0"),
            ("/a/..b/c", "/a/..b/c"),
        ];
        for (text, path) in good {
            assert_eq!(absolute(text), Ok(PathBuf::from(path)));
        }
        let long = format!("/{}", "a".repeat(limits::PATH));
        for text in ["", "dev/x", "./x", "/a/../b", "/..", "/a\nb", "/a\0", &long] {
            let said = absolute(text).expect_err(text);
            assert!(!said.contains('\n'), "{said}");
        }
        assert!(inside("/").is_err());
        assert!(inside("//.").is_err());
    }
}
