//! For a root that is nobody else: calls that change ids succeed without doing
//! anything, seccomp(2).
//!
//! Installers of packages give files to other users, become them, and make devices.
//! In a user namespace that has but one user none of that can be done, and nothing in
//! the container would be better for it. This confines nobody: whoever gets round it
//! (with calls of another architecture, say) meets the kernel's own refusal.

use std::io;

use libc::{c_long, sock_filter};

// linux/bpf_common.h
const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
// linux/seccomp.h
const ALLOW: u32 = 0x7fff_0000;
/// With error 0: the call is not made and returns 0.
const SUCCEED: u32 = 0x0005_0000;
/// Places in `struct seccomp_data`; of an argument the half that has the value, on
/// a little-endian machine.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const SECOND: u32 = 24;
const THIRD: u32 = 32;

// linux/audit.h
#[cfg(target_arch = "x86_64")]
const OWN_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OWN_ARCHITECTURE: u32 = 0xc000_00b7;

/// Those that can do something only where there are other ids.
const OF_IDS: &[c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
];

/// What the kernel refuses in every such namespace: a group that denies its members
/// something must not be dropped.
const GROUPS: c_long = libc::SYS_setgroups;

/// mknod's mode is its second argument, mknodat's the third.
const MAKING: &[(c_long, u32)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, SECOND),
    (libc::SYS_mknodat, THIRD),
];

/// From now on the groups are changed and devices made in appearance only; with
/// `ids_too`, owners of files and one's own ids as well. All else is as it was.
///
/// # Errors
/// What the kernel said; `no_new_privs` must be set.
pub fn install(ids_too: bool) -> io::Result<()> {
    let program = program(ids_too);
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(io::Error::other)?,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, which is as long as it says. Without
    // the flag kernels before 5.16 would slow the process down.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Checks in a row, each of which returns for its own call: there are few.
fn program(ids_too: bool) -> Vec<sock_filter> {
    let statement = |code, k| sock_filter {
        code,
        jt: 0,
        jf: 0,
        k,
    };
    let unless_equal = |k, skip| sock_filter {
        code: JUMP_EQUAL,
        jt: 0,
        jf: skip,
        k,
    };
    let number = |call: c_long| u32::try_from(call).unwrap_or(u32::MAX);
    let mut program = vec![
        statement(LOAD_WORD, ARCHITECTURE),
        sock_filter {
            code: JUMP_EQUAL,
            jt: 1,
            jf: 0,
            k: OWN_ARCHITECTURE,
        },
        statement(RETURN, ALLOW),
        statement(LOAD_WORD, NUMBER),
    ];
    let of_ids = if ids_too { OF_IDS } else { &[] };
    for call in of_ids.iter().chain([&GROUPS]) {
        program.push(unless_equal(number(*call), 1));
        program.push(statement(RETURN, SUCCEED));
    }
    for (call, mode) in MAKING {
        program.extend([
            unless_equal(number(*call), 6),
            statement(LOAD_WORD, *mode),
            statement(AND, libc::S_IFMT),
            sock_filter {
                code: JUMP_EQUAL,
                jt: 1,
                jf: 0,
                k: libc::S_IFCHR,
            },
            unless_equal(libc::S_IFBLK, 1),
            statement(RETURN, SUCCEED),
            statement(RETURN, ALLOW),
        ]);
    }
    program.push(statement(RETURN, ALLOW));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do, bpf(4).
    fn run(ids_too: bool, architecture: u32, call: c_long, arguments: [u32; 3]) -> u32 {
        let program = program(ids_too);
        let (mut at, mut word) = (0, 0);
        loop {
            let step = &program[at];
            at += 1;
            match step.code {
                LOAD_WORD => {
                    word = match step.k {
                        NUMBER => u32::try_from(call).unwrap(),
                        ARCHITECTURE => architecture,
                        place => arguments[(place as usize - 16) / 8],
                    }
                }
                AND => word &= step.k,
                JUMP_EQUAL if word == step.k => at += usize::from(step.jt),
                JUMP_EQUAL => at += usize::from(step.jf),
                RETURN => return step.k,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn ids_and_devices_succeed_and_nothing_else() {
        let at = |call, arguments| run(true, OWN_ARCHITECTURE, call, arguments);
        for call in OF_IDS.iter().chain([&GROUPS]) {
            assert_eq!(at(*call, [0; 3]), SUCCEED, "{call}");
        }
        for call in [libc::SYS_read, libc::SYS_openat, libc::SYS_fchmod, 1000] {
            assert_eq!(at(call, [0; 3]), ALLOW, "{call}");
        }
        let cases = [
            (libc::S_IFCHR | 0o666, SUCCEED),
            (libc::S_IFBLK, SUCCEED),
            (libc::S_IFIFO | 0o600, ALLOW),
            (libc::S_IFREG | 0o600, ALLOW),
        ];
        for (mode, outcome) in cases {
            for (call, place) in MAKING {
                let mut arguments = [u32::MAX; 3];
                arguments[(*place as usize - 16) / 8] = mode;
                assert_eq!(at(*call, arguments), outcome, "{call} {mode:o}");
            }
        }
    }

    #[test]
    fn other_ids_are_changed_where_there_are_some() {
        for (call, outcome) in [
            (libc::SYS_fchownat, ALLOW),
            (libc::SYS_setuid, ALLOW),
            (GROUPS, SUCCEED),
        ] {
            assert_eq!(run(false, OWN_ARCHITECTURE, call, [0; 3]), outcome);
        }
    }

    #[test]
    fn calls_of_another_architecture_are_the_kernels_matter() {
        assert_eq!(run(true, 0x4000_0003, libc::SYS_setuid, [0; 3]), ALLOW);
    }

    #[test]
    fn the_kernel_takes_it() {
        let mut child = crate::sys::process::fork(|| {
            let refused = rustix::thread::set_no_new_privs(true).is_err() || install(true).is_err();
            // SAFETY: numbers and a C string.
            let done = unsafe {
                let path = c"/proc".as_ptr();
                libc::chown(path, 1, 1) == 0 && libc::syscall(libc::SYS_setuid, 4711) == 0
            };
            u8::from(refused) + 2 * u8::from(!done)
        })
        .unwrap();
        assert_eq!(child.wait().unwrap(), 0);
    }
}
