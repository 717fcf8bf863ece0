//! Slurm's C interface, and the few calls of it that the plugin makes.

use std::ffi::{CStr, CString, OsStr, OsString, c_char, c_int, c_uint};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::SocketAddrUnix;

use crate::options::Environment;

/// spank.h, as bindgen read it.
#[allow(
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    dead_code,
    unreachable_pub,
    clippy::all,
    clippy::pedantic
)]
mod spank {
    include!(concat!(env!("OUT_DIR"), "/spank.rs"));
}

mod granted;
mod prolog;

pub(crate) use prolog::*;
pub(crate) use spank::spank_context as context;
use spank::spank_item as item;

unsafe extern "C" {
    // From version.c, where SPANK_PLUGIN is expanded.
    static oarlock_plugin_version: c_uint;
    static oarlock_spank_plugin_version: c_uint;
}

/// The name that Slurm knows the plugin by.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static plugin_name: [u8; 8] = *b"oarlock\0";

/// What kind of plugin it is.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static plugin_type: [u8; 6] = *b"spank\0";

/// The Slurm that the plugin was built for; 0, which no Slurm accepts, until
/// the constructor below has run.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static plugin_version: AtomicU32 = AtomicU32::new(0);

/// The plugin's own version for Slurm's log.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals)]
pub static spank_plugin_version: AtomicU32 = AtomicU32::new(0);

/// Slurm reads the two versions after dlopen(3), which runs this first.
#[used]
#[unsafe(link_section = ".init_array")]
static SET_VERSIONS: extern "C" fn() = {
    extern "C" fn set_versions() {
        // SAFETY: both are constants of version.c, which is linked in.
        let (slurm, own) = unsafe { (oarlock_plugin_version, oarlock_spank_plugin_version) };
        plugin_version.store(slurm, Ordering::Relaxed);
        spank_plugin_version.store(own, Ordering::Relaxed);
    }
    set_versions
};

/// Writes a line to the log of the Slurm program that this is in.
pub(crate) fn log_error(text: &str) {
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    // SAFETY: the format takes one string, which lives through the call.
    unsafe { spank::slurm_error(c"%s".as_ptr(), text.as_ptr()) };
}

/// Slurm's handle, valid during the hook that it was given to.
#[derive(Clone, Copy)]
pub(crate) struct Spank(spank::spank_t);

/// The handle as Slurm passes it.
pub(crate) type RawSpank = spank::spank_t;

/// Slurm's table entry of an option.
pub(crate) type Callback = unsafe extern "C" fn(c_int, *const c_char, c_int) -> c_int;

/// Slurm refused something; the text is its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) String);

fn check(code: spank::spank_err_t) -> Result<(), Refused> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: spank_strerror returns a static string for any code.
    let text = unsafe { CStr::from_ptr(spank::spank_strerror(code)) };
    Err(Refused(text.to_string_lossy().into_owned()))
}

/// In which program this is.
pub(crate) fn where_am_i() -> context::Type {
    // SAFETY: takes nothing, returns a number.
    unsafe { spank::spank_context() }
}

impl Spank {
    /// Takes the handle of the running hook.
    pub(crate) fn new(raw: RawSpank) -> Self {
        Self(raw)
    }

    fn number<T: Default>(self, which: item::Type) -> Result<T, Refused> {
        let mut value = T::default();
        // SAFETY: the callers below pair each item with the type that spank.h
        // gives for it.
        check(unsafe { spank::spank_get_item(self.0, which, &raw mut value) })?;
        Ok(value)
    }

    /// The job's user.
    pub(crate) fn uid(self) -> Result<u32, Refused> {
        self.number(item::S_JOB_UID)
    }

    /// The job's primary group.
    pub(crate) fn gid(self) -> Result<u32, Refused> {
        self.number(item::S_JOB_GID)
    }

    /// The job.
    pub(crate) fn job_id(self) -> Result<u32, Refused> {
        self.number(item::S_JOB_ID)
    }

    /// The step; special ones are above 0xfffffff0.
    pub(crate) fn step_id(self) -> Result<u32, Refused> {
        self.number(item::S_JOB_STEPID)
    }

