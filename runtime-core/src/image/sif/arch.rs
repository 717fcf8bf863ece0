//! Processor architectures: SIF's two-digit codes, their usual names, and what an ELF file is built for.
//!
//! Decides nothing: whether an image may run here is the caller's question.

use std::fmt;
use std::str::FromStr;

use super::field;

/// An architecture that SIF has a code for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arch {
    /// 32-bit x86, code 01.
    I386,
    /// 64-bit x86, code 02.
    Amd64,
    /// 32-bit Arm, code 03.
    Arm,
    /// 64-bit Arm, code 04.
    Arm64,
    /// 64-bit POWER, big-endian, code 05.
    Ppc64,
    /// 64-bit POWER, little-endian, code 06.
    Ppc64le,
    /// 32-bit MIPS, big-endian, code 07.
    Mips,
    /// 32-bit MIPS, little-endian, code 08.
    Mipsle,
    /// 64-bit MIPS, big-endian, code 09.
    Mips64,
    /// 64-bit MIPS, little-endian, code 10.
    Mips64le,
    /// IBM Z, code 11.
    S390x,
    /// 64-bit RISC-V, code 12.
    Riscv64,
    /// 64-bit `LoongArch`, code 13.
    Loong64,
}

/// Every architecture with its SIF code and the name that Apptainer and OCI use.
const TABLE: [(Arch, [u8; 3], &str); 13] = [
    (Arch::I386, *b"01\0", "386"),
    (Arch::Amd64, *b"02\0", "amd64"),
    (Arch::Arm, *b"03\0", "arm"),
    (Arch::Arm64, *b"04\0", "arm64"),
    (Arch::Ppc64, *b"05\0", "ppc64"),
    (Arch::Ppc64le, *b"06\0", "ppc64le"),
    (Arch::Mips, *b"07\0", "mips"),
    (Arch::Mipsle, *b"08\0", "mipsle"),
    (Arch::Mips64, *b"09\0", "mips64"),
    (Arch::Mips64le, *b"10\0", "mips64le"),
    (Arch::S390x, *b"11\0", "s390x"),
    (Arch::Riscv64, *b"12\0", "riscv64"),
    (Arch::Loong64, *b"13\0", "loong64"),
];

impl Arch {
    /// The architecture of a SIF code (two digits and a NUL), `None` for `00` and anything unknown.
    #[must_use]
    pub fn from_code(code: [u8; 3]) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == code).map(|row| row.0)
    }

    /// The SIF code: two digits and a NUL.
    #[must_use]
    pub fn code(self) -> [u8; 3] {
        TABLE
            .iter()
            .find(|row| row.0 == self)
            .map_or(*b"00\0", |row| row.1)
    }

    /// The name that Apptainer and OCI use, as in `amd64`.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE
            .iter()
            .find(|row| row.0 == self)
            .map_or("unknown", |row| row.2)
    }

    /// The architecture this program was built for; `None` where SIF has no code for it.
    #[must_use]
    pub fn host() -> Option<Self> {
        Self::from_rust_name(std::env::consts::ARCH, cfg!(target_endian = "little"))
    }

    fn from_rust_name(name: &str, little: bool) -> Option<Self> {
        Some(match name {
            "x86" => Self::I386,
            "x86_64" => Self::Amd64,
            "arm" => Self::Arm,
            "aarch64" => Self::Arm64,
            "powerpc64" if little => Self::Ppc64le,
            "powerpc64" => Self::Ppc64,
            "mips" if little => Self::Mipsle,
            "mips" => Self::Mips,
            "mips64" if little => Self::Mips64le,
            "mips64" => Self::Mips64,
            "s390x" => Self::S390x,
            "riscv64" => Self::Riscv64,
            "loongarch64" => Self::Loong64,
            _ => return None,
        })
    }

    /// The architecture that an ELF file is for, from its first 20 bytes (elf(5)); `None` for anything else.
    #[must_use]
    pub fn from_elf(start: &[u8]) -> Option<Self> {
        if field::bytes(start, 0)? != *b"\x7fELF" {
            return None;
        }
        let wide = field::u8(start, 4)? == 2;
        let little = field::u8(start, 5)? == 1;
        let machine = field::bytes(start, 18)?;
        let machine = if little {
            u16::from_le_bytes(machine)
        } else {
            u16::from_be_bytes(machine)
        };
        Some(match (machine, wide, little) {
            (3, false, true) => Self::I386,
            (62, true, true) => Self::Amd64,
            (40, false, true) => Self::Arm,
            (183, true, true) => Self::Arm64,
            (21, true, false) => Self::Ppc64,
            (21, true, true) => Self::Ppc64le,
            (8, false, false) => Self::Mips,
            (8, false, true) => Self::Mipsle,
            (8, true, false) => Self::Mips64,
            (8, true, true) => Self::Mips64le,
            (22, true, false) => Self::S390x,
            (243, true, true) => Self::Riscv64,
            (258, true, true) => Self::Loong64,
            _ => return None,
        })
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no architecture that SIF has a code for.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown architecture {0}; one of 386, amd64, arm, arm64, ppc64, ppc64le, mips, mipsle, mips64, mips64le, s390x, riscv64, loong64"
)]
pub struct UnknownArchName(String);

impl FromStr for Arch {
    type Err = UnknownArchName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        TABLE
            .iter()
            .find(|row| row.2 == text)
            .map(|row| row.0)
            .ok_or_else(|| UnknownArchName(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Arch, TABLE};

    #[test]
    fn every_code_and_name_leads_back() {
        for (arch, code, name) in TABLE {
            assert_eq!(Arch::from_code(code), Some(arch));
            assert_eq!((arch.code(), arch.name()), (code, name));
            assert_eq!(name.parse::<Arch>().ok(), Some(arch));
        }
        assert_eq!(Arch::from_code(*b"00\0"), None);
        assert_eq!(Arch::from_code(*b"02 "), None);
        assert!("x86_64".parse::<Arch>().is_err());
    }

    #[test]
    fn elf_files_say_what_they_are_for() {
        let elf = |class, data, machine: [u8; 2]| {
            let mut start = [0_u8; 20];
            start[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, data]);
            start[18..].copy_from_slice(&machine);
            Arch::from_elf(&start)
        };
        assert_eq!(elf(2, 1, [62, 0]), Some(Arch::Amd64));
        assert_eq!(elf(2, 1, [183, 0]), Some(Arch::Arm64));
        assert_eq!(elf(2, 2, [0, 22]), Some(Arch::S390x));
        assert_eq!(elf(2, 2, [0, 21]), Some(Arch::Ppc64));
        assert_eq!(elf(2, 1, [21, 0]), Some(Arch::Ppc64le));
        assert_eq!(elf(2, 1, [0, 0]), None);
        assert_eq!(Arch::from_elf(b"#!/bin/sh"), None);
        assert_eq!(Arch::from_elf(b"\x7fELF\x02\x01"), None);
    }

    #[test]
    fn the_running_test_is_for_the_host() {
        let own = std::fs::read("/proc/self/exe").expect("own executable");
        assert_eq!(Arch::from_elf(&own), Arch::host());
    }
}
