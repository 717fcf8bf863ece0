//! `--container-debug`: what goes to the journal is shown to the user too.
//!
//! Silent until a request has asked for it; then each event is a notice, which a
//! waiting rank prints. It says nothing that the messages of failures do not say as
//! well: paths of the node, and what the kernel answered.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use super::protocol;
use crate::sys::{ipc, process};

static IS_ASKED: AtomicBool = AtomicBool::new(false);

/// From now on events are shown.
pub(super) fn begin() {
    IS_ASKED.store(true, Ordering::Relaxed);
}

/// Whether anybody wants to see events.
#[must_use]
pub fn is_asked() -> bool {
    IS_ASKED.load(Ordering::Relaxed)
}

/// Shows one line. The children of `oarlock-prepare` have the descriptor from it,
/// unless they have confined themselves.
pub fn show(text: &str) {
    let socket = process::standing(protocol::SOCKET_FD);
    let message = protocol::notice_message(format!("debug: {text}").as_ref());
    let _ = ipc::send(socket.as_fd(), &message, &[]);
}
