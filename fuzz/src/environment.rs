//! The environment's changes, which a process of the user may have written, and
//! the OCI configuration of an image.

use std::os::unix::ffi::OsStrExt;

use runtime_core::environment::{Change, decode, encode, split};
use runtime_core::image::oci;

/// Reads the bytes as both.
///
/// # Panics
/// Where a change is not repeated as it was, or could not be passed to a program.
pub fn check(data: &[u8]) {
    let changes = decode(data);
    for change in &changes {
        let (name, value) = match change {
            Change::Set(name, value) => (name.as_bytes(), value.as_bytes()),
            Change::Unset(name) => (name.as_bytes(), b"".as_slice()),
        };
        assert!(!name.is_empty());
        assert!(!name.contains(&0) && !value.contains(&0));
    }
    assert_eq!(decode(&encode(&changes)), changes);

    for entry in oci::environment(data) {
        let (name, value) = split(&entry).expect("NAME=value");
        assert!(!name.is_empty());
        assert!(!name.contains(&0) && !value.contains(&0));
    }
}

/// Changes of both kinds, and a configuration.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let changes = [
        Change::Set("PATH".into(), "/bin:/usr/bin".into()),
        Change::Set("EMPTY".into(), "".into()),
        Change::Set("LINES".into(), "one\ntwo=2".into()),
        Change::Unset("LD_LIBRARY_PATH".into()),
    ];
    vec![
        encode(&changes),
        b"+=x\0-\0?\0+A".to_vec(),
        br#"{"architecture":"amd64","config":{"Env":["PATH=/bin","A=b=c","x","=y","N=\u0000"]}}"#
            .to_vec(),
        br#"{"config":{"Env":null}}"#.to_vec(),
    ]
}
