//! Child processes: fork(2), execve(2), waitpid(2).

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

/// A child of this process, killed and reaped where it is dropped alive.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    reaped: bool,
}

impl Child {
    /// The child's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits for the child's end; its exit code, or 128 and its signal.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn wait(&mut self) -> io::Result<i32> {
        let status = rustix::io::retry_on_intr(|| {
            rustix::process::waitpid(Some(self.pid), WaitOptions::empty())
        })?;
        self.reaped = true;
        Ok(status.map_or(0, |(_, status)| {
            status
                .exit_status()
                .or_else(|| status.terminating_signal().map(|signal| 128 + signal))
                .unwrap_or(0)
        }))
    }

    /// Lets the child live on when this value goes.
    pub fn release(mut self) {
        self.reaped = true;
    }

    /// A descriptor that becomes readable when the child ends, pidfd_open(2).
    ///
    /// # Errors
    /// `ENOSYS` before Linux 5.3.
    pub fn pidfd(&self) -> io::Result<OwnedFd> {
        Ok(rustix::process::pidfd_open(self.pid, PidfdFlags::empty())?)
    }
}

/// A descriptor for a process, which becomes readable when that ends,
/// pidfd_open(2), Linux 5.3.
///
/// # Errors
/// `ESRCH` where there is none.
pub fn pidfd_of(id: u32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(id.cast_signed()).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// Kills the process behind a pidfd, pidfd_send_signal(2).
///
/// # Errors
/// `ESRCH` where it has ended.
pub fn kill(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::process::pidfd_send_signal(pidfd, Signal::KILL)?)
}

/// While it lives, this thread comes before others of ordinary priority, setpriority(2):
/// who ends thousands that compute must not wait until each of them has had its turn.
#[derive(Debug)]
pub struct Urgent {
    before: Option<i32>,
}

impl Urgent {
    /// Begins. Where the kernel does not allow it, the thread goes on as it was.
    #[must_use]
    pub fn begin() -> Self {
        use rustix::process::{getpriority_process, setpriority_process};
        let before = getpriority_process(None).ok();
        let begun = setpriority_process(None, -20);
        Self {
            before: before.filter(|_| begun.is_ok()),
        }
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            let _ = rustix::process::setpriority_process(None, before);
        }
    }
}

/// What is killed ends at once, unless the kernel holds it.
const PATIENCE_WITH_KILLED: Duration = Duration::from_millis(500);

impl Child {
    /// Kills the child, and waits for it only so long that it has left its control
    /// group where it can: one that hangs in the kernel is left to init.
    pub fn abandon(mut self) {
        let ended = self.pidfd();
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        if let Ok(ended) = ended {
            let soon = Instant::now() + PATIENCE_WITH_KILLED;
            let _ = super::ipc::wait_readable(&[ended.as_fd()], Some(soon));
        }
        let _ = rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG);
        self.reaped = true;
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = rustix::process::kill_process(self.pid, Signal::KILL);
            let _ = self.wait();
        }
    }
}

/// Forks; the child runs `work` and exits with the code it returns. A panic in
/// `work` ends the child with code 101.
///
/// fork(2). The calling process must have one thread, so that the child may use
/// the whole library.
///
/// # Errors
/// What the kernel said.
pub fn fork(work: impl FnOnce() -> u8) -> io::Result<Child> {
    // SAFETY: the process is single-threaded (oarlock-prepare and oarlock start
    // no thread), so no lock can be held by a thread that the child lacks.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or(101);
            exit_now(i32::from(code));
        }
        pid => match Pid::from_raw(pid) {
            Some(pid) => Ok(Child { pid, reaped: false }),
            None => Err(io::Error::from_raw_os_error(libc::EINVAL)),
        },
    }
}

/// Runs `work` in a process that belongs to nobody who would have to reap it: the
/// child of a child that has ended. `before` runs in the child between, and is
/// waited for: it must not become the user, who could stop it there. Returns the
/// process id.
///
/// # Errors
/// Where a fork or `before` failed.
pub fn fork_orphan(
    before: impl FnOnce() -> io::Result<()>,
    work: impl FnOnce() -> u8,
) -> io::Result<u32> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let mut between = fork(|| match before().and_then(|()| fork(work)) {
        Ok(child) => {
            let said = rustix::io::write(&writer, &child.id().to_ne_bytes());
            child.release();
            u8::from(said != Ok(4))
        }
        Err(error) => error
            .raw_os_error()
            .and_then(|n| u8::try_from(n).ok())
            .unwrap_or(255),
    })?;
    match between.wait()? {
        0 => {
            let mut id = [0; 4];
            rustix::io::read(&reader, &mut id)?;
            Ok(u32::from_ne_bytes(id))
        }
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Ends the process at once: no destructor, no buffer, no exit handler, \_exit(2).
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes a number and does not return.
    unsafe { libc::_exit(code) }
}

