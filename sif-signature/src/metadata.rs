//! What a signature signs: the digests of the header and of every object of a group, as JSON.
//!
//! Reads and writes that list and compares it with an image. Whose list it is was decided before.

use std::collections::BTreeMap;
use std::fs::File;

use runtime_core::image::sif::{Descriptor, Sif};
use serde::{Deserialize, Serialize};

use crate::digest::{Algorithm, Digest, DigestError};
use crate::verify::VerifyError;

/// The list as it is signed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata {
    version: u32,
    header: Header,
    objects: Vec<Object>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    digest: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    #[serde(rename = "relativeId")]
    relative_id: u32,
    #[serde(rename = "descriptorDigest")]
    descriptor_digest: String,
    #[serde(rename = "objectDigest")]
    object_digest: String,
}

/// The objects of a group with their ids less the smallest one, in the order of ids.
pub(crate) fn members(sif: &Sif, group: u32) -> Vec<(u32, &Descriptor)> {
    let mut members: Vec<&Descriptor> = sif
        .descriptors
        .iter()
        .filter(|object| object.group == Some(group))
        .collect();
    members.sort_unstable_by_key(|object| object.id);
    let first = members.first().map_or(0, |object| object.id);
    members
        .into_iter()
        .map(|object| (object.id - first, object))
        .collect()
}

/// The digests of an image's objects that were asked for already: several signatures read each object once.
#[derive(Debug, Default)]
pub(crate) struct Digests(BTreeMap<(u32, Algorithm), Digest>);

impl Digests {
    fn of(
        &mut self,
        file: &File,
        object: &Descriptor,
        algorithm: Algorithm,
    ) -> std::io::Result<Digest> {
        if let Some(known) = self.0.get(&(object.id, algorithm)) {
            return Ok(known.clone());
        }
        let digest = algorithm.of_file(file, object.offset, object.size)?;
        self.0.insert((object.id, algorithm), digest.clone());
        Ok(digest)
    }
}

impl Metadata {
    /// The list for a group, with SHA-256, as Apptainer makes it.
    ///
    /// # Errors
    ///
    /// The kernel's, with the id of the object that could not be read.
    pub(crate) fn of_group(
        file: &File,
        sif: &Sif,
        group: u32,
    ) -> Result<Self, (u32, std::io::Error)> {
        let algorithm = Algorithm::Sha256;
        let mut objects = Vec::new();
        for (relative_id, object) in members(sif, group) {
            let digest = algorithm
                .of_file(file, object.offset, object.size)
                .map_err(|source| (object.id, source))?;
            objects.push(Object {
                relative_id,
                descriptor_digest: algorithm.of(&object.signed_bytes(relative_id)).to_string(),
                object_digest: digest.to_string(),
            });
        }
        let header = Header {
            digest: algorithm.of(&sif.header.signed_bytes()).to_string(),
        };
        Ok(Self {
            version: 1,
            header,
            objects,
        })
    }

    /// The bytes that are signed.
    pub(crate) fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// Reads the bytes that were signed, in the signature object `id`.
    pub(crate) fn parse(id: u32, json: &[u8]) -> Result<Self, VerifyError> {
        let read: Self = serde_json::from_slice(json).map_err(|source| VerifyError::Payload {
            id,
            reason: source.to_string(),
        })?;
        if read.version == 1 {
            Ok(read)
        } else {
            Err(VerifyError::Payload {
                id,
                reason: format!("version {}", read.version),
            })
        }
    }

    /// Demands that the image's group is exactly what the signature object `id` signs.
    ///
    /// # Errors
    ///
    /// What differs first: the set of objects, the header, a descriptor, an object's bytes.
    pub(crate) fn check(
        &self,
        id: u32,
        file: &File,
        sif: &Sif,
        group: u32,
        digests: &mut Digests,
    ) -> Result<(), VerifyError> {
        let digest = |text: &str| {
            Digest::parse(text).map_err(|source: DigestError| VerifyError::Digest { id, source })
        };
        // Everything that is cheap comes first: the objects may have many GiB.
        let mut signed: BTreeMap<u32, (Digest, Digest)> = BTreeMap::new();
        for object in &self.objects {
            let both = (
                digest(&object.descriptor_digest)?,
                digest(&object.object_digest)?,
            );
            if signed.insert(object.relative_id, both).is_some() {
                return Err(VerifyError::Payload {
                    id,
                    reason: format!("relative id {} is there twice", object.relative_id),
                });
            }
        }
        let header = digest(&self.header.digest)?;
        if header.algorithm.of(&sif.header.signed_bytes()) != header {
            return Err(VerifyError::Header { id });
        }
        let members = members(sif, group);
        let mut pairs = Vec::new();
        for (relative, object) in members {
            let (descriptor, data) = signed.remove(&relative).ok_or(VerifyError::Unsigned {
                id,
                object: object.id,
            })?;
            if descriptor.algorithm.of(&object.signed_bytes(relative)) != descriptor {
                return Err(VerifyError::Descriptor {
                    id,
                    object: object.id,
                });
            }
            pairs.push((object, data));
        }
        if let Some((relative, _)) = signed.pop_first() {
            return Err(VerifyError::Missing { id, relative });
        }
        for (object, data) in pairs {
            let found =
                digests
                    .of(file, object, data.algorithm)
                    .map_err(|source| VerifyError::Read {
                        object: object.id,
                        source,
                    })?;
            if found != data {
                return Err(VerifyError::Object {
                    id,
                    object: object.id,
                });
            }
        }
        Ok(())
    }
}
