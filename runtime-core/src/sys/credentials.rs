//! Who the process is to the kernel: ids, capabilities, `no_new_privs`.
//!
//! All calls act on the calling thread only, as the kernel does; callers are
//! single-threaded.

use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Every capability set becomes empty (the bounding set where the caller still
/// holds `CAP_SETPCAP`), and `no_new_privs` is set, so that no later `execve`
/// gives anything back.
///
/// capabilities(7), capset(2), `PR_SET_NO_NEW_PRIVS` in prctl(2).
///
/// # Errors
/// What the kernel said; the caller must then not run anything.
pub fn drop_all() -> io::Result<()> {
    let held = rustix::thread::capabilities(None)?;
    if held.permitted.contains(CapabilitySet::SETPCAP) {
        if !held.effective.contains(CapabilitySet::SETPCAP) {
            raise(CapabilitySet::SETPCAP)?;
        }
        drop_bounding_set()?;
    }
    drop_all_but_bounding()
}

/// As [`drop_all`], for a caller that has emptied the bounding set before.
///
/// # Errors
/// What the kernel said; the caller must then not run anything.
pub fn drop_all_but_bounding() -> io::Result<()> {
    keep_only_bounding()?;
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// In a user namespace that was just entered, and gave every capability: all but
/// these go from every set, those can be inherited by no ambient way, and
/// `no_new_privs` is set.
///
/// # Errors
/// What the kernel said; the caller must then not run anything.
pub fn keep_only(kept: CapabilitySet) -> io::Result<()> {
    drop_bounding_set_but(kept)?;
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    rustix::thread::set_no_new_privs(true)?;
    Ok(())
}

/// Makes permitted capabilities effective, beside those that are.
///
/// # Errors
/// `EPERM` where they are not permitted.
pub fn raise(wanted: CapabilitySet) -> io::Result<()> {
    let mut sets = rustix::thread::capabilities(None)?;
    sets.effective |= wanted;
    rustix::thread::set_capabilities(None, sets)?;
    Ok(())
}

/// Empties the bounding set, up to the last capability this kernel knows.
///
/// `PR_CAPBSET_DROP`, prctl(2): one call and one new set of credentials a
/// capability, the dearest part of giving up privilege.
///
/// # Errors
/// `EPERM` without `CAP_SETPCAP`.
pub fn drop_bounding_set() -> io::Result<()> {
    drop_bounding_set_but(CapabilitySet::empty())
}

fn drop_bounding_set_but(kept: CapabilitySet) -> io::Result<()> {
    for capability in 0..64 {
        if kept.bits() & (1 << capability) != 0 {
            continue;
        }
        // Dropping makes a new set of credentials each time, asking does not:
        // what is not there (in a container, say) is not dropped again.
        // SAFETY: PR_CAPBSET_READ takes a number and no pointer.
        match unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) } {
            0 => continue,
            1 => {}
            // Beyond the last capability.
            _ => return Ok(()),
        }
        // SAFETY: PR_CAPBSET_DROP takes a number and no pointer.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// What is given here can be redeemed by a program whose file has it as inheritable,
/// also after the coming change of user id; by itself it is worth nothing.
/// capabilities(7), capset(2).
///
/// # Errors
/// `EPERM` where the bounding set lacks it.
pub fn give_inheritable(given: CapabilitySet) -> io::Result<()> {
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable |= given;
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Only the bounding set stays, as for any program of the user's: for a child that
/// starts one.
///
/// # Errors
/// What the kernel said; the caller must then not run anything.
pub fn keep_only_bounding() -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Permitted capabilities survive the coming change of user id; they are not
/// effective after it, and execve(2) takes them. `PR_SET_KEEPCAPS`, prctl(2).
///
/// # Errors
/// What the kernel said.
pub fn keep_permitted() -> io::Result<()> {
    Ok(rustix::thread::set_keep_capabilities(true)?)
}

fn gids(raw: &[u32]) -> Vec<Gid> {
    raw.iter().map(|gid| Gid::from_raw(*gid)).collect()
}

/// Becomes the user for good: groups, gid and uid (real, effective and saved),
/// no capability, `no_new_privs`.
///
/// setgroups(2), setresgid(2), setresuid(2).
///
/// # Errors
/// What the kernel said; the caller must then exit.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    let held = rustix::thread::capabilities(None)?;
    if held.permitted.contains(CapabilitySet::SETPCAP) {
        drop_bounding_set()?;
    }
    rustix::thread::set_thread_groups(&gids(groups))?;
    let gid = Gid::from_raw(gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    let uid = Uid::from_raw(uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    drop_all()
}

/// Runs `work` with the user's rights to files and root's rights to mounts.
///
/// setfsuid(2) takes the capabilities that override file permissions out of the
/// effective set, and changes neither who may signal nor who may trace this
/// process, as setting the effective user id would.
///
/// # Errors
/// Where the kernel did not make the change (it is checked), or could not undo
/// it; else what `work` returned.
pub fn with_file_access_of<T>(
    uid: u32,
    gid: u32,
    groups: &[u32],
    work: impl FnOnce() -> T,
) -> io::Result<T> {
    let own_groups = rustix::process::getgroups()?;
    // The kernel forgets it with every change of ids.
    let death_signal = rustix::process::parent_process_death_signal()?;
    let own_uid = rustix::process::geteuid().as_raw();
    let own_gid = rustix::process::getegid().as_raw();
    rustix::thread::set_thread_groups(&gids(groups))?;
    set_file_ids(uid, gid)?;
    let result = work();
    set_file_ids(own_uid, own_gid)?;
    rustix::thread::set_thread_groups(&own_groups)?;
    rustix::process::set_parent_process_death_signal(death_signal)?;
    Ok(result)
}

/// setfsuid(2) and setfsgid(2) report no failure: asking again with an id that
/// is never valid returns what is in force.
fn set_file_ids(uid: u32, gid: u32) -> io::Result<()> {
    const ASK: u32 = u32::MAX;
    // SAFETY: both take a number and return one.
    let (now_uid, now_gid) = unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
        (libc::setfsuid(ASK), libc::setfsgid(ASK))
    };
    if (now_uid.cast_unsigned(), now_gid.cast_unsigned()) == (uid, gid) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EPERM))
    }
}
