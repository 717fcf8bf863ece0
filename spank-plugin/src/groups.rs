//! The end of the step's own control groups, in slurmstepd.
//!
//! Whether there are any is asked of the kernel, by their names.

use runtime_core::cgroup::release;

use crate::ffi::{self, Spank};
use crate::step;

/// After the last rank: says on the step's stderr, as Slurm does for groups of its own,
/// that the kernel has ended processes for want of memory.
pub(crate) fn tell_of_memory(spank: Spank) {
    let Some(group) = step::own_group(spank) else {
        return;
    };
    let killed = release::killed_for_memory(&group);
    if killed > 0 {
        let (memory, _) = spank.memory();
        ffi::log_error(&format!(
            "oarlock: the kernel ended {killed} of the step's processes for want of memory; it may use {memory} MiB here: ask for more with --mem"
        ));
    }
}

/// Ends what Slurm has not found of the step, and takes its groups away. What stays is
/// for the job's epilog.
pub(crate) fn end(spank: Spank) {
    let Some(group) = step::own_group(spank) else {
        return;
    };
    if let Err(error) = release::step(&group) {
        ffi::log_error(&format!("oarlock: the step's control groups stay: {error}"));
    }
}