    /// The node's number in the step, from 0.
    pub(crate) fn node(self) -> Result<u32, Refused> {
        self.number(item::S_JOB_NODEID)
    }

    /// Ranks of the step on this node.
    pub(crate) fn local_tasks(self) -> Result<u32, Refused> {
        self.number(item::S_JOB_LOCAL_TASK_COUNT)
    }

    /// The rank's number on this node, in task hooks.
    pub(crate) fn local_id(self) -> Result<i32, Refused> {
        self.number(item::S_TASK_ID)
    }

    /// The job's supplementary groups.
    pub(crate) fn groups(self) -> Result<Vec<u32>, Refused> {
        let mut list: *mut u32 = std::ptr::null_mut();
        let mut count: c_int = 0;
        // SAFETY: spank.h: S_JOB_SUPPLEMENTARY_GIDS takes gid_t ** and int *.
        check(unsafe {
            spank::spank_get_item(
                self.0,
                item::S_JOB_SUPPLEMENTARY_GIDS,
                &raw mut list,
                &raw mut count,
            )
        })?;
        let count = usize::try_from(count).unwrap_or(0);
        if list.is_null() || count == 0 {
            return Ok(Vec::new());
        }
        // SAFETY: Slurm gave the array and its length; it outlives the hook.
        Ok(unsafe { std::slice::from_raw_parts(list, count) }.to_vec())
    }

    /// The step's command.
    pub(crate) fn arguments(self) -> Result<Vec<OsString>, Refused> {
        let mut list: *mut *mut c_char = std::ptr::null_mut();
        let mut count: c_int = 0;
        // SAFETY: spank.h: S_JOB_ARGV takes int * and char ***.
        check(unsafe {
            spank::spank_get_item(self.0, item::S_JOB_ARGV, &raw mut count, &raw mut list)
        })?;
        Ok(strings(list, usize::try_from(count).unwrap_or(0)))
    }

    /// The environment of the job, or of the task in task hooks: `NAME=value`.
    pub(crate) fn environment(self) -> Result<Vec<OsString>, Refused> {
        let mut list: *mut *mut c_char = std::ptr::null_mut();
        // SAFETY: spank.h: S_JOB_ENV takes char ***; the array ends with NULL.
        check(unsafe { spank::spank_get_item(self.0, item::S_JOB_ENV, &raw mut list) })?;
        Ok(strings(list, usize::MAX))
    }

    /// Sets a variable of the task, whatever it was.
    pub(crate) fn set_variable(self, name: &OsStr, value: &OsStr) -> Result<(), Refused> {
        let (Some(name), Some(value)) = (c_string(name), c_string(value)) else {
            return Ok(());
        };
        // SAFETY: both strings outlive the call, which copies them.
        check(unsafe { spank::spank_setenv(self.0, name.as_ptr(), value.as_ptr(), 1) })
    }

    /// Removes a variable of the task; one that is not there is no error.
    pub(crate) fn remove_variable(self, name: &OsStr) {
        if let Some(name) = c_string(name) {
            // SAFETY: the string outlives the call.
            let _ = unsafe { spank::spank_unsetenv(self.0, name.as_ptr()) };
        }
    }

    /// Makes an option known. Slurm keeps the pointers, so all must be static.
    pub(crate) fn register(
        self,
        option: &'static OptionText,
        number: c_int,
        callback: Callback,
    ) -> Result<(), Refused> {
        let mut raw = spank::spank_option {
            name: option.name.as_ptr().cast_mut(),
            arginfo: option
                .argument
                .map_or(std::ptr::null_mut(), |text| text.as_ptr().cast_mut()),
            usage: option.usage.as_ptr().cast_mut(),
            has_arg: c_int::from(option.argument.is_some()),
            val: number,
            cb: Some(callback),
        };
        // SAFETY: Slurm copies the struct and reads, never writes, the strings,
        // which are static.
        check(unsafe { spank::spank_option_register(self.0, &raw mut raw) })
    }
}

/// The texts of one option.
pub(crate) struct OptionText {
    /// Without the dashes.
    pub(crate) name: &'static CStr,
    /// What stands behind `=` in the help; `None` for a switch.
    pub(crate) argument: Option<&'static CStr>,
    /// The help.
    pub(crate) usage: &'static CStr,
}

