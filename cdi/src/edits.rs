//! What a container needs for a device: `containerEdits`, checked.
//!
//! Plain values. Whether a path exists is the caller's to find out.

use std::num::NonZeroU64;
use std::path::PathBuf;

/// Changes to a container. Those of one device, of all devices of a spec, or what
/// came of several by [`crate::Registry::resolve`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Variables to set.
    pub env: Vec<Variable>,
    /// Device nodes to show.
    pub device_nodes: Vec<DeviceNode>,
    /// Files and directories to show.
    pub mounts: Vec<Mount>,
    /// Programs to run; see [`crate::hooks`].
    pub hooks: Vec<Hook>,
    /// Network interfaces to move into the container; since 1.1.0.
    pub net_devices: Vec<NetDevice>,
    /// Groups to add to the process, none of them 0; since 0.7.0.
    pub additional_gids: Vec<u32>,
    /// Intel's Resource Director; since 0.7.0. It is kept so that a caller who does
    /// not apply it can say so.
    pub intel_rdt: Option<IntelRdt>,
}

impl Edits {
    /// Whether they change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `NAME=value`. The value has no NUL; it may have any other character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Not empty, without an equals sign.
    pub name: String,
    /// The rest.
    pub value: String,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceNode {
    /// Where it is in the container.
    pub path: PathBuf,
    /// Where it is on the host; the same path, where the spec says nothing else. Whether
    /// it is a device at all is the caller's to see.
    pub host_path: PathBuf,
    /// What it is; `None` where the node on the host tells.
    pub kind: Option<NodeKind>,
    /// Major and minor number; `None` where the node on the host tells.
    pub numbers: Option<(u32, u32)>,
    /// The nine permission bits. Generators in Go write others with them, which
    /// mean something to Go only and are dropped.
    pub mode: Option<u32>,
    /// What the container may do with it.
    pub access: Access,
    /// Its owner in the container.
    pub uid: Option<u32>,
    /// Its group in the container.
    pub gid: Option<u32>,
}

/// What a device node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    /// `b`
    Block,
    /// `c`, and `u`, which is the same
    Character,
    /// `p`
    Fifo,
}

/// `permissions`, for the control group. All three where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// `r`
    pub read: bool,
    /// `w`
    pub write: bool,
    /// `m`
    pub mknod: bool,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is shown, on the host.
    pub host_path: PathBuf,
    /// Where it is shown. Not the root.
    pub container_path: PathBuf,
    /// As in mount(8): `ro`, `nosuid`, `nodev`, `bind`, `rbind` and so on.
    pub options: Vec<String>,
    /// A kind of file system, or empty, or some word beside `bind`.
    pub kind: String,
}

impl Mount {
    /// Whether a file or a directory of the host is shown, rather than a file system
    /// mounted. The reference takes it so where nothing is said.
    #[must_use]
    pub fn is_bind(&self) -> bool {
        let asks = |option: &String| option == "bind" || option == "rbind";
        self.options.iter().any(asks) || matches!(self.kind.as_str(), "" | "none" | "bind")
    }
}

/// A program that wants to be run on the container's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// When.
    pub stage: Stage,
    /// The program, on the host.
    pub path: PathBuf,
    /// Its arguments, its own name first.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<Variable>,
    /// Seconds until it is ended; for as long as it takes where there is none.
    pub timeout: Option<NonZeroU64>,
}

/// When a hook runs, as the OCI runtime specification has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// `prestart`
    Prestart,
    /// `createRuntime`
    CreateRuntime,
    /// `createContainer`
    CreateContainer,
    /// `startContainer`
    StartContainer,
    /// `poststart`
    Poststart,
    /// `poststop`
    Poststop,
}

impl Stage {
    const ALL: [Self; 6] = [
        Self::Prestart,
        Self::CreateRuntime,
        Self::CreateContainer,
        Self::StartContainer,
        Self::Poststart,
        Self::Poststop,
    ];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == text)
    }
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name on the host.
    pub host_name: String,
    /// Its name in the container.
    pub name: String,
}

/// What Intel's Resource Director is to do for a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntelRdt {
    /// The class of service: a file name, `/` or empty.
    pub clos_id: String,
    /// A line for the third cache.
    pub l3_cache_schema: String,
    /// A line for memory bandwidth.
    pub mem_bw_schema: String,
    /// Any lines; since 1.1.0.
    pub schemata: Vec<String>,
    /// Whether to count; since 1.1.0, two flags before it.
    pub is_monitored: bool,
}
