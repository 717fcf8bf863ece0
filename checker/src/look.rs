//! What is in a copy: where its file systems lie, whether they are well-formed,
//! and who signed it.

use std::fs::File;

use runtime_core::image::layout::{self, FileLayout, FilesystemKind, Role};
use runtime_core::image::sif::Sif;
use runtime_core::store::{Check, RULES};
use sif_signature::{Keyring, verify};
use squashfs_check::Limits;

// A record says by which rules a copy was found well-formed.
const _: () = assert!(RULES == squashfs_check::VERSION);

/// Looks at a copy. Never fails: what is wrong is the answer.
pub(crate) fn look(copy: &File, keys: Result<&Keyring, &String>, validate: bool) -> Check {
    let layout = match layout::read(copy, Role::Image) {
        Ok((layout, _)) => layout,
        Err(error) => return nothing(&error.to_string()),
    };
    let (rules, invalid) = if validate {
        (RULES, walk(copy, &layout).err())
    } else {
        (0, None)
    };
    let (signed_by, unsigned) = match signers(copy, keys) {
        Ok(signers) => (signers, None),
        Err(reason) => (Vec::new(), Some(reason)),
    };
    Check {
        layout: Some(layout),
        rules,
        invalid,
        signed_by,
        unsigned,
    }
}

/// Nothing was found out.
pub(crate) fn nothing(reason: &str) -> Check {
    Check {
        layout: None,
        rules: 0,
        invalid: Some(reason.to_owned()),
        signed_by: Vec::new(),
        unsigned: Some(reason.to_owned()),
    }
}

/// Walks every file system of the image.
fn walk(copy: &File, layout: &FileLayout) -> Result<(), String> {
    for part in layout.partitions() {
        if part.kind != FilesystemKind::Squashfs {
            return Err(format!(
                "{} cannot be checked, only squashfs can",
                part.kind
            ));
        }
        squashfs_check::check(copy, part.offset, part.size, &Limits::default())
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Whose signatures over the image are good.
fn signers(copy: &File, keys: Result<&Keyring, &String>) -> Result<Vec<String>, String> {
    let keys = keys.map_err(Clone::clone)?;
    if keys.is_empty() {
        return Err("the keyring has no key".to_owned());
    }
    let sif = Sif::read(copy).map_err(|error| error.to_string())?;
    let signers = verify(copy, &sif, keys).map_err(|error| error.to_string())?;
    Ok(signers.iter().map(ToString::to_string).collect())
}
