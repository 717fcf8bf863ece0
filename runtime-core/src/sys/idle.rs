//! Work that gives way to everything else: sched_setscheduler(2) `SCHED_IDLE`,
//! ioprio_set(2) `IOPRIO_CLASS_IDLE`.

use std::io;

// linux/ioprio.h
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
const IOPRIO_CLASS_IDLE: libc::c_int = 3 << 13;

/// This process and its children run only while nobody else wants the processor
/// or the disk.
///
/// # Errors
/// What the kernel said.
pub fn give_way() -> io::Result<()> {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: the struct lives through the call; 0 is this process.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: ioprio_set takes numbers; 0 is this process.
    let done = unsafe {
        libc::syscall(
            libc::SYS_ioprio_set,
            IOPRIO_WHO_PROCESS,
            0,
            IOPRIO_CLASS_IDLE,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
