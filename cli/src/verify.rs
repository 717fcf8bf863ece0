//! `oarlock verify`: says whose signatures over an image are good. Success means that there is one, and no bad one.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use runtime_core::image::sif::{DataType, Sif};
use sif_signature::{Keyring, KeyringError, VerifyError, verify, verify_group};

use crate::sif::open;

/// Where a site has its public keys.
const KEYRING: &str = "/etc/oarlock/keys.d";

/// Verify the signatures of an image against known public keys
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// A directory of public keys: *.asc, *.gpg and *.pgp (PGP), *.pem (PEM)
    #[arg(long, value_name = "DIR", default_value = KEYRING)]
    keyring: PathBuf,
    /// One public key or a file of several, and no keyring
    #[arg(short, long, value_name = "FILE", conflicts_with = "keyring")]
    key: Option<PathBuf>,
    /// The group to verify [default: that of the root file system]
    #[arg(short, long, value_name = "GROUP")]
    group_id: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
}

/// Why an image is not verified.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("keyring {}: no key in it; put public keys there as *.asc, *.gpg, *.pgp or *.pem", .0.display())]
    NoKeys(PathBuf),
    #[error(transparent)]
    Open(#[from] crate::sif::Error),
    #[error("image {}: {source}", .path.display())]
    Verify { path: PathBuf, source: VerifyError },
    #[error("cannot write the result: {0}")]
    Output(#[from] io::Error),
}

#[derive(serde::Serialize)]
struct Report {
    path: String,
    group: u32,
    /// Ids of the objects that every one of the keys has signed.
    objects: Vec<u32>,
    /// Ids of the others, but for signatures.
    not_covered: Vec<u32>,
    keys: Vec<String>,
}

/// Verifies and says by whom the image is signed.
pub(crate) fn run(args: &VerifyArgs) -> Result<(), Error> {
    let keyring = match &args.key {
        Some(file) => Keyring::load_file(file)?,
        None => Keyring::load(&args.keyring)?,
    };
    if keyring.is_empty() {
        return Err(Error::NoKeys(args.keyring.clone()));
    }
    let (file, sif) = open(&args.image)?;
    let keys = match args.group_id {
        Some(group) => verify_group(&file, &sif, &keyring, group),
        None => verify(&file, &sif, &keyring),
    }
    .map_err(|source| Error::Verify {
        path: args.image.clone(),
        source,
    })?;
    let keys = keys.iter().map(ToString::to_string).collect();
    let report = report(&args.image, &sif, args.group_id, keys);
    let text = if args.json {
        serde_json::to_string_pretty(&report).map_err(io::Error::from)? + "\n"
    } else {
        render(&report)
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

fn report(path: &Path, sif: &Sif, group: Option<u32>, keys: Vec<String>) -> Report {
    let root = || sif.primary_partition().ok()?.descriptor.group;
    let group = group.or_else(root);
    let ids = |covered: bool| {
        let objects = sif.descriptors.iter().filter(|object| {
            (object.group == group) == covered
                && (covered || object.data_type != DataType::Signature)
        });
        objects.map(|object| object.id).collect()
    };
    Report {
        path: path.to_string_lossy().into_owned(),
        group: group.unwrap_or_default(),
        objects: ids(true),
        not_covered: ids(false),
        keys,
    }
}

fn render(report: &Report) -> String {
    let list = |ids: &[u32]| {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        format!(
            "{} {}",
            if ids.len() == 1 { "object" } else { "objects" },
            ids.join(", ")
        )
    };
    let mut text = String::new();
    for key in &report.keys {
        text += &format!(
            "{}: group {} ({}) is signed by key {key}\n",
            report.path,
            report.group,
            list(&report.objects)
        );
    }
    if !report.not_covered.is_empty() {
        text += &format!(
            "{}: not covered: {}\n",
            report.path,
            list(&report.not_covered)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Report, render};

    #[test]
    fn a_line_for_each_key_and_one_for_the_rest() {
        let report = Report {
            path: "app.sif".to_owned(),
            group: 1,
            objects: vec![1, 2],
            not_covered: vec![4],
            keys: vec!["ab".to_owned(), "sha256:cd".to_owned()],
        };
        assert_eq!(
            render(&report),
            "app.sif: group 1 (objects 1, 2) is signed by key ab\n\
             app.sif: group 1 (objects 1, 2) is signed by key sha256:cd\n\
             app.sif: not covered: object 4\n"
        );
    }
}
