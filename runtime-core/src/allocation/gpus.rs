//! The GPUs of a step: Slurm's numbers, and the devices that gres.conf gives them.

use std::fmt;
use std::path::PathBuf;

use crate::slurm::gres::Gres;
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

/// One GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Slurm's number of it on the node.
    pub number: u32,
    /// Its devices by gres.conf; none where Slurm has found it by itself.
    pub files: Vec<PathBuf>,
}

impl Gpu {
    /// The GPU, where the node is known to have it. One that Slurm has found by itself
    /// is the GPU of that number in the vendor's own order.
    #[must_use]
    pub fn known<'a>(
        &self,
        found: &'a host_devices::gpu::Gpus,
    ) -> Option<&'a host_devices::gpu::Gpu> {
        use host_devices::gpu::Named;
        match self.files.first() {
            Some(file) => match found.named(file) {
                Named::Gpu(gpu) | Named::Mig(gpu, _) => Some(gpu),
                Named::Unknown => None,
            },
            None => {
                let vendor = found.all.first()?.vendor;
                // Slurm counts parts of a GPU as GPUs: its numbers are others then.
                if found.of(vendor).any(|gpu| !gpu.mig.is_empty()) {
                    return None;
                }
                found.of(vendor).find(|gpu| gpu.index == self.number)
            }
        }
    }

    /// Its own devices, as the site names them or as they were found.
    #[must_use]
    pub fn nodes(&self, found: &host_devices::gpu::Gpus) -> Vec<PathBuf> {
        if self.files.is_empty() {
            let first = self.known(found).and_then(|gpu| gpu.nodes.first());
            return first.into_iter().cloned().collect();
        }
        self.files.clone()
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
}

impl Gpus {
    /// These numbers, whose devices are in no file.
    #[must_use]
    pub fn without_files(numbers: &[u32]) -> Self {
        Self::of(numbers, &[], Numbering::OfTheStep)
    }

    /// These numbers, and their devices by the node's lines of gres.conf: Slurm counts
    /// the GPUs of all lines in their order.
    #[must_use]
    pub fn of(numbers: &[u32], lines: &[Gres], numbering: Numbering) -> Self {
        let is_gpu = |line: &&Gres| line.name.as_deref() == Some("gpu");
        let devices: Vec<Vec<PathBuf>> = lines
            .iter()
            .filter(is_gpu)
            .flat_map(|line| match line.is_one {
                true => vec![line.files.clone()],
                false => line.files.iter().map(|file| vec![file.clone()]).collect(),
            })
            .collect();
        let mut numbers = numbers.to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        let all = numbers
            .into_iter()
            .map(|number| Gpu {
                number,
                files: usize::try_from(number)
                    .ok()
                    .and_then(|place| devices.get(place).cloned())
                    .unwrap_or_default(),
            })
            .collect();
        Self { all, numbering }
    }

    /// What the vendors' variables have to be translated by.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        match self.numbering {
            Numbering::OfTheStep => Numbers::default(),
            Numbering::OfTheNode => Numbers::new(self.all.iter().map(|gpu| gpu.number).collect()),
        }
    }
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
    use super::*;

    fn line(name: &str, files: &[&str], is_one: bool) -> Gres {
        Gres {
            name: Some(name.to_owned()),
            kind: None,
            files: files.iter().map(PathBuf::from).collect(),
            is_one,
            count: None,
            cores: None,
            links: None,
            flags: Vec::new(),
            auto_detect: None,
            at: (PathBuf::from("/etc/slurm/gres.conf"), 1),
        }
    }

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

    #[test]
    fn devices_are_counted_over_all_lines() {
        let lines = [
            line("gpu", &["/dev/nvidia0", "/dev/nvidia1"], false),
            line("nic", &["/dev/infiniband/uverbs0"], false),
            line("gpu", &["/dev/dri/card0", "/dev/dri/renderD128"], true),
        ];
        let gpus = Gpus::of(&[2, 0, 7], &lines, Numbering::OfTheNode);
        let files: Vec<(u32, Vec<&str>)> = gpus
            .all
            .iter()
            .map(|gpu| {
                let files = gpu.files.iter().filter_map(|file| file.to_str());
                (gpu.number, files.collect())
            })
            .collect();
        assert_eq!(
            files,
            [
                (0, vec!["/dev/nvidia0"]),
                (2, vec!["/dev/dri/card0", "/dev/dri/renderD128"]),
                (7, vec![]),
            ]
        );
        assert_eq!(gpus.numbers(), Numbers::new(vec![0, 2, 7]));
        let local = Gpus::of(&[2], &lines, Numbering::OfTheStep);
        assert_eq!(local.numbers(), Numbers::default());
    }
}
