//! What the tests make: directories that stand for a node's root, with real libraries, devices and sockets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode};

use crate::Host;

/// A node's root, in a temporary directory.
pub(crate) struct Root(tempfile::TempDir);

impl Root {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// A place in it, by a path without its first slash.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// A file; its directories are made.
    pub(crate) fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
        fs::write(&path, text).expect("a file");
        path
    }

    /// A link; its directories are made.
    pub(crate) fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("directories");
        std::os::unix::fs::symlink(target, path).expect("a link");
    }

    /// A directory.
    pub(crate) fn directory(&self, path: &str) {
        fs::create_dir_all(self.path(path)).expect("directories");
    }

    /// A character device, or where this process may make none, a file that stands for one.
    pub(crate) fn device(&self, path: &str) {
        let place = self.path(path);
        fs::create_dir_all(place.parent().expect("a directory")).expect("directories");
        if !devices() {
            self.file(path, "");
            return;
        }
        make_device(&place).expect("a device");
    }

    /// The node, with stand-ins where devices cannot be made.
    pub(crate) fn host(&self) -> Host {
        let host = Host::at(self.0.path()).expect("a root");
        if devices() {
            host
        } else {
            host.with_stand_ins()
        }
    }

    /// A shared library made by the C compiler: `source` is C, `flags` are the compiler's.
    pub(crate) fn library(
        &self,
        path: &str,
        soname: &str,
        source: &str,
        flags: &[&str],
    ) -> PathBuf {
        let place = self.path(path);
        fs::create_dir_all(place.parent().expect("a directory")).expect("directories");
        let unit = tempfile::Builder::new()
            .suffix(".c")
            .tempfile()
            .expect("a file");
        fs::write(unit.path(), source).expect("a source");
        let done = Command::new("cc")
            .args(["-shared", "-fPIC", "-nostdlib", "-o"])
            .arg(&place)
            .arg(unit.path())
            .arg(format!("-Wl,-soname,{soname}"))
            .args(flags)
            .output()
            .expect("a C compiler");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "cc: {said}");
        place
    }

    /// A library that defines these versions, each with a function of its own.
    pub(crate) fn versioned(&self, path: &str, soname: &str, versions: &[&str]) -> PathBuf {
        use std::fmt::Write;
        let (mut source, mut script) = (String::new(), String::new());
        for (n, version) in versions.iter().enumerate() {
            let name = function(Path::new(path), n);
            writeln!(source, "int {name}(void) {{ return {n}; }}").expect("text");
            writeln!(script, "{version} {{ global: {name}; }};").expect("text");
        }
        let map = tempfile::NamedTempFile::new().expect("a file");
        fs::write(map.path(), script).expect("a script");
        let flag = format!("-Wl,--version-script={}", map.path().display());
        self.library(path, soname, &source, &[&flag])
    }

    /// A library that calls the N-th function of each of `from`, so that it needs its version.
    pub(crate) fn needing(&self, path: &str, soname: &str, from: &[(&Path, usize)]) -> PathBuf {
        use std::fmt::Write;
        let mut source = String::from("int use(void) { return 0");
        let mut declared = String::new();
        for (path, n) in from {
            let name = function(path, *n);
            write!(source, " + {name}()").expect("text");
            writeln!(declared, "int {name}(void);").expect("text");
        }
        source.push_str("; }\n");
        let mut flags = vec!["-Wl,--no-as-needed"];
        flags.extend(from.iter().map(|(path, _)| path.to_str().expect("text")));
        self.library(path, soname, &format!("{declared}{source}"), &flags)
    }

    /// Writes the cache of the libraries in it, as the node's own ldconfig does; `format` is its `-c`.
    pub(crate) fn ldconfig(&self, format: &str, directories: &[&str]) {
        self.file("etc/ld.so.conf", &directories.join("\n"));
        let done = Command::new("/sbin/ldconfig")
            .args(["-c", format, "-X", "-r"])
            .arg(self.0.path())
            .output()
            .expect("ldconfig");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "ldconfig: {said}");
    }
}

/// The name of the function for a library's N-th version.
fn function(library: &Path, n: usize) -> String {
    let name = library.file_name().and_then(|name| name.to_str());
    let name = name
        .expect("a name")
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    format!("{name}_{n}")
}

fn make_device(path: &Path) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(0o666);
    // The numbers of /dev/null: whoever opened it would find nothing.
    let number = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, mode, number)
}

/// Whether this process may make device nodes.
fn devices() -> bool {
    static MAY: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *MAY.get_or_init(|| {
        let place = tempfile::tempdir().expect("a directory");
        make_device(&place.path().join("null")).is_ok()
    })
}
