//! Variables by which frameworks know their rank, where the image is made for one.

use std::ffi::{OsStr, OsString};

use runtime_core::environment::Change;

use crate::step::variable;

/// What PyTorch's launcher would set, and Slurm's name of it. Images with PyTorch say
/// so by `PYTORCH_VERSION`, and pyxis sets these two for them.
const OF_PYTORCH: [(&str, &str); 2] = [("RANK", "SLURM_PROCID"), ("LOCAL_RANK", "SLURM_LOCALID")];

/// The variables of this rank.
pub(crate) fn rank_variables(
    changes: &[Change],
    environment: &[OsString],
) -> Vec<(&'static str, OsString)> {
    use std::os::unix::ffi::OsStringExt;
    let is_pytorch = |change: &Change| match change {
        Change::Set(name, _) => name == "PYTORCH_VERSION",
        Change::Unset(_) => false,
    };
    if !changes.iter().any(is_pytorch)
        && variable(environment, OsStr::new("PYTORCH_VERSION")).is_none()
    {
        return Vec::new();
    }
    OF_PYTORCH
        .iter()
        .filter_map(|(name, of_slurm)| {
            let value = variable(environment, OsStr::new(of_slurm))?;
            Some((*name, OsString::from_vec(value.to_vec())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_with_pytorch_know_their_rank() {
        let environment: Vec<OsString> = ["SLURM_PROCID=5", "SLURM_LOCALID=1"]
            .map(OsString::from)
            .into();
        let with = [Change::Set("PYTORCH_VERSION".into(), "2".into())];
        assert_eq!(
            rank_variables(&with, &environment),
            [("RANK", "5".into()), ("LOCAL_RANK", "1".into())]
        );
        assert!(rank_variables(&[], &environment).is_empty());
    }
}
