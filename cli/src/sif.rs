//! `oarlock sif`: the objects of a SIF file listed, taken out, added and removed, with the words of `apptainer sif`.
//!
//! Changes the image in place, as Apptainer does; what is in the way of that is told before a byte is written.

mod add;
mod show;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use runtime_core::image::sif::{
    EditError, Editor, Removal, Sif, SifError, UnknownArchName, UnknownSbomFormat,
};

/// Look into a SIF file, add objects and remove them
#[derive(Debug, clap::Args)]
pub(crate) struct SifArgs {
    #[command(subcommand)]
    verb: SifVerb,
}

#[derive(Debug, clap::Subcommand)]
enum SifVerb {
    /// Show the header
    Header(show::ShowArgs),
    /// List the objects
    List(show::ShowArgs),
    /// Write an object's bytes to standard output
    Dump(show::DumpArgs),
    Add(add::AddArgs),
    /// Remove an object
    Del(DelArgs),
}

#[derive(Debug, clap::Args)]
struct DelArgs {
    /// The object's id
    #[arg(value_name = "ID")]
    id: u32,
    /// The image, which is changed in place
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Overwrite the object's bytes with zeros
    #[arg(long)]
    zero: bool,
    /// Cut off what no object needs at the end of the file
    #[arg(long)]
    compact: bool,
}

/// Why nothing could be said of an image, or changed in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("image {}: {source}", .path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("image {}: {source}", .path.display())]
    Sif { path: PathBuf, source: SifError },
    #[error("image {}: {source}", .path.display())]
    Edit { path: PathBuf, source: EditError },
    #[error("object {}: {source}", .path.display())]
    Object { path: PathBuf, source: io::Error },
    #[error("object {0} is no text for a terminal; write it to a file or a pipe")]
    Terminal(u32),
    #[error("cannot write object {id}: {source}")]
    Dump { id: u32, source: io::Error },
    #[error("cannot write the list: {0}")]
    Output(#[from] io::Error),
    #[error("--datatype {0}: give 1 to 11; `oarlock sif add --help` lists them")]
    DataType(u8),
    #[error("--datatype {datatype} needs {needed}")]
    Missing { datatype: u8, needed: &'static str },
    #[error("{option} {value}: give {allowed}")]
    Value {
        option: &'static str,
        value: i32,
        allowed: &'static str,
    },
    #[error("--signentity {0:?}: give the 40 hexadecimal digits of a fingerprint")]
    Entity(String),
    #[error("--partarch: {0}")]
    Arch(#[from] UnknownArchName),
    #[error("--sbomformat: {0}")]
    Sbom(#[from] UnknownSbomFormat),
}

/// Does what was asked.
pub(crate) fn run(args: &SifArgs) -> Result<(), Error> {
    match &args.verb {
        SifVerb::Header(args) => show::header(args),
        SifVerb::List(args) => show::list(args),
        SifVerb::Dump(args) => show::dump(args),
        SifVerb::Add(args) => add::run(args),
        SifVerb::Del(args) => del(args),
    }
}

fn del(args: &DelArgs) -> Result<(), Error> {
    let edit = |source| Error::Edit {
        path: args.image.clone(),
        source,
    };
    let file = open_for_change(&args.image)?;
    let mut editor = Editor::new(&file).map_err(edit)?;
    let how = Removal {
        zero: args.zero,
        compact: args.compact,
    };
    editor.remove(args.id, how, now()).map_err(edit)
}

/// Opens an image for reading, with what it says of itself.
pub(crate) fn open(path: &Path) -> Result<(File, Sif), Error> {
    let failed = |source| Error::Open {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let sif = Sif::read(&file).map_err(|source| Error::Sif {
        path: path.to_owned(),
        source,
    })?;
    Ok((file, sif))
}

/// Opens an image to be changed in place.
pub(crate) fn open_for_change(path: &Path) -> Result<File, Error> {
    let opened = File::options().read(true).write(true).open(path);
    opened.map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
    })
}

/// The time, in seconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
