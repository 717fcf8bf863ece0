//! gres.conf: which device files of a node are which generic resource.
//!
//! Text in, resources out, in the file's order, which is Slurm's numbering where it
//! does not detect devices by itself. Whether the files are there is not asked.

use std::path::{Path, PathBuf};

use super::conf::{Conf, ConfError, Line};
use super::hostlist::{self, HostlistError};
use crate::host::Host;

/// No node has more files of one line.
const MAX_FILES: usize = 4096;

/// Why gres.conf cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GresError {
    /// The file, or its form.
    #[error(transparent)]
    Conf(#[from] ConfError),
    /// A list of files.
    #[error("{}: line {number}: File={source}", file.display())]
    Files {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        number: usize,
        /// What is wrong.
        source: HostlistError,
    },
}

/// One line of a node's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gres {
    /// As in `--gres=gpu`; `None` for a line that only says how devices are found.
    pub name: Option<String>,
    /// `Type=`.
    pub kind: Option<String>,
    /// `File=` or `MultipleFiles=`, expanded. With the latter all of them are one
    /// device's.
    pub files: Vec<PathBuf>,
    /// Whether all the files are one device's.
    pub is_one: bool,
    /// `Count=`, with Slurm's K, M, G as powers of 1024.
    pub count: Option<u64>,
    /// `Cores=`, as it is written.
    pub cores: Option<String>,
    /// `Links=`, as it is written.
    pub links: Option<String>,
    /// `Flags=`, its words.
    pub flags: Vec<String>,
    /// `AutoDetect=` of this line, as `nvml`.
    pub auto_detect: Option<String>,
    /// Whether it begins with `NodeName`: Slurm reads those after the others.
    pub is_of_nodes: bool,
    /// Where it stands: the file and the line, counted from 1.
    pub at: (PathBuf, usize),
}

impl Gres {
    /// How many of the resource the line gives the node: what it says, else one for
    /// each file, or one for all where they are one device's.
    #[must_use]
    pub fn devices(&self) -> u64 {
        let files = u64::try_from(self.files.len()).unwrap_or(u64::MAX);
        let by_files = if self.is_one { files.min(1) } else { files };
        self.count.unwrap_or(by_files.max(1))
    }
}

/// The lines of one node: those without `NodeName`, and those that name it. The file may
/// be SlurmUser's: slurmd, which runs as root, believes it too.
///
/// # Errors
/// Any [`GresError`].
pub fn of_node(host: &Host, path: &Path, node: &str) -> Result<Vec<Gres>, GresError> {
    lines_of(&Conf::look_into(host, path)?, node)
}

/// As [`of_node`], from what was read already.
///
/// # Errors
/// [`GresError::Files`].
pub fn lines_of(conf: &Conf, node: &str) -> Result<Vec<Gres>, GresError> {
    let is_his = |line: &&Line| {
        line.get("NodeName")
            .is_none_or(|names| hostlist::contains(names, node))
    };
    conf.lines.iter().filter(is_his).map(gres).collect()
}

fn gres(line: &Line) -> Result<Gres, GresError> {
    let text = |key: &str| line.get(key).map(str::to_owned);
    let several = line.get("MultipleFiles");
    let files = several.or(line.get("File")).unwrap_or_default();
    let files = hostlist::expand(files, MAX_FILES).map_err(|source| GresError::Files {
        file: line.file.clone(),
        number: line.number,
        source,
    })?;
    Ok(Gres {
        name: text("Name"),
        kind: text("Type"),
        files: files.into_iter().map(PathBuf::from).collect(),
        is_one: several.is_some(),
        count: line.get("Count").and_then(count),
        cores: text("Cores"),
        links: text("Links"),
        flags: line
            .get("Flags")
            .unwrap_or_default()
            .split(',')
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect(),
        auto_detect: text("AutoDetect"),
        is_of_nodes: line
            .entries
            .first()
            .is_some_and(|(key, _)| key.eq_ignore_ascii_case("NodeName")),
        at: (line.file.clone(), line.number),
    })
}

/// One entry of slurm.conf's `Gres=` of a node, as `gpu:a100:4`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configured {
    /// As `gpu`.
    pub name: String,
    /// As `a100`.
    pub kind: Option<String>,
    /// How many there are.
    pub count: u64,
}

/// What slurm.conf says that a node has; `None` where it does not name the node, which
/// then has registered itself.
#[must_use]
pub fn configured(conf: &Conf, node: &str) -> Option<Vec<Configured>> {
    let mut default = "";
    let mut own = None;
    for line in conf.records("NodeName") {
        let names = line.get("NodeName").unwrap_or_default();
        let gres = line.get("Gres");
        if names.eq_ignore_ascii_case("DEFAULT") {
            default = gres.unwrap_or(default);
        } else if hostlist::contains(names, node) {
            own = Some(gres.unwrap_or(default));
        }
    }
    let entries = own?.split(',').map(str::trim);
    Some(
        entries
            .filter(|entry| !entry.is_empty())
            .map(entry)
            .collect(),
    )
}

