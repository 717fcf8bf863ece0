//! Channels of NVIDIA's IMEX service, by which the GPUs of several nodes share memory.
//!
//! Slurm's switch/nvidia_imex has one for each job: a device in a tmpfs that it mounts in
//! slurmstepd's namespace, over the node's own directory of them. So they are looked for
//! where the task is, and shown beside its GPUs.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::Devices;
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
        let channels = in_task_view(namespace, || {
            Ok(channels(place, |path| {
                path.metadata()
                    .is_ok_and(|about| about.file_type().is_char_device())
            }))
        })?;
        devices.own.extend(channels.iter().cloned());
        devices.nodes.extend(channels);
    }
    Ok(())
}

/// `/dev/nvidiaN`.
fn is_gpu(node: &Path) -> bool {
    let name = node.strip_prefix("/dev").ok().and_then(Path::to_str);
    let number = name.and_then(|name| name.strip_prefix("nvidia"));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// The first channels, by number.
fn channels(place: &Path, is_device: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
    let entries = place.read_dir().into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix("channel")?.parse::<u32>().ok();
    let mut numbers: Vec<u32> = entries
        .filter(|entry| is_device(&entry.path()))
        .filter_map(|entry| number(entry.file_name().to_str()?))
        .collect();
    numbers.sort_unstable();
    let first = numbers.into_iter().take(MOST);
    first.map(|n| place.join(format!("channel{n}"))).collect()
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
        let names = |most: usize| -> Vec<PathBuf> {
            channels(place.path(), |_| true)
                .into_iter()
                .take(most)
                .collect()
        };
        assert_eq!(
            names(9),
            ["channel9", "channel10"].map(|name| place.path().join(name))
        );
        assert!(channels(place.path(), Path::is_dir).is_empty());
        assert!(channels(Path::new("/nowhere"), |_| true).is_empty());
        for n in 20..60 {
            std::fs::write(place.path().join(format!("channel{n}")), "").unwrap();
        }
        assert_eq!(names(99).len(), MOST);
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
