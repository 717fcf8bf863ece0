//! What a partition holds and what it is for: SIF's codes and their names.
//!
//! Decides nothing: whether a partition may be mounted is the caller's question.

use std::fmt;

use super::arch::Arch;

/// What is in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FsType {
    /// squashfs, code 1.
    Squashfs,
    /// ext3, code 2.
    Ext3,
    /// An immutable archive of objects, code 3.
    Archive,
    /// Raw data, code 4.
    Raw,
    /// squashfs inside LUKS, code 5.
    LuksSquashfs,
    /// squashfs inside gocryptfs, code 6.
    GocryptfsSquashfs,
    /// A code newer than this program.
    Unknown(i32),
}

impl FsType {
    /// The type of a SIF code.
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        match code {
            1 => Self::Squashfs,
            2 => Self::Ext3,
            3 => Self::Archive,
            4 => Self::Raw,
            5 => Self::LuksSquashfs,
            6 => Self::GocryptfsSquashfs,
            other => Self::Unknown(other),
        }
    }

    /// The SIF code.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::Squashfs => 1,
            Self::Ext3 => 2,
            Self::Archive => 3,
            Self::Raw => 4,
            Self::LuksSquashfs => 5,
            Self::GocryptfsSquashfs => 6,
            Self::Unknown(code) => code,
        }
    }
}

impl fmt::Display for FsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Squashfs => f.pad("squashfs"),
            Self::Ext3 => f.pad("ext3"),
            Self::Archive => f.pad("archive"),
            Self::Raw => f.pad("raw"),
            Self::LuksSquashfs => f.pad("squashfs in LUKS"),
            Self::GocryptfsSquashfs => f.pad("squashfs in gocryptfs"),
            Self::Unknown(code) => f.pad(&format!("file system type {code}")),
        }
    }
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartType {
    /// A root file system that is not the one to run, code 1.
    System,
    /// The root file system to run, code 2.
    PrimarySystem,
    /// Data, code 3.
    Data,
    /// A writable overlay over the root file system, code 4.
    Overlay,
    /// A code newer than this program.
    Unknown(i32),
}

impl PartType {
    /// The type of a SIF code.
    #[must_use]
    pub fn from_code(code: i32) -> Self {
        match code {
            1 => Self::System,
            2 => Self::PrimarySystem,
            3 => Self::Data,
            4 => Self::Overlay,
            other => Self::Unknown(other),
        }
    }

    /// The SIF code.
    #[must_use]
    pub fn code(self) -> i32 {
        match self {
            Self::System => 1,
            Self::PrimarySystem => 2,
            Self::Data => 3,
            Self::Overlay => 4,
            Self::Unknown(code) => code,
        }
    }
}

impl fmt::Display for PartType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => f.pad("system"),
            Self::PrimarySystem => f.pad("primary system"),
            Self::Data => f.pad("data"),
            Self::Overlay => f.pad("overlay"),
            Self::Unknown(code) => f.pad(&format!("partition type {code}")),
        }
    }
}

/// A partition's own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// What is in it.
    pub fs_type: FsType,
    /// What it is for.
    pub part_type: PartType,
    /// Its architecture code as written.
    pub arch_code: [u8; 3],
}

impl PartitionInfo {
    /// The architecture; `None` where the code is none that SIF defines.
    #[must_use]
    pub fn arch(&self) -> Option<Arch> {
        Arch::from_code(self.arch_code)
    }
}
