//! What variables tell a rank of the devices that its container shows: the vendors'
//! own, counted as a container counts that shows only the step's GPUs, and those that
//! come with a device.

use std::ffi::{OsStr, OsString};

use serde::{Deserialize, Serialize};

use crate::environment::Change;

/// No node has more GPUs.
#[cfg(feature = "construct")]
pub(crate) const MAX_NUMBERS: usize = 1024;

/// Where libraries are looked for, ld.so(8).
const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// What a container shows of devices, as far as variables tell it; the same for all
/// ranks of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Slurm's numbers of the GPUs.
    pub numbers: Numbers,
    /// Variables that a device brings.
    pub variables: Vec<(String, String)>,
    /// Directories of the container with libraries that belong to the devices.
    pub libraries: Vec<String>,
}

impl Shown {
    /// What a rank has to change beside what `changes` say, where its task has the
    /// variables that `look` finds.
    #[must_use]
    pub fn changes(
        &self,
        changes: &[Change],
        look: impl Fn(&str) -> Option<OsString>,
    ) -> Vec<Change> {
        let mut out: Vec<Change> = self
            .variables
            .iter()
            .map(|(name, value)| Change::Set(name.into(), value.into()))
            .collect();
        for name in VARIABLES {
            let value = look(name);
            let value = value.as_deref().and_then(OsStr::to_str);
            if let Some(value) = value.and_then(|value| self.numbers.translate(value)) {
                out.push(Change::Set(name.into(), value.into()));
            }
        }
        if !self.libraries.is_empty() {
            // What the image or the user says comes first.
            let said = changes.iter().rev().find(|c| c.name() == LIBRARY_PATH);
            let before = match said {
                Some(Change::Set(_, value)) => Some(value.clone()),
                Some(Change::Unset(_)) => None,
                None => look(LIBRARY_PATH),
            };
            let before = before.filter(|value| !value.is_empty());
            let mut value = before.unwrap_or_default();
            for directory in &self.libraries {
                if !value.is_empty() {
                    value.push(":");
                }
                value.push(directory);
            }
            out.push(Change::Set(LIBRARY_PATH.into(), value));
        }
        out
    }
}

/// Variables whose value is a list of numbers of GPUs. Those of NVIDIA and AMD may
/// hold names as well (`GPU-…`, `MIG-…`), which stay what they are.
pub const VARIABLES: [&str; 4] = [
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
    "ZE_AFFINITY_MASK",
];

/// Slurm's numbers of the step's GPUs, by the number that each has in the container;
/// empty where the variables are right already.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers(Vec<u32>);

impl Numbers {
    /// Takes Slurm's numbers in the node's order.
    #[must_use]
    pub fn new(numbers: Vec<u32>) -> Self {
        Self(numbers)
    }

    /// The value for the container: `None` where it stays as it is. A list that names
    /// a GPU that is not the step's is left alone: its program will say so.
    #[must_use]
    pub fn translate(&self, value: &str) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let mut out = Vec::new();
        for part in value.split(',') {
            // ZE_AFFINITY_MASK may name a tile: 1.0.
            let (number, rest) = match part.split_once('.') {
                Some((number, tile)) => (number, Some(tile)),
                None => (part, None),
            };
            let number: u32 = number.trim().parse().ok()?;
            let place = self.0.iter().position(|of_slurm| *of_slurm == number)?;
            out.push(match rest {
                Some(tile) => format!("{place}.{tile}"),
                None => place.to_string(),
            });
        }
        let out = out.join(",");
        (out != value).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_node_become_those_of_the_container() {
        let numbers = Numbers::new(vec![1, 3]);
        for (value, expected) in [
            ("1,3", Some("0,1")),
            ("3", Some("1")),
            ("3,1", Some("1,0")),
            ("1.0,3.1", Some("0.0,1.1")),
            ("GPU-1a2b", None),
            ("MIG-1a2b", None),
            ("0", None),
            ("1,0", None),
            ("", None),
        ] {
            assert_eq!(numbers.translate(value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn a_rank_is_told_what_its_container_shows() {
        let shown = Shown {
            numbers: Numbers::new(vec![2, 3]),
            variables: vec![("VENDOR".to_owned(), "1".to_owned())],
            libraries: vec!["/.oarlock/libs".to_owned()],
        };
        let look = |name: &str| match name {
            "CUDA_VISIBLE_DEVICES" => Some(OsString::from("3")),
            "LD_LIBRARY_PATH" => Some(OsString::from("/of/the/job")),
            _ => None,
        };
        let set = |name: &str, value: &str| Change::Set(name.into(), value.into());
        assert_eq!(
            shown.changes(&[Change::Unset("LD_LIBRARY_PATH".into())], look),
            [
                set("VENDOR", "1"),
                set("CUDA_VISIBLE_DEVICES", "1"),
                set("LD_LIBRARY_PATH", "/.oarlock/libs"),
            ]
        );
        let image = [set("LD_LIBRARY_PATH", "/opt/lib")];
        let last = shown.changes(&image, look).pop();
        assert_eq!(
            last,
            Some(set("LD_LIBRARY_PATH", "/opt/lib:/.oarlock/libs"))
        );
        assert!(Shown::default().changes(&image, look).is_empty());
    }

    #[test]
    fn what_is_right_stays() {
        assert_eq!(Numbers::default().translate("1"), None);
        assert_eq!(Numbers::new(vec![0, 1]).translate("0,1"), None);
    }
}
