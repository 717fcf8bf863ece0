//! Slurm's list of a node's GPUs. A step's numbers are places in it.
//!
//! slurmd makes it from gres.conf, of which it takes what slurm.conf's `Gres=` has room
//! for (`_merge_config` of gres.c). Where it finds GPUs by itself, it puts those in the
//! place of the lines, and sorts all by file and then by their place on the PCI bus
//! (`_merge_system_gres_conf` of gres_gpu.c). Pure, and guesses nothing: another list
//! would show a step the GPU of somebody else.

use std::cmp::Ordering;
use std::path::PathBuf;

use host_devices::gpu::{Gpu, Gpus, Vendor};

use crate::slurm::gres::{Configured, Gres};

/// Why a list is not known: the end of a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// It is not known here what that finds.
    #[error("what Slurm finds by AutoDetect={0} is not known here")]
    Detector(String),
    /// Only some of them are Slurm's.
    #[error(
        "slurm.conf has {configured} of the {found} that Slurm finds here, by type, and it is not known which"
    )]
    Types {
        /// What slurm.conf has, that gres.conf names no file for.
        configured: usize,
        /// What would do for it.
        found: usize,
    },
    /// slurmd once found more, and still counts them.
    #[error(
        "Slurm has found {configured} of them by itself, and {found} are here now, so that it is not known which have which number"
    )]
    Fewer {
        /// What slurm.conf has, that gres.conf names no file for.
        configured: usize,
        /// What is there for it.
        found: usize,
    },
    /// The driver has no GPU for a device that was one's.
    #[error("{} is a device of no GPU that is here now, so that it is not known which have which number", .0.display())]
    Stale(PathBuf),
    /// A line of gres.conf names a GPU that slurmd may have found and put in its place.
    #[error("{} of gres.conf is not among the GPUs that are here now, so that it is not known which number it has", .0.display())]
    Gone(PathBuf),
}

/// What a site's files say of a node's GPUs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The node's lines of gres.conf.
    pub lines: Vec<Gres>,
    /// What slurm.conf has of it, where that names the node.
    pub configured: Option<Vec<Configured>>,
}

/// The files of one GPU of the list, or of one part of a GPU; none where no line has any.
type Files = Vec<PathBuf>;

/// One of them on the way into the list.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Single {
    kind: Option<String>,
    files: Files,
    /// Its place on the PCI bus among those of its kind, which Slurm keeps in `Links=`.
    link: Option<u32>,
}

impl Listing {
    /// The list, as files; `found` are the GPUs that the node has.
    ///
    /// # Errors
    /// [`Unclear`].
    pub fn gpus(&self, found: &Gpus) -> Result<Vec<Files>, Unclear> {
        let own = self.taken();
        let list = match self.detector() {
            Some(word) => merged(own, detected(word, found)?, devices_of(word))?,
            None => own,
        };
        let with_files = list.into_iter().map(|single| single.files);
        Ok(with_files.filter(|files| !files.is_empty()).collect())
    }

    /// How slurmd finds GPUs by itself here, where it does. What a node's own lines say
    /// goes before what is said for all.
    fn detector(&self) -> Option<&str> {
        let words = |own: bool| {
            let lines = self
                .lines
                .iter()
                .filter(move |line| (line.is_of_nodes || line.name.is_some()) == own);
            lines
                .filter_map(|line| line.auto_detect.as_deref())
                .next_back()
        };
        words(true)
            .or_else(|| words(false))
            .filter(|word| !word.eq_ignore_ascii_case("off"))
    }

