//! Says in a task why its program cannot start in the container, before Slurm
//! says so in words that name no image. Never a gate: Slurm's `execve` decides.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use runtime_core::startable::{self, Lack};

use crate::ffi::Spank;
use crate::state::state;
use crate::step;

/// Tells what the task's program lacks, if anything, as the user and in the
/// container. `path` is the `PATH` that the program will have.
pub(crate) fn tell(spank: Spank, path: Option<&OsStr>) {
    if let Some(text) = text(spank, path) {
        crate::failure::tell(&text);
    }
}

fn text(spank: Spank, path: Option<&OsStr>) -> Option<String> {
    let arguments = spank.arguments().ok()?;
    let program = arguments.first()?;
    if is_multi_prog(&arguments) {
        return None;
    }
    let lack = startable::lack(program, path)?;
    let image = state()
        .options
        .as_ref()?
        .image
        .as_ref()
        .map(ToString::to_string);
    let image = image.map_or_else(
        || "the container".to_owned(),
        |name| format!("the image {name}"),
    );
    let what = if step::is_batch_script(spank) {
        "job script".to_owned()
    } else {
        format!("program {}", program.to_string_lossy())
    };
    Some(match lack {
        Lack::Program => format!(
            "{what}: not in {image} nor in what is mounted into it; check the name, the image's PATH and --container-mounts"
        ),
        Lack::Interpreter(name) => format!(
            "{what}: its first line asks for {}, which {image} lacks; name an interpreter of the image, or take an image that has it",
            name.to_string_lossy()
        ),
        Lack::Loader(name) => format!(
            "{what}: it was linked for the loader {}, which {image} lacks; build it in that image, or take an image with that C library",
            name.to_string_lossy()
        ),
    })
}

/// With `--multi-prog` Slurm has the list of programs, as a text, behind its
/// file's name; each rank's own program is known to Slurm alone.
fn is_multi_prog(arguments: &[OsString]) -> bool {
    matches!(arguments, [_, list] if list.as_bytes().contains(&b'\n'))
}
