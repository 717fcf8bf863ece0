//! The values of the smaller options: switches, names, lists of words.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use serde::{Deserialize, Serialize};

use super::RequestError;
use crate::path::{ContainerPath, HostPath};

/// Longest name of a container, in bytes: a file name, with room for what is put
/// around it.
const MAX_NAME: usize = 200;

fn lossy(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}

fn no_control(what: &'static str, text: &OsStr) -> Result<(), RequestError> {
    if text.as_bytes().iter().any(u8::is_ascii_control) {
        return Err(RequestError::Control(what));
    }
    Ok(())
}

/// Parses a switch, in the words that pyxis knows too.
///
/// # Errors
/// [`RequestError::Switch`] with what was asked.
pub fn parse_switch(what: &'static str, text: &OsStr) -> Result<bool, RequestError> {
    match text.as_bytes() {
        b"1" | b"true" | b"yes" | b"y" => Ok(true),
        b"0" | b"false" | b"no" | b"n" => Ok(false),
        _ => Err(RequestError::Switch(what, lossy(text))),
    }
}

/// Parses `--container-workdir`.
///
/// # Errors
/// [`RequestError::Workdir`] where it is not absolute.
pub fn parse_workdir(text: &OsStr) -> Result<ContainerPath, RequestError> {
    ContainerPath::new(text).map_err(RequestError::Workdir)
}

/// Whether an image is copied to the node's own disk before it runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// It runs from where it lies.
    #[default]
    Off,
    /// The step waits for a copy on each node's own disk, and runs from that.
    Node,
}

impl Stage {
    /// Parses `--container-stage`.
    ///
    /// # Errors
    /// [`RequestError::Stage`].
    pub fn parse(text: &OsStr) -> Result<Self, RequestError> {
        match text.as_bytes() {
            b"off" => Ok(Self::Off),
            b"node" => Ok(Self::Node),
            _ => Err(RequestError::Stage(lossy(text))),
        }
    }
}

/// What is done with a container's name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameUse {
    /// Joins the container if it runs on the node, uses its files if it exists, and
    /// makes it otherwise.
    #[default]
    Auto,
    /// Makes it; it must not exist.
    Create,
    /// Joins it; it must be running.
    Exec,
    /// Uses its files in namespaces of the step's own; it must exist.
    NoExec,
    /// The same, and it is removed at the job's end.
    Remove,
}

/// `--container-name`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedContainer {
    /// A file name: no slash, no leading dot.
    pub name: String,
    /// What is done with it.
    pub how: NameUse,
}

impl NamedContainer {
    /// Parses `NAME[:auto|create|exec|no_exec]`.
    ///
    /// # Errors
    /// [`RequestError::ContainerName`], [`RequestError::NameUse`].
    pub fn parse(text: &OsStr) -> Result<Self, RequestError> {
        let whole = text
            .to_str()
            .ok_or_else(|| RequestError::ContainerName(lossy(text)))?;
        let (name, how) = whole.split_once(':').unwrap_or((whole, ""));
        let is_fine =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'+' | b'@');
        if name.is_empty()
            || name.len() > MAX_NAME
            || name.starts_with(['.', '-'])
            || !name.bytes().all(is_fine)
        {
            return Err(RequestError::ContainerName(name.to_owned()));
        }
        let how = match how {
            "" | "auto" => NameUse::Auto,
            "create" => NameUse::Create,
            "exec" => NameUse::Exec,
            "no_exec" => NameUse::NoExec,
            "remove" => NameUse::Remove,
            other => return Err(RequestError::NameUse(other.to_owned())),
        };
        Ok(Self {
            name: name.to_owned(),
            how,
        })
    }
}

/// How long a named container lives, the site's choice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Until it is removed: any job of the user's on the node may use it.
    #[default]
    Global,
    /// As long as the job.
    Job,
}

/// `--container-save`: a file, absolute or relative to the working directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavePath(OsString);

impl SavePath {
    /// Takes the name of a file.
    ///
    /// # Errors
    /// [`RequestError::Save`] for what can only be a directory.
    pub fn parse(text: &OsStr) -> Result<Self, RequestError> {
        no_control("container-save", text)?;
        let last = text.as_bytes().rsplit(|b| *b == b'/').next();
        match last {
            None | Some(b"" | b"." | b"..") => Err(RequestError::Save(lossy(text))),
            Some(_) => Ok(Self(text.to_owned())),
        }
    }

