//! Which libraries are this machine's own: the ELF machine of this program, and its mark in ldconfig's cache.

use object::elf;

/// A processor's libraries, 64-bit ones only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// `e_machine` of the ELF header.
    pub elf: elf::Machine,
    /// The flags of an entry in ldconfig's cache: glibc's sysdeps/generic/ldconfig.h. The low byte 3 is "ELF, libc6".
    pub cache: u32,
    /// The part of a directory's name that Debian gives its libraries.
    pub triplet: &'static str,
    /// The name of musl's loader in /lib.
    pub musl: &'static str,
}

impl Machine {
    /// x86-64.
    pub const X86_64: Self = Self {
        elf: elf::EM_X86_64,
        cache: 0x0303,
        triplet: "x86_64-linux-gnu",
        musl: "ld-musl-x86_64.so.1",
    };
    /// ARM, 64 bits.
    pub const AARCH64: Self = Self {
        elf: elf::EM_AARCH64,
        cache: 0x0a03,
        triplet: "aarch64-linux-gnu",
        musl: "ld-musl-aarch64.so.1",
    };
    /// POWER, 64 bits, little-endian.
    pub const POWERPC64LE: Self = Self {
        elf: elf::EM_PPC64,
        cache: 0x0503,
        triplet: "powerpc64le-linux-gnu",
        musl: "ld-musl-powerpc64le.so.1",
    };
    /// RISC-V, 64 bits, doubles in registers.
    pub const RISCV64: Self = Self {
        elf: elf::EM_RISCV,
        cache: 0x1003,
        triplet: "riscv64-linux-gnu",
        musl: "ld-musl-riscv64.so.1",
    };

    /// The machine that this program was built for.
    #[must_use]
    pub const fn own() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::AARCH64
        } else if cfg!(target_arch = "powerpc64") {
            Self::POWERPC64LE
        } else if cfg!(target_arch = "riscv64") {
            Self::RISCV64
        } else {
            Self::X86_64
        }
    }
}
