//! The GPUs of a step: Slurm's numbers, or the vendor's names, and the devices that they
//! stand for. A number of which it is not known which GPU it is shows nothing.

use std::fmt;
use std::path::PathBuf;

use host_devices::gpu::{Gpus as Found, Named};

use super::order::Listing;
use crate::visible::{MAX_NUMBERS, Numbers};

/// How the vendors' variables count the step's GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// From 0: Slurm lets the step open no others. Also where it is not known: what is
    /// then wrong names a GPU that is not there, and not another one.
    OfTheStep,
    /// As the node does.
    OfTheNode,
}

/// One GPU, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Slurm's number of it on the node.
    pub number: u32,
    /// The vendor's name for it, where Slurm tells that and no number: `GPU-…`, `MIG-…`.
    pub name: Option<String>,
    /// Its devices; none where it is not known which they are.
    pub files: Vec<PathBuf>,
}

impl Gpu {
    /// The GPU, or the one of which it is a part, where the node is known to have it.
    #[must_use]
    pub fn known<'a>(&self, found: &'a Found) -> Option<&'a host_devices::gpu::Gpu> {
        match found.named(self.files.first()?) {
            Named::Gpu(gpu) | Named::Mig(gpu, _) => Some(gpu),
            Named::Unknown => None,
        }
    }

    /// What it is called, where it is a part of a GPU: by the vendor, or else by its
    /// device.
    #[must_use]
    pub fn part(&self, found: &Found) -> Option<String> {
        let part = self.files.iter().find_map(|file| match found.named(file) {
            Named::Mig(_, part) => Some(part),
            Named::Gpu(_) | Named::Unknown => None,
        })?;
        let device = || {
            let name = part.compute_node.file_name()?;
            Some(name.to_string_lossy().into_owned())
        };
        self.name.clone().or_else(device)
    }
}

impl fmt::Display for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number)?;
        let mut between = " at ";
        for file in &self.files {
            write!(f, "{between}{}", file.display())?;
            between = " and ";
        }
        Ok(())
    }
}

/// The GPUs of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpus {
    /// In the node's order.
    pub all: Vec<Gpu>,
    /// How the vendors' variables count them.
    pub numbering: Numbering,
    /// What the site's files say of the node's.
    pub listing: Listing,
}

impl Gpus {
    /// These numbers, in Slurm's order; `names` are those that Slurm tells instead, one
    /// for each.
    #[must_use]
    pub fn of(numbers: &[u32], names: &[String], listing: Listing, numbering: Numbering) -> Self {
        let name = |place: usize| match names.len() == numbers.len() {
            true => names.get(place).filter(|name| is_name(name)).cloned(),
            false => None,
        };
        let mut all: Vec<Gpu> = numbers
            .iter()
            .enumerate()
            .map(|(place, number)| Gpu {
                number: *number,
                name: name(place),
                files: Vec::new(),
            })
            .collect();
        all.sort_by_key(|gpu| gpu.number);
        all.dedup_by_key(|gpu| gpu.number);
        Self {
            all,
            numbering,
            listing,
        }
    }

    /// Looks each up among those that the node has: by the site's files, or else by its
    /// name. The line for those of which it is not known which they are, if any.
    pub fn place(&mut self, found: &Found) -> Option<String> {
        let list = self.listing.gpus(found);
        let mut unknown = Vec::new();
        for gpu in &mut self.all {
            let place = usize::try_from(gpu.number).ok();
            let listed = list.as_ref().ok().zip(place);
            gpu.files = listed
                .and_then(|(list, place)| list.get(place).cloned())
                .or_else(|| by_name(gpu.name.as_deref()?, found))
                .unwrap_or_default();
            if gpu.files.is_empty() {
                unknown.push(gpu.number.to_string());
            }
        }
        if unknown.is_empty() {
            return None;
        }
        let why = match list {
            Ok(_) => "gres.conf names no device for it".to_owned(),
            Err(why) => why.to_string(),
        };
        Some(format!(
            "GPU {}: {why}; the container does not show it; for admins: name its devices in gres.conf by File= or MultipleFiles=",
            unknown.join(", ")
        ))
    }

    /// What the vendors' variables have to be translated by.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let shown = self.all.iter().filter(|gpu| !gpu.files.is_empty());
        match self.numbering {
            Numbering::OfTheStep => Numbers::default(),
            Numbering::OfTheNode => Numbers::new(shown.map(|gpu| gpu.number).collect()),
        }
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with("GPU-") || text.starts_with("MIG-")
}

