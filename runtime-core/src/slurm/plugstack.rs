//! plugstack.conf: which SPANK plugins Slurm loads, spank(8).
//!
//! Read as Slurm reads it: words between blanks, `#` anywhere, `required`, `optional`
//! and `include` in small letters, patterns in the latter. A line that Slurm would
//! pass over is told, and is no error.

use std::path::{Path, PathBuf};

use crate::host::{Host, ReadError};

/// No file is longer, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Bounds of what is included.
const MAX_DEPTH: usize = 8;
const MAX_FILES: usize = 256;

/// Why the plugins are not known.
#[derive(Debug, thiserror::Error)]
pub enum PlugstackError {
    /// A file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Included too deep, or too many.
    #[error("{}: line {number}: more than {MAX_DEPTH} includes deep, or more than {MAX_FILES} files", file.display())]
    Includes {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        number: usize,
    },
}

/// One plugin's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// Where it stands: the file and the line, counted from 1.
    pub at: (PathBuf, usize),
    /// Whether a step fails without it.
    pub is_required: bool,
    /// As it is written: a name is looked for in Slurm's directories of plugins.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl Plugin {
    /// The file's name, as `spank_oarlock.so`.
    #[must_use]
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The value of an argument, as of `config=PATH`; the last one.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<&str> {
        self.arguments
            .iter()
            .rev()
            .find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='))
    }

    /// Its file: the path, or the first of these directories that has it.
    #[must_use]
    pub fn find(&self, host: &Host, directories: &[PathBuf]) -> Option<PathBuf> {
        if self.path.is_absolute() {
            return host.has(&self.path).then(|| self.path.clone());
        }
        let mut places = directories.iter().map(|dir| dir.join(&self.path));
        places.find(|place| host.has(place))
    }
}

/// All that the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plugstack {
    /// In the order in which Slurm loads them.
    pub plugins: Vec<Plugin>,
    /// Lines that Slurm passes over: file, line and text.
    pub passed_over: Vec<(PathBuf, usize, String)>,
    /// The files, the first first.
    pub files: Vec<PathBuf>,
}

/// Reads a file and what it includes, whoever owns them, as Slurm does: nothing may be
/// decided by them, they are only shown.
///
/// # Errors
/// Any [`PlugstackError`].
pub fn look_into(host: &Host, path: &Path) -> Result<Plugstack, PlugstackError> {
    let mut all = Plugstack::default();
    all.add(host, path, 0)?;
    Ok(all)
}

impl Plugstack {
    fn add(&mut self, host: &Host, path: &Path, depth: usize) -> Result<(), PlugstackError> {
        let bytes = host.look_into(path, MAX_BYTES)?;
        self.files.push(path.to_owned());
        for (number, text) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            let number = number + 1;
            let before = text.split_once('#').map_or(text, |(before, _)| before);
            let mut words = before
                .split([' ', '\t', '\r'])
                .filter(|word| !word.is_empty());
            let Some(kind) = words.next() else { continue };
            match (kind, words.next()) {
                ("include", Some(pattern)) => {
                    let beside = path.parent().unwrap_or(Path::new("/"));
                    for file in host.glob(&beside.join(pattern)) {
                        if depth == MAX_DEPTH || self.files.len() >= MAX_FILES {
                            let file = path.to_owned();
                            return Err(PlugstackError::Includes { file, number });
                        }
                        self.add(host, &file, depth + 1)?;
                    }
                }
                ("required" | "optional", Some(plugin)) => self.plugins.push(Plugin {
                    at: (path.to_owned(), number),
                    is_required: kind == "required",
                    path: PathBuf::from(plugin),
                    arguments: words.map(str::to_owned).collect(),
                }),
                _ => self
                    .passed_over
                    .push((path.to_owned(), number, before.trim().to_owned())),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::tests::tree;

    #[test]
    fn plugins_come_in_slurm_s_order() {
        let (_place, host) = tree(&[
            (
                "etc/plugstack.conf",
                "# all\noptional a.so x=1 # why\ninclude d/*.conf\nrequired /lib/z.so\n",
            ),
            (
                "etc/d/2.conf",
                "required\tspank_oarlock.so config=/c  config=/d",
            ),
            (
                "etc/d/1.conf",
                "Required b.so\nrequired\ninclude none/*\n\n",
            ),
            ("lib/z.so", ""),
            ("p2/a.so", ""),
        ]);
        let all = look_into(&host, Path::new("/etc/plugstack.conf")).unwrap();
        let names: Vec<_> = all.plugins.iter().map(Plugin::name).collect();
        assert_eq!(names, ["a.so", "spank_oarlock.so", "z.so"]);
        let oarlock = &all.plugins[1];
        assert!(oarlock.is_required && !all.plugins[0].is_required);
        assert_eq!(oarlock.argument("config"), Some("/d"));
        assert_eq!(oarlock.argument("conf"), None);
        assert_eq!(oarlock.at, (PathBuf::from("/etc/d/2.conf"), 1));
        let texts: Vec<_> = all
            .passed_over
            .iter()
            .map(|(_, _, text)| text.as_str())
            .collect();
        assert_eq!(texts, ["Required b.so", "required"]);
        let directories = [PathBuf::from("/p1"), PathBuf::from("/p2")];
        let found = |plugin: &Plugin| plugin.find(&host, &directories);
        assert_eq!(found(&all.plugins[0]).unwrap(), Path::new("/p2/a.so"));
        assert_eq!(found(&all.plugins[1]), None);
        assert_eq!(found(&all.plugins[2]).unwrap(), Path::new("/lib/z.so"));
    }

    #[test]
    fn what_includes_itself_ends() {
        let (_place, host) = tree(&[("p", "include p*")]);
        let error = look_into(&host, Path::new("/p")).unwrap_err();
        assert!(
            matches!(error, PlugstackError::Includes { number: 1, .. }),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "[a-z #\\t\\n]{0,80}") {
            let (_place, host) = tree(&[("p", &text)]);
            prop_assert!(look_into(&host, Path::new("/p")).is_ok());
        }
    }
}