    /// As typed.
    #[must_use]
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }
}

/// `--container-unshare`: namespaces that the step does not share with the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unshare {
    /// Network devices, ports and routes.
    pub net: bool,
    /// System V IPC, message queues and shared memory.
    pub ipc: bool,
    /// The host's name.
    pub uts: bool,
    /// Process ids.
    pub pid: bool,
    /// The tree of control groups that is seen.
    pub cgroup: bool,
}

impl Unshare {
    /// Nothing is apart.
    pub const NONE: Self = Self {
        net: false,
        ipc: false,
        uts: false,
        pid: false,
        cgroup: false,
    };

    /// Parses a list of names.
    ///
    /// # Errors
    /// [`RequestError::Unshare`] with the word that is none.
    pub fn parse(text: &OsStr) -> Result<Self, RequestError> {
        let mut all = Self::NONE;
        for word in text.as_bytes().split(|b| *b == b',') {
            match word {
                b"net" => all.net = true,
                b"ipc" => all.ipc = true,
                b"uts" => all.uts = true,
                b"pid" => all.pid = true,
                b"cgroup" => all.cgroup = true,
                _ => {
                    return Err(RequestError::Unshare(
                        String::from_utf8_lossy(word).into_owned(),
                    ));
                }
            }
        }
        Ok(all)
    }
}

/// Parses `--container-env`: names of variables that come from the job, whatever
/// the image says.
///
/// # Errors
/// [`RequestError::Variable`] with the name that is none.
pub fn parse_variables(text: &OsStr) -> Result<Vec<OsString>, RequestError> {
    text.as_bytes()
        .split(|b| *b == b',')
        .map(|name| {
            let is_name =
                !name.is_empty() && !name.contains(&b'=') && !name.iter().any(u8::is_ascii_control);
            let name = OsStr::from_bytes(name);
            if is_name {
                Ok(name.to_owned())
            } else {
                Err(RequestError::Variable(lossy(name)))
            }
        })
        .collect()
}

/// One entry of `--container-overlay`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// A directory or a file with a file system.
    pub path: HostPath,
    /// Whether it takes the container's changes; `None` where it was not said.
    pub writable: Option<bool>,
}

impl Overlay {
    /// Parses `PATH[:ro|:rw],…`.
    ///
    /// # Errors
    /// [`RequestError::Overlay`] with the entry.
    pub fn parse_list(text: &OsStr) -> Result<Vec<Self>, RequestError> {
        no_control("container-overlay", text)?;
        text.as_bytes()
            .split(|b| *b == b',')
            .map(|entry| {
                let (path, writable) = if let Some(path) = entry.strip_suffix(b":ro") {
                    (path, Some(false))
                } else if let Some(path) = entry.strip_suffix(b":rw") {
                    (path, Some(true))
                } else {
                    (entry, None)
                };
                HostPath::new(OsStr::from_bytes(path))
                    .map(|path| Self { path, writable })
                    .map_err(|error| RequestError::Overlay {
                        entry: String::from_utf8_lossy(entry).into_owned(),
                        error,
                    })
            })
            .collect()
    }
}

/// One entry of `--container-device`: a device's name as the Container Device
/// Interface has it, `vendor.com/class=name`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceName(String);

impl DeviceName {
    /// Parses `VENDOR/CLASS=NAME,…`: the form; what the parts may be made of is said
    /// where they are looked up.
    ///
    /// # Errors
    /// [`RequestError::Device`] with the entry.
    pub fn parse_list(text: &OsStr) -> Result<Vec<Self>, RequestError> {
        no_control("container-device", text)?;
        text.as_bytes()
            .split(|b| *b == b',')
            .map(|entry| {
                let wrong = || RequestError::Device(String::from_utf8_lossy(entry).into_owned());
                let name = std::str::from_utf8(entry).map_err(|_| wrong())?;
                let (kind, device) = name.split_once('=').ok_or_else(wrong)?;
                match kind.split_once('/') {
                    Some((vendor, class))
                        if !vendor.is_empty() && !class.is_empty() && !device.is_empty() =>
                    {
                        Ok(Self(name.to_owned()))
                    }
                    _ => Err(wrong()),
                }
            })
            .collect()
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// `--container-profile`: a name, or a path where it has a slash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileName(OsString);

impl std::fmt::Display for ProfileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.to_string_lossy())
    }
}