/// The devices behind a vendor's name. Old drivers name parts by the GPU and two
/// numbers, `MIG-GPU-…/1/0`; a newer `MIG-…` stands in no file.
fn by_name(name: &str, found: &Found) -> Option<Vec<PathBuf>> {
    let of = |uuid: &str| {
        found.all.iter().find(|gpu| {
            let own = gpu.uuid.as_deref();
            own.is_some_and(|own| own.eq_ignore_ascii_case(uuid))
        })
    };
    let Some(part) = name.strip_prefix("MIG-") else {
        return Some(vec![of(name)?.nodes.first()?.clone()]);
    };
    let mut words = part.split('/');
    let gpu = of(words.next()?)?;
    let (gpu_instance, compute_instance): (u32, u32) =
        (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let part = gpu.mig.iter().find(|part| {
        part.gpu_instance == gpu_instance && part.compute_instance == compute_instance
    })?;
    Some(vec![
        gpu.nodes.first()?.clone(),
        part.gpu_node.clone(),
        part.compute_node.clone(),
    ])
}

/// The numbers that Slurm tells, and the variable that tells them. A batch script and
/// an interactive step have the job's GPUs, any other step its own.
pub(super) fn numbers(
    look: &impl Fn(&str) -> Option<String>,
    is_job: bool,
) -> Option<(Vec<u32>, &'static str)> {
    let names: &[&'static str] = match is_job {
        true => &["SLURM_JOB_GPUS", "SLURM_STEP_GPUS"],
        false => &["SLURM_STEP_GPUS"],
    };
    names.iter().find_map(|name| {
        let numbers = list(&look(name)?)?;
        Some((numbers, *name))
    })
}

/// The vendor's names that Slurm tells beside the numbers, one for each; numbers where
/// it tells no names.
pub(super) fn names(look: &impl Fn(&str) -> Option<String>) -> Vec<String> {
    let has_names = |value: &String| value.split(',').any(is_name);
    ["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"]
        .iter()
        .find_map(|name| look(name).filter(has_names))
        .map(|value| value.split(',').map(str::to_owned).collect())
        .unwrap_or_default()
}

/// A list as `0,2-3`.
fn list(text: &str) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || all.len() + usize::try_from(last - first).ok()? >= MAX_NUMBERS {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::slurm::conf::{Conf, Statement, parse};
    use crate::slurm::gres::lines_of;

    #[test]
    fn lists_of_numbers() {
        assert_eq!(list("0"), Some(vec![0]));
        assert_eq!(list("3,1"), Some(vec![3, 1]));
        assert_eq!(list("0,2-4"), Some(vec![0, 2, 3, 4]));
        for wrong in ["", "a", "1,", "4-2", "0-4294967295", "GPU-1"] {
            assert_eq!(list(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_steps_own_variable_counts_and_a_scripts_the_jobs() {
        let look = |name: &str| match name {
            "SLURM_STEP_GPUS" => Some("1".to_owned()),
            "SLURM_JOB_GPUS" => Some("0,1".to_owned()),
            _ => None,
        };
        assert_eq!(numbers(&look, false), Some((vec![1], "SLURM_STEP_GPUS")));
        assert_eq!(numbers(&look, true), Some((vec![0, 1], "SLURM_JOB_GPUS")));
        let job = |name: &str| (name == "SLURM_JOB_GPUS").then(|| "0".to_owned());
        assert_eq!(numbers(&job, false), None);
    }

    fn gpu(index: u32, uuid: &str) -> host_devices::gpu::Gpu {
        host_devices::gpu::Gpu {
            vendor: host_devices::gpu::Vendor::Nvidia,
            index,
            nodes: vec![format!("/dev/nvidia{index}").into()],
            uuid: Some(uuid.to_owned()),
            bus: None,
            model: None,
            mig: Vec::new(),
            shared: Vec::new(),
        }
    }

    /// Two GPUs, the second in two parts.
    fn found() -> Found {
        let mut second = gpu(1, "GPU-bb");
        second.mig = [(1, 21), (2, 30)]
            .map(|(instance, node)| host_devices::gpu::MigInstance {
                gpu_instance: instance,
                compute_instance: 0,
                gpu_node: format!("/dev/nvidia-caps/nvidia-cap{node}").into(),
                compute_node: format!("/dev/nvidia-caps/nvidia-cap{}", node + 1).into(),
            })
            .into();
        Found {
            all: vec![gpu(0, "GPU-aa"), second],
            problems: Vec::new(),
        }
    }

    fn of(numbers: &[u32], names: &[&str], gres: &str) -> Gpus {
        let statements = parse(gres, Path::new("gres.conf")).unwrap();
        let lines = statements
            .into_iter()
            .filter_map(|statement| match statement {
                Statement::Keys(line) => Some(line),
                Statement::Include(..) => None,
            });
        let conf = Conf {
            lines: lines.collect(),
            files: Vec::new(),
        };
        let listing = Listing {
            lines: lines_of(&conf, "n1").unwrap(),
            configured: None,
        };
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Gpus::of(numbers, &names, listing, Numbering::OfTheNode)
    }

    #[test]
    fn numbers_are_places_in_slurms_list() {
        let gres = "Name=gpu File=/dev/nvidia[0-1]\nName=nic File=/dev/infiniband/uverbs0\n\
            Name=gpu MultipleFiles=/dev/dri/card0,/dev/dri/renderD128\n";
        let mut gpus = of(&[2, 0, 7, 0], &[], gres);
        assert_eq!(
            gpus.place(&found()).as_deref(),
            Some(
                "GPU 7: gres.conf names no device for it; the container does not show it; for admins: name its devices in gres.conf by File= or MultipleFiles="
            )
        );
        let told: Vec<String> = gpus.all.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "0 at /dev/nvidia0",
                "2 at /dev/dri/card0 and /dev/dri/renderD128",
                "7",
            ]
        );
        // What is not shown is not counted in the container.
        assert_eq!(gpus.numbers(), Numbers::new(vec![0, 2]));
        gpus.numbering = Numbering::OfTheStep;
        assert_eq!(gpus.numbers(), Numbers::default());
    }

    #[test]
    fn names_find_what_no_file_names() {
        let part =
            "/dev/nvidia1 and /dev/nvidia-caps/nvidia-cap30 and /dev/nvidia-caps/nvidia-cap31";
        for (names, expected) in [
            (vec!["GPU-AA"], "3 at /dev/nvidia0".to_owned()),
            (vec!["MIG-GPU-bb/2/0"], format!("3 at {part}")),
            (vec!["MIG-GPU-bb/9/0"], "3".to_owned()),
            (vec!["MIG-aa"], "3".to_owned()),
            (vec!["GPU-cc"], "3".to_owned()),
            (vec!["0"], "3".to_owned()),
            // Another number of names than of GPUs tells nothing of either.
            (vec!["GPU-aa", "GPU-bb"], "3".to_owned()),
        ] {
            let mut gpus = of(&[3], &names, "");
            let line = gpus.place(&found());
            assert_eq!(gpus.all[0].to_string(), expected, "{names:?}");
            assert_eq!(line.is_some(), expected == "3", "{names:?}");
        }
        // A file goes before a name.
        let mut gpus = of(&[0], &["GPU-aa"], "Name=gpu File=/dev/nvidia1\n");
        gpus.place(&found());
        assert_eq!(gpus.all[0].to_string(), "0 at /dev/nvidia1");
    }

    #[test]
    fn parts_have_a_name() {
        for (name, file, expected) in [
            (None, "/dev/nvidia-caps/nvidia-cap22", Some("nvidia-cap22")),
            (
                Some("MIG-x"),
                "/dev/nvidia-caps/nvidia-cap22",
                Some("MIG-x"),
            ),
            (Some("GPU-aa"), "/dev/nvidia0", None),
        ] {
            let gpu = Gpu {
                number: 0,
                name: name.map(str::to_owned),
                files: vec![file.into()],
            };
            assert_eq!(gpu.part(&found()).as_deref(), expected);
        }
    }

    #[test]
    fn names_are_taken_where_there_are_some() {
        let look = |value: &'static str| {
            move |name: &str| (name == "CUDA_VISIBLE_DEVICES").then(|| value.to_owned())
        };
        assert_eq!(names(&look("MIG-a,MIG-b")), ["MIG-a", "MIG-b"]);
        assert!(names(&look("0,1")).is_empty());
        let amd = |name: &str| match name {
            "CUDA_VISIBLE_DEVICES" => Some("0".to_owned()),
            "ROCR_VISIBLE_DEVICES" => Some("GPU-1a2b".to_owned()),
            _ => None,
        };
        assert_eq!(names(&amd), ["GPU-1a2b"]);
    }
}
