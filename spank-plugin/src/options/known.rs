//! The table of options: what Slurm shows of them, and the variables that may
//! stand for them.

use std::ffi::CStr;

use crate::ffi::OptionText;

/// What an option sets. Two options may set the same thing, as a switch and its
/// opposite do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Image,
    Mounts,
    Workdir,
    Name,
    Save,
    MountHome,
    RemapRoot,
    Entrypoint,
    EntrypointLog,
    Writable,
    Env,
    Unshare,
    Overlay,
    Device,
    Profile,
    Stage,
    Debug,
    Explain,
}

impl Key {
    /// All of them, in the order of their numbers.
    pub(crate) const ALL: [Self; 18] = [
        Self::Image,
        Self::Mounts,
        Self::Workdir,
        Self::Name,
        Self::Save,
        Self::MountHome,
        Self::RemapRoot,
        Self::Entrypoint,
        Self::EntrypointLog,
        Self::Writable,
        Self::Env,
        Self::Unshare,
        Self::Overlay,
        Self::Device,
        Self::Profile,
        Self::Stage,
        Self::Debug,
        Self::Explain,
    ];

    /// As the option is written that sets it.
    pub(crate) const fn option(self) -> &'static str {
        match self {
            Self::Image => "--container-image",
            Self::Mounts => "--container-mounts",
            Self::Workdir => "--container-workdir",
            Self::Name => "--container-name",
            Self::Save => "--container-save",
            Self::MountHome => "--container-mount-home",
            Self::RemapRoot => "--container-remap-root",
            Self::Entrypoint => "--container-entrypoint",
            Self::EntrypointLog => "--container-entrypoint-log",
            Self::Writable => "--container-writable",
            Self::Env => "--container-env",
            Self::Unshare => "--container-unshare",
            Self::Overlay => "--container-overlay",
            Self::Device => "--container-device",
            Self::Profile => "--container-profile",
            Self::Stage => "--container-stage",
            Self::Debug => "--container-debug",
            Self::Explain => "--container-explain",
        }
    }

    /// The name behind `OARLOCK_CONTAINER_` and `PYXIS_CONTAINER_`.
    pub(crate) const fn variable(self) -> &'static str {
        match self {
            Self::Image => "IMAGE",
            Self::Mounts => "MOUNTS",
            Self::Workdir => "WORKDIR",
            Self::Name => "NAME",
            Self::Save => "SAVE",
            Self::MountHome => "MOUNT_HOME",
            Self::RemapRoot => "REMAP_ROOT",
            Self::Entrypoint => "ENTRYPOINT",
            Self::EntrypointLog => "ENTRYPOINT_LOG",
            Self::Writable => "WRITABLE",
            Self::Env => "ENV",
            Self::Unshare => "UNSHARE",
            Self::Overlay => "OVERLAY",
            Self::Device => "DEVICE",
            Self::Profile => "PROFILE",
            Self::Stage => "STAGE",
            Self::Debug => "DEBUG",
            Self::Explain => "EXPLAIN",
        }
    }

    /// Whether it is on or off and nothing else.
    pub(crate) const fn is_switch(self) -> bool {
        matches!(
            self,
            Self::MountHome
                | Self::RemapRoot
                | Self::Entrypoint
                | Self::EntrypointLog
                | Self::Writable
                | Self::Debug
                | Self::Explain
        )
    }
}

/// What an option does with its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sets {
    /// The value behind `=`.
    Value(Key),
    /// A switch: it stands for this word.
    Word(Key, &'static str),
    /// Everything at once: what the client's environment asks for.
    Inherited,
}

/// One option.
pub(crate) struct Known {
    /// As Slurm shows it.
    pub(crate) text: OptionText,
    /// What it does.
    pub(crate) sets: Sets,
}

const fn value(
    key: Key,
    name: &'static CStr,
    argument: &'static CStr,
    usage: &'static CStr,
) -> Known {
    Known {
        text: OptionText {
            name,
            argument: Some(argument),
            usage,
        },
        sets: Sets::Value(key),
    }
}

const fn switch(key: Key, word: &'static str, name: &'static CStr, usage: &'static CStr) -> Known {
    Known {
        text: OptionText {
            name,
            argument: None,
            usage,
        },
        sets: Sets::Word(key, word),
    }
}

