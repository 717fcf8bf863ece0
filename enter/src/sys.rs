//! The system calls, each with its man page named. Nothing here keeps a state.

use core::arch::asm;
use core::ffi::{CStr, c_char};
use core::ptr;

use numbers as nr;

/// A descriptor's number.
pub(crate) type Fd = i32;

#[cfg(target_arch = "x86_64")]
mod numbers {
    pub(super) const WRITE: usize = 1;
    pub(super) const CLOSE: usize = 3;
    pub(super) const FSTAT: usize = 5;
    pub(super) const MMAP: usize = 9;
    pub(super) const IOCTL: usize = 16;
    pub(super) const PREAD: usize = 17;
    pub(super) const EXECVE: usize = 59;
    pub(super) const UNAME: usize = 63;
    pub(super) const FCNTL: usize = 72;
    pub(super) const GETCWD: usize = 79;
    pub(super) const CHDIR: usize = 80;
    pub(super) const GETUID: usize = 102;
    pub(super) const CAPSET: usize = 126;
    pub(super) const PRCTL: usize = 157;
    pub(super) const EXIT_GROUP: usize = 231;
    pub(super) const NEWFSTATAT: usize = 262;
    pub(super) const SETNS: usize = 308;
}

#[cfg(target_arch = "aarch64")]
mod numbers {
    pub(super) const WRITE: usize = 64;
    pub(super) const CLOSE: usize = 57;
    pub(super) const FSTAT: usize = 80;
    pub(super) const MMAP: usize = 222;
    pub(super) const IOCTL: usize = 29;
    pub(super) const PREAD: usize = 67;
    pub(super) const EXECVE: usize = 221;
    pub(super) const UNAME: usize = 160;
    pub(super) const FCNTL: usize = 25;
    pub(super) const GETCWD: usize = 17;
    pub(super) const CHDIR: usize = 49;
    pub(super) const GETUID: usize = 174;
    pub(super) const CAPSET: usize = 91;
    pub(super) const PRCTL: usize = 167;
    pub(super) const EXIT_GROUP: usize = 94;
    pub(super) const NEWFSTATAT: usize = 79;
    pub(super) const SETNS: usize = 268;
}

/// One system call, syscall(2).
///
/// # Safety
/// The arguments are what the call takes.
unsafe fn call(number: usize, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel's convention; it keeps every other register.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the kernel's convention; it keeps every other register.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    match usize::try_from(result) {
        Ok(value) => Ok(value),
        Err(_) => Err(Errno(result.unsigned_abs())),
    }
}

fn number(fd: Fd) -> usize {
    // A number that is none becomes one that no descriptor has.
    usize::try_from(fd).unwrap_or(usize::MAX)
}

/// What the kernel said, errno(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Errno(usize);

impl Errno {
    pub(crate) const ENOENT: Self = Self(2);
    pub(crate) const EINVAL: Self = Self(22);

    /// As strerror(3) has it.
    pub(crate) fn text(self) -> &'static [u8] {
        match self.0 {
            1 => b"Operation not permitted",
            2 => b"No such file or directory",
            5 => b"Input/output error",
            7 => b"Argument list too long",
            8 => b"Exec format error",
            9 => b"Bad file descriptor",
            12 => b"Cannot allocate memory",
            13 => b"Permission denied",
            20 => b"Not a directory",
            21 => b"Is a directory",
            22 => b"Invalid argument",
            25 => b"Inappropriate ioctl for device",
            26 => b"Text file busy",
            36 => b"File name too long",
            40 => b"Too many levels of symbolic links",
            _ => b"the kernel refuses it",
        }
    }
}

/// Writes to the standard error, write(2).
pub(crate) fn say(text: &[u8]) {
    // SAFETY: a buffer and its length.
    let _ = unsafe {
        call(
            nr::WRITE,
            [2, text.as_ptr().expose_provenance(), text.len(), 0, 0, 0],
        )
    };
}

/// Ends the process, exit_group(2).
pub(crate) fn exit(code: i32) -> ! {
    loop {
        // SAFETY: it takes a number.
        let _ = unsafe { call(nr::EXIT_GROUP, [number(code), 0, 0, 0, 0, 0]) };
    }
}

/// Closes, close(2).
pub(crate) fn close(fd: Fd) {
    // SAFETY: the number is not used again.
    let _ = unsafe { call(nr::CLOSE, [number(fd), 0, 0, 0, 0, 0]) };
}

/// The real user id, getuid(2).
pub(crate) fn own_uid() -> u32 {
    // SAFETY: it takes nothing and does not fail.
    let uid = unsafe { call(nr::GETUID, [0; 6]) };
    uid.ok()
        .and_then(|uid| u32::try_from(uid).ok())
        .unwrap_or(u32::MAX)
}

/// What stat(2) says of a file.
pub(crate) struct State {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) uid: u32,
    pub(crate) permissions: u32,
    pub(crate) is_file: bool,
    pub(crate) is_directory: bool,
    pub(crate) size: usize,
}

const STAT_BYTES: usize = 256;

