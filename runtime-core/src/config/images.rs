//! `[images]`: which images may run, and who may parse them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::image::layout::FilesystemKind;
use crate::path::HostPath;
use crate::request::{ImageName, Stage};

/// `[images]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Images {
    /// Which images the kernel's own file systems may parse.
    pub kernel_mount: KernelMount,
    /// Which of the kernel's file systems may be used at all.
    pub kernel_filesystems: Vec<FilesystemKind>,
    /// What happens to an image that is not trusted.
    pub untrusted: Untrusted,
    /// Whether a staged copy that was found well-formed may be mounted by the
    /// kernel.
    pub validate: bool,
    /// The default of `--container-stage`.
    pub stage: Stage,
    /// Read trusted images past the page cache of their file.
    pub direct_io: bool,
    /// Directories below which images may lie; empty: everywhere.
    pub allow_paths: Vec<PathBuf>,
    /// Names or numbers of users whose image files may run; empty: everybody's.
    pub allow_owners: Vec<String>,
    /// Registries that images may come from; empty: all.
    pub allow_registries: Vec<String>,
    /// Which images must carry a signature by a key of the keyring.
    pub require_signature: RequireSignature,
    /// The directory of the public keys that the site trusts.
    pub keyring: PathBuf,
    /// The site's own names of images, and the files that they stand for.
    pub aliases: BTreeMap<String, PathBuf>,
}

/// A name must not look like a path or like an image in a registry, and it stands for
/// an absolute path: never for another name.
pub(super) fn check_alias(name: &str, path: &Path) -> Result<(), String> {
    let text = OsStr::new(name);
    let parsed = ImageName::parse(text).map_err(|error| error.to_string())?;
    if parsed.is_a_path() || parsed.in_registry().is_some() {
        return Err(format!(
            "\"{name}\" is a path or an image in a registry; give a name as in \"lab/app\""
        ));
    }
    HostPath::new(path)
        .map(drop)
        .map_err(|error| format!("{name}: {error}"))
}

impl Images {
    /// What a name of the site's stands for.
    #[must_use]
    pub fn alias(&self, image: &ImageName) -> Option<ImageName> {
        let path = self.aliases.get(image.as_os_str().to_str()?)?;
        ImageName::parse(path.as_os_str()).ok()
    }
}

impl Default for Images {
    fn default() -> Self {
        Self {
            kernel_mount: KernelMount::default(),
            kernel_filesystems: vec![
                FilesystemKind::Squashfs,
                FilesystemKind::Erofs,
                FilesystemKind::Ext3,
            ],
            untrusted: Untrusted::default(),
            validate: true,
            stage: Stage::default(),
            direct_io: false,
            allow_paths: Vec::new(),
            allow_owners: Vec::new(),
            allow_registries: Vec::new(),
            require_signature: RequireSignature::default(),
            keyring: PathBuf::from("/etc/oarlock/keys.d"),
            aliases: BTreeMap::new(),
        }
    }
}

/// Which images the kernel's own file systems may parse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelMount {
    /// Files of root in a path that only root can change, and staged copies that
    /// are signed or valid.
    #[default]
    Trusted,
    /// None: every image is served by FUSE.
    Never,
    /// All: only for sites whose users cannot bring images.
    Always,
}

/// What happens to an image that is not trusted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Untrusted {
    /// It is served by FUSE, always.
    Fuse,
    /// The step waits until a copy is staged and checked, and runs from that.
    Stage,
    /// The step starts at once by FUSE while a copy is staged and checked at idle
    /// priority; later steps run from the copy.
    #[default]
    FuseThenStage,
}

/// Which images must carry a signature by a key of the site's keyring.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequireSignature {
    /// None.
    #[default]
    None,
    /// Those that are not files of root in a path that only root can change.
    Untrusted,
    /// All.
    All,
}
