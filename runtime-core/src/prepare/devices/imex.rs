//! Channels of NVIDIA's IMEX service, by which the GPUs of several nodes share memory.
//!
//! Slurm's switch/nvidia_imex has one for each job: a device in a tmpfs that it mounts in
//! slurmstepd's namespace, over the node's own directory of them. So they are looked for
//! where the task is, and shown beside its GPUs.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::Devices;
use crate::cgroup::devices::Rule;
use crate::prepare::failure::Failure;
use crate::prepare::view::in_task_view;

const PLACE: &str = "/dev/nvidia-caps-imex-channels";
/// A job has one. Where there are more, no plugin has given this job its own, and the
/// first are as good as any.
const MOST: usize = 16;

/// Adds those that the task in `namespace` has to what a step with NVIDIA's GPUs shows.
///
/// # Errors
/// Where the task's view cannot be had.
pub(super) fn add(devices: &mut Devices, namespace: &OwnedFd) -> Result<(), Failure> {
    let place = Path::new(PLACE);
    if devices.nodes.iter().any(|node| is_gpu(node)) && place.is_dir() {
        let found = in_task_view(namespace, || Ok(channels(place, Rule::of)))?;
        for (channel, rule) in found {
            devices.nodes.push(channel);
            devices.own.push(rule);
        }
    }
    Ok(())
}

/// `/dev/nvidiaN`.
fn is_gpu(node: &Path) -> bool {
    let name = node.strip_prefix("/dev").ok().and_then(Path::to_str);
    let number = name.and_then(|name| name.strip_prefix("nvidia"));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// The first channels, by number, with what `device` says of each.
fn channels<T>(place: &Path, device: impl Fn(&Path) -> Option<T>) -> Vec<(PathBuf, T)> {
    let entries = place.read_dir().into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix("channel")?.parse::<u32>().ok();
    let mut numbers: Vec<u32> = entries
        .filter_map(|entry| number(entry.file_name().to_str()?))
        .collect();
    numbers.sort_unstable();
    let paths = numbers
        .into_iter()
        .map(|n| place.join(format!("channel{n}")));
    let found = paths.filter_map(|path| {
        let device = device(&path)?;
        Some((path, device))
    });
    found.take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_channels_are_found() {
        let place = tempfile::tempdir().unwrap();
        for name in ["channel10", "channel9", "channelx", "other1"] {
            std::fs::write(place.path().join(name), "").unwrap();
        }
        let names = || -> Vec<PathBuf> {
            let found = channels(place.path(), |_| Some(()));
            found.into_iter().map(|(path, ())| path).collect()
        };
        let expected = ["channel9", "channel10"].map(|name| place.path().join(name));
        assert_eq!(names(), expected);
        assert!(channels(place.path(), Rule::of).is_empty());
        assert!(channels(Path::new("/nowhere"), |_| Some(())).is_empty());
        for n in 20..60 {
            std::fs::write(place.path().join(format!("channel{n}")), "").unwrap();
        }
        assert_eq!(names().len(), MOST);
    }

    #[test]
    fn gpus_are_known_by_their_devices() {
        let all = ["/dev/nvidia0", "/dev/nvidia12"].map(Path::new);
        assert!(all.into_iter().all(is_gpu));
        for other in ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/kfd", "/nvidia0"] {
            assert!(!is_gpu(Path::new(other)), "{other}");
        }
    }
}