/// The child dies when the thread that made it does, `PR_SET_PDEATHSIG`.
///
/// Every change of the user id, setfsuid(2) too, takes that back: it is said
/// after them.
///
/// # Errors
/// What the kernel said.
pub fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(
        Signal::KILL,
    ))?)
}

static LAST_WORDS: std::sync::OnceLock<String> = std::sync::OnceLock::new();

extern "C" fn say_last_words_and_end(_: libc::c_int) {
    if let Some(text) = LAST_WORDS.get() {
        // SAFETY: write is async-signal-safe, and the text is never changed.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    }
    exit_now(125);
}

/// As [`end_after`], but with a line for the user and exit code 125.
pub fn end_after_with(seconds: u32, text: String) {
    let _ = LAST_WORDS.set(text);
    // SAFETY: the handler makes only async-signal-safe calls.
    unsafe {
        libc::signal(
            libc::SIGALRM,
            say_last_words_and_end as extern "C" fn(libc::c_int) as libc::sighandler_t,
        )
    };
    end_after(seconds);
}

/// After this many seconds the process is ended by `SIGALRM`, alarm(2); 0 takes
/// that back.
pub fn end_after(seconds: u32) {
    // SAFETY: alarm takes a number and cannot fail.
    unsafe { libc::alarm(seconds) };
}

/// Waits for a signal, pause(2).
pub fn sleep_until_signalled() {
    // SAFETY: pause takes nothing and only waits.
    unsafe { libc::pause() };
}

/// Other processes of the same account can neither trace this one nor open its
/// memory and descriptors below `/proc`; it leaves no core file. `PR_SET_DUMPABLE`,
/// proc(5). execve(2) takes that back.
///
/// # Errors
/// What the kernel said.
pub fn be_private() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The kernel may choose this process when memory is short: slurmstepd is
/// exempt (`oom_score_adj` -1000), and what it starts inherits that, proc(5).
///
/// # Errors
/// What the kernel said.
pub fn be_killable_when_memory_is_short() -> io::Result<()> {
    std::fs::write("/proc/self/oom_score_adj", b"0")
}

/// Tries to execute a program in each directory of a PATH, as execvp(3) does; a
/// name with a slash is tried as it is. Returns only where all failed.
#[must_use]
pub fn execute_in_path(path: &[u8], arguments: &[CString], environment: &[CString]) -> io::Error {
    let Some(name) = arguments.first() else {
        return io::ErrorKind::InvalidInput.into();
    };
    if name.as_bytes().contains(&b'/') {
        return execute(name, arguments, environment);
    }
    let mut denied = None;
    for directory in path.split(|b| *b == b':').filter(|d| !d.is_empty()) {
        let Ok(candidate) = CString::new([directory, name.as_bytes()].join(&b'/')) else {
            continue;
        };
        let error = execute(&candidate, arguments, environment);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => denied = Some(error),
            _ => return error,
        }
    }
    denied.unwrap_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
}

