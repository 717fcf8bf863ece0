//! The answer of `oarlock-check`, which root reads: whatever it says, what is not
//! well-formed and not signed is never the kernel's, and a layout that fits lies
//! in the file.

use runtime_core::config::Images;
use runtime_core::image::layout::{FileLayout, FilesystemKind, Partition, Role};
use runtime_core::store::{Check, RULES, Record};

/// Reads the bytes as an answer.
///
/// # Panics
/// Where it is believed more than it may be.
pub fn check(data: &[u8]) {
    let Ok(answer) = postcard::from_bytes::<Check>(data) else {
        return;
    };
    let again = postcard::to_stdvec(&answer).expect("an answer is encoded");
    assert_eq!(postcard::from_bytes(&again).as_ref(), Ok(&answer));

    if let Some(layout) = &answer.layout {
        for length in [0, 1, data.len() as u64, 1 << 40, u64::MAX] {
            if layout.fits(length, Role::Image) {
                assert!(layout.root.kind != FilesystemKind::Ext3);
                for part in layout.partitions() {
                    assert!(part.size > 0);
                    assert!(part.offset < length && part.size <= length - part.offset);
                }
            }
        }
    }

    let images = Images::default();
    let record = Record {
        size: 1,
        trusted: false,
        keyring: String::from("today's"),
        check: answer.clone(),
    };
    let is_well_formed = answer.rules == RULES && answer.invalid.is_none();
    for keyring in ["today's", "another"] {
        let is_signed = !answer.signed_by.is_empty() && keyring == record.keyring;
        if record.may_be_mounted(&images, keyring) {
            assert!(answer.layout.is_some());
            assert!(is_signed || is_well_formed);
        }
        assert_eq!(record.is_signed(keyring), is_signed);
    }
}

/// Answers of each kind.
///
/// # Panics
/// Where one cannot be encoded.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let part = |kind, offset| Partition {
        kind,
        offset,
        size: 4096,
    };
    let plain = FileLayout {
        root: part(FilesystemKind::Squashfs, 0),
        overlays: Vec::new(),
    };
    let overlaid = FileLayout {
        root: part(FilesystemKind::Squashfs, 1 << 15),
        overlays: vec![
            part(FilesystemKind::Squashfs, 1 << 16),
            part(FilesystemKind::Ext3, 1 << 20),
        ],
    };
    let well_formed = Check {
        layout: Some(plain),
        rules: RULES,
        ..Check::default()
    };
    let refused = Check {
        invalid: Some(String::from("inode 7: its block list ends too soon")),
        unsigned: Some(String::from("not signed: no signature over group 1")),
        ..well_formed.clone()
    };
    let signed = Check {
        layout: Some(overlaid),
        rules: 0,
        signed_by: vec!["ab".repeat(20), format!("sha256:{}", "01".repeat(32))],
        ..Check::default()
    };
    [Check::default(), well_formed, refused, signed]
        .iter()
        .map(|answer| postcard::to_stdvec(answer).expect("an answer"))
        .collect()
}
