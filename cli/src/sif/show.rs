//! `oarlock sif header`, `list` and `dump`: what is in the file, as it is. Believes and verifies nothing.

use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use runtime_core::image::sif::{Arch, Header, Sif, size};

use super::{Error, open};
use crate::inspect::{Object, table, time};

/// Bytes that are copied at once.
const CHUNK: usize = 1 << 20;
/// Longest object that is shown on a terminal, in bytes.
const MAX_SHOWN: u64 = 1 << 20;

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Print JSON; times are seconds since 1970, sizes bytes
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct DumpArgs {
    /// The object's id
    #[arg(value_name = "ID")]
    id: u32,
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
}

#[derive(serde::Serialize)]
struct HeaderReport<'a> {
    launch: &'a str,
    arch: Option<&'static str>,
    id: String,
    created: i64,
    modified: i64,
    descriptors_free: u64,
    descriptors_total: u64,
    descriptors_offset: u64,
    descriptors_size: u64,
    data_offset: u64,
    data_size: u64,
}

pub(super) fn header(args: &ShowArgs) -> Result<(), Error> {
    let (_, sif) = open(&args.image)?;
    let text = if args.json {
        header_json(&sif.header)?
    } else {
        header_text(&sif.header)
    };
    print(&text)
}

pub(super) fn list(args: &ShowArgs) -> Result<(), Error> {
    let (_, sif) = open(&args.image)?;
    let objects = objects(&sif);
    let text = if args.json {
        serde_json::to_string_pretty(&objects).map_err(io::Error::from)? + "\n"
    } else {
        table(&objects).join("\n") + "\n"
    };
    print(&text)
}

/// The objects as `oarlock inspect` shows them.
pub(super) fn objects(sif: &Sif) -> Vec<Object> {
    sif.descriptors.iter().map(Object::new).collect()
}

pub(super) fn dump(args: &DumpArgs) -> Result<(), Error> {
    let (file, sif) = open(&args.image)?;
    let found = sif.descriptors.iter().find(|object| object.id == args.id);
    let object = found.ok_or_else(|| Error::Edit {
        path: args.image.clone(),
        source: runtime_core::image::sif::EditError::NoObject { id: args.id },
    })?;
    let failed = |source| Error::Dump {
        id: args.id,
        source,
    };
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        let bytes = (object.size <= MAX_SHOWN).then(|| sif.read_object(&file, object, MAX_SHOWN));
        let bytes = bytes.transpose().map_err(|source| Error::Sif {
            path: args.image.clone(),
            source,
        })?;
        let text = bytes.as_deref().and_then(for_terminal);
        let text = text.ok_or(Error::Terminal(args.id))?;
        return out.write_all(text.as_bytes()).map_err(failed);
    }
    let mut chunk = vec![0; usize::try_from(object.size).map_or(CHUNK, |size| size.min(CHUNK))];
    let mut done = 0;
    while done < object.size {
        let want = usize::try_from(object.size - done).map_or(CHUNK, |rest| rest.min(CHUNK));
        let part = chunk.get_mut(..want).unwrap_or_default();
        file.read_exact_at(part, object.offset + done)
            .map_err(failed)?;
        match out.write_all(part) {
            // `oarlock sif dump 1 app.sif | head` is no failure.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other.map_err(failed)?,
        }
        done += want as u64;
    }
    out.flush().map_err(failed)
}

/// Text as it is, but for what tells the terminal to do something; `None` for what is no text.
pub(super) fn for_terminal(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let shown = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    (!text.contains('\0')).then(|| {
        text.chars()
            .map(|c| if shown(c) { c } else { ' ' })
            .collect()
    })
}

pub(super) fn header_text(header: &Header) -> String {
    let lines = [
        ("launch", header.launch.escape_debug().to_string()),
        (
            "architecture",
            header.arch.map_or("unknown", Arch::name).to_owned(),
        ),
        ("id", header.id.to_string()),
        ("created", time(header.created)),
        ("modified", time(header.modified)),
        (
            "descriptors",
            format!(
                "{} of {} free, at {}, {}",
                header.descriptors_free,
                header.descriptors_total,
                header.descriptors_offset,
                size::human(header.descriptors_size)
            ),
        ),
        (
            "data",
            format!(
                "at {}, {}",
                header.data_offset,
                size::human(header.data_size)
            ),
        ),
    ];
    lines
        .iter()
        .map(|(name, value)| format!("{name:<12}  {value}\n"))
        .collect()
}

fn header_json(header: &Header) -> Result<String, Error> {
    let report = HeaderReport {
        launch: &header.launch,
        arch: header.arch.map(Arch::name),
        id: header.id.to_string(),
        created: header.created,
        modified: header.modified,
        descriptors_free: header.descriptors_free,
        descriptors_total: header.descriptors_total,
        descriptors_offset: header.descriptors_offset,
        descriptors_size: header.descriptors_size,
        data_offset: header.data_offset,
        data_size: header.data_size,
    };
    Ok(serde_json::to_string_pretty(&report).map_err(io::Error::from)? + "\n")
}

/// Writes to standard output; a reader that went away is no failure.
pub(super) fn print(text: &str) -> Result<(), Error> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
