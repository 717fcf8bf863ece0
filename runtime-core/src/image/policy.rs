//! Which images a site allows at all. It looks at what the kernel said of an opened
//! file and at the site's rules, and never into the file.

use std::path::{Path, PathBuf};

use crate::config::{Images, RequireSignature};

/// Why an image may not run here; each names the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// It lies somewhere else.
    #[error(
        "not allowed here: it lies at {}, and images.allow_paths allows only {}", path.display(), list(.allowed)
    )]
    Path {
        /// Where the opened file lies.
        path: PathBuf,
        /// What the site allows.
        allowed: Vec<PathBuf>,
    },
    /// It belongs to somebody else.
    #[error(
        "not allowed here: it belongs to uid {owner}, and images.allow_owners allows only {}", .allowed.join(", ")
    )]
    Owner {
        /// The file's owner.
        owner: u32,
        /// What the site allows.
        allowed: Vec<String>,
    },
    /// What is said of it is a user's word.
    #[error(
        "not allowed here: it lies on a file system that a user mounted (FUSE), whose paths and owners images.allow_paths and images.allow_owners cannot rely on"
    )]
    UsersMount,
    /// It comes from somewhere else.
    #[error(
        "not allowed here: images.allow_registries allows only {}", .allowed.join(", ")
    )]
    Registry {
        /// What the site allows.
        allowed: Vec<String>,
    },
    /// No signature counts.
    #[error(
        "not allowed here: images.require_signature asks for a signature by a key of {}: {reason}", keyring.display()
    )]
    Unsigned {
        /// The site's keyring.
        keyring: PathBuf,
        /// Why none counts.
        reason: String,
    },
}

fn list(paths: &[PathBuf]) -> String {
    let texts: Vec<_> = paths.iter().map(|p| p.display().to_string()).collect();
    texts.join(", ")
}

/// Whether a file at `path` (as the kernel names the opened file) that belongs to
/// `owner` may run. `uid_of` knows the numbers of users.
///
/// # Errors
/// [`Denial::Path`], [`Denial::Owner`].
pub fn allows_file(
    images: &Images,
    path: &Path,
    owner: u32,
    uid_of: &dyn Fn(&str) -> Option<u32>,
) -> Result<(), Denial> {
    // By components: /apps does not allow /apps-of-mallory.
    let inside = |allowed: &PathBuf| path.starts_with(allowed);
    if !images.allow_paths.is_empty() && !images.allow_paths.iter().any(inside) {
        return Err(Denial::Path {
            path: path.to_owned(),
            allowed: images.allow_paths.clone(),
        });
    }
    let owns = |name: &String| name.parse().ok().or_else(|| uid_of(name)) == Some(owner);
    if !images.allow_owners.is_empty() && !images.allow_owners.iter().any(owns) {
        return Err(Denial::Owner {
            owner,
            allowed: images.allow_owners.clone(),
        });
    }
    Ok(())
}

/// Whether the site has rules that rely on what a file system says of a file.
#[must_use]
pub fn has_rules_of_files(images: &Images) -> bool {
    !images.allow_paths.is_empty() || !images.allow_owners.is_empty()
}

/// Whether an image of this registry may run: `ghcr.io` allows the host,
/// `ghcr.io/site` what lies below.
///
/// # Errors
/// [`Denial::Registry`].
pub fn allows_registry(images: &Images, reference: &str) -> Result<(), Denial> {
    let below = reference.split_once("://").map_or(reference, |(_, r)| r);
    let inside = |allowed: &String| {
        below
            .strip_prefix(allowed.trim_end_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
    };
    if images.allow_registries.is_empty() || images.allow_registries.iter().any(inside) {
        return Ok(());
    }
    Err(Denial::Registry {
        allowed: images.allow_registries.clone(),
    })
}

/// The number of a user, from the node's databases.
#[must_use]
pub fn uid_of(name: &str) -> Option<u32> {
    nix::unistd::User::from_name(name)
        .ok()
        .flatten()
        .map(|user| user.uid.as_raw())
}

/// Whether an image must be signed.
#[must_use]
pub fn must_be_signed(images: &Images, trusted: bool) -> bool {
    match images.require_signature {
        RequireSignature::None => false,
        RequireSignature::Untrusted => !trusted,
        RequireSignature::All => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid_of(name: &str) -> Option<u32> {
        (name == "alice").then_some(1000)
    }

    #[test]
    fn paths_are_compared_by_components() {
        let images = Images {
            allow_paths: vec!["/apps".into(), "/scratch/images".into()],
            ..Images::default()
        };
        let allows = |path: &str| allows_file(&images, Path::new(path), 0, &uid_of).is_ok();
        assert!(allows("/apps/a.sif"));
        assert!(allows("/scratch/images/b/a.sif"));
        assert!(!allows("/apps-of-mallory/a.sif"));
        assert!(!allows("/scratch/a.sif"));
        let error = allows_file(&images, Path::new("/tmp/x"), 0, &uid_of).unwrap_err();
        assert_eq!(
            error.to_string(),
            "not allowed here: it lies at /tmp/x, and images.allow_paths allows only /apps, /scratch/images"
        );
    }

    #[test]
    fn owners_are_names_or_numbers() {
        let images = Images {
            allow_owners: vec!["0".into(), "alice".into(), "nobody-at-all".into()],
            ..Images::default()
        };
        let allows = |owner| allows_file(&images, Path::new("/x"), owner, &uid_of).is_ok();
        assert!(allows(0) && allows(1000));
        assert!(!allows(1001));
    }

    #[test]
    fn registries_are_hosts_or_what_lies_below() {
        let images = Images {
            allow_registries: vec!["registry.example".into(), "other.example/site/".into()],
            ..Images::default()
        };
        let allows = |name: &str| allows_registry(&images, name).is_ok();
        assert!(allows("docker://registry.example/app:1"));
        assert!(allows("oras://other.example/site/app"));
        assert!(!allows("docker://other.example/sitex/app"));
        assert!(!allows("docker://registry.example.org/app"));
    }

    #[test]
    fn signatures_by_trust() {
        let images = |require_signature| Images {
            require_signature,
            ..Images::default()
        };
        for (rule, trusted, wanted) in [
            (RequireSignature::None, false, false),
            (RequireSignature::Untrusted, true, false),
            (RequireSignature::Untrusted, false, true),
            (RequireSignature::All, true, true),
        ] {
            assert_eq!(must_be_signed(&images(rule), trusted), wanted);
        }
    }
}
