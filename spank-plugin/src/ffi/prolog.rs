//! What the prologs need of Slurm and of the kernel: which one the site has, what
//! stands before a rank's command, and how Slurm runs a script.

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int, c_void};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use runtime_core::sys::credentials;

use super::{Refused, Spank, c_string, check, own, spank};

unsafe extern "C" {
    // From version.c, where Slurm's headers are read.
    static oarlock_slurm_conf_size: usize;
    static oarlock_task_prolog_offset: usize;

    /// dladdr1(3), of glibc.
    fn dladdr1(
        address: *const c_void,
        information: *mut libc::Dl_info,
        extra: *mut *mut c_void,
        flags: c_int,
    ) -> c_int;
}

/// slurm.conf's TaskProlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TaskProlog {
    /// There is none.
    None,
    /// This program.
    Is(OsString),
    /// The Slurm that is running does not let itself be asked.
    Unknown,
}

/// A symbol of the Slurm that has loaded the plugin.
fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name ends with NUL.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// Whether a data symbol has the size that Slurm's header gives it.
fn has_size(address: *mut c_void, size: usize) -> bool {
    const RTLD_DL_SYMENT: c_int = 1;
    let mut information = std::mem::MaybeUninit::<libc::Dl_info>::uninit();
    let mut entry: *mut c_void = std::ptr::null_mut();
    // SAFETY: both places are valid; with this flag the second takes a symbol's entry.
    let found = unsafe {
        dladdr1(
            address,
            information.as_mut_ptr(),
            &raw mut entry,
            RTLD_DL_SYMENT,
        )
    };
    if found == 0 || entry.is_null() {
        return false;
    }
    // SAFETY: the loader's own table, which stays as long as the library.
    let entry = unsafe { *entry.cast::<libc::Elf64_Sym>() };
    usize::try_from(entry.st_size).is_ok_and(|found| found == size)
}

/// Asks slurmstepd's own copy of slurm.conf, which is what it goes by: the file may
/// have been changed since, or be elsewhere, or nowhere.
pub(crate) fn task_prolog() -> TaskProlog {
    // SAFETY: constants of version.c, which is linked in.
    let (size, offset) = unsafe { (oarlock_slurm_conf_size, oarlock_task_prolog_offset) };
    let Some(conf) = symbol(c"slurm_conf").filter(|conf| has_size(*conf, size)) else {
        return TaskProlog::Unknown;
    };
    // SAFETY: a slurm_conf_t of the size that the header gives it; the field is a
    // string or NULL, and slurmstepd does not change it after its start.
    let program = unsafe { *conf.cast::<u8>().add(offset).cast::<*const c_char>() };
    if program.is_null() {
        return TaskProlog::None;
    }
    match own(program) {
        empty if empty.is_empty() => TaskProlog::None,
        program => TaskProlog::Is(program),
    }
}

/// `spank_prepend_task_argv`, which Slurm has since 23.11.
type Prepend =
    unsafe extern "C" fn(spank::spank_t, c_int, *const *const c_char) -> spank::spank_err_t;

fn prepend_call() -> Option<Prepend> {
    // SAFETY: spank.h of every Slurm that has the symbol declares it so.
    symbol(c"spank_prepend_task_argv").map(|call| unsafe { std::mem::transmute(call) })
}

/// Whether something can be put before a rank's command.
pub(crate) fn can_prepend() -> bool {
    prepend_call().is_some()
}

impl Spank {
    /// Puts words before the rank's command, in task hooks.
    pub(crate) fn prepend(self, words: &[&OsStr]) -> Result<(), Refused> {
        let missing = || Refused("this Slurm cannot put a program before another".to_owned());
        let call = prepend_call().ok_or_else(missing)?;
        let words: Vec<CString> = words.iter().filter_map(|word| c_string(word)).collect();
        let list: Vec<*const c_char> = words.iter().map(|word| word.as_ptr()).collect();
        let count = c_int::try_from(list.len()).unwrap_or(0);
        // SAFETY: Slurm copies the strings, as many as the count says.
        check(unsafe { call(self.0, count, list.as_ptr()) })
    }
}

/// How a script ended.
pub(crate) struct Ran {
    /// What it wrote to its two outputs.
    pub(crate) output: Vec<u8>,
    /// Its exit code; `None` where a signal ended it.
    pub(crate) code: Option<i32>,
}