impl ProfileName {
    /// Takes a name or a path.
    ///
    /// # Errors
    /// [`RequestError::EmptyProfile`], [`RequestError::Control`].
    pub fn parse(text: &OsStr) -> Result<Self, RequestError> {
        if text.is_empty() {
            return Err(RequestError::EmptyProfile);
        }
        no_control("container-profile", text)?;
        Ok(Self(text.to_owned()))
    }

    /// As typed.
    #[must_use]
    pub fn as_os_str(&self) -> &OsStr {
        &self.0
    }

    /// Whether it is a path, and not a name to be looked for.
    #[must_use]
    pub fn is_path(&self) -> bool {
        self.0.as_bytes().contains(&b'/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn os(text: &str) -> &OsStr {
        OsStr::new(text)
    }

    #[test]
    fn switches_are_words() {
        for yes in ["1", "true", "yes", "y"] {
            assert_eq!(parse_switch("x", os(yes)), Ok(true));
        }
        for no in ["0", "false", "no", "n"] {
            assert_eq!(parse_switch("x", os(no)), Ok(false));
        }
        for neither in ["", "on", "YES", "2"] {
            assert!(parse_switch("x", os(neither)).is_err(), "{neither}");
        }
    }

    #[test]
    fn a_name_is_a_file_name() {
        for (text, name, how) in [
            ("a", "a", NameUse::Auto),
            ("a.b-c_1:", "a.b-c_1", NameUse::Auto),
            ("a:create", "a", NameUse::Create),
            ("a:exec", "a", NameUse::Exec),
            ("a:no_exec", "a", NameUse::NoExec),
        ] {
            let parsed = NamedContainer::parse(os(text)).unwrap();
            assert_eq!((parsed.name.as_str(), parsed.how), (name, how));
        }
        for wrong in [
            "", ":", ".", "..", "a/b", ".a", "-a", "a b", "a\n", "a:run", "ä",
        ] {
            assert!(NamedContainer::parse(os(wrong)).is_err(), "{wrong}");
        }
        assert!(NamedContainer::parse(os(&"a".repeat(201))).is_err());
    }

    #[test]
    fn a_container_is_saved_in_a_file() {
        for right in ["a.sif", "./a", "/x/y.sqsh"] {
            assert!(SavePath::parse(os(right)).is_ok(), "{right}");
        }
        for wrong in ["", ".", "./", "/", "a/", "..", "x/..", "a/.", "a\nb"] {
            assert!(SavePath::parse(os(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_of_words() {
        let some = Unshare::parse(os("net,pid")).unwrap();
        assert!(some.net && some.pid && !some.ipc && !some.uts);
        assert!(Unshare::parse(os("net,")).is_err());
        assert_eq!(parse_variables(os("A,B_2")).unwrap().len(), 2);
        assert!(parse_variables(os("A,,B")).is_err());
        assert!(parse_variables(os("A=1")).is_err());
    }

    #[test]
    fn devices_have_names_of_three_parts() {
        let list = DeviceName::parse_list(os("nvidia.com/gpu=0,site.org/nic=eth0")).unwrap();
        let names: Vec<&str> = list.iter().map(DeviceName::as_str).collect();
        assert_eq!(names, ["nvidia.com/gpu=0", "site.org/nic=eth0"]);
        for wrong in [
            "",
            "gpu",
            "gpu=0",
            "/gpu=0",
            "a/=0",
            "a/b=",
            "a/b=c,",
            "a/b=\u{7}",
        ] {
            assert!(DeviceName::parse_list(os(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn overlays_say_how() {
        let list = Overlay::parse_list(os("/a,/b:ro,/c:rw")).unwrap();
        let seen: Vec<_> = list
            .iter()
            .map(|o| (o.path.to_string(), o.writable))
            .collect();
        assert_eq!(
            seen,
            [
                ("/a".to_owned(), None),
                ("/b".to_owned(), Some(false)),
                ("/c".to_owned(), Some(true))
            ]
        );
        assert!(Overlay::parse_list(os("a")).is_err());
    }
}
