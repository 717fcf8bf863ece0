//! Loaded into the FUSE server (`LD_PRELOAD`), which runs as an account of its own
//! and is given a path to open. The path is that of a descriptor which was opened
//! as the job's user; opening it anew would ask whether the *server's* account may
//! read the image. This library answers that one path with the descriptor itself.
//!
//! It must never treat another path differently from the C library, and does
//! nothing else but take the process out of other servers' reach: execve(2) has
//! made it dumpable again, proc(5).
//!
//! open(2) takes its mode as a variable argument. On the architectures that are
//! built for (x86-64, AArch64 Linux) such an argument is passed as a named one is,
//! so functions with three and four arguments stand in for it; the mode means
//! something only with flags that ask for it.

use std::ffi::{CStr, c_char, c_int, c_uint};

/// As the runtime names the image's descriptor to the server.
const IMAGE: &CStr = c"/proc/self/fd/3";
const IMAGE_FD: c_int = 3;

/// A copy of the image's descriptor for its path, which can only be read; else what the
/// kernel opens.
///
/// # Safety
/// `path` is null or a C string, as openat(2) wants it.
unsafe fn open_any(directory: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    if !path.is_null() && unsafe { CStr::from_ptr(path) } == IMAGE {
        // The descriptor is for reading. A server that tries to write first is told so,
        // as by the kernel, and then reads.
        if flags & libc::O_ACCMODE != libc::O_RDONLY {
            // SAFETY: the C library's place for this thread's errno.
            unsafe { *libc::__errno_location() = libc::EACCES };
            return -1;
        }
        let copy = match flags & libc::O_CLOEXEC {
            0 => libc::F_DUPFD,
            _ => libc::F_DUPFD_CLOEXEC,
        };
        // SAFETY: fcntl takes numbers here, and sets errno itself.
        return unsafe { libc::fcntl(IMAGE_FD, copy, 0) };
    }
    // SAFETY: the arguments are the caller's own, and syscall(2) sets errno.
    let opened = unsafe { libc::syscall(libc::SYS_openat, directory, path, flags, mode) };
    c_int::try_from(opened).unwrap_or(-1)
}

/// open(2).
///
/// # Safety
/// As the C library's function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { open_any(libc::AT_FDCWD, path, flags, mode) }
}

/// open(2) of programs with 64-bit offsets.
///
/// # Safety
/// As the C library's function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { open_any(libc::AT_FDCWD, path, flags | libc::O_LARGEFILE, mode) }
}

/// open(2) of programs built with `_FORTIFY_SOURCE`, which give no mode.
///
/// # Safety
/// As the C library's function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __open_2(path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { open_any(libc::AT_FDCWD, path, flags, 0) }
}

/// The same with 64-bit offsets.
///
/// # Safety
/// As the C library's function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __open64_2(path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { open_any(libc::AT_FDCWD, path, flags | libc::O_LARGEFILE, 0) }
}

/// openat(2).
///
/// # Safety
/// As the C library's function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn openat(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: c_uint,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { open_any(directory, path, flags, mode) }
}

/// openat(2) of programs with 64-bit offsets.
///
/// # Safety
/// As the C library's function of this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn openat64(
    directory: c_int,
    path: *const c_char,
    flags: c_int,
    mode: c_uint,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { open_any(directory, path, flags | libc::O_LARGEFILE, mode) }
}

/// Runs when the library is loaded, before the program starts.
extern "C" fn begin() {
    // SAFETY: PR_SET_DUMPABLE takes a number.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
}

// SAFETY: the section holds pointers to functions, which the loader calls once;
// this one takes none of the arguments that it passes.
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;
