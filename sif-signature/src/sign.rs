//! Adds signatures to an image, one for each group.
//!
//! An image is signed as it is: whether it may be is the signer's decision. Nothing of it changes but that the
//! signature objects are added.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;

use runtime_core::image::sif::{Content, EditError, Editor, Kind, Link, NewObject, Placement};

use crate::metadata::{Metadata, members};
use crate::signing_key::{MakeError, SigningKey};

/// A signature that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The group that it is over.
    pub group: u32,
    /// Its object's id.
    pub id: u32,
}

/// Why an image was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// It cannot be read or changed.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// No object is in any group.
    #[error("no object is in a group, so there is nothing to sign; build the image again")]
    NoGroups,
    /// No object is in this group.
    #[error("no object is in group {group}; `oarlock sif list` shows the groups")]
    EmptyGroup {
        /// The group.
        group: u32,
    },
    /// An object cannot be read.
    #[error("cannot read object {object}: {source}")]
    Read {
        /// Its id.
        object: u32,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The list of digests cannot be written as JSON.
    #[error("cannot encode the digests: {0}")]
    Json(#[from] serde_json::Error),
    /// The key failed.
    #[error(transparent)]
    Key(#[from] MakeError),
}

/// Signs one group of an image, or every one, and adds the signatures. The file is open for reading and writing;
/// `created` is the time that is recorded, in seconds since 1970.
///
/// # Errors
///
/// [`SignError`]; signatures that were added before stay.
pub fn sign(
    file: &File,
    key: &SigningKey,
    group: Option<u32>,
    created: i64,
) -> Result<Vec<Signed>, SignError> {
    let mut editor = Editor::new(file)?;
    let groups: BTreeSet<u32> = match group {
        Some(group) if members(editor.sif(), group).is_empty() => {
            return Err(SignError::EmptyGroup { group });
        }
        Some(group) => [group].into(),
        None => {
            let objects = editor.sif().descriptors.iter();
            objects.filter_map(|object| object.group).collect()
        }
    };
    if groups.is_empty() {
        return Err(SignError::NoGroups);
    }
    // All are made before one is added, so that a wrong key leaves no half-signed image.
    let mut made = Vec::new();
    for group in groups {
        let list = Metadata::of_group(file, editor.sif(), group)
            .map_err(|(object, source)| SignError::Read { object, source })?;
        made.push((group, key.sign(&list.to_json()?)?));
    }
    let mut signed = Vec::new();
    for (group, signature) in made {
        let object = NewObject {
            kind: Kind::Signature {
                hash: signature.hash,
                // A DSSE key has no such fingerprint, and Apptainer writes zeros.
                fingerprint: key.fingerprint().as_pgp().unwrap_or_default(),
            },
            name: String::new(),
            content: Content::Bytes(&signature.bytes),
        };
        let place = Placement {
            group: None,
            link: Link::Group(group),
            align: None,
            created,
        };
        let id = editor.add(&object, &place)?;
        signed.push(Signed { group, id });
    }
    Ok(signed)
}