    /// What slurm.conf takes of the lines, in its order; with nothing in slurm.conf all.
    fn taken(&self) -> Vec<Single> {
        let is_gpu = |line: &&Gres| line.name.as_deref() == Some("gpu");
        let gpus = || self.lines.iter().filter(is_gpu);
        let ordered = gpus()
            .filter(|line| !line.is_of_nodes)
            .chain(gpus().filter(|line| line.is_of_nodes));
        let mut records: Vec<Vec<Single>> = ordered.map(singles).collect();
        let Some(configured) = &self.configured else {
            return records.into_iter().flatten().collect();
        };
        let mut taken = Vec::new();
        for entry in configured.iter().filter(|entry| entry.name == "gpu") {
            let mut room = usize::try_from(entry.count)
                .unwrap_or(MAX_GPUS)
                .min(MAX_GPUS);
            let mut left = Vec::new();
            for mut record in records {
                let fits = entry.kind.as_ref().is_none_or(|wanted| {
                    let kind = record.first().and_then(|single| single.kind.as_ref());
                    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(wanted))
                });
                if room == 0 || !fits {
                    left.push(record);
                    continue;
                }
                record.truncate(room);
                room -= record.len();
                taken.extend(record);
            }
            records = left;
            let without_file = Single {
                kind: entry.kind.clone(),
                files: Vec::new(),
                link: None,
            };
            taken.extend(std::iter::repeat_n(without_file, room));
        }
        taken
    }
}

/// No node has more.
const MAX_GPUS: usize = 4096;

/// What a line stands for, one by one.
fn singles(line: &Gres) -> Vec<Single> {
    let own = line.links.as_deref().and_then(|links| {
        let place = links.split(',').position(|link| link.trim() == "-1");
        place.and_then(|place| u32::try_from(place).ok())
    });
    let single = |files: Files| Single {
        kind: line.kind.clone(),
        files,
        link: own,
    };
    if line.is_one {
        vec![single(line.files.clone())]
    } else if line.files.is_empty() {
        let count = usize::try_from(line.devices()).unwrap_or(MAX_GPUS);
        vec![single(Vec::new()); count.min(MAX_GPUS)]
    } else {
        let files = line.files.iter().cloned();
        files.map(|file| single(vec![file])).collect()
    }
}

/// What slurmd finds, in its order.
fn detected(word: &str, found: &Gpus) -> Result<Vec<Single>, Unclear> {
    let unclear = || Unclear::Detector(word.to_owned());
    let has = |part: &str| word.to_ascii_lowercase().contains(part);
    let of_nvidia = ["nvml", "nvidia"].iter().any(|part| has(part));
    if let Some(node) = stale(found).filter(|_| of_nvidia) {
        return Err(Unclear::Stale(node));
    }
    if has("nvml") {
        return Ok(by_nvml(found));
    }
    let first = |gpu: &Gpu| gpu.nodes.iter().take(1).cloned().collect();
    let in_order = |gpus: Vec<&Gpu>| {
        let one = |(place, gpu): (usize, &&Gpu)| Single {
            kind: None,
            files: first(gpu),
            link: u32::try_from(place).ok(),
        };
        gpus.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    if has("rsmi") {
        let mut gpus: Vec<&Gpu> = found.of(Vendor::Amd).collect();
        // Those that share a place are parts of one, whose order is the library's own.
        gpus.sort_by(|a, b| a.bus.cmp(&b.bus));
        let is_divided = |pair: &[&Gpu]| matches!(pair, [a, b] if a.bus == b.bus);
        return match gpus.windows(2).any(is_divided) {
            true => Err(unclear()),
            false => Ok(in_order(gpus)),
        };
    }
    if has("oneapi") {
        return Ok(in_order(found.of(Vendor::Intel).collect()));
    }
    if has("nvidia") {
        // It reads what the driver says in /proc, and knows no parts of GPUs.
        let mut list = by_nvml(found);
        if list.iter().any(|single| single.link.is_none()) {
            return Err(unclear());
        }
        list.iter_mut().for_each(|single| single.link = None);
        return Ok(list);
    }
    Err(unclear())
}

/// The device of a GPU of NVIDIA's that has gone: it stays in /dev, and the driver has
/// others.
fn stale(found: &Gpus) -> Option<PathBuf> {
    let is_told = |gpu: &&Gpu| gpu.bus.is_some();
    found.of(Vendor::Nvidia).find(is_told)?;
    let mut others = found.of(Vendor::Nvidia).filter(|gpu| gpu.bus.is_none());
    others.find_map(|gpu| gpu.nodes.first().cloned())
}

/// How the devices begin that this finds.
fn devices_of(word: &str) -> &'static str {
    let word = word.to_ascii_lowercase();
    let is_of_drm = word.contains("rsmi") || word.contains("oneapi");
    if is_of_drm {
        "/dev/dri/"
    } else {
        "/dev/nvidia"
    }
}

