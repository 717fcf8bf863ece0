//! What a C library would bring: the first instruction, and the functions that the
//! compiler takes for granted.

use core::arch::global_asm;
use core::panic::PanicInfo;

use crate::process::Arguments;
use crate::{run, sys};

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym start,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "bl {start}",
    "brk #0",
    start = sym start,
);

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("oarlock-enter knows the system calls of x86_64 and aarch64 only");

unsafe extern "C" fn start(stack: *mut usize) -> ! {
    // SAFETY: this is the stack as `_start` found it.
    let mut arguments = unsafe { Arguments::on(stack) };
    let code = run(&mut arguments);
    sys::exit(code)
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    sys::say(b"oarlock-enter: internal error; please report it\n");
    sys::exit(1)
}

// Byte by byte, as nothing long is moved here. Volatile, so that the compiler does not
// make a call to the same function of the loop.

/// memcpy(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    for place in 0..length {
        // SAFETY: as the caller promises.
        unsafe { to.add(place).write_volatile(*from.add(place)) };
    }
    to
}

/// memmove(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    if to.addr() <= from.addr() {
        // SAFETY: as the caller promises; forwards is right where `to` lies before.
        return unsafe { memcpy(to, from, length) };
    }
    for place in (0..length).rev() {
        // SAFETY: as the caller promises.
        unsafe { to.add(place).write_volatile(*from.add(place)) };
    }
    to
}

/// memset(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, length: usize) -> *mut u8 {
    let [byte, ..] = value.to_le_bytes();
    for place in 0..length {
        // SAFETY: as the caller promises.
        unsafe { to.add(place).write_volatile(byte) };
    }
    to
}

/// memcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    for place in 0..length {
        // SAFETY: as the caller promises.
        let (a, b) = unsafe { (one.add(place).read_volatile(), *other.add(place)) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// bcmp(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    // SAFETY: as the caller promises.
    unsafe { memcmp(one, other, length) }
}

/// strlen(3).
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: as the caller promises.
    while unsafe { text.add(length).read_volatile() } != 0 {
        length += 1;
    }
    length
}
