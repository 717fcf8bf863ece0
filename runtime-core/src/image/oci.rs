//! The OCI image configuration that Apptainer keeps in a SIF it made from an OCI
//! image: the JSON object `oci-config.json`, whose `config.Env` is the image's
//! environment (OCI image specification, "Image JSON Description").
//!
//! Used where the image has no environment scripts. Text in, pairs out.

use std::ffi::OsString;

use serde::Deserialize;

/// The object's name in the SIF.
pub const OBJECT_NAME: &str = "oci-config.json";

/// No configuration is longer, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

#[derive(Deserialize)]
struct Image {
    #[serde(default)]
    config: Config,
}

#[derive(Default, Deserialize)]
struct Config {
    #[serde(default, rename = "Env")]
    env: Option<Vec<String>>,
}

/// The variables of `config.Env`, `NAME=value`; entries of another form are
/// passed over, and text that is no such JSON has none.
#[must_use]
pub fn environment(json: &[u8]) -> Vec<OsString> {
    serde_json::from_slice::<Image>(json)
        .ok()
        .and_then(|image| image.config.env)
        .unwrap_or_default()
        .into_iter()
        .filter(|entry| !entry.contains('\0') && entry.find('=').is_some_and(|at| at > 0))
        .map(OsString::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read() {
        let json = br#"{"architecture":"amd64","config":{"Env":["PATH=/opt/bin:/bin","A=b=c","none","=x"],"Cmd":["sh"]}}"#;
        assert_eq!(environment(json), ["PATH=/opt/bin:/bin", "A=b=c"]);
        assert!(environment(br#"{"config":{"Env":null}}"#).is_empty());
        assert!(environment(b"{}").is_empty());
        assert!(environment(b"[1").is_empty());
    }
}