/// NVIDIA's GPUs as its management library counts them, and their parts instead of
/// those that are divided; parts have no links.
fn by_nvml(found: &Gpus) -> Vec<Single> {
    let mut list = Vec::new();
    for gpu in found.of(Vendor::Nvidia) {
        let main = gpu.nodes.iter().take(1).cloned();
        if gpu.mig.is_empty() {
            list.push(Single {
                kind: None,
                files: main.collect(),
                link: Some(gpu.index),
            });
            continue;
        }
        list.extend(gpu.mig.iter().map(|part| {
            Single {
                kind: None,
                files: main
                    .clone()
                    .chain([part.gpu_node.clone(), part.compute_node.clone()])
                    .collect(),
                link: None,
            }
        }));
    }
    list
}

/// The list of what the site has and what slurmd finds, which begins with `devices`.
///
/// slurmd found it when it began. A GPU that has gone since has kept its place there,
/// and is not seen here: then the places of the others are not known.
fn merged(
    mut own: Vec<Single>,
    mut found: Vec<Single>,
    devices: &str,
) -> Result<Vec<Single>, Unclear> {
    found.sort_by(by_file);
    own.sort_by(by_file);
    let (named, nameless): (Vec<Single>, Vec<Single>) =
        own.into_iter().partition(|single| !single.files.is_empty());
    let mut list = Vec::new();
    for single in named {
        let place = found.iter().position(|other| other.files == single.files);
        list.push(match (place, single.files.first()) {
            (Some(place), _) => found.remove(place),
            (None, Some(file)) if file.to_string_lossy().starts_with(devices) => {
                return Err(Unclear::Gone(file.clone()));
            }
            (None, _) => single,
        });
    }
    let there = found.iter().filter(|single| !single.files.is_empty());
    let there = there.count();
    let wanted = nameless.len().max(found.len());
    if !nameless.is_empty() && there < wanted {
        return Err(Unclear::Fewer {
            configured: wanted,
            found: there,
        });
    }
    let has_types = nameless.iter().any(|single| single.kind.is_some());
    if has_types && nameless.len() < found.len() {
        return Err(Unclear::Types {
            configured: nameless.len(),
            found: found.len(),
        });
    }
    list.extend(found.into_iter().take(nameless.len()));
    list.sort_by(by_file);
    list.sort_by_key(|single| (single.link.is_none(), single.link));
    Ok(list)
}

/// As Slurm compares, which joins the files of one with commas; those without a file
/// are last.
fn by_file(a: &Single, b: &Single) -> Ordering {
    let text = |single: &Single| {
        let files: Vec<String> = single
            .files
            .iter()
            .map(|file| file.to_string_lossy().into_owned())
            .collect();
        files.join(",")
    };
    a.files
        .is_empty()
        .cmp(&b.files.is_empty())
        .then_with(|| natural(text(a).as_bytes(), text(b).as_bytes()))
}

/// Numbers in a text by their value: `nvidia2` before `nvidia10`.
fn natural(mut a: &[u8], mut b: &[u8]) -> Ordering {
    loop {
        let digits = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
        let (of_a, of_b) = (digits(a), digits(b));
        let (head, rest) = match (of_a, of_b) {
            (0, _) | (_, 0) => (a.get(..1).cmp(&b.get(..1)), (1, 1)),
            _ => {
                let value = |text: &[u8], length: usize| -> Vec<u8> {
                    let digits = text.iter().take(length).copied();
                    digits.skip_while(|c| *c == b'0').collect()
                };
                let (x, y) = (value(a, of_a), value(b, of_b));
                (x.len().cmp(&y.len()).then(x.cmp(&y)), (of_a, of_b))
            }
        };
        if head != Ordering::Equal || a.is_empty() || b.is_empty() {
            return head;
        }
        a = a.get(rest.0..).unwrap_or_default();
        b = b.get(rest.1..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests;
