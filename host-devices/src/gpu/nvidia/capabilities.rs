//! What a container is to have of NVIDIA's driver, in the words of `NVIDIA_DRIVER_CAPABILITIES`.

use std::fmt;

use serde::{Serialize, Serializer};

/// One word of the variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// CUDA and OpenCL.
    Compute,
    /// nvidia-smi and the management library.
    Utility,
    /// Encoding and decoding.
    Video,
    /// OpenGL and Vulkan.
    Graphics,
    /// NGX, of which DLSS is a part.
    Ngx,
    /// An X server's screen.
    Display,
    /// Libraries for 32-bit programs. Oarlock binds none; the word is known, so that images that have it run.
    Compat32,
}

impl Capability {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Compute, "compute"),
        (Self::Utility, "utility"),
        (Self::Video, "video"),
        (Self::Graphics, "graphics"),
        (Self::Ngx, "ngx"),
        (Self::Display, "display"),
        (Self::Compat32, "compat32"),
    ];

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of them.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capabilities(u8);

/// A word that is no capability.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "NVIDIA_DRIVER_CAPABILITIES: {0:?} is none; known are all, compute, utility, video, graphics, ngx, display and compat32"
)]
pub struct UnknownCapability(String);

impl Capabilities {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// All that there are.
    pub const ALL: Self = Self(0x7f);
    /// What NVIDIA's own tools take where nothing is said.
    pub const DEFAULT: Self = Self::of(&[Capability::Compute, Capability::Utility]);

    /// These.
    #[must_use]
    pub const fn of(list: &[Capability]) -> Self {
        let mut bits = 0;
        let mut rest = list;
        while let [first, others @ ..] = rest {
            bits |= first.bit();
            rest = others;
        }
        Self(bits)
    }

    /// The variable's value: words with commas between, or `all`. An empty one is [`Capabilities::DEFAULT`].
    ///
    /// # Errors
    ///
    /// The first word that is none.
    pub fn parse(value: &str) -> Result<Self, UnknownCapability> {
        let mut found = Self::NONE;
        for word in value
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty())
        {
            let known = Capability::ALL.iter().find(|(_, name)| *name == word);
            found = found.and(match known {
                Some((capability, _)) => Self::of(&[*capability]),
                None if word == "all" => Self::ALL,
                None => return Err(UnknownCapability(word.chars().take(32).collect())),
            });
        }
        Ok(if found == Self::NONE {
            Self::DEFAULT
        } else {
            found
        })
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether one is in both.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn words(self) -> impl Iterator<Item = &'static str> {
        let all = Capability::ALL.iter();
        all.filter(move |(capability, _)| self.0 & capability.bit() != 0)
            .map(|(_, word)| *word)
    }
}

/// As the variable has it.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.words().collect::<Vec<_>>().join(","))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capabilities({self})")
    }
}

/// A list of words.
impl Serialize for Capabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_told_again() {
        let cases = [
            ("", "compute,utility"),
            (" , ", "compute,utility"),
            ("compute", "compute"),
            ("utility, compute,compute", "compute,utility"),
            (
                "graphics,display,compat32,ngx,video",
                "video,graphics,ngx,display,compat32",
            ),
            (
                "compute,all",
                "compute,utility,video,graphics,ngx,display,compat32",
            ),
        ];
        for (value, told) in cases {
            let read = Capabilities::parse(value).expect(value);
            assert_eq!(read.to_string(), told, "{value}");
            assert_eq!(Capabilities::parse(&read.to_string()), Ok(read));
        }
        assert_eq!(Capabilities::parse("all"), Ok(Capabilities::ALL));
    }

    #[test]
    fn an_unknown_word_is_told_on_one_line() {
        for word in ["Compute", "none\n\u{1b}[2J", &"x".repeat(1000)] {
            let told = Capabilities::parse(word).expect_err(word).to_string();
            assert!(
                told.len() < 200 && !told.chars().any(char::is_control),
                "{told}"
            );
        }
    }
}