/// All options; a callback is told the place in this table.
pub(crate) static KNOWN: [Known; 24] = [
    value(
        Key::Image,
        c"container-image",
        c"PATH",
        c"[oarlock] run in this container: a SIF file, a squashfs file or a directory with a root file system",
    ),
    value(
        Key::Mounts,
        c"container-mounts",
        c"SOURCE:TARGET[:FLAG+...],...",
        c"[oarlock] show files and directories of the node in the container; a source may also be tmpfs, or umount to leave out what is shown there by default",
    ),
    value(
        Key::Workdir,
        c"container-workdir",
        c"PATH",
        c"[oarlock] start in this directory of the container; default: the job's working directory",
    ),
    value(
        Key::Name,
        c"container-name",
        c"NAME[:auto|create|exec|no_exec|remove]",
        c"[oarlock] keep the container's files under this name on each node, or use those that are there",
    ),
    value(
        Key::Save,
        c"container-save",
        c"PATH",
        c"[oarlock] at the end write the container, with what was changed in it, to this file: a SIF where it ends in .sif, else a squashfs",
    ),
    switch(
        Key::MountHome,
        "yes",
        c"container-mount-home",
        c"[oarlock] show the home directory, whatever the site's default is",
    ),
    switch(
        Key::MountHome,
        "no",
        c"no-container-mount-home",
        c"[oarlock] do not show the home directory",
    ),
    switch(
        Key::RemapRoot,
        "yes",
        c"container-remap-root",
        c"[oarlock] be root in the container, and still oneself outside",
    ),
    switch(
        Key::RemapRoot,
        "no",
        c"no-container-remap-root",
        c"[oarlock] be oneself in the container, which is the default",
    ),
    switch(
        Key::Entrypoint,
        "yes",
        c"container-entrypoint",
        c"[oarlock] run the image's entry point first, once a node",
    ),
    switch(
        Key::Entrypoint,
        "no",
        c"no-container-entrypoint",
        c"[oarlock] do not run the image's entry point",
    ),
    switch(
        Key::EntrypointLog,
        "yes",
        c"container-entrypoint-log",
        c"[oarlock] print what the entry point says",
    ),
    switch(
        Key::Writable,
        "yes",
        c"container-writable",
        c"[oarlock] let the step change the container's files; the image stays as it is",
    ),
    switch(
        Key::Writable,
        "no",
        c"container-readonly",
        c"[oarlock] let nobody change the container's files, which is the default",
    ),
    value(
        Key::Env,
        c"container-env",
        c"NAME[,NAME...]",
        c"[oarlock] take these variables from the job, whatever the image says",
    ),
    value(
        Key::Unshare,
        c"container-unshare",
        c"NAMESPACE[,...]",
        c"[oarlock] give the step its own: net, ipc, uts, pid, cgroup",
    ),
    value(
        Key::Overlay,
        c"container-overlay",
        c"PATH[:ro|:rw],...",
        c"[oarlock] lay these directories or files with a file system over the image; :rw keeps changes in the last",
    ),
    value(
        Key::Device,
        c"container-device",
        c"VENDOR/CLASS=NAME,...",
        c"[oarlock] show these devices of the Container Device Interface, which the job was granted",
    ),
    value(
        Key::Profile,
        c"container-profile",
        c"NAME|PATH",
        c"[oarlock] take image, mounts, variables and more from this file",
    ),
    value(
        Key::Stage,
        c"container-stage",
        c"off|node",
        c"[oarlock] node: copy the image to each node's own disk first and run from there; off: run it from where it lies; default: as the site says",
    ),
    switch(
        Key::Debug,
        "yes",
        c"container-debug",
        c"[oarlock] print what is done for the container",
    ),
    switch(
        Key::Explain,
        "yes",
        c"container-explain",
        c"[oarlock] print what would be done on each node, and run nothing",
    ),
    switch(
        Key::Explain,
        "no",
        c"no-container-explain",
        c"[oarlock] run, whatever a variable says",
    ),
    Known {
        text: OptionText {
            name: c"container-inherited",
            argument: Some(c"LIST"),
            usage: c"[oarlock] not for people: hands on what sbatch, salloc and variables asked for",
        },
        sets: Sets::Inherited,
    },
];
