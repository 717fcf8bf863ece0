//! A process that Slurm knows stands in for a child that is the rank: setns(2) puts
//! only children into a namespace of process ids.
//!
//! The one that stays does what a shell does for one command: it passes signals on,
//! waits, and ends as its child has ended. It is a copy of a threaded program, and so
//! calls nothing after the fork that could want a lock or memory.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;

use super::{credentials, process};

/// Which signals of the task's parent, slurmstepd, are passed on. Those of others
/// are in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassOn {
    /// All: it signals its own children and nobody below.
    All,
    /// None: it signals everything below it, and the rank once more would be twice.
    OfOthers,
}

impl PassOn {
    /// What slurmstepd signals, as /proc/self/cgroup of its task shows it. The processes
    /// of proctrack/cgroup are in the step's freezer group, or in its group of version 2;
    /// then it signals its children. Other trackers signal all that is below.
    #[must_use]
    pub fn by_groups(groups: &[u8]) -> Self {
        let tracked = groups.split(|b| *b == b'\n').any(|line| {
            let mut fields = line.splitn(3, |b| *b == b':');
            let (_, controllers, path) = (fields.next(), fields.next(), fields.next());
            let tracks = controllers.is_some_and(|list| {
                list.is_empty() || list.split(|b| *b == b',').any(|c| c == b"freezer")
            });
            tracks && path.is_some_and(|path| path.windows(6).any(|part| part == b"/step_"))
        });
        if tracked { Self::All } else { Self::OfOthers }
    }
}

/// What the child has of its parent.
#[derive(Debug)]
pub struct Parent {
    /// Hangs up when the parent ends.
    alive: OwnedFd,
}