/// Runs a program in a child of the task, as Slurm's `run_command` does: no input,
/// both outputs into one pipe, no other descriptor, a process group of its own, which
/// is killed when the program has ended. The child has the task's ids and bounding set,
/// and no capability.
pub(crate) fn run_as_slurm_does(program: &OsStr, environment: &[OsString]) -> io::Result<Ran> {
    /// What Slurm gives the rest of the group to end.
    const GRACE: Duration = Duration::from_millis(10);
    const CANNOT_EXECUTE: c_int = 127;
    let program = c_string(program).ok_or(io::ErrorKind::InvalidInput)?;
    let arguments = [program.as_ptr(), std::ptr::null()];
    let environment: Vec<CString> = environment.iter().filter_map(|v| c_string(v)).collect();
    let environment: Vec<*const c_char> = environment
        .iter()
        .map(|v| v.as_ptr())
        .chain([std::ptr::null()])
        .collect();
    let (read, write) = pipe()?;
    // SAFETY: the task has one thread.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(io::Error::last_os_error());
    }
    if child == 0 {
        // SAFETY: system calls on valid memory, and then _exit.
        unsafe {
            if credentials::keep_only_bounding().is_err() {
                libc::_exit(CANNOT_EXECUTE);
            }
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            if null < 0 {
                libc::_exit(CANNOT_EXECUTE);
            }
            libc::dup2(null, 0);
            libc::dup2(write.as_raw_fd(), 1);
            libc::dup2(write.as_raw_fd(), 2);
            if libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) != 0 {
                // Linux before 5.9.
                for number in 3..4096 {
                    libc::close(number);
                }
            }
            libc::setpgid(0, 0);
            libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
            libc::_exit(CANNOT_EXECUTE);
        }
    }
    drop(write);
    let mut output = Vec::new();
    let _ = std::fs::File::from(read).read_to_end(&mut output);
    let mut status = 0;
    // SAFETY: the child is ours, and status is a valid place.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    // SAFETY: what the program has started, and nothing else, has this group.
    unsafe { libc::killpg(child, libc::SIGTERM) };
    std::thread::sleep(GRACE);
    // SAFETY: as above.
    unsafe { libc::killpg(child, libc::SIGKILL) };
    Ok(Ran {
        output,
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
    })
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends: [RawFd; 2] = [-1; 2];
    // SAFETY: room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let [read, write] = ends;
    // SAFETY: both are new, and nobody else has them.
    Ok(unsafe { (OwnedFd::from_raw_fd(read), OwnedFd::from_raw_fd(write)) })
}

/// Since 23.11 Slurm starts scripts through its own program, slurmstepd, from a
/// descriptor that it opened on the host (`run_command_init`). In a container that
/// program would not find its libraries. Where the task has such a descriptor, it
/// becomes one of `nothing`.
pub(crate) fn replace_script_launcher(nothing: &Path) -> io::Result<()> {
    let launcher = std::fs::metadata("/proc/self/exe")?;
    let numbers: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    let path = c_string(nothing.as_os_str()).ok_or(io::ErrorKind::InvalidInput)?;
    for number in numbers {
        // SAFETY: it takes a number.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
        let same = std::fs::metadata(format!("/proc/self/fd/{number}"))
            .is_ok_and(|file| (file.dev(), file.ino()) == (launcher.dev(), launcher.ino()));
        if flags < 0 || flags & libc::O_PATH == 0 || !same {
            continue;
        }
        // SAFETY: the path ends with NUL; the number that is replaced is of a
        // descriptor of Slurm's for this very purpose.
        unsafe {
            let other = libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
            if other < 0 || libc::dup3(other, number, libc::O_CLOEXEC) < 0 {
                return Err(io::Error::last_os_error());
            }
            libc::close(other);
        }
    }
    Ok(())
}

/// The C library's words for an error, as Slurm would say them.
pub(crate) fn strerror(error: i32) -> String {
    // SAFETY: the result is a string that stays until the next call; the task has one
    // thread.
    let text = unsafe { libc::strerror(error) };
    if text.is_null() {
        return format!("error {error}");
    }
    own(text).to_string_lossy().into_owned()
}
