//! Messages with descriptors between the processes of one step, unix(7).
//!
//! `SOCK_SEQPACKET`: a message arrives whole or not at all, and the end of the
//! peer is seen at once.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

/// The longest message, in bytes. Longer content goes into a memfd.
pub const MAX_MESSAGE: usize = 16 << 10;

/// The most descriptors in one message: a container with a namespace of each kind, its
/// control groups, and its files.
pub const MAX_FDS: usize = 16;

/// A message as it arrived.
#[derive(Debug)]
pub struct Message {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its descriptors, close-on-exec.
    pub fds: Vec<OwnedFd>,
    /// The sender as the kernel saw it, where the receiving socket asks for
    /// credentials.
    pub sender: Option<Sender>,
}

/// Who sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
}

/// Two connected ends.
///
/// # Errors
/// What the kernel said.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// The process that made this pair of sockets, or connected it, unix(7).
///
/// # Errors
/// What the kernel said.
pub fn maker(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let peer = rustix::net::sockopt::socket_peercred(socket)?;
    Ok(peer.pid.as_raw_nonzero().get().unsigned_abs())
}

/// From now on messages received here carry the sender's credentials.
///
/// # Errors
/// What the kernel said.
pub fn ask_for_credentials(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_passcred(socket, true)?)
}

/// Sends one message; the receiver gets descriptors of its own.
///
/// # Errors
/// `EPIPE` where the peer is gone (no signal is raised); what the kernel said.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(
            socket,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
    })?;
    Ok(())
}