fn c_string(text: &OsStr) -> Option<CString> {
    CString::new(text.as_bytes()).ok()
}

/// Copies a C array of strings, which ends at NULL or after `most`.
fn strings(list: *mut *mut c_char, most: usize) -> Vec<OsString> {
    let mut out = Vec::new();
    if list.is_null() {
        return out;
    }
    for place in 0..most {
        // SAFETY: Slurm's arrays hold `most` pointers or end with NULL, and NULL
        // ends the loop.
        let one = unsafe { *list.add(place) };
        if one.is_null() {
            break;
        }
        out.push(own(one));
    }
    out
}

/// Copies a C string that is not NULL.
fn own(text: *const c_char) -> OsString {
    // SAFETY: the callers have checked for NULL; Slurm's strings end with NUL.
    OsString::from_vec(unsafe { CStr::from_ptr(text) }.to_bytes().to_vec())
}

/// The value given to an option's callback.
pub(crate) fn option_value(text: *const c_char) -> Option<OsString> {
    if text.is_null() {
        None
    } else {
        Some(own(text))
    }
}

/// The arguments of a plugstack line.
pub(crate) fn plugstack_arguments(count: c_int, list: *mut *mut c_char) -> Vec<OsString> {
    strings(list, usize::try_from(count).unwrap_or(0))
}

/// The environment of this very process. Only for the first hooks in srun, sbatch and
/// salloc, which are single-threaded while they load plugins and read options.
pub(crate) struct OwnEnvironment;

impl Environment for OwnEnvironment {
    fn get(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn set(&mut self, name: &str, value: &OsStr) {
        // SAFETY: see the type.
        unsafe { std::env::set_var(name, value) };
    }

    fn remove(&mut self, name: &str) {
        // SAFETY: see the type.
        unsafe { std::env::remove_var(name) };
    }
}

/// Adds an entry to the end of this very process' environment, though there is one
/// of that name before it. setenv(3) changes the first of two; Slurm, which makes a
/// job's environment of all entries in their order, keeps the last (env.c,
/// `env_array_merge`).
pub(crate) fn set_own_variable_last(name: &str, value: &str) {
    unsafe extern "C" {
        static mut environ: *mut *mut c_char;
    }
    let Ok(entry) = CString::new(format!("{name}={value}")) else {
        return;
    };
    // SAFETY: called in clients before they start a thread. The new array has all
    // entries of the old one and ends with NULL; it is never freed.
    unsafe {
        let mut all = Vec::new();
        let mut place = environ;
        while !place.is_null() && !(*place).is_null() {
            all.push(*place);
            place = place.add(1);
        }
        all.push(entry.into_raw());
        all.push(std::ptr::null_mut());
        environ = all.leak().as_mut_ptr();
    }
}

/// The name that Slurm knows this plugin by.
pub(crate) fn own_name() -> &'static CStr {
    CStr::from_bytes_with_nul(&plugin_name).unwrap_or_default()
}

/// A function of Slurm's own that spank.h does not name; `None` where this Slurm
/// has none.
fn slurms_own(name: &CStr) -> Option<std::ptr::NonNull<std::ffi::c_void>> {
    // SAFETY: dlsym(3) reads the name, a string, and looks through what is loaded.
    std::ptr::NonNull::new(unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) })
}

/// Which plugin an option belongs to, in a client (spank.h of Slurm's sources,
/// `spank_option_plugin`; the same from 22.05 to 26.05).
pub(crate) fn owner_of_option(name: &CStr) -> Option<OsString> {
    let function = slurms_own(c"spank_option_plugin")?;
    // SAFETY: this is the function's type; it reads the string and returns a new
    // one or NULL. It is Slurm's to free: once a client, some bytes.
    let owner = unsafe {
        let function: unsafe extern "C" fn(*mut c_char) -> *mut c_char =
            std::mem::transmute(function.as_ptr());
        function(name.as_ptr().cast_mut())
    };
    option_value(owner)
}

