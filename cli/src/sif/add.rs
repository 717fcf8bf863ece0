//! `oarlock sif add`: turns the options of `apptainer sif add` into an object. What an object's kind needs and was
//! not given is an error; what it does not need is not looked at, as there.

use std::fs::File;
use std::path::PathBuf;

use runtime_core::image::sif::{
    Arch, Content, DataType, Editor, FsType, Kind, Link, NewObject, PartType, PartitionInfo,
    Placement,
};
use sif_signature::Fingerprint;

use super::{Error, now, open_for_change};

/// Set in a number that is given to --link and names a group.
const GROUP_MASK: u32 = 0xf000_0000;

/// Add an object
///
/// Types of data: 1 definition file, 2 environment variables, 3 labels, 4 partition, 5 signature, 6 JSON, 7 generic,
/// 8 crypto message, 9 SBOM, 10 OCI root index, 11 OCI blob.
#[derive(Debug, clap::Args)]
pub(super) struct AddArgs {
    /// The image, which is changed in place
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// The file whose bytes become the object
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the object holds: 1 to 11
    #[arg(long, value_name = "N")]
    datatype: u8,
    /// Its group; 0 for none
    #[arg(long, value_name = "GROUP", default_value_t = 0)]
    groupid: u32,
    /// The object that it belongs to; with 4026531840 (0xf0000000) added, the group
    #[arg(long, value_name = "ID", default_value_t = 0)]
    link: u32,
    /// Bytes that its place is a multiple of [default: 4096 for partitions, else 1]
    #[arg(long, value_name = "BYTES")]
    alignment: Option<u64>,
    /// Its name [default: FILE's]
    #[arg(long, value_name = "NAME")]
    filename: Option<String>,
    /// Partition: 1 squashfs, 2 ext3, 3 archive, 4 raw, 5 squashfs in LUKS, 6 squashfs in gocryptfs
    #[arg(long, value_name = "N")]
    partfs: Option<i32>,
    /// Partition: 1 system, 2 primary system, 3 data, 4 overlay
    #[arg(long, value_name = "N")]
    parttype: Option<i32>,
    /// Partition: its architecture, as in amd64, or SIF's number of it (2)
    #[arg(long, value_name = "ARCH")]
    partarch: Option<String>,
    /// Signature: 1 SHA-256, 2 SHA-384, 3 SHA-512, 4 BLAKE2s-256, 5 BLAKE2b-256
    #[arg(long, value_name = "N")]
    signhash: Option<i32>,
    /// Signature: the signing key's fingerprint, 40 hexadecimal digits
    #[arg(long, value_name = "FINGERPRINT")]
    signentity: Option<String>,
    /// SBOM: cyclonedx-json, cyclonedx-xml, github-json, spdx-json, spdx-rdf, spdx-tag-value, spdx-yaml, syft-json
    #[arg(long, value_name = "FORMAT")]
    sbomformat: Option<String>,
}

pub(super) fn run(args: &AddArgs) -> Result<(), Error> {
    let unreadable = |source| Error::Object {
        path: args.file.clone(),
        source,
    };
    let content = File::open(&args.file).map_err(unreadable)?;
    let kind = kind(args, &content)?;
    let file_name = || args.file.file_name().map(|name| name.to_string_lossy());
    let object = NewObject {
        kind,
        name: args
            .filename
            .clone()
            .or_else(|| file_name().map(std::borrow::Cow::into_owned))
            .unwrap_or_default(),
        content: Content::File(&content),
    };
    let place = Placement {
        group: (args.groupid != 0).then_some(args.groupid),
        link: link(args.link),
        // As there: 0 is no alignment.
        align: args.alignment.map(|align| align.max(1)),
        created: now(),
    };
    let edit = |source| Error::Edit {
        path: args.image.clone(),
        source,
    };
    let image = open_for_change(&args.image)?;
    let mut editor = Editor::new(&image).map_err(edit)?;
    let id = editor.add(&object, &place).map_err(edit)?;
    super::show::print(&format!("{}: added object {id}\n", args.image.display()))
}

fn link(raw: u32) -> Link {
    match (raw, raw & GROUP_MASK == GROUP_MASK) {
        (0, _) => Link::None,
        (raw, true) => Link::Group(raw & !GROUP_MASK),
        (raw, false) => Link::Object(raw),
    }
}

fn kind(args: &AddArgs, content: &File) -> Result<Kind, Error> {
    let datatype = args.datatype;
    let missing = |needed| Error::Missing { datatype, needed };
    let digest = || {
        sif_signature::sha256(content).map_err(|source| Error::Object {
            path: args.file.clone(),
            source,
        })
    };
    let data_type = DataType::from_number(datatype).ok_or(Error::DataType(datatype))?;
    Ok(match data_type {
        DataType::Deffile => Kind::Deffile,
        DataType::Environment => Kind::Environment,
        DataType::Labels => Kind::Labels,
        DataType::Partition => {
            let needed = "--partfs, --parttype and --partarch";
            let (Some(fs), Some(part), Some(arch)) = (args.partfs, args.parttype, &args.partarch)
            else {
                return Err(missing(needed));
            };
            Kind::Partition(PartitionInfo {
                fs_type: FsType::from_code(known("--partfs", fs, 6, "1 to 6")?),
                part_type: PartType::from_code(known("--parttype", part, 4, "1 to 4")?),
                arch_code: parse_arch(arch)?.code(),
            })
        }
        DataType::Signature => {
            let needed = "--signhash and --signentity";
            let (Some(hash), Some(entity)) = (args.signhash, &args.signentity) else {
                return Err(missing(needed));
            };
            let fingerprint = entity
                .parse::<Fingerprint>()
                .ok()
                .and_then(|fingerprint| fingerprint.as_pgp())
                .ok_or_else(|| Error::Entity(entity.clone()))?;
            Kind::Signature {
                hash: known("--signhash", hash, 5, "1 to 5")?,
                fingerprint,
            }
        }
        DataType::GenericJson => Kind::GenericJson,
        // A type that the numbers do not reach.
        DataType::Generic | DataType::Unknown(_) => Kind::Generic,
        DataType::CryptoMessage => Kind::CryptoMessage {
            format: 0,
            message: 0,
        },
        DataType::Sbom => {
            let format = args.sbomformat.as_ref();
            Kind::Sbom(format.ok_or_else(|| missing("--sbomformat"))?.parse()?)
        }
        DataType::OciRootIndex => Kind::OciRootIndex(digest()?),
        DataType::OciBlob => Kind::OciBlob(digest()?),
    })
}

/// A code from 1 to `max`.
fn known(option: &'static str, value: i32, max: i32, allowed: &'static str) -> Result<i32, Error> {
    if (1..=max).contains(&value) {
        Ok(value)
    } else {
        Err(Error::Value {
            option,
            value,
            allowed,
        })
    }
}

/// An architecture by its name, or by SIF's number as Apptainer takes it.
fn parse_arch(text: &str) -> Result<Arch, Error> {
    let number: Option<u8> = text.parse().ok();
    let by_number = number.filter(|number| *number < 100).and_then(|number| {
        let code = format!("{number:02}\0");
        Arch::from_code(code.as_bytes().try_into().ok()?)
    });
    // 386 is a name.
    Ok(by_number.map_or_else(|| text.parse(), Ok)?)
}
