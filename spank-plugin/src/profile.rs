//! In srun, sbatch and salloc, and nowhere else: looks at the profile that their user
//! names, with his own rights, so that a mistake fails before the queue.
//!
//! The node reads it again, and its word counts: what is not here is left to it.

use std::os::fd::AsFd;
use std::path::Path;

use runtime_core::path::HostPath;
use runtime_core::profile::library::Files;
use runtime_core::profile::{Missing, Places, Profiles, resolve};
use runtime_core::request::Options;
use runtime_core::sys::mount;

use crate::failure::Failure;

/// Tells what the node would find out later.
pub(crate) fn check(options: &Options, config: &Path) -> Result<(), Failure> {
    let Some(name) = &options.profile else {
        return Ok(());
    };
    let here = mount::open_place(Path::new(".")).ok();
    let cwd = std::env::current_dir()
        .ok()
        .and_then(|path| HostPath::new(path).ok());
    let variable = |name: &str| std::env::var_os(name);
    let mut files = Files {
        places: Places::new(&variable, None, &Profiles::load(config).path),
        base: here.as_ref().map(AsFd::as_fd),
    };
    let profile = match resolve(name, &mut files, &variable, cwd.as_ref(), Missing::LeftOut) {
        Ok(profile) => profile,
        Err(error) if error.is_absence() => return Ok(()),
        Err(error) => return Err(Failure(error.to_string())),
    };
    let is_whole = !profile.is_partial;
    let both = profile.below(options);
    match &both.image {
        Some(image) => image.must_be_a_path().map_err(|e| Failure(e.to_string())),
        None if is_whole && both.name.is_none() => Err(Failure(format!(
            "profile {name} names no image; add one to it, or give --container-image=PATH"
        ))),
        None => Ok(()),
    }
}