/// The kernel reaps this process' children, also those that it inherits: nobody
/// asks how they ended. `SIG_IGN` of `SIGCHLD`, sigaction(2).
pub fn leave_children_to_the_kernel() {
    // SAFETY: SIG_IGN is a valid disposition.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Signals have their default effect and none is blocked: what slurmstepd or a
/// shell had set for itself is not inherited.
///
/// sigaction(2), sigprocmask(2).
pub fn reset_signals() {
    for number in 1..=64 {
        // SAFETY: SIG_DFL is a valid disposition; numbers that cannot be set
        // return an error that changes nothing.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    // SAFETY: the set is initialised by sigemptyset before it is read.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Replaces the process, execve(2). Returns only where that failed.
#[must_use]
pub fn execute(program: &CString, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter()
            .map(|s| s.as_ptr())
            .chain([std::ptr::null()])
            .collect()
    };
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: both arrays end with a null pointer, and all strings outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Gives a descriptor this number, open across execve(2); dup2(2).
///
/// # Errors
/// What the kernel said.
pub fn place_descriptor(fd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: dup2 takes numbers; replacing an open descriptor is what the
    // callers want, who own the low numbers of a process about to exec.
    let done = unsafe {
        if fd.as_raw_fd() == number {
            libc::fcntl(number, libc::F_SETFD, 0)
        } else {
            libc::dup2(fd.as_raw_fd(), number)
        }
    };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// A number at which [`place_descriptor`] has put a descriptor, which stays there
/// until this process executes another program.
#[must_use]
pub fn standing(number: i32) -> BorrowedFd<'static> {
    // SAFETY: the callers have placed it, own the low numbers, and close none.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Closes every descriptor but the standard ones and those to keep.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) {
    use std::os::fd::AsRawFd;
    close_numbers(keep.iter().map(AsRawFd::as_raw_fd).collect());
}

/// The same, and the journal can still be written to: its socket is the only one
/// for datagrams.
pub fn close_all_but_the_log_and(keep: &[BorrowedFd<'_>]) {
    use std::os::fd::AsRawFd;
    let mut numbers: Vec<i32> = keep.iter().map(AsRawFd::as_raw_fd).collect();
    let open = std::fs::read_dir("/proc/self/fd");
    numbers.extend(open.into_iter().flatten().flatten().filter_map(|entry| {
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        // SAFETY: the descriptor was open a moment ago in this process of one
        // thread; a number that is free by now gives an error and nothing else.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        let kind = rustix::net::sockopt::socket_type(fd).ok()?;
        (kind == rustix::net::SocketType::DGRAM).then_some(number)
    }));
    close_numbers(numbers);
}

fn close_numbers(keep: Vec<i32>) {
    let mut numbers: Vec<u32> = keep
        .into_iter()
        .filter_map(|number| u32::try_from(number).ok())
        .filter(|number| *number > 2)
        .collect();
    numbers.sort_unstable();
    let mut first = 3;
    for number in numbers {
        if number > first {
            // SAFETY: the callers are children that use nothing else any more.
            unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0) };
        }
        first = first.max(number + 1);
    }
    close_from(first);
}

/// How much address space this process may have, in bytes, getrlimit(2): the soft
/// limit. `u64::MAX` where there is none, as the kernel has it.
#[must_use]
pub fn address_space_limit() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::As).current.unwrap_or(u64::MAX)
}

/// How many descriptors this process may have open, getrlimit(2): the soft limit.
/// `u64::MAX` where there is none.
#[must_use]
pub fn descriptor_limit() -> u64 {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The process gets no more address space than this, in bytes, setrlimit(2), and
/// leaves no core file.
///
/// # Errors
/// What the kernel said.
pub fn limit_memory(bytes: u64) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let limit = |most| Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(Resource::Core, limit(0))?;
    Ok(setrlimit(Resource::As, limit(bytes))?)
}

/// Sets the mask of permissions that new files do not get, umask(2).
pub fn set_umask(mask: u32) {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(mask));
}

/// Closes every descriptor from `first` on, close_range(2); one by one before
/// Linux 5.9.
pub fn close_from(first: u32) {
    // SAFETY: the callers are about to exec and own every descriptor.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if done != 0 {
        for number in first..65_536 {
            // SAFETY: as above.
            unsafe { libc::close(number.cast_signed()) };
        }
    }
}

/// Takes over the descriptor of this number, which the parent process left open
/// for this one.
///
/// # Errors
/// `EBADF` where there is none.
pub fn inherited(number: i32) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: F_GETFD and F_SETFD take numbers.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open (just checked), and the caller is the only
    // one in this process that knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_urgent_has_an_end() {
        let now = || rustix::process::getpriority_process(None).unwrap();
        let before = now();
        let urgent = Urgent::begin();
        if rustix::process::geteuid().is_root() {
            assert_eq!(now(), -20);
        }
        drop(urgent);
        assert_eq!(now(), before);
    }

    #[test]
    fn a_private_process_is_not_dumpable() {
        use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
        let mut child = fork(|| {
            if set_dumpable_behavior(DumpableBehavior::Dumpable).is_err() || be_private().is_err() {
                return 1;
            }
            u8::from(dumpable_behavior() != Ok(DumpableBehavior::NotDumpable)) * 2
        })
        .unwrap();
        assert_eq!(child.wait().unwrap(), 0);
    }
}