/// Whether an option was given, in a client (`spank_option_isset`).
pub(crate) fn option_is_given(name: &CStr) -> bool {
    let Some(function) = slurms_own(c"spank_option_isset") else {
        return false;
    };
    // SAFETY: this is the function's type; it only reads the string.
    unsafe {
        let function: unsafe extern "C" fn(*mut c_char) -> bool =
            std::mem::transmute(function.as_ptr());
        function(name.as_ptr().cast_mut())
    }
}

/// Ends a client, whatever its plugstack line makes of return codes.
pub(crate) fn end_client() -> ! {
    std::process::exit(1)
}

/// The paths that this process' unix sockets are bound to.
pub(crate) fn own_socket_paths() -> Vec<PathBuf> {
    let Ok(list) = std::fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    list.flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|number| {
            // SAFETY: the descriptor is only asked for its address, which fails
            // where it has been closed meanwhile or is no socket.
            let socket = unsafe { BorrowedFd::borrow_raw(number) };
            let address = rustix::net::getsockname(socket).ok()?;
            let address = SocketAddrUnix::try_from(address).ok()?;
            Some(PathBuf::from(OsStr::from_bytes(address.path_bytes()?)))
        })
        .collect()
}

/// What is said where a program cannot be executed.
pub(crate) struct LastWords<'a> {
    /// One message.
    pub(crate) text: &'a [u8],
    /// How often: once for each rank that waits.
    pub(crate) times: u32,
}

/// Starts a program in a process that belongs to nobody: the child of a child,
/// so that slurmstepd's wait(2) never sees it. Its descriptors 0 to 2 are
/// /dev/null, 3 and 4 are those given, and no other is open.
///
/// slurmstepd has threads: between fork and exec only async-signal-safe calls
/// are made, on memory that was prepared before.
///
/// Where the program cannot be executed, `cannot_execute` is said on `socket`.
pub(crate) fn spawn_detached(
    program: &CStr,
    arguments: &[&CStr],
    socket: &std::os::fd::OwnedFd,
    request: &std::os::fd::OwnedFd,
    cannot_execute: &LastWords<'_>,
) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    let arguments: Vec<*const c_char> = arguments
        .iter()
        .map(|a| a.as_ptr())
        .chain([std::ptr::null()])
        .collect();
    let environment = [
        c"PATH=/usr/bin:/bin:/usr/sbin:/sbin".as_ptr(),
        std::ptr::null(),
    ];
    let (socket, request) = (socket.as_raw_fd(), request.as_raw_fd());
    // SAFETY: the child makes only async-signal-safe calls until _exit.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(std::io::Error::last_os_error());
    }
    if child == 0 {
        // SAFETY: fork, open, fcntl, dup2, close_range, setsid, execve, send and
        // _exit are async-signal-safe; all pointers were made before the fork.
        unsafe {
            if libc::fork() != 0 {
                libc::_exit(0);
            }
            libc::setsid();
            // Out of the way of the numbers that are about to be taken.
            let high_socket = libc::fcntl(socket, libc::F_DUPFD_CLOEXEC, 64);
            let high_request = libc::fcntl(request, libc::F_DUPFD_CLOEXEC, 64);
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
            libc::dup2(null, 0);
            libc::dup2(null, 1);
            libc::dup2(null, 2);
            libc::dup2(high_socket, 3);
            libc::dup2(high_request, 4);
            let flag = libc::CLOSE_RANGE_CLOEXEC;
            if libc::syscall(libc::SYS_close_range, 5, c_uint::MAX, flag) != 0 {
                // Linux before 5.11: slurmstepd has few descriptors.
                for number in 5..4096 {
                    libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
                }
            }
            libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr());
            for _ in 0..cannot_execute.times {
                let text = cannot_execute.text;
                libc::send(3, text.as_ptr().cast(), text.len(), libc::MSG_NOSIGNAL);
            }
            libc::_exit(127);
        }
    }
    let mut status = 0;
    loop {
        // SAFETY: the child is ours, and status is a valid place.
        let done = unsafe { libc::waitpid(child, &raw mut status, 0) };
        // slurmstepd may have reaped it: that is as good.
        if done >= 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return Ok(());
        }
    }
}