/// struct stat, as the kernel has it.
fn state_of(raw: &[u8; STAT_BYTES]) -> State {
    // Where st_mode, st_uid and st_size lie; the kernel's asm/stat.h.
    const MODE: usize = if cfg!(target_arch = "x86_64") { 24 } else { 16 };
    const UID: usize = if cfg!(target_arch = "x86_64") { 28 } else { 24 };
    let word = |place: usize| {
        let bytes = raw.get(place..).and_then(|rest| rest.first_chunk::<8>());
        bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    };
    let half = |place: usize| {
        let bytes = raw.get(place..).and_then(|rest| rest.first_chunk::<4>());
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    };
    let mode = half(MODE);
    State {
        device: word(0),
        inode: word(8),
        uid: half(UID),
        permissions: mode & 0o7777,
        is_file: mode & 0o170_000 == 0o100_000,
        is_directory: mode & 0o170_000 == 0o040_000,
        size: usize::try_from(word(48)).unwrap_or(0),
    }
}

/// Of an open file, fstat(2).
pub(crate) fn state(fd: Fd) -> Result<State, Errno> {
    let mut raw = [0; STAT_BYTES];
    // SAFETY: the buffer is larger than the kernel's struct stat.
    unsafe {
        call(
            nr::FSTAT,
            [number(fd), raw.as_mut_ptr().expose_provenance(), 0, 0, 0, 0],
        )?
    };
    Ok(state_of(&raw))
}

/// Whether something is at a path that is no directory, stat(2).
pub(crate) fn is_no_directory(path: &CStr) -> bool {
    const AT_FDCWD: usize = usize::MAX - 99;
    let mut raw = [0; STAT_BYTES];
    let (path, place) = (
        path.as_ptr().expose_provenance(),
        raw.as_mut_ptr().expose_provenance(),
    );
    // SAFETY: a string with NUL; the buffer is larger than the kernel's struct stat.
    let there = unsafe { call(nr::NEWFSTATAT, [AT_FDCWD, path, place, 0, 0, 0]) };
    there.is_ok() && !state_of(&raw).is_directory
}

/// `CLONE_NEW…` of a namespace, `NS_GET_NSTYPE` in ioctl_nsfs(2). Fails for what is no
/// namespace.
pub(crate) fn namespace_kind(fd: Fd) -> Result<u32, Errno> {
    const NS_GET_NSTYPE: usize = 0xb703;
    // SAFETY: this request takes no third argument.
    let kind = unsafe { call(nr::IOCTL, [number(fd), NS_GET_NSTYPE, 0, 0, 0, 0])? };
    u32::try_from(kind).map_err(|_| Errno::EINVAL)
}

/// The seals of a memory file, `F_GET_SEALS` in fcntl(2).
pub(crate) fn seals(fd: Fd) -> Result<i32, Errno> {
    const F_GET_SEALS: usize = 1034;
    // SAFETY: this command takes no third argument.
    let seals = unsafe { call(nr::FCNTL, [number(fd), F_GET_SEALS, 0, 0, 0, 0])? };
    i32::try_from(seals).map_err(|_| Errno::EINVAL)
}

/// Reads from the file's start; the number of bytes, pread(2).
pub(crate) fn read_start(fd: Fd, place: &mut [u8]) -> Result<usize, Errno> {
    let (start, length) = (place.as_mut_ptr().expose_provenance(), place.len());
    // SAFETY: a buffer and its length.
    unsafe { call(nr::PREAD, [number(fd), start, length, 0, 0, 0]) }
}

/// Enters a namespace of that kind, setns(2).
pub(crate) fn enter(fd: Fd, kind: u32) -> Result<(), Errno> {
    let kind = usize::try_from(kind).map_err(|_| Errno::EINVAL)?;
    // SAFETY: both are numbers.
    unsafe { call(nr::SETNS, [number(fd), kind, 0, 0, 0, 0])? };
    Ok(())
}

/// Empties the five sets of capabilities and sets `no_new_privs`: capset(2),
/// `PR_CAPBSET_DROP`, `PR_CAP_AMBIENT_CLEAR_ALL`, `PR_SET_NO_NEW_PRIVS` in prctl(2).
pub(crate) fn drop_all() -> Result<(), Errno> {
    const PR_CAPBSET_READ: usize = 23;
    const PR_CAPBSET_DROP: usize = 24;
    const PR_SET_NO_NEW_PRIVS: usize = 38;
    const PR_CAP_AMBIENT: usize = 47;
    const CLEAR_ALL: usize = 4;
    const VERSION_3: u32 = 0x2008_0522;
    for capability in 0..64 {
        // SAFETY: these take numbers.
        match unsafe { call(nr::PRCTL, [PR_CAPBSET_READ, capability, 0, 0, 0, 0]) } {
            Ok(1) => {
                // SAFETY: as above.
                unsafe { call(nr::PRCTL, [PR_CAPBSET_DROP, capability, 0, 0, 0, 0])? };
            }
            Ok(_) => {}
            // Beyond the last one.
            Err(_) => break,
        }
    }
    // SAFETY: numbers.
    unsafe { call(nr::PRCTL, [PR_CAP_AMBIENT, CLEAR_ALL, 0, 0, 0, 0])? };
    let header = [VERSION_3, 0];
    let none = [0_u32; 6];
    let (header, none) = (
        header.as_ptr().expose_provenance(),
        none.as_ptr().expose_provenance(),
    );
    // SAFETY: a header and two elements of struct __user_cap_data_struct.
    unsafe { call(nr::CAPSET, [header, none, 0, 0, 0, 0])? };
    // SAFETY: numbers.
    unsafe { call(nr::PRCTL, [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0])? };
    Ok(())
}

