//! The devices that a step may open: as rules for version 1, and as a program for
//! version 2, where the kernel has no list.

use std::fmt;
use std::path::Path;

use rustix::fs::FileType;
use serde::{Deserialize, Serialize};

/// The file of version 1 that takes rules.
pub(super) const ALLOW: &str = "devices.allow";

/// A removed file of an overlay is a device that is made (Linux before 5.8 asks), and
/// nothing that could be opened.
pub(super) const WHITEOUT: &str = "c 0:0 m";

/// Character devices that may be opened, for reading and writing. None may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    major: u32,
    minor: Option<u32>,
}

impl Rule {
    /// One, or all of a major number.
    #[must_use]
    pub const fn character(major: u32, minor: Option<u32>) -> Self {
        Self { major, minor }
    }

    /// The device at a path; nothing where there is no character device.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let about = rustix::fs::stat(path).ok()?;
        let is_device = FileType::from_raw_mode(about.st_mode) == FileType::CharacterDevice;
        let number = about.st_rdev;
        is_device
            .then(|| Self::character(rustix::fs::major(number), Some(rustix::fs::minor(number))))
    }
}

/// In the form of version 1, devices.rst of the kernel.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c {}:", self.major)?;
        match self.minor {
            Some(minor) => write!(f, "{minor} rw"),
            None => f.write_str("* rw"),
        }
    }
}

/// What every container has: devices.txt of the kernel. Terminals have eight major
/// numbers.
pub const BASIC: [Rule; 15] = [
    Rule::character(1, Some(3)), // null
    Rule::character(1, Some(5)), // zero
    Rule::character(1, Some(7)), // full
    Rule::character(1, Some(8)), // random
    Rule::character(1, Some(9)), // urandom
    Rule::character(5, Some(0)), // tty
    Rule::character(5, Some(2)), // ptmx
    Rule::character(136, None),
    Rule::character(137, None),
    Rule::character(138, None),
    Rule::character(139, None),
    Rule::character(140, None),
    Rule::character(141, None),
    Rule::character(142, None),
    Rule::character(143, None),
];

/// What whoever mounts a file system of FUSE opens.
pub const FUSE: Rule = Rule::character(10, Some(229));

/// An instruction of the kernel's machine, `struct bpf_insn` of linux/bpf.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one; as little-endian machines
    /// have them.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Codes of instructions, instruction-set.rst of the kernel.
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const MOVE: u8 = 0xb7;
const COPY: u8 = 0xbf;
const JUMP_IF: u8 = 0x15;
const JUMP_IF_NOT: u8 = 0x55;
const JUMP_IF_ANY: u8 = 0x45;
const EXIT: u8 = 0x95;

/// `struct bpf_cgroup_dev_ctx`: what is done and to which kind, then the two numbers.
const ACCESS: i16 = 0;
const MAJOR: i16 = 4;
const MINOR: i16 = 8;
const MAKE: i32 = 1;
const CHARACTER: i32 = 2;

/// The registers that are used.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const DOING: u8 = 3;
const FIRST: u8 = 4;
const SECOND: u8 = 5;

