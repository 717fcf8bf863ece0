//! The components of a heterogeneous job, in a client: each has options of its own
//! on the command line, but SPANK has one set for all that one srun starts, and one
//! that salloc hands on. Whoever asked for one container must never get another,
//! or a container where none was asked for: components that differ are refused.

use super::known::Key;
use super::{Given, OptionsError};

/// What the components have in common.
#[derive(Debug)]
pub(crate) struct Components(Option<Given>);

impl Components {
    /// Before the first.
    pub(crate) const NONE: Self = Self(None);

    /// Takes the next component's options. In sbatch and salloc (`allocates`) Slurm
    /// itself gives a later component what the first was told, over what its own
    /// lines in a script say: there a value that was replaced is another one.
    ///
    /// # Errors
    /// [`OptionsError::Components`] where they are not those of the first.
    pub(crate) fn add(&mut self, given: Given, allocates: bool) -> Result<(), OptionsError> {
        let Some(first) = &self.0 else {
            self.0 = Some(given);
            return Ok(());
        };
        let same = Key::ALL
            .into_iter()
            .all(|key| first.get(key) == given.get(key));
        if same && !(allocates && given.replaced) {
            Ok(())
        } else {
            Err(OptionsError::Components)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::{OsStr, c_int};

    use super::super::{KNOWN, Side};
    use super::*;

    /// What becomes of components whose images were given so.
    fn add(allocates: bool, components: &[&[&str]]) -> Result<(), OptionsError> {
        let number = KNOWN.iter().position(|k| k.text.name == c"container-image");
        let number = c_int::try_from(number.unwrap()).unwrap();
        let mut all = Components::NONE;
        for images in components {
            let mut given = Given::NONE;
            for image in *images {
                given.take(number, OsStr::new(image), Side::Client)?;
            }
            all.add(given, allocates)?;
        }
        Ok(())
    }

    #[test]
    fn components_must_agree() {
        let refused = Err(OptionsError::Components);
        for allocates in [true, false] {
            assert_eq!(add(allocates, &[&["/a"]]), Ok(()));
            assert_eq!(add(allocates, &[&[], &[]]), Ok(()));
            assert_eq!(add(allocates, &[&["/b", "/a"], &["/a"], &["/a"]]), Ok(()));
            assert_eq!(add(allocates, &[&["/a"], &["/b"]]), refused);
            assert_eq!(add(allocates, &[&["/a"], &[]]), refused);
            assert_eq!(add(allocates, &[&[], &["/a"]]), refused);
        }
        // A script's own line, and over it what Slurm hands on.
        assert_eq!(add(true, &[&["/a"], &["/b", "/a"]]), refused);
        assert_eq!(add(false, &[&["/a"], &["/b", "/a"]]), Ok(()));
    }
}
