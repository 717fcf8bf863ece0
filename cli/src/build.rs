//! `oarlock build OUT.sif DIRECTORY`: packs an unpacked root file system into a SIF image.
//!
//! The directory is only read: mount points that it lacks are added to the image, never to it. The image appears
//! under its name whole or not at all, and replaces nothing unless told to.

mod pack;
mod scratch;
mod tree;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use runtime_core::image::sif::{
    self, Arch, Content, Kind, Layout, NewObject, Uuid, WriteError, size,
};
use runtime_core::image::squashfs::{SquashfsError, Superblock};

use pack::{Packing, mksquashfs};
use scratch::Scratch;
use tree::Tree;

/// Build a SIF image from a directory that holds a root file system.
#[derive(Debug, clap::Args)]
pub(crate) struct BuildArgs {
    /// The image to write
    #[arg(value_name = "OUT.sif")]
    out: PathBuf,
    /// The directory that holds the root file system; it is only read
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// Replace OUT.sif where it exists
    #[arg(short, long)]
    force: bool,
    /// How to compress; zstd starts fastest for its size, gzip is read by every kernel
    #[arg(long, value_enum, default_value_t = Compression::Zstd)]
    compression: Compression,
    /// Processors to compress with [default: all that may be used]
    #[arg(long, value_name = "N")]
    processors: Option<std::num::NonZeroU16>,
    /// Architecture to record, as in amd64 or arm64 [default: that of /bin/sh in DIRECTORY]
    #[arg(long, value_name = "ARCH")]
    arch: Option<Arch>,
}

/// The compressions that are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Compression {
    Gzip,
    Zstd,
    Xz,
    Lz4,
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
        }
    }
}

/// Why no image was built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    #[error("directory {}: {source}; give a directory that you can read", .path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("directory {} is empty; give the unpacked root file system", .path.display())]
    EmptyDirectory { path: PathBuf },
    #[error("image {} exists; give another name, or --force to replace it", .path.display())]
    Exists { path: PathBuf },
    #[error("image {} is a directory; the image comes first, then the directory: oarlock build OUT.sif DIRECTORY", .path.display())]
    OutIsDirectory { path: PathBuf },
    #[error("image {}: cannot write to {}: {source}; choose a directory that you can write to", .path.display(), .parent.display())]
    Parent {
        path: PathBuf,
        parent: PathBuf,
        source: io::Error,
    },
    #[error("image {}: {source}", .path.display())]
    Publish { path: PathBuf, source: io::Error },
    #[error("cannot tell the architecture of {}; name it with --arch", .path.display())]
    Arch { path: PathBuf },
    #[error(
        "SOURCE_DATE_EPOCH is {value:?}, not a number of seconds since 1970; correct or unset it"
    )]
    SourceDateEpoch { value: std::ffi::OsString },
    #[error(
        "mksquashfs not found; install squashfs-tools 4.5 or newer (apt install squashfs-tools, dnf install squashfs-tools)"
    )]
    NoMksquashfs,
    #[error("cannot start {program}: {source}; check the installation of squashfs-tools")]
    StartMksquashfs {
        program: &'static str,
        source: io::Error,
    },
    #[error("mksquashfs failed ({status}): {message}; correct that and build again")]
    Mksquashfs {
        status: std::process::ExitStatus,
        message: String,
    },
    #[error("mksquashfs left no usable file system: {0}")]
    Squashfs(#[from] SquashfsError),
    #[error("image {}: {source}", .path.display())]
    Write { path: PathBuf, source: WriteError },
    #[error("no random numbers for the image's id: {0}; check /dev/urandom")]
    Random(io::Error),
}

/// Builds the image and says on standard output what was written.
pub(crate) fn run(args: &BuildArgs) -> Result<(), BuildError> {
    let tree = Tree::open(&args.directory)?;
    let parent = parent(&args.out);
    refuse_existing(args)?;
    let stamp = Stamp::now()?;
    let arch = args.arch.or_else(|| tree.shell_arch()).or_else(Arch::host);
    let arch = arch.ok_or_else(|| BuildError::Arch {
        path: args.directory.clone(),
    })?;
    if !tree.has_shell() {
        eprintln!(
            "oarlock: warning: {} has no /bin/sh; is it a root file system?",
            args.directory.display()
        );
    }

    let unwritable = |source| BuildError::Parent {
        path: args.out.clone(),
        parent: parent.to_owned(),
        source,
    };
    // Both before the long work, so that a full or read-only place is found out now.
    let mut image = Scratch::new(parent, 0o777).map_err(unwritable)?;
    let packed = Scratch::nameless(parent).map_err(unwritable)?;
    mksquashfs(&Packing {
        tree: &tree,
        target: &packed.path(),
        leave_out: &[Some(args.out.as_path()), image.name()],
        compression: args.compression.name(),
        processors: args.processors,
        keep_owners: rustix::process::geteuid().is_root(),
        progress: io::stderr().is_terminal(),
    })?;
    let length = packed.file().metadata().map_err(unwritable)?.len();
    let superblock = Superblock::read(packed.file(), 0, length)?;

    let layout = Layout {
        id: stamp.id,
        created: stamp.seconds,
        objects: vec![NewObject {
            kind: Kind::PrimarySquashfs(arch),
            name: "rootfs".to_owned(),
            content: Content::File(packed.file()),
        }],
    };
    sif::write(image.file_mut(), &layout).map_err(|source| BuildError::Write {
        path: args.out.clone(),
        source,
    })?;
    drop(packed);
    let size = image.file().metadata().map_err(unwritable)?.len();
    image
        .publish(&args.out, args.force)
        .map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => BuildError::Exists {
                path: args.out.clone(),
            },
            _ => BuildError::Publish {
                path: args.out.clone(),
                source,
            },
        })?;
    say(&format!(
        "{}: {}, {arch}, {} inodes, {}",
        args.out.display(),
        size::human(size),
        superblock.inodes,
        superblock.compression
    ));
    Ok(())
}

/// A line on standard output; a reader that went away is no failure of the build.
fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(io::stdout(), "{line}");
}

/// The directory that a file is made in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A friendly refusal before the work; what counts is the atomic one at the end.
fn refuse_existing(args: &BuildArgs) -> Result<(), BuildError> {
    let path = args.out.clone();
    match args.out.symlink_metadata() {
        Ok(found) if found.is_dir() => Err(BuildError::OutIsDirectory { path }),
        Ok(_) if !args.force => Err(BuildError::Exists { path }),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// When and under which id the image is made. With `SOURCE_DATE_EPOCH`, the time is that and the id is nil, as
/// Apptainer's own deterministic images have it: equal input gives equal bytes.
struct Stamp {
    seconds: i64,
    id: Uuid,
}

impl Stamp {
    fn now() -> Result<Self, BuildError> {
        if let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH") {
            let seconds = value.to_str().and_then(|text| text.parse::<u32>().ok());
            let seconds = seconds.ok_or(BuildError::SourceDateEpoch { value })?;
            return Ok(Self {
                seconds: i64::from(seconds),
                id: Uuid::default(),
            });
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or_default();
        Ok(Self {
            seconds,
            id: sif::random_uuid().map_err(BuildError::Random)?,
        })
    }
}

#[cfg(test)]
mod tests;
