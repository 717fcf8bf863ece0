//! What a container's name means on a node where it exists, runs, or does neither.

use crate::request::NameUse;

/// What is known of a name on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State {
    /// There is a container of this name.
    pub exists: bool,
    /// A step runs in it.
    pub runs: bool,
    /// The step brings what a running container cannot be given: mounts, GPUs, a
    /// batch script, an MPI server's directory.
    pub brings: bool,
    /// An image is named, of which it could be made.
    pub image: bool,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is made.
    Create,
    /// Its files, in namespaces of the step's own.
    Files,
    /// Its namespaces.
    Join,
}

/// Why nothing can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `create`, and it is there.
    #[error(
        "it exists already on this node; leave :create out to use it, or remove it: oarlock container rm NAME"
    )]
    Exists,
    /// `exec`, and nobody is in it.
    #[error("it does not run on this node; leave :exec out to start it")]
    NotRunning,
    /// It is not there, and there is nothing to make it of.
    #[error("it does not exist on this node; name the image to make it of, with --container-image")]
    Missing,
    /// `remove`, and it is not there.
    #[error("it does not exist on this node; see: oarlock container list")]
    Absent,
}

/// Decides.
///
/// # Errors
/// [`Refusal`].
pub fn decide(how: NameUse, state: State) -> Result<Way, Refusal> {
    let create = if state.image {
        Ok(Way::Create)
    } else {
        Err(Refusal::Missing)
    };
    match (how, state.exists, state.runs) {
        (NameUse::Remove, true, _) => Ok(Way::Files),
        (NameUse::Remove, false, _) => Err(Refusal::Absent),
        (NameUse::Create, true, _) => Err(Refusal::Exists),
        (NameUse::Exec, true, true) => Ok(Way::Join),
        (NameUse::Exec, ..) => Err(Refusal::NotRunning),
        (NameUse::Auto, true, true) if !state.brings => Ok(Way::Join),
        (NameUse::Auto | NameUse::NoExec, true, _) => Ok(Way::Files),
        (NameUse::Create | NameUse::Auto | NameUse::NoExec, false, _) => create,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use NameUse::{Auto, Create, Exec, NoExec, Remove};

    #[test]
    fn a_name_in_every_state() {
        let state = |exists, runs, brings, image| State {
            exists,
            runs,
            brings,
            image,
        };
        let nothing = state(false, false, false, false);
        let image = state(false, false, false, true);
        let there = state(true, false, false, true);
        let runs = state(true, true, false, true);
        let brings = state(true, true, true, false);
        for (how, state, expected) in [
            (Auto, nothing, Err(Refusal::Missing)),
            (Auto, image, Ok(Way::Create)),
            (Auto, there, Ok(Way::Files)),
            (Auto, runs, Ok(Way::Join)),
            (Auto, brings, Ok(Way::Files)),
            (Create, nothing, Err(Refusal::Missing)),
            (Create, image, Ok(Way::Create)),
            (Create, there, Err(Refusal::Exists)),
            (Create, runs, Err(Refusal::Exists)),
            (Exec, nothing, Err(Refusal::NotRunning)),
            (Exec, image, Err(Refusal::NotRunning)),
            (Exec, there, Err(Refusal::NotRunning)),
            (Exec, runs, Ok(Way::Join)),
            (Exec, brings, Ok(Way::Join)),
            (NoExec, nothing, Err(Refusal::Missing)),
            (NoExec, image, Ok(Way::Create)),
            (NoExec, there, Ok(Way::Files)),
            (NoExec, runs, Ok(Way::Files)),
            (Remove, image, Err(Refusal::Absent)),
            (Remove, there, Ok(Way::Files)),
            (Remove, runs, Ok(Way::Files)),
        ] {
            assert_eq!(decide(how, state), expected, "{how:?} {state:?}");
        }
    }
}