/// Receives one message; `None` where the peer is gone.
///
/// # Errors
/// `EAGAIN` after the socket's receive time-out; `EMSGSIZE` where the message or
/// its descriptors were cut; what the kernel said.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Message>> {
    let mut bytes = vec![0; MAX_MESSAGE];
    let mut space =
        [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    });
    let received = match received {
        Ok(received) => received,
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut fds = Vec::new();
    let mut sender = None;
    for part in control.drain() {
        match part {
            RecvAncillaryMessage::ScmRights(list) => fds.extend(list),
            RecvAncillaryMessage::ScmCredentials(who) => {
                sender = Some(Sender {
                    pid: who.pid.as_raw_nonzero().get().unsigned_abs(),
                    uid: who.uid.as_raw(),
                });
            }
            _ => {}
        }
    }
    if received
        .flags
        .intersects(rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC)
    {
        return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
    }
    if received.bytes == 0 && fds.is_empty() {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    Ok(Some(Message { bytes, fds, sender }))
}

/// Takes no more messages, and forgets those that came.
///
/// A unix socket that is closed with unread messages resets its peer, which then
/// loses what it has not read itself yet.
///
/// # Errors
/// What the kernel said.
pub fn stop_listening(socket: BorrowedFd<'_>) -> io::Result<()> {
    rustix::net::shutdown(socket, rustix::net::Shutdown::Read)?;
    let mut scrap = [0; 1];
    loop {
        match rustix::net::recv(socket, &mut scrap, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            Ok((_, 0)) | Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits until one of the descriptors can be read or has hung up; returns its
/// place, or `None` at the deadline.
///
/// # Errors
/// What the kernel said.
pub fn wait_readable(
    fds: &[BorrowedFd<'_>],
    deadline: Option<Instant>,
) -> io::Result<Option<usize>> {
    let mut polled: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN))
        .collect();
    loop {
        let left = deadline.map(|d| d.saturating_duration_since(Instant::now()));
        let timeout = left.map(|d| rustix::time::Timespec::try_from(d).unwrap_or_default());
        match rustix::event::poll(&mut polled, timeout.as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(polled.iter().position(|p| !p.revents().is_empty())),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// How a wait for an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// There is something to read, or the answering end is gone.
    Ready,
    /// The deadline came first.
    Deadline,
    /// Nobody wants the answer any more: the other socket hung up.
    Unwanted,
}

/// Waits for `answer` to become readable, until the deadline or until the peer of
/// `asker` hangs up; what that peer says meanwhile is left unread.
///
/// # Errors
/// What the kernel said.
pub fn wait_answer(
    answer: BorrowedFd<'_>,
    asker: BorrowedFd<'_>,
    deadline: Instant,
) -> io::Result<Waited> {
    let mut polled = [
        PollFd::from_borrowed_fd(answer, PollFlags::IN),
        PollFd::from_borrowed_fd(asker, PollFlags::RDHUP),
    ];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = rustix::time::Timespec::try_from(left).unwrap_or_default();
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(0) => return Ok(Waited::Deadline),
            Ok(_) => {
                let [answer, _] = &polled;
                let ready = !answer.revents().is_empty();
                return Ok(if ready {
                    Waited::Ready
                } else {
                    Waited::Unwanted
                });
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether nobody at the other end will say anything any more, poll(2).
#[must_use]
pub fn is_hung_up(socket: BorrowedFd<'_>) -> bool {
    is(socket, PollFlags::RDHUP)
}

/// Whether nobody at the other end listens any more either.
#[must_use]
pub fn is_gone(socket: BorrowedFd<'_>) -> bool {
    is(socket, PollFlags::HUP)
}

fn is(socket: BorrowedFd<'_>, what: PollFlags) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(socket, what)];
    let now = rustix::time::Timespec::default();
    matches!(rustix::event::poll(&mut polled, Some(&now)), Ok(1..))
}

/// A receive on this socket fails with `EAGAIN` after that time.
///
/// # Errors
/// What the kernel said.
pub fn set_receive_timeout(socket: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_timeout(
        socket,
        rustix::net::sockopt::Timeout::Recv,
        Some(timeout),
    )?)
}

/// A file in memory with this content, read from its start.
///
/// # Errors
/// What the kernel said.
pub fn memory_file(name: &str, content: &[u8]) -> io::Result<OwnedFd> {
    let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(fd);
    io::Write::write_all(&mut file, content)?;
    io::Seek::rewind(&mut file)?;
    Ok(file.into())
}

/// A file in memory with this content and mode, sealed: nobody can change it, not even
/// its owner, and whoever made it is its owner for good. `F_ADD_SEALS`, fcntl(2).
///
/// # Errors
/// What the kernel said.
pub fn sealed_file(name: &str, content: &[u8], mode: u32) -> io::Result<OwnedFd> {
    use rustix::fs::{MemfdFlags, Mode, SealFlags};
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut file = std::fs::File::from(fd);
    io::Write::write_all(&mut file, content)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    let all = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, all)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_carries_bytes_and_descriptors() {
        let (a, b) = pair().unwrap();
        ask_for_credentials(b.as_fd()).unwrap();
        let file = memory_file("t", b"inside").unwrap();
        send(a.as_fd(), b"hello", &[file.as_fd()]).unwrap();
        let got = receive(b.as_fd()).unwrap().unwrap();
        assert_eq!(got.bytes, b"hello");
        assert_eq!(
            got.sender.map(|sender| sender.uid),
            Some(rustix::process::getuid().as_raw())
        );
        let mut text = String::new();
        let mut copy = std::fs::File::from(got.fds.into_iter().next().unwrap());
        io::Read::read_to_string(&mut copy, &mut text).unwrap();
        assert_eq!(text, "inside");
    }

    #[test]
    fn the_end_of_the_peer_is_seen() {
        let (a, b) = pair().unwrap();
        drop(a);
        assert!(receive(b.as_fd()).unwrap().is_none());
    }

    #[test]
    fn an_answer_survives_messages_that_were_never_read() {
        let (task, prepare) = pair().unwrap();
        send(task.as_fd(), b"unread", &[]).unwrap();
        send(prepare.as_fd(), b"answer", &[]).unwrap();
        stop_listening(prepare.as_fd()).unwrap();
        drop(prepare);
        assert_eq!(receive(task.as_fd()).unwrap().unwrap().bytes, b"answer");
        assert!(receive(task.as_fd()).unwrap().is_none());
    }

    #[test]
    fn a_deadline_ends_the_waiting() {
        let (_a, b) = pair().unwrap();
        let soon = Instant::now() + Duration::from_millis(5);
        assert_eq!(wait_readable(&[b.as_fd()], Some(soon)).unwrap(), None);
    }
}
