//! What the plugin and `oarlock-prepare` say to each other: the first byte of the
//! input says how many descriptors come with a message and who sent it, the rest
//! is the message.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use runtime_core::path::{ContainerPath, HostPath};
use runtime_core::prepare::protocol::{
    Answer, Start, Times, ToPrepare, container_message, failure_message, namespace_message,
    notice_message, server_message,
};
use runtime_core::sys::ipc::{MAX_MESSAGE, Message, Sender};
use runtime_core::sys::namespaces::{Kind, Namespace};
use runtime_core::visible::Shown;
use runtime_core::way::{Ids, Way};

/// Reads the bytes as a message of either side.
///
/// # Panics
/// Where one is understood that must not be, or is not repeated as it was.
pub fn check(data: &[u8]) {
    let Some((shape, bytes)) = data.split_first() else {
        return;
    };
    let descriptors = usize::from(shape & 3);
    let sender = match shape >> 2 & 3 {
        0 => None,
        1 => Some(Sender { pid: 7, uid: 0 }),
        _ => Some(Sender { pid: 7, uid: 1000 }),
    };
    match ToPrepare::read(message(bytes, descriptors, sender)) {
        Some(ToPrepare::Namespace(..)) => {
            assert!(descriptors > 0);
            assert!(
                sender.is_some_and(|who| who.uid == 0),
                "only root is believed a namespace"
            );
        }
        Some(ToPrepare::Go(start, pid)) => {
            assert_eq!(sender.map(|who| who.pid), Some(pid));
            let encoded = start.encode();
            if encoded.len() < MAX_MESSAGE {
                match ToPrepare::read(message(&encoded, 0, sender)) {
                    Some(ToPrepare::Go(again, _)) => assert_eq!(again, start),
                    other => panic!("{other:?}"),
                }
            }
        }
        Some(ToPrepare::Save) | None => {}
    }
    match Answer::read(message(bytes, descriptors, sender)) {
        Some(Answer::Container {
            number,
            times,
            workdir,
            way,
            shown,
            ..
        }) => {
            assert!(descriptors > way.namespaces().len());
            // The letters may have come in another order, and the path may not be normal.
            let again = container_message(number, times, &way, workdir.as_ref(), &shown);
            assert_eq!(bytes.get(..13), again.get(..13));
        }
        Some(Answer::Notice(text)) => {
            let sent = notice_message(OsStr::new(&text));
            match Answer::read(message(&sent, 0, None)) {
                Some(Answer::Notice(text)) => {
                    assert!(!text.chars().any(|c| c.is_ascii_control()));
                }
                other => panic!("{other:?}"),
            }
        }
        Some(Answer::Server(_)) => assert!(descriptors >= 1),
        Some(Answer::Failure { number, text }) => {
            let sent = failure_message(number, OsStr::new(&text));
            match Answer::read(message(&sent, 0, None)) {
                Some(Answer::Failure { number: same, text }) => {
                    assert_eq!(same, number);
                    assert!(!text.chars().any(|c| c.is_ascii_control()));
                }
                other => panic!("{other:?}"),
            }
        }
        Some(Answer::Line(_) | Answer::Explained | Answer::Saved(..)) | None => {}
    }
}

fn message(bytes: &[u8], descriptors: usize, sender: Option<Sender>) -> Message {
    let open = |_| OwnedFd::from(File::open("/dev/null").expect("/dev/null"));
    Message {
        bytes: bytes.to_vec(),
        fds: (0..descriptors).map(open).collect(),
        sender,
    }
}

/// Every kind of message, with the descriptors that it needs.
///
/// # Panics
/// Never: the paths are right.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let path = |text: &str| HostPath::new(text).expect("a path");
    let start = Start {
        cwd: Some(path("/home/a")),
        mpi: vec![path("/spool/pmix.1.0"), path("/tmp/x y")],
    };
    let times = Times {
        image: 1,
        build: 1000,
    };
    let mounts = Namespace::own(Kind::Mount).expect("this process has one");
    let way = Way::new(vec![mounts], Ids::Host, None);
    [
        (0b0101, namespace_message(Some(&path("/home/a")))),
        (0b1001, namespace_message(None)),
        (0b1000, start.encode()),
        (0b1000, Start::default().encode()),
        (
            0b0110,
            container_message(3, times, &way, None, &Shown::default()),
        ),
        (
            0b0110,
            container_message(
                4,
                times,
                &way,
                ContainerPath::new("/w").ok().as_ref(),
                &Shown::default(),
            ),
        ),
        (0b0101, server_message()),
        (0b0100, notice_message(OsStr::new("copying the image"))),
        (
            0b0100,
            failure_message(u32::MAX, OsStr::from_bytes(b"a\nb\xff")),
        ),
    ]
    .into_iter()
    .map(|(shape, bytes)| [vec![shape], bytes].concat())
    .collect()
}
