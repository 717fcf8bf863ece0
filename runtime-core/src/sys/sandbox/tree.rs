//! A list of system calls as a program that finds a number by halving.
//!
//! The kernel walks a new filter once for each call that it has, to know which are
//! allowed whatever their arguments. A chain of comparisons makes that walk take
//! longer than all else that a reader does before it opens its file.

use libc::c_long;
use seccompiler::sock_filter;

// linux/bpf_common.h
const LOAD_WORD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
// linux/seccomp.h
const KILL_PROCESS: u32 = 0x8000_0000;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
/// Places in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

// linux/audit.h
#[cfg(target_arch = "x86_64")]
const OWN_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OWN_ARCHITECTURE: u32 = 0xc000_00b7;

/// A jump whose target is not known yet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Next,
    Skip(usize),
    Allow,
    Refuse,
}

struct Jump {
    code: u16,
    value: u32,
    yes: Target,
    no: Target,
}

/// A program that allows these calls and fails all others with `errno`; `None`
/// where a list is so long that a jump would not reach.
pub(super) fn allow_only(numbers: &[c_long], errno: i32) -> Option<Vec<sock_filter>> {
    let ranges = ranges(numbers);
    let mut jumps = Vec::new();
    emit(&ranges, &mut jumps);
    let head = [
        statement(LOAD_WORD, ARCHITECTURE),
        sock_filter {
            code: JUMP_EQUAL,
            jt: 1,
            jf: 0,
            k: OWN_ARCHITECTURE,
        },
        statement(RETURN, KILL_PROCESS),
        statement(LOAD_WORD, NUMBER),
    ];
    let mut program = head.to_vec();
    for (at, jump) in jumps.iter().enumerate() {
        let distance = |target: Target| {
            let far = match target {
                Target::Next => 0,
                Target::Skip(many) => many,
                Target::Allow => jumps.len() - at - 1,
                Target::Refuse => jumps.len() - at,
            };
            u8::try_from(far).ok()
        };
        program.push(sock_filter {
            code: jump.code,
            jt: distance(jump.yes)?,
            jf: distance(jump.no)?,
            k: jump.value,
        });
    }
    program.push(statement(RETURN, ALLOW));
    program.push(statement(RETURN, ERRNO | errno.unsigned_abs()));
    Some(program)
}

/// x86-64 kernels may have a second table with the same calls behind a bit of the
/// number; who forbids by number forbids all of it.
pub(super) fn without_x32() -> Vec<sock_filter> {
    const X32: u32 = 0x4000_0000;
    vec![
        statement(LOAD_WORD, NUMBER),
        sock_filter {
            code: JUMP_AT_LEAST,
            jt: 1,
            jf: 0,
            k: X32,
        },
        statement(RETURN, ALLOW),
        statement(RETURN, KILL_PROCESS),
    ]
}

fn statement(code: u16, value: u32) -> sock_filter {
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k: value,
    }
}

/// Numbers as ranges without gaps, in order.
fn ranges(numbers: &[c_long]) -> Vec<(u32, u32)> {
    let mut sorted: Vec<u32> = numbers
        .iter()
        .filter_map(|number| u32::try_from(*number).ok())
        .collect();
    sorted.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in sorted {
        match ranges.last_mut() {
            Some((_, last)) if number <= last.saturating_add(1) => *last = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

fn emit(ranges: &[(u32, u32)], jumps: &mut Vec<Jump>) {
    let (left, right) = ranges.split_at(ranges.len() / 2);
    match (left, right) {
        ([], [(first, last)]) => {
            jumps.push(Jump {
                code: JUMP_AT_LEAST,
                value: *first,
                yes: Target::Next,
                no: Target::Refuse,
            });
            jumps.push(Jump {
                code: JUMP_GREATER,
                value: *last,
                yes: Target::Refuse,
                no: Target::Allow,
            });
        }
        (left, [(first, _), ..]) => {
            let mut lower = Vec::new();
            emit(left, &mut lower);
            jumps.push(Jump {
                code: JUMP_AT_LEAST,
                value: *first,
                yes: Target::Skip(lower.len()),
                no: Target::Next,
            });
            jumps.append(&mut lower);
            emit(right, jumps);
        }
        (_, []) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do, bpf(4).
    fn run(program: &[sock_filter], number: u32) -> u32 {
        let mut at = 0;
        let mut word = 0;
        loop {
            let step = &program[at];
            at += 1;
            let holds = match step.code {
                LOAD_WORD => {
                    word = if step.k == NUMBER {
                        number
                    } else {
                        OWN_ARCHITECTURE
                    };
                    continue;
                }
                RETURN => return step.k,
                JUMP_EQUAL => word == step.k,
                JUMP_GREATER => word > step.k,
                JUMP_AT_LEAST => word >= step.k,
                other => panic!("{other:#x}"),
            };
            at += usize::from(if holds { step.jt } else { step.jf });
        }
    }

    #[test]
    fn just_the_listed_numbers_are_allowed() {
        let lists: [&[c_long]; 5] = [
            &[7],
            &[0, 1, 2],
            &[3, 9],
            &[1, 2, 5, 8, 9, 10, 77, 300],
            &[435, 0, 17, 16, 18, 60, 231, 100, 5],
        ];
        for list in lists {
            let program = allow_only(list, libc::ENOSYS).unwrap();
            for number in (0..600).chain([0x4000_0001, u32::MAX]) {
                let wanted = if list.contains(&c_long::from(number)) {
                    ALLOW
                } else {
                    ERRNO | libc::ENOSYS.unsigned_abs()
                };
                assert_eq!(run(&program, number), wanted, "{number} of {list:?}");
            }
        }
    }
}
