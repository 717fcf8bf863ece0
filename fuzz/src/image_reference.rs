//! An image's name, as users type it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use runtime_core::request::ImageName;

/// Parses the bytes and holds the result to what the parser promises.
///
/// # Panics
/// Where a promise is broken.
pub fn check(data: &[u8]) {
    let text = OsStr::from_bytes(data);
    match ImageName::parse(text) {
        Ok(name) => {
            assert_eq!(name.as_os_str(), text, "the name is kept as typed");
            assert_eq!(ImageName::parse(name.as_os_str()).as_ref(), Ok(&name));
            assert_eq!(name.is_absolute(), data.first() == Some(&b'/'));
            assert!(!data.is_empty() && !data.iter().any(u8::is_ascii_control));
        }
        // What a name holds is cleaned where messages are put together.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Names of every kind.
///
/// # Panics
/// Where a path is not accepted.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let paths: [&[u8]; 5] = [
        b"app.sif",
        b"/opt/images/app.sif",
        b"../x/./y.sqsh",
        b"a b:c@d#e",
        b"\xff\xfe.sif",
    ];
    for path in paths {
        ImageName::parse(OsStr::from_bytes(path)).expect("a seed is a name");
    }
    let others: [&[u8]; 4] = [
        b"docker://debian:12",
        b"oras://host:5000/a/b@sha256:00",
        b"a\nb",
        b"library://",
    ];
    paths.iter().chain(&others).map(|s| s.to_vec()).collect()
}