fn entry(text: &str) -> Configured {
    let text = text.split('(').next().unwrap_or_default();
    let mut words: Vec<&str> = text.split(':').collect();
    words.retain(|word| !word.eq_ignore_ascii_case("no_consume"));
    let number = words.last().and_then(|last| count(last));
    if number.is_some() {
        words.pop();
    }
    Configured {
        name: words.first().copied().unwrap_or_default().to_owned(),
        kind: words.get(1).map(|kind| (*kind).to_owned()),
        count: number.unwrap_or(1),
    }
}

fn count(text: &str) -> Option<u64> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slurm::conf::{Statement, parse};

    fn conf(text: &str) -> Conf {
        let statements = parse(text, Path::new("gres.conf")).unwrap();
        let lines = statements
            .into_iter()
            .filter_map(|statement| match statement {
                Statement::Keys(line) => Some(line),
                Statement::Include(..) => None,
            });
        Conf {
            lines: lines.collect(),
            files: Vec::new(),
        }
    }

    const FILE: &str = "AutoDetect=off\n\
        NodeName=node[1-2] Name=gpu Type=a100 File=/dev/nvidia[0-3] Cores=0-15 Links=-1,4\n\
        nodename=node3 name=gpu autodetect=nvml\n\
        Name=mps Count=2K\n\
        NodeName=node1 Name=gpu MultipleFiles=/dev/a,/dev/b Flags=nvidia_gpu_env,x\n";

    #[test]
    fn a_node_has_its_own_lines() {
        let lines = lines_of(&conf(FILE), "node1").unwrap();
        let numbers: Vec<usize> = lines.iter().map(|gres| gres.at.1).collect();
        assert_eq!(numbers, [1, 2, 4, 5]);
        let of_nodes: Vec<bool> = lines.iter().map(|gres| gres.is_of_nodes).collect();
        assert_eq!(of_nodes, [false, true, false, true]);
        let gpus = &lines[1];
        assert_eq!(gpus.name.as_deref(), Some("gpu"));
        assert_eq!(gpus.kind.as_deref(), Some("a100"));
        assert_eq!(gpus.cores.as_deref(), Some("0-15"));
        assert_eq!(gpus.links.as_deref(), Some("-1,4"));
        let files: Vec<PathBuf> = (0..4).map(|n| format!("/dev/nvidia{n}").into()).collect();
        assert_eq!(
            (&gpus.files, gpus.devices(), gpus.is_one),
            (&files, 4, false)
        );
        assert_eq!((lines[2].count, lines[2].devices()), (Some(2048), 2048));
        assert_eq!(lines[0].auto_detect.as_deref(), Some("off"));
        let one = &lines[3];
        assert_eq!((one.files.len(), one.is_one, one.devices()), (2, true, 1));
        assert_eq!(one.flags, ["nvidia_gpu_env", "x"]);
        let other = lines_of(&conf(FILE), "node3").unwrap();
        assert_eq!(other[1].auto_detect.as_deref(), Some("nvml"));
        assert_eq!(other[1].devices(), 1);
        assert_eq!(lines_of(&conf(FILE), "node4").unwrap().len(), 2);
    }

    #[test]
    fn what_slurm_conf_gives_a_node() {
        let of = |gres: &str| {
            let text = format!(
                "NodeName=DEFAULT Gres=gpu:2\nNodeName=n1 CPUs=1\nNodeName=n[2-3] {gres}\n"
            );
            (
                configured(&conf(&text), "n1"),
                configured(&conf(&text), "n2"),
            )
        };
        let one = |name: &str, kind: Option<&str>, count| Configured {
            name: name.to_owned(),
            kind: kind.map(str::to_owned),
            count,
        };
        let (default, own) = of("Gres=gpu:a100:4(S:0-1),shard:8,gpu,license:no_consume:1K");
        assert_eq!(default, Some(vec![one("gpu", None, 2)]));
        assert_eq!(
            own,
            Some(vec![
                one("gpu", Some("a100"), 4),
                one("shard", None, 8),
                one("gpu", None, 1),
                one("license", None, 1024),
            ])
        );
        assert_eq!(of("Gres=").1, Some(Vec::new()));
        assert_eq!(configured(&conf("NodeName=a Gres=gpu"), "b"), None);
    }

    #[test]
    fn counts_have_units() {
        for (text, wanted) in [
            ("4", Some(4)),
            ("2k", Some(2048)),
            ("1G", Some(1 << 30)),
            ("", None),
            ("x", None),
            ("4X", None),
            ("99999999999999999999", None),
            ("99999999999999P", None),
        ] {
            assert_eq!(count(text), wanted, "{text}");
        }
    }

    #[test]
    fn a_wrong_list_names_its_line() {
        let text = "Name=a\nName=gpu File=/dev/nvidia[0-\n";
        let error = lines_of(&conf(text), "n").unwrap_err().to_string();
        assert!(error.starts_with("gres.conf: line 2: File="), "{error}");
    }
}