/// Forks. The child returns, as the leader of a session of its own, with this one's
/// terminal if it has one: a signal from the keyboard reaches it alone, and its own
/// `kill(0, …)` nobody else. The parent does not return: it keeps `life` open, and
/// ends as its child ends.
///
/// For a process of one thread that has `CAP_SYS_ADMIN`, which takes a terminal from
/// another session; fork(2), setsid(2), `TIOCSCTTY` in ioctl_tty(2).
///
/// # Errors
/// What the kernel said. Before the fork in the caller, after it in the child.
pub fn fork_below(life: BorrowedFd<'_>, pass_on: PassOn) -> io::Result<Parent> {
    let terminal = rustix::fs::open(
        c"/dev/tty",
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let (alive, own_life) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let before = block_all()?;
    // SAFETY: the child goes on as the caller, which has one thread; the parent calls
    // nothing but what is async-signal-safe.
    let child = unsafe { libc::fork() };
    match child {
        -1 => {
            let error = io::Error::last_os_error();
            restore(&before);
            Err(error)
        }
        0 => {
            drop(own_life);
            restore(&before);
            rustix::process::setsid()?;
            if let Ok(terminal) = terminal {
                // SAFETY: the argument is a number: 1 takes it from who has it.
                if unsafe { libc::ioctl(raw(terminal.as_fd()), libc::TIOCSCTTY, 1) } != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(Parent { alive })
        }
        child => stand_in(child, life, own_life.as_fd(), pass_on),
    }
}

impl Parent {
    /// From now on the process dies with its parent. Every change of ids or
    /// capabilities takes that back, so that it is said after them.
    ///
    /// `PR_SET_PDEATHSIG`, prctl(2).
    ///
    /// # Errors
    /// What the kernel said; `ESRCH` where the parent has died already.
    pub fn die_with_it(self) -> io::Result<()> {
        process::die_with_parent()?;
        let mut polled = [rustix::event::PollFd::new(
            &self.alive,
            rustix::event::PollFlags::empty(),
        )];
        let now = rustix::time::Timespec::default();
        match rustix::event::poll(&mut polled, Some(&now))? {
            0 => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        }
    }
}

fn raw(fd: BorrowedFd<'_>) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(&fd)
}

/// Blocks every signal, and returns what was blocked; sigprocmask(2).
fn block_all() -> io::Result<libc::sigset_t> {
    // SAFETY: both sets live through the calls, and sigfillset initialises the one
    // that is read.
    unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        match libc::sigprocmask(libc::SIG_SETMASK, &raw const all, &raw mut before) {
            0 => Ok(before),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn restore(mask: &libc::sigset_t) {
    // SAFETY: the set was written by sigprocmask; none is asked for.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

/// In the parent: nothing here allocates, locks or returns.
fn stand_in(
    child: libc::pid_t,
    life: BorrowedFd<'_>,
    own_life: BorrowedFd<'_>,
    pass_on: PassOn,
) -> ! {
    // What it holds open would be a pipe that never ends for whoever reads it.
    let kept =
        process::place_descriptor(life, 0).and_then(|()| process::place_descriptor(own_life, 1));
    if kept.is_err() {
        // The child sees it, and dies.
        process::exit_now(1);
    }
    process::close_from(2);
    let _ = rustix::process::chdir(c"/");
    // Its memory is slurmstepd's. With a right, or open to others, it must not wait.
    if credentials::drop_all_but_bounding().is_err() || process::be_private().is_err() {
        process::exit_now(1);
    }
    // SAFETY: the name is a C string, and SIG_DFL a valid disposition.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, c"oarlock-wait".as_ptr(), 0, 0, 0);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
    }
    // SAFETY: getppid cannot fail.
    let parent = unsafe { libc::getppid() };
    loop {
        // Looked at before the first wait: setting the disposition has thrown away
        // the word of a child that was quick.
        if let Some(status) = ended(child) {
            end_as(status);
        }
        let Some((signal, sender)) = next_signal() else {
            continue;
        };
        if signal == libc::SIGCHLD {
            continue;
        }
        let is_slurms = sender == Some(parent);
        if pass_on == PassOn::All || !is_slurms {
            // SAFETY: kill takes numbers; the child is not reaped, so its number is
            // its own.
            unsafe { libc::kill(child, signal) };
        }
    }
}

/// Waits for any signal; also the process that sent it. sigwaitinfo(2).
fn next_signal() -> Option<(i32, Option<libc::pid_t>)> {
    // SAFETY: the set is initialised before it is read, and both live through the
    // call; si_pid is valid where another process sent the signal.
    unsafe {
        let mut all = std::mem::zeroed();
        let mut about: libc::siginfo_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        let signal = libc::sigwaitinfo(&raw const all, &raw mut about);
        if signal < 0 {
            return None;
        }
        let was_sent = [libc::SI_USER, libc::SI_QUEUE, libc::SI_TKILL].contains(&about.si_code);
        Some((signal, was_sent.then(|| about.si_pid())))
    }
}

/// The child's status where it has ended, waitpid(2).
fn ended(child: libc::pid_t) -> Option<i32> {
    let mut status = 0;
    // SAFETY: the status lives through the call.
    let found = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
    (found == child).then_some(status)
}

/// Ends as the child did: with its code, or by its signal, but without a second core
/// file.
fn end_as(status: i32) -> ! {
    if libc::WIFEXITED(status) {
        process::exit_now(libc::WEXITSTATUS(status));
    }
    let signal = libc::WTERMSIG(status);
    // SAFETY: numbers, a valid disposition, and sets and limits that live through
    // the calls.
    unsafe {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::signal(signal, libc::SIG_DFL);
        let mut one = std::mem::zeroed();
        libc::sigemptyset(&raw mut one);
        libc::sigaddset(&raw mut one, signal);
        libc::kill(libc::getpid(), signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const one, std::ptr::null_mut());
    }
    process::exit_now(128 + signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `work` below a stand-in, and returns how that ended.
    fn below(work: fn() -> i32, signal: Option<i32>) -> (i32, String) {
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        // SAFETY: the child makes plain system calls only.
        let task = unsafe { libc::fork() };
        if task == 0 {
            process::place_descriptor(writer.as_fd(), 2).unwrap();
            let life = rustix::fs::open(c"/dev/null", OFlags::RDONLY, Mode::empty()).unwrap();
            let parent = fork_below(life.as_fd(), PassOn::All).unwrap();
            parent.die_with_it().unwrap();
            process::exit_now(work());
        }
        drop(writer);
        let mut said = String::new();
        let mut file = std::fs::File::from(reader);
        if let Some(signal) = signal {
            let mut one = [0];
            io::Read::read_exact(&mut file, &mut one).unwrap();
            // SAFETY: a number of a child that is not reaped.
            unsafe { libc::kill(task, signal) };
        }
        io::Read::read_to_string(&mut file, &mut said).unwrap();
        let mut status = 0;
        // SAFETY: the status lives through the call.
        unsafe { libc::waitpid(task, &raw mut status, 0) };
        (status, said)
    }

    fn say(text: &str) {
        let _ = rustix::io::write(process::standing(2), text.as_bytes());
    }

    #[test]
    fn the_step_is_tracked_by_its_freezer_or_unified_group() {
        for (groups, all) in [
            ("6:freezer:/slurm_n1/uid_1/job_3/step_0\n0::/\n", true),
            ("3:cpuset,freezer:/x/slurm/uid_1/job_3/step_batch\n", true),
            (
                "0::/system.slice/slurmstepd.scope/job_3/step_0/user/task_0\n",
                true,
            ),
            // Of task/cgroup alone.
            (
                "6:freezer:/docker/x\n4:memory:/slurm/uid_1/job_3/step_0\n0::/\n",
                false,
            ),
            ("0::/system.slice/slurmd.service\n", false),
            ("", false),
        ] {
            assert_eq!(
                PassOn::by_groups(groups.as_bytes()) == PassOn::All,
                all,
                "{groups}"
            );
        }
    }

    #[test]
    fn an_exit_code_is_passed_on() {
        let (status, _) = below(|| 42, None);
        assert!(libc::WIFEXITED(status));
        assert_eq!(libc::WEXITSTATUS(status), 42);
    }

    /// Its end may come before its parent listens.
    #[test]
    fn a_quick_child_is_not_missed() {
        for _ in 0..100 {
            let (status, _) = below(|| 3, None);
            assert_eq!(libc::WEXITSTATUS(status), 3);
        }
    }

    #[test]
    fn the_same_signal_ends_both() {
        let (status, _) = below(
            || {
                // SAFETY: numbers.
                unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
                0
            },
            None,
        );
        assert!(libc::WIFSIGNALED(status));
        assert_eq!(libc::WTERMSIG(status), libc::SIGKILL);
    }

    extern "C" fn heard(_: i32) {
        say("heard");
        process::exit_now(7);
    }

    #[test]
    fn a_signal_reaches_the_child_once() {
        let (status, said) = below(
            || {
                // SAFETY: the handler makes async-signal-safe calls only.
                unsafe {
                    libc::signal(
                        libc::SIGUSR1,
                        heard as extern "C" fn(i32) as libc::sighandler_t,
                    )
                };
                say(".");
                loop {
                    // SAFETY: takes nothing.
                    unsafe { libc::pause() };
                }
            },
            Some(libc::SIGUSR1),
        );
        assert_eq!(said, "heard");
        assert_eq!(libc::WEXITSTATUS(status), 7);
    }

    #[test]
    fn the_child_does_not_outlive_its_parent() {
        // The pipe ends only when both are gone.
        let (status, _) = below(
            || {
                say(".");
                loop {
                    // SAFETY: takes nothing.
                    unsafe { libc::pause() };
                }
            },
            Some(libc::SIGKILL),
        );
        assert_eq!(libc::WTERMSIG(status), libc::SIGKILL);
    }
}