/// A program of type `BPF_PROG_TYPE_CGROUP_DEVICE` that lets just these be opened.
#[must_use]
pub fn program(rules: &[Rule]) -> Vec<Instruction> {
    let load = |to, offset| instruction(LOAD_WORD, to, CONTEXT, offset, 0);
    let number = |value: u32| i32::from_ne_bytes(value.to_ne_bytes());
    let mut all = vec![
        load(KIND, ACCESS),
        instruction(COPY, DOING, KIND, 0, 0),
        instruction(SHIFT_RIGHT, DOING, 0, 0, 16),
        instruction(AND, KIND, 0, 0, 0xffff),
        load(FIRST, MAJOR),
        load(SECOND, MINOR),
        // A removed file of an overlay is a device 0:0 that is made (Linux before 5.8 asks
        // here), and nothing that could be opened.
        instruction(JUMP_IF_NOT, FIRST, 0, 3, 0),
        instruction(JUMP_IF_NOT, SECOND, 0, 2, 0),
        instruction(MOVE, RESULT, 0, 0, 1),
        instruction(EXIT, 0, 0, 0, 0),
        instruction(MOVE, RESULT, 0, 0, 0),
        // To the end that comes next but one: nothing is made.
        instruction(JUMP_IF_ANY, DOING, 0, 1, MAKE),
        // Over that end.
        instruction(JUMP_IF, KIND, 0, 1, CHARACTER),
        instruction(EXIT, 0, 0, 0, 0),
    ];
    for rule in rules {
        // What does not fit goes behind the two that answer.
        let rest = if rule.minor.is_some() { 3 } else { 2 };
        all.push(instruction(JUMP_IF_NOT, FIRST, 0, rest, number(rule.major)));
        if let Some(minor) = rule.minor {
            all.push(instruction(JUMP_IF_NOT, SECOND, 0, 2, number(minor)));
        }
        all.push(instruction(MOVE, RESULT, 0, 0, 1));
        all.push(instruction(EXIT, 0, 0, 0, 0));
    }
    // With the result that was set above.
    all.push(instruction(EXIT, 0, 0, 0, 0));
    all
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: if cfg!(target_endian = "little") {
            from << 4 | to
        } else {
            to << 4 | from
        },
        offset,
        immediate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the program answers, by running it as the kernel would.
    fn allows(rules: &[Rule], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u64; 10];
        let code = program(rules);
        let mut at = 0;
        for _ in 0..10_000 {
            let now = code[at];
            let (to, from) = (
                usize::from(now.registers & 0xf),
                usize::from(now.registers >> 4),
            );
            let value = u64::try_from(now.immediate).unwrap();
            let mut jump = false;
            match now.code {
                LOAD_WORD => {
                    assert_eq!(from, usize::from(CONTEXT));
                    registers[to] = context[usize::try_from(now.offset).unwrap() / 4].into();
                }
                AND => registers[to] &= value,
                SHIFT_RIGHT => registers[to] >>= value,
                MOVE => registers[to] = value,
                COPY => registers[to] = registers[from],
                JUMP_IF => jump = registers[to] == value,
                JUMP_IF_NOT => jump = registers[to] != value,
                JUMP_IF_ANY => jump = registers[to] & value != 0,
                EXIT => return registers[0] == 1,
                other => panic!("{other:#x}"),
            }
            at += 1;
            if jump {
                at += usize::try_from(now.offset).unwrap();
            }
        }
        panic!("no end");
    }

    #[test]
    fn the_program_lets_open_what_is_listed() {
        const BLOCK: u32 = 1;
        const CHAR: u32 = 2;
        let (make, read, write) = (1, 2, 4);
        let rules = [
            Rule::character(240, Some(1)),
            Rule::character(136, None),
            Rule::character(1, Some(3)),
        ];
        for (kind, access, major, minor, expected) in [
            (CHAR, read, 240, 1, true),
            (CHAR, read | write, 240, 1, true),
            (CHAR, read, 240, 0, false),
            (CHAR, read, 136, 77, true),
            (CHAR, write, 1, 3, true),
            (CHAR, write, 1, 1, false),
            (CHAR, make, 240, 1, false),
            (CHAR, make, 0, 0, true),
            (CHAR, make | read, 240, 1, false),
            (BLOCK, read, 240, 1, false),
            (BLOCK, read, 7, 0, false),
        ] {
            let answer = allows(&rules, kind, access, major, minor);
            assert_eq!(answer, expected, "{kind} {access} {major}:{minor}");
        }
        assert!(!allows(&[], CHAR, read, 1, 3));
    }

    #[test]
    fn rules_in_words() {
        assert_eq!(Rule::character(1, Some(3)).to_string(), "c 1:3 rw");
        assert_eq!(Rule::character(136, None).to_string(), "c 136:* rw");
    }
}
