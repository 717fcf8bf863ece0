//! `oarlock inspect IMAGE`: says what an image is and what is in it, for people or as JSON.
//!
//! Reads headers only: it mounts nothing, and believes no signature that it lists. Names in an image are
//! whatever its maker wrote, so they are escaped before a terminal sees them.

mod report;
mod text;

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use runtime_core::image::sif::{Sif, SifError, is_sif};
use runtime_core::image::squashfs::{SquashfsError, Superblock, is_squashfs};

pub(crate) use report::Object;
use report::{Report, SifReport};
pub(crate) use text::{table, time};

/// Show what is in an image: architecture, objects, file system.
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// A SIF file, a squashfs file, or a directory
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Print JSON; times are seconds since 1970, sizes bytes
    #[arg(long)]
    json: bool,
}

/// Why nothing can be said of an image.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InspectError {
    #[error("image {}: {source}", .path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("image {}: neither a file nor a directory; give a SIF file, a squashfs file or a directory", .path.display())]
    NoFile { path: PathBuf },
    #[error("image {}: the file is empty; copy it again", .path.display())]
    Empty { path: PathBuf },
    #[error("image {}: neither SIF nor squashfs; give a SIF file, a squashfs file or a directory", .path.display())]
    UnknownFormat { path: PathBuf },
    #[error("image {}: {source}", .path.display())]
    Sif { path: PathBuf, source: SifError },
    #[error("image {}: {source}", .path.display())]
    Squashfs {
        path: PathBuf,
        source: SquashfsError,
    },
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}

/// Prints what the image is.
pub(crate) fn run(args: &InspectArgs) -> Result<(), InspectError> {
    let report = inspect(&args.image)?;
    let mut rendered = if args.json {
        serde_json::to_string_pretty(&report).map_err(io::Error::from)?
    } else {
        text::render(&report)
    };
    if args.json {
        rendered.push('\n');
    }
    match io::stdout().write_all(rendered.as_bytes()) {
        // `oarlock inspect app.sif | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn inspect(path: &Path) -> Result<Report, InspectError> {
    let failed = |source| InspectError::Open {
        path: path.to_owned(),
        source,
    };
    let shown = path.to_string_lossy().into_owned();
    let metadata = path.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Ok(Report::Directory { path: shown });
    }
    if !metadata.is_file() {
        return Err(InspectError::NoFile {
            path: path.to_owned(),
        });
    }
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    if size == 0 {
        return Err(InspectError::Empty {
            path: path.to_owned(),
        });
    }
    let start = start(&file).map_err(failed)?;
    if is_sif(&start) {
        let sif = Sif::read(&file).map_err(|source| InspectError::Sif {
            path: path.to_owned(),
            source,
        })?;
        return Ok(Report::Sif(SifReport::new(shown, &file, &sif)));
    }
    if is_squashfs(&start) {
        let superblock =
            Superblock::read(&file, 0, size).map_err(|source| InspectError::Squashfs {
                path: path.to_owned(),
                source,
            })?;
        return Ok(Report::Squashfs {
            path: shown,
            size,
            file_system: superblock.into(),
        });
    }
    Err(InspectError::UnknownFormat {
        path: path.to_owned(),
    })
}

/// The bytes that tell the formats apart; fewer where the file is shorter.
fn start(file: &File) -> io::Result<Vec<u8>> {
    let mut buf = [0; 64];
    let read = file.read_at(&mut buf, 0)?;
    Ok(buf.get(..read).unwrap_or_default().to_vec())
}

#[cfg(test)]
mod tests;
