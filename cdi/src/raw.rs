//! A spec as it is written, field by field; checked later, in `check`.
//!
//! Unknown fields are errors, as they are in the reference. A null stands for a
//! field that is not there, as it does in Go. Fields have their names: serde alone
//! would also take a list of them, in the order in which they stand here.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", remote = "Self")]
pub(crate) struct Spec {
    pub(crate) cdi_version: String,
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) devices: Vec<Device>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) container_edits: Edits,
}

/// An entry of `devices`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", remote = "Self")]
pub(crate) struct Device {
    pub(crate) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) container_edits: Edits,
}

/// `containerEdits`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", remote = "Self")]
pub(crate) struct Edits {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) env: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) device_nodes: Vec<DeviceNode>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) net_devices: Vec<NetDevice>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) hooks: Vec<Hook>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) mounts: Vec<Mount>,
    pub(crate) intel_rdt: Option<IntelRdt>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) additional_gids: Vec<u32>,
}

/// An entry of `deviceNodes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", remote = "Self")]
pub(crate) struct DeviceNode {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) host_path: String,
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub(crate) kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) major: i64,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) minor: i64,
    pub(crate) file_mode: Option<u32>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) permissions: String,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
}

/// An entry of `mounts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", remote = "Self")]
pub(crate) struct Mount {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) host_path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) container_path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) options: Vec<String>,
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub(crate) kind: String,
}

/// An entry of `hooks`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", remote = "Self")]
pub(crate) struct Hook {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) hook_name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) args: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) env: Vec<String>,
    pub(crate) timeout: Option<i64>,
}

/// `intelRdt`. The two `enable...` of 0.7.0 went with 1.1.0.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", remote = "Self")]
pub(crate) struct IntelRdt {
    #[serde(default, rename = "closID", deserialize_with = "or_default")]
    pub(crate) clos_id: String,
    #[serde(default, rename = "l3CacheSchema", deserialize_with = "or_default")]
    pub(crate) l3_cache_schema: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) mem_bw_schema: String,
    pub(crate) schemata: Option<Vec<String>>,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) enable_monitoring: bool,
    #[serde(rename = "enableCMT")]
    pub(crate) enable_cmt: Option<bool>,
    #[serde(rename = "enableMBM")]
    pub(crate) enable_mbm: Option<bool>,
}

/// An entry of `netDevices`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", remote = "Self")]
pub(crate) struct NetDevice {
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) host_interface_name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(crate) name: String,
}

fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// Takes a mapping, and nothing else.
struct Mapping<R>(PhantomData<R>);

/// What reads a structure once there is a mapping: what serde derived for it.
trait Fields<'de>: Sized {
    fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

impl<'de, R: Fields<'de>> Visitor<'de> for Mapping<R> {
    type Value = R;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<R, A::Error> {
        R::read(MapAccessDeserializer::new(map))
    }
}

macro_rules! mappings {
    ($($name:ident),*) => {
        $(
            impl<'de> Fields<'de> for $name {
                fn read<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    // The derived function, not the trait's: `remote` makes it so.
                    $name::deserialize(deserializer)
                }
            }

            impl<'de> Deserialize<'de> for $name {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    deserializer.deserialize_map(Mapping(PhantomData))
                }
            }
        )*
    };
}

mappings!(
    Spec, Device, Edits, DeviceNode, Mount, Hook, IntelRdt, NetDevice
);
