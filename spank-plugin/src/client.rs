//! What srun, sbatch and salloc do once the options are read: check that they fit
//! together, that no other plugin took them, and see to it that a node without the
//! plugin runs nothing.
//!
//! Has the rights of the user alone; what it says is a help, for nodes check again.

use std::os::unix::ffi::OsStrExt;

use runtime_core::guard;
use runtime_core::sys::process;

use crate::failure::Failure;
use crate::ffi::{self, context};
use crate::options::{Environment, Given, KNOWN, OptionsError};
use crate::profile;
use crate::state::state;

/// Why the client ends, if it does.
pub(crate) fn ready() -> Result<(), Failure> {
    another_plugins_options()?;
    let mut state = state();
    // Slurm comes here once for each component of a heterogeneous job.
    let given = std::mem::replace(&mut state.given, Given::NONE);
    let fail = |error: OptionsError| Failure(error.to_string());
    let options = given.resolve().map_err(fail)?;
    let is_asked = options.is_some();
    if let Some((options, plugstack)) = options.zip(state.plugstack.clone()) {
        profile::check(&options, &plugstack.config)?;
    }
    let allocates = ffi::where_am_i() == context::S_CTX_ALLOCATOR;
    state.components.add(given, allocates).map_err(fail)?;
    drop(state);
    if is_asked && hands_its_environment_to_a_job() {
        arm();
    }
    Ok(())
}

/// Where two plugins register one option, Slurm gives it to the first of
/// plugstack.conf, and says so in a line that no user sees.
fn another_plugins_options() -> Result<(), Failure> {
    for known in &KNOWN {
        let name = known.text.name;
        if let Some(owner) = ffi::owner_of_option(name)
            && owner.as_bytes() != ffi::own_name().to_bytes()
            && ffi::option_is_given(name)
        {
            return Err(Failure(format!(
                "option --{}: the plugin \"{}\" has one of this name, too, and took it; leave one of the two in plugstack.conf",
                name.to_string_lossy(),
                owner.to_string_lossy(),
            )));
        }
    }
    Ok(())
}

/// srun's and sbatch's environment is the job's. salloc's is that of a shell on
/// this machine, whose sruns come by here themselves.
fn hands_its_environment_to_a_job() -> bool {
    ffi::where_am_i() == context::S_CTX_LOCAL
        || std::fs::read("/proc/self/comm").is_ok_and(|name| name.trim_ascii_end() == b"sbatch")
}

fn arm() {
    let mut own = ffi::OwnEnvironment;
    let limit = process::address_space_limit();
    let Some(arms) = guard::arm(limit, |name| own.get(name)) else {
        return;
    };
    for (name, value) in arms.set {
        own.set(name, &value);
    }
    let (name, value) = arms.lasting;
    ffi::set_own_variable_last(name, value);
}
