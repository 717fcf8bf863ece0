//! The capabilities of a program's file, capabilities(7): whether the kernel would
//! heed them.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::StatVfsMountFlags;
use rustix::thread::CapabilitySet;

/// Why a program cannot redeem what a process has as inheritable.
#[derive(Debug, thiserror::Error)]
pub enum Unable {
    /// It cannot be looked at.
    #[error("{0}")]
    Look(#[from] io::Error),
    /// Others than root could change it, or it is no program.
    #[error("it is not a program of root's that only root can write")]
    NotRoots,
    /// Its file lacks them.
    #[error("it lacks its file capabilities")]
    None,
    /// It is on a file system where they do not count.
    #[error("its file system is mounted nosuid")]
    Nosuid,
    /// This process, and what it starts, may gain nothing.
    #[error("slurmstepd runs with no_new_privs")]
    NoNewPrivileges,
}

/// Asks whether a process of this one's that has `needed` as inheritable can redeem
/// it by executing the program.
///
/// # Errors
/// Any [`Unable`].
pub fn redeems(program: &Path, needed: CapabilitySet) -> Result<(), Unable> {
    let state = std::fs::symlink_metadata(program)?;
    let mode = state.permissions().mode();
    if !state.is_file() || state.uid() != 0 || mode & 0o022 != 0 || mode & 0o111 != 0o111 {
        return Err(Unable::NotRoots);
    }
    let mut value = [0; 64];
    let have = match rustix::fs::lgetxattr(program, c"security.capability", &mut value) {
        Ok(have) => have,
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => return Err(Unable::None),
        Err(error) => return Err(io::Error::from(error).into()),
    };
    let found = inheritable(value.get(..have).unwrap_or_default());
    if !found.is_some_and(|found| found.contains(needed)) {
        return Err(Unable::None);
    }
    let mount = rustix::fs::statvfs(program).map_err(io::Error::from)?;
    if mount.f_flag.contains(StatVfsMountFlags::NOSUID) {
        return Err(Unable::Nosuid);
    }
    if rustix::thread::no_new_privs().map_err(io::Error::from)? {
        return Err(Unable::NoNewPrivileges);
    }
    Ok(())
}

/// The inheritable set of a `struct vfs_cap_data` (linux/capability.h), where the
/// kernel makes it effective.
fn inheritable(value: &[u8]) -> Option<CapabilitySet> {
    const REVISIONS: [u32; 2] = [0x0200_0000, 0x0300_0000];
    const EFFECTIVE: u32 = 1;
    let word = |place: usize| {
        let bytes = value.get(place * 4..place * 4 + 4)?;
        bytes.try_into().ok().map(u32::from_le_bytes)
    };
    let magic = word(0)?;
    if !REVISIONS.contains(&(magic & 0xff00_0000)) || magic & EFFECTIVE == 0 {
        return None;
    }
    let bits = u64::from(word(2)?) | u64::from(word(4)?) << 32;
    Some(CapabilitySet::from_bits_retain(bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(magic: u32, low: u32, high: u32) -> Vec<u8> {
        [magic, 0, low, 0, high]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect()
    }

    #[test]
    fn only_what_is_inheritable_and_effective_counts() {
        let admin = CapabilitySet::SYS_ADMIN;
        let of = |bytes: Vec<u8>| inheritable(&bytes);
        assert_eq!(of(value(0x0200_0001, 1 << 21, 0)), Some(admin));
        assert_eq!(of(value(0x0300_0001, 1 << 21, 0)), Some(admin));
        assert_eq!(of(value(0x0200_0000, 1 << 21, 0)), None);
        assert_eq!(of(value(0x0100_0001, 1 << 21, 0)), None);
        assert_eq!(of(value(0x0200_0001, 0, 1)).unwrap().bits(), 1 << 32);
        assert_eq!(of(vec![1, 0, 0, 2]), None);
        assert_eq!(of(vec![]), None);
    }

    #[test]
    fn a_program_without_capabilities_redeems_nothing() {
        let shell = Path::new("/usr/bin/env");
        let refused = redeems(shell, CapabilitySet::SYS_ADMIN).unwrap_err();
        assert!(matches!(refused, Unable::None), "{refused:?}");
        let refused = redeems(Path::new("/usr/bin"), CapabilitySet::SYS_ADMIN).unwrap_err();
        assert!(matches!(refused, Unable::NotRoots), "{refused:?}");
        let refused = redeems(Path::new("/none"), CapabilitySet::SYS_ADMIN).unwrap_err();
        assert!(matches!(refused, Unable::Look(_)), "{refused:?}");
    }
}
