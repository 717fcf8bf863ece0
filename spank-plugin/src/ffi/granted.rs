//! What Slurm's items for plugins tell of a step's allocation on this node.

use std::ffi::{CStr, c_char};

use super::{Spank, check, item, spank};

impl Spank {
    /// The cores of the step and of its job on this node, as Slurm counts them; empty
    /// where it does not tell.
    pub(crate) fn cores(self) -> (String, String) {
        let list = |which| {
            let mut text: *mut c_char = std::ptr::null_mut();
            // SAFETY: spank.h: both items take char **.
            let told = check(unsafe { spank::spank_get_item(self.0, which, &raw mut text) });
            if told.is_err() || text.is_null() {
                return String::new();
            }
            // SAFETY: Slurm's own string, which outlives the hook.
            let text = unsafe { CStr::from_ptr(text) };
            text.to_string_lossy().into_owned()
        };
        (
            list(item::S_STEP_ALLOC_CORES),
            list(item::S_JOB_ALLOC_CORES),
        )
    }

    /// The memory of the step and of its job on this node in MiB; 0 where it is not
    /// bounded.
    pub(crate) fn memory(self) -> (u64, u64) {
        let mebibytes = |which| self.number(which).unwrap_or(0);
        (
            mebibytes(item::S_STEP_ALLOC_MEM),
            mebibytes(item::S_JOB_ALLOC_MEM),
        )
    }
}
