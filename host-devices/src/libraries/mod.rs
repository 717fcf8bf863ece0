//! Shared libraries: where the node has them, what they say of themselves, and whether an image can load them.
//!
//! Loads none of them, and asks no program: ldconfig's cache, or the loader's usual directories where there is no
//! cache, tell which files there are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{Host, Problem};
use elf::Elf;
use machine::Machine;

mod blocks;
pub mod cache;
pub mod elf;
pub mod judge;
pub mod machine;
pub mod versions;

/// Where ldconfig keeps what it has found.
const CACHE: &str = "/etc/ld.so.cache";

/// The loader's directories, in the order in which they are looked into; `machine` for the names that Debian has.
pub(crate) fn directories(machine: Machine) -> Vec<String> {
    let mut all: Vec<String> = ["/lib", "/usr/lib"]
        .map(|base| format!("{base}/{}", machine.triplet))
        .into();
    all.extend(
        [
            "/lib64",
            "/usr/lib64",
            "/lib",
            "/usr/lib",
            "/usr/local/lib64",
            "/usr/local/lib",
        ]
        .map(String::from),
    );
    all
}

/// The node's libraries by name, none of them looked into yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Libraries {
    files: BTreeMap<String, Vec<PathBuf>>,
    problem: Option<Problem>,
}

impl Libraries {
    /// What the node's cache has, or its usual directories where there is no cache that can be read, as with musl.
    #[must_use]
    pub fn find(host: &Host) -> Self {
        let path = Path::new(CACHE);
        let problem = match host.read(path, cache::MAX_BYTES) {
            Ok(Some(bytes)) => match cache::parse(&bytes, Machine::own()) {
                Ok(entries) => return Self::of(entries),
                Err(why) => Some(Problem::Cache {
                    path: path.to_owned(),
                    why,
                }),
            },
            Ok(None) => None,
            Err(problem) => Some(problem),
        };
        Self {
            problem,
            ..Self::in_directories(host)
        }
    }

    fn of(entries: Vec<cache::Entry>) -> Self {
        let mut files: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for entry in entries {
            files
                .entry(entry.soname)
                .or_default()
                .push(entry.path.into());
        }
        Self {
            files,
            problem: None,
        }
    }

    /// A file's name stands for its SONAME there.
    fn in_directories(host: &Host) -> Self {
        let mut found = Self::default();
        for directory in directories(Machine::own()) {
            let directory = Path::new(&directory);
            for name in host.list(directory) {
                if name.starts_with("lib") && name.contains(".so") {
                    let file = directory.join(&name);
                    found.files.entry(name).or_default().push(file);
                }
            }
        }
        found
    }

    /// What is wrong with the cache, if anything.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    /// The names that begin so, in order.
    pub fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.files
            .range(prefix.to_owned()..)
            .map(|(name, _)| name.as_str())
            .take_while(move |name| name.starts_with(prefix))
    }

    /// The files of a name, in the loader's order; they need not be there.
    #[must_use]
    pub fn files(&self, soname: &str) -> &[PathBuf] {
        self.files.get(soname).map_or(&[], Vec::as_slice)
    }

    /// The first file of a name that is there and the machine's own, and what it says of itself; `None` where
    /// there is none.
    ///
    /// # Errors
    ///
    /// [`Problem::Library`] or [`Problem::Read`] where there are files and none of them can be read.
    pub fn get(&self, host: &Host, soname: &str) -> Result<Option<(PathBuf, Elf)>, Problem> {
        let mut problem = None;
        for path in self.files(soname) {
            match look(host, path) {
                Ok(Some(elf)) if elf.machine == Machine::own().elf => {
                    return Ok(Some((path.clone(), elf)));
                }
                Ok(_) => {}
                Err(why) => problem = problem.or(Some(why)),
            }
        }
        problem.map_or(Ok(None), Err)
    }
}

/// What one library of the node's says of itself; `None` where it is not there.
pub(crate) fn look(host: &Host, path: &Path) -> Result<Option<Elf>, Problem> {
    let Some(file) = host.file(path)? else {
        return Ok(None);
    };
    Elf::read(&file).map(Some).map_err(|why| Problem::Library {
        path: path.to_owned(),
        why,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Root;

    #[test]
    fn names_are_found_in_the_cache_whole_and_by_their_beginning() {
        let root = Root::new();
        for name in ["libnvidia-ml.so.1", "libnvidia-tls.so.550", "libz.so.1"] {
            root.library(&format!("opt/lib/{name}"), name, "int a;", &[]);
        }
        root.ldconfig("new", &["/opt/lib"]);
        let (host, path) = (root.host(), Path::new("/opt/lib/libz.so.1"));
        let libraries = Libraries::find(&host);
        assert_eq!(libraries.problem(), None);
        assert_eq!(
            libraries.names("libnvidia-").collect::<Vec<_>>(),
            ["libnvidia-ml.so.1", "libnvidia-tls.so.550"]
        );
        let (found, elf) = libraries
            .get(&host, "libz.so.1")
            .expect("a file")
            .expect("a library");
        assert_eq!(
            (found.as_path(), elf.soname.as_deref()),
            (path, Some("libz.so.1"))
        );
        assert_eq!(libraries.get(&host, "libz.so.2"), Ok(None));
        assert!(libraries.names("libzz").next().is_none());
    }

    #[test]
    fn without_a_cache_the_directories_are_looked_into() {
        let root = Root::new();
        root.library("usr/lib64/libcuda.so.1", "libcuda.so.1", "int a;", &[]);
        root.library("usr/lib/libcuda.so.1", "libcuda.so.1", "int a;", &[]);
        root.file("usr/lib/README", "");
        let host = root.host();
        let libraries = Libraries::find(&host);
        assert_eq!(
            libraries.files("libcuda.so.1"),
            [
                Path::new("/usr/lib64/libcuda.so.1"),
                Path::new("/usr/lib/libcuda.so.1")
            ]
        );
        assert_eq!(libraries.problem(), None);

        root.file("etc/ld.so.cache", "something else");
        let other = Libraries::find(&host);
        assert_eq!(other.files, libraries.files);
        assert_eq!(
            other.problem().expect("a problem").to_string(),
            "/etc/ld.so.cache: no cache of ldconfig's that is known; run ldconfig"
        );
    }

    #[test]
    fn the_first_library_of_the_machines_own_counts() {
        let root = Root::new();
        let foreign = root.library("usr/lib64/libcuda.so.1", "libcuda.so.1", "int a;", &[]);
        let mut bytes = std::fs::read(&foreign).expect("a library");
        // e_machine: MIPS.
        bytes[18..20].copy_from_slice(&[8, 0]);
        std::fs::write(&foreign, bytes).expect("a library");
        let host = root.host();
        let name = "libcuda.so.1";
        assert_eq!(Libraries::find(&host).get(&host, name), Ok(None));
        root.library("usr/lib/libcuda.so.1", name, "int a;", &[]);
        let libraries = Libraries::find(&host);
        let (path, _) = libraries.get(&host, name).expect("files").expect("own");
        assert_eq!(path, Path::new("/usr/lib/libcuda.so.1"));
        root.file("usr/lib/libcuda.so.1", "GROUP ( libcuda.so.1 )");
        assert_eq!(
            libraries
                .get(&host, name)
                .expect_err("no library")
                .to_string(),
            "/usr/lib/libcuda.so.1: no 64-bit ELF file; install the driver again"
        );
    }
}
