//! What an image has of C and C++ libraries, and what it says of NVIDIA's driver: asked
//! before any library of the node is shown in it.
//!
//! All of that a user may have written, so a child reads it that has become the user for
//! good, is confined to the image, and ends. Its answer is one small value, which its
//! parent, root, reads back with every bound checked. The parent never opens a file of
//! the image's.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use host_devices::libraries::versions::{self, Defined};
use serde::{Deserialize, Serialize};

use crate::apply::inside::{open_in, read_in};
use crate::apply::known::Known;
use crate::environment;
use crate::prepare::as_user::{self, AsUser, Asked, Findings, Unanswered};
use crate::sys::ipc;
use crate::sys::sandbox::{self, Profile};

/// What an image says of the driver's parts that it wants.
pub(super) const CAPABILITIES: &str = "NVIDIA_DRIVER_CAPABILITIES";

/// No C or C++ library is longer, in bytes; libstdc++ has some 2 MiB.
const MAX_LIBRARY: u64 = 64 << 20;
/// The variable's value is no longer, in bytes; with all words it has some 60.
const MAX_CAPABILITIES: usize = 256;
/// An answer is a message, with a byte before it.
const MAX_ANSWER: usize = ipc::MAX_MESSAGE - 1;
/// Begins the line that says why there is no answer.
const SUBJECT: &str = "the image's C library";

/// What an image has, and wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Versions of its C and C++ libraries.
    pub(super) defined: Defined,
    /// What its configuration says by [`CAPABILITIES`]; what its scripts would say is
    /// not known.
    pub(super) capabilities: Option<String>,
}

/// Why the child has no answer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(
        "{SUBJECT}: confining the process that reads it: {0}; Oarlock needs a kernel with seccomp filters"
    )]
    Confine(io::Error),
    #[error("{SUBJECT}: it says more of its versions than any does; is the image damaged?")]
    TooLong,
}

/// Asks a child, and goes on; `root` is the image's, `known` a memory file of [`Known`].
///
/// # Errors
/// [`Unanswered::Start`].
pub(in crate::prepare) fn start(
    root: BorrowedFd<'_>,
    known: BorrowedFd<'_>,
    user: AsUser<'_>,
) -> Result<Asked, Unanswered> {
    user.start(&[root, known], SUBJECT, || {
        sandbox::confine(Profile::ReadTree(root)).map_err(Refusal::Confine)?;
        // Nothing that is known counts for little: the libraries are what matters.
        let own = known.try_clone_to_owned().map(|file| own(&file));
        let own = own.unwrap_or_default();
        let bytes = postcard::to_stdvec(&look(root, own)).map_err(|_| Refusal::TooLong)?;
        if bytes.len() > MAX_ANSWER {
            return Err(Refusal::TooLong);
        }
        let fds = Vec::new();
        Ok(Findings { bytes, fds })
    })
}

/// What the child says on its socket.
///
/// # Errors
/// [`Unanswered`].
pub(super) fn answer(socket: BorrowedFd<'_>, user: AsUser<'_>) -> Result<Answer, Unanswered> {
    let findings = as_user::answer_on(socket, user.asker, SUBJECT, user.seconds)?;
    read(&findings.bytes).ok_or_else(|| Unanswered::Died(SUBJECT.to_owned()))
}

/// In the parent: a value within its bounds, or none.
fn read(bytes: &[u8]) -> Option<Answer> {
    let (answer, rest) = postcard::take_from_bytes::<Answer>(bytes).ok()?;
    let fits =
        |text: &String| text.len() <= MAX_CAPABILITIES && !text.chars().any(char::is_control);
    (rest.is_empty() && answer.capabilities.as_ref().is_none_or(fits)).then_some(answer)
}

/// What the image's configuration sets, in the child.
fn own(known: &OwnedFd) -> Option<String> {
    let variables = Known::read(known).ok()?.image_environment();
    let mut variables = variables.into_iter();
    let (_, value) = variables.find(|(name, _)| name == CAPABILITIES)?;
    value.into_string().ok()
}

/// In the child, confined.
fn look(root: BorrowedFd<'_>, own: Option<String>) -> Answer {
    let said = own.or_else(|| {
        let text = read_in(root, "etc/environment");
        let lines = environment::parse_environment_file(&text);
        let prefix = format!("{CAPABILITIES}=");
        let find =
            |line: &std::ffi::OsString| Some(line.to_str()?.strip_prefix(&prefix)?.to_owned());
        lines.iter().find_map(find)
    });
    let fits =
        |text: &String| text.len() <= MAX_CAPABILITIES && !text.chars().any(char::is_control);
    Answer {
        defined: versions::defined(|path| library(root, path)),
        capabilities: said.filter(fits),
    }
}

/// A library; nothing where there is none, or none that is meant.
fn library(root: BorrowedFd<'_>, path: &str) -> Option<File> {
    let file = open_in(root, path).ok()?;
    (file.metadata().ok()?.len() <= MAX_LIBRARY).then_some(file)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use host_devices::libraries::versions::Libc;

    use super::*;

    fn answer(capabilities: Option<&str>) -> Answer {
        Answer {
            defined: Defined {
                libc: Libc::Musl,
                libstdcxx: None,
                libgcc: None,
            },
            capabilities: capabilities.map(str::to_owned),
        }
    }

    #[test]
    fn an_answer_is_read_back_within_its_bounds() {
        let bytes = |answer: &Answer| postcard::to_stdvec(answer).unwrap();
        let good = answer(Some("compute,utility"));
        assert_eq!(read(&bytes(&good)), Some(good.clone()));
        let mut longer = bytes(&good);
        longer.push(0);
        assert_eq!(read(&longer), None);
        assert_eq!(read(&[]), None);
        for wrong in ["a\u{1b}[2J", "x".repeat(MAX_CAPABILITIES + 1).as_str()] {
            assert_eq!(read(&bytes(&answer(Some(wrong)))), None);
        }
    }

    #[test]
    fn an_images_files_are_looked_at_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        std::fs::create_dir_all(path("etc")).unwrap();
        std::fs::create_dir_all(path("lib64")).unwrap();
        std::fs::write(
            path("etc/environment"),
            "A=b\nNVIDIA_DRIVER_CAPABILITIES=\"all\"\n",
        )
        .unwrap();
        let root = File::open(place.path()).unwrap();
        let found = look(root.as_fd(), None);
        assert_eq!(
            found,
            Answer {
                capabilities: Some("all".to_owned()),
                ..answer(None)
            }
            .without()
        );
        // What the configuration says comes first.
        let said = look(root.as_fd(), Some("video".to_owned())).capabilities;
        assert_eq!(said.as_deref(), Some("video"));
        // A loop of links, a link to the node's own, a device, and more than any has.
        symlink("libc.so.6", path("lib64/libc.so.6")).unwrap();
        symlink("/lib64/libc.so.6", path("lib64/libstdc++.so.6")).unwrap();
        let huge = File::create(path("lib64/libgcc_s.so.1")).unwrap();
        huge.set_len(1 << 40).unwrap();
        let found = look(root.as_fd(), Some("x".repeat(1000)));
        assert_eq!(found, answer(None).without());
    }

    impl Answer {
        fn without(mut self) -> Self {
            self.defined.libc = Libc::None;
            self
        }
    }
}