/// Memory with the content of a file (`fd`) or with zeroes, mmap(2); writing to it
/// changes no file.
fn memory(length: usize, fd: Option<Fd>) -> Result<*mut u8, Errno> {
    const PROT_READ_WRITE: usize = 3;
    const MAP_PRIVATE: usize = 2;
    const MAP_ANONYMOUS: usize = 0x20;
    let flags = if fd.is_some() {
        MAP_PRIVATE
    } else {
        MAP_PRIVATE | MAP_ANONYMOUS
    };
    let fd = fd.map_or(usize::MAX, number);
    // SAFETY: a new mapping touches no other memory.
    let start = unsafe { call(nr::MMAP, [0, length, PROT_READ_WRITE, flags, fd, 0])? };
    Ok(ptr::with_exposed_provenance_mut(start))
}

/// The content of a file that is not empty, for as long as the process lives.
pub(crate) fn map(fd: Fd) -> Result<&'static [u8], Errno> {
    let length = state(fd)?.size;
    let start = memory(length, Some(fd))?;
    // SAFETY: the mapping has that length and is never taken away. Should the file be
    // cut meanwhile, reading it is a signal that ends the process.
    Ok(unsafe { core::slice::from_raw_parts(start, length) })
}

/// That many bytes, zeroes, for as long as the process lives.
pub(crate) fn pages(length: usize) -> Option<&'static mut [u8]> {
    let start = memory(length, None).ok()?;
    // SAFETY: the mapping has that length, nobody else has it, and it stays.
    Some(unsafe { core::slice::from_raw_parts_mut(start, length) })
}

/// That many pointers, NULL, for as long as the process lives.
pub(crate) fn pointers(count: usize) -> Option<&'static mut [*const c_char]> {
    let length = count.checked_mul(size_of::<*const c_char>())?;
    let start = memory(length, None).ok()?.cast::<*const c_char>();
    // SAFETY: as in `pages`; a page's start is aligned, and zeroes are NULL.
    Some(unsafe { core::slice::from_raw_parts_mut(start, count) })
}

/// Goes to a directory, chdir(2).
pub(crate) fn change_directory(path: &CStr) -> Result<(), Errno> {
    // SAFETY: a string with NUL.
    unsafe {
        call(
            nr::CHDIR,
            [path.as_ptr().expose_provenance(), 0, 0, 0, 0, 0],
        )?
    };
    Ok(())
}

/// Where the process is, getcwd(2).
pub(crate) fn working_directory(place: &mut [u8]) -> Result<&CStr, Errno> {
    let (start, length) = (place.as_mut_ptr().expose_provenance(), place.len());
    // SAFETY: a buffer and its length.
    unsafe { call(nr::GETCWD, [start, length, 0, 0, 0, 0])? };
    CStr::from_bytes_until_nul(place).map_err(|_| Errno::EINVAL)
}

/// Bytes of a node's name and its NUL, uname(2).
pub(crate) const NAME: usize = 65;

/// The node's name up to its first dot, uname(2).
pub(crate) fn node(place: &mut [u8; NAME]) -> &[u8] {
    let mut raw = [0; 6 * NAME];
    // SAFETY: struct utsname has six fields of 65 bytes.
    let _ = unsafe {
        call(
            nr::UNAME,
            [raw.as_mut_ptr().expose_provenance(), 0, 0, 0, 0, 0],
        )
    };
    if let Some(name) = raw.get(NAME..2 * NAME) {
        place.copy_from_slice(name);
    }
    let end = place.iter().position(|b| matches!(*b, 0 | b'.'));
    place.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// Becomes another program, execve(2). Returns only where it cannot.
pub(crate) fn execute(
    path: &CStr,
    arguments: &[*const c_char],
    environment: &[*const c_char],
) -> Errno {
    let ends = |list: &[*const c_char]| list.last().is_some_and(|last| last.is_null());
    if !ends(arguments) || !ends(environment) {
        return Errno::EINVAL;
    }
    let (arguments, environment) = (
        arguments.as_ptr().expose_provenance(),
        environment.as_ptr().expose_provenance(),
    );
    // SAFETY: a string with NUL, and two arrays that end with NULL.
    match unsafe {
        call(
            nr::EXECVE,
            [
                path.as_ptr().expose_provenance(),
                arguments,
                environment,
                0,
                0,
                0,
            ],
        )
    } {
        Ok(_) => Errno::EINVAL,
        Err(errno) => errno,
    }
}
