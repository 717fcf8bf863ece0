//! Programs that say which devices the processes of a control group may open, bpf(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::cgroup::devices::Instruction;

/// linux/bpf.h
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
/// `enum bpf_attach_type`: devices that are opened or made.
pub const BPF_CGROUP_DEVICE: u32 = 6;
/// Programs of the groups above that were attached so, as systemd does, have their say, too.
const BPF_F_ALLOW_MULTI: u32 = 1 << 1;

/// What programs of a group can be about that a process would miss: packets that come in,
/// packets that go out, devices (`enum bpf_attach_type`).
pub const ASKED: [u32; 3] = [0, 1, BPF_CGROUP_DEVICE];

/// The part of `union bpf_attr` for loading, up to where all is zero.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

/// The part for attaching.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Has the kernel check and keep a program, and attaches it to a group of version 2,
/// with which it goes.
///
/// # Errors
/// `EPERM` without `CAP_SYS_ADMIN` (`CAP_BPF` and `CAP_NET_ADMIN`); `EINVAL` where the
/// kernel lacks such programs; what it said.
pub fn attach(group: BorrowedFd<'_>, program: &[Instruction]) -> io::Result<()> {
    let mut load = Load {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: address(program.as_ptr()),
        license: address(c"Apache-2.0".as_ptr()),
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: *b"oarlock_devices\0",
        interface: 0,
        attach_type: BPF_CGROUP_DEVICE,
    };
    // SAFETY: what `load` points to outlives the call, with the length that it says; the
    // kernel copies it. `Instruction` has the layout of `struct bpf_insn`.
    let loaded = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw mut load,
            size_of::<Load>(),
        )
    };
    let loaded = i32::try_from(loaded).unwrap_or(-1);
    if loaded < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that the kernel has just given, and that nobody else has.
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded) };
    let mut attach = Attach {
        target: number(group.as_raw_fd()),
        program: number(loaded.as_raw_fd()),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: numbers alone.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_ATTACH,
            &raw mut attach,
            size_of::<Attach>(),
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The part for asking.
#[repr(C)]
struct Query {
    target: u32,
    kind: u32,
    flags: u32,
    attached: u32,
    programs: u64,
    count: u32,
    rest: u32,
}

/// How many programs of a kind are attached to a group of version 2.
///
/// # Errors
/// What the kernel said.
pub fn count(group: BorrowedFd<'_>, kind: u32) -> io::Result<u32> {
    let mut query = Query {
        target: number(group.as_raw_fd()),
        kind,
        flags: 0,
        attached: 0,
        programs: 0,
        count: 0,
        rest: 0,
    };
    // SAFETY: numbers alone; the kernel writes into `query`, which outlives the call, and
    // no list of programs is asked for.
    let done = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_QUERY,
            &raw mut query,
            size_of::<Query>(),
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(query.count)
}

fn address<T>(of: *const T) -> u64 {
    of as u64
}

fn number(descriptor: i32) -> u32 {
    descriptor.cast_unsigned()
}
