//! NVIDIA's driver in a container, where no CDI spec says what of it: the node's own
//! libraries under the names that programs load them by, its programs and its other
//! files, as far as the image can load them.
//!
//! Nothing is shown blindly: a library that needs a newer C or C++ library than the image
//! has is left out, and the user is told. What of the node's others than root could have
//! written is left out, too. Nothing of the image is read here (`image.rs`).

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use host_devices::Problem;
use host_devices::gpu::nvidia::capabilities::Capabilities;
use host_devices::gpu::nvidia::driver::{Driver, DriverFile, Kind};
use host_devices::libraries::Libraries;
use host_devices::libraries::elf::Elf;
use host_devices::libraries::judge::{self, Demands, Reason, Refusal};
use host_devices::libraries::versions::{Defined, compare};

use super::Devices;
use super::image::{self, CAPABILITIES};
use crate::allocation::has_devices;
use crate::apply::image::ImageMount;
use crate::cgroup::Groups;
use crate::config;
use crate::image::trust;
use crate::path::{ContainerPath, HostPath};
use crate::plan::mounts::{Mount, Need, Source};
use crate::prepare::as_user::{Asked, Unanswered};
use crate::prepare::node::Node;
use crate::request::Create;
use crate::sys::mount::{self, Attributes};

/// Where the libraries are in a container.
const LIBRARIES: &str = "/.oarlock/libs";
/// Without it no program uses a GPU.
const CUDA: &str = "libcuda.so.1";

/// How a line ends that says that nothing of the driver is shown.
const ONLY_DEVICES: &str = "the container has the devices and not the driver's libraries";
/// What the user can do.
const OLD_IMAGE: &str = "use an image with a newer C library";
const NO_GLIBC: &str = "use an image with glibc";
/// An image that cannot be looked at before it is mounted.
const UNSEEN: &str = "GPUs: this kernel cannot mount an image to look at it first, so that the container has the devices and not the driver's libraries; for admins: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml";

/// The image that is asked what it has; none for `--container-explain`, which mounts none.
#[derive(Clone, Copy)]
pub(in crate::prepare) struct Seen<'a> {
    /// Its root, where it can be looked at by now.
    pub(in crate::prepare) root: Option<BorrowedFd<'a>>,
    /// What the survey knows, a memory file.
    pub(in crate::prepare) known: BorrowedFd<'a>,
    /// Whose control groups the child joins.
    pub(in crate::prepare) task: &'a Groups,
    /// Where a child answers that was asked before.
    pub(in crate::prepare) asked: Option<BorrowedFd<'a>>,
}

/// One file of the driver's that could be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// The file itself, without links.
    from: PathBuf,
    /// Where it goes: each is the same file.
    to: Vec<PathBuf>,
    /// What it needs of the image; `None` for what nothing loads.
    demands: Option<Demands>,
    /// For people.
    about: String,
    kind: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Library,
    Other(Kind),
}

/// What is shown, and what is said of it.
#[derive(Debug, Default)]
struct Shown {
    mounts: Vec<Mount>,
    /// A line for the user.
    told: Option<String>,
    /// Lines for the journal.
    notes: Vec<String>,
}

/// Devices of NVIDIA's driver: with neither of them a node has no GPU of theirs.
const SIGNS: [&str; 2] = ["/dev/nvidiactl", "/dev/nvidia0"];

impl Node<'_> {
    /// Has an image looked at for whom its C library will be of interest: reading it takes
    /// longer than all else, and Slurm is not ready yet.
    pub(in crate::prepare) fn ask_early(
        &self,
        image: &ImageMount,
        known: &OwnedFd,
        task: Option<&Groups>,
    ) -> Option<Asked> {
        let site = &self.config.devices;
        let is_wanted = site.gpus
            && site.driver == config::Driver::Auto
            && has_devices(self.request)
            && SIGNS.iter().any(|sign| Path::new(sign).exists());
        let root = image.lowest().filter(|_| is_wanted)?;
        let asked = image::start(root, known.as_fd(), self.user(task));
        // It is asked again when the answer is wanted, and told then.
        asked
            .inspect_err(|error| tracing::warn!(JOB_STEP = %self.request.label, "{error}"))
            .ok()
    }

    /// Adds the driver to what the container shows; `gpu` is a device of a GPU for which
    /// no spec stands. Nothing that goes wrong fails the step.
    pub(super) fn show_driver(
        &self,
        host: &host_devices::Host,
        gpu: &Path,
        seen: Option<Seen<'_>>,
        devices: &mut Devices,
    ) {
        let libraries = Libraries::find(host);
        let driver = Driver::find(host, &libraries, Some(gpu));
        for problem in libraries.problem().into_iter().chain(&driver.problems) {
            tracing::warn!(JOB_STEP = %self.request.label, "NVIDIA's driver: {problem}");
        }
        if let Some(problem) = lacking(&driver) {
            self.tell(&format!(
                "GPUs: no CDI spec of this node stands for them, and {problem}; {ONLY_DEVICES}"
            ));
            return;
        }
        let answer = seen.map(|seen| {
            let user = self.user(Some(seen.task));
            match (seen.asked, seen.root) {
                (Some(socket), _) => image::answer(socket, user).map(Some),
                (None, Some(root)) => {
                    let asked = image::start(root, seen.known, user)?;
                    image::answer(asked.socket(), user).map(Some)
                }
                (None, None) => Ok(None),
            }
        });
        let answer = match answer {
            None => None,
            Some(Ok(Some(answer))) => Some(answer),
            Some(Ok(None)) => return self.tell(UNSEEN),
            Some(Err(Unanswered::Unwanted(_))) => return,
            Some(Err(why)) => return self.tell(&format!("GPUs: {why}; {ONLY_DEVICES}")),
        };
        let (capabilities, from) = self.capabilities(answer.as_ref());
        let (parts, left_out) = parts(&driver, capabilities, whole);
        let shown = show(&parts, answer.as_ref().map(|answer| &answer.defined));
        for note in left_out.iter().chain(&shown.notes) {
            tracing::warn!(JOB_STEP = %self.request.label, "{note}");
        }
        if let Some(why) = without_cuda(&driver, capabilities, &left_out) {
            self.tell(&format!(
                "GPUs: {why}; {ONLY_DEVICES}; for admins: oarlock doctor gpu"
            ));
            return;
        }
        if let Some(told) = &shown.told {
            self.tell(told);
        }
        if answer.is_none() {
            devices
                .lines
                .extend(lines(&driver, &parts, capabilities, from));
            devices.lines.extend(left_out);
        }
        if shown
            .mounts
            .iter()
            .any(|mount| mount.target.as_bytes().starts_with(LIBRARIES.as_bytes()))
        {
            devices.shown.libraries.push(LIBRARIES.to_owned());
        }
        devices.mounts.extend(shown.mounts);
    }

    /// What of the driver is wanted, and who says so: the job, else the image.
    fn capabilities(&self, answer: Option<&image::Answer>) -> (Capabilities, &'static str) {
        let of_job = self
            .request
            .variable(CAPABILITIES)
            .and_then(|value| value.to_str());
        let of_image = answer.and_then(|answer| answer.capabilities.as_deref());
        let said = of_job.map(|value| (value, "the job's environment"));
        let said = said.or(of_image.map(|value| (value, "the image's environment")));
        let Some((value, from)) = said else {
            return (Capabilities::DEFAULT, "nobody says otherwise");
        };
        match Capabilities::parse(value) {
            Ok(capabilities) => (capabilities, from),
            Err(error) => {
                self.tell(&format!(
                    "GPUs: {error}; {} are shown",
                    Capabilities::DEFAULT
                ));
                (Capabilities::DEFAULT, "what is said otherwise is not known")
            }
        }
    }
}

/// Why there is nothing to show.
fn lacking(driver: &Driver) -> Option<String> {
    if driver
        .libraries
        .iter()
        .any(|library| library.soname == CUDA)
    {
        return None;
    }
    // A library that is there and cannot be used says more than that none was found.
    let of_cuda = |problem: &&Problem| match problem {
        Problem::OtherVersion { path, .. } | Problem::Library { path, .. } => {
            path.file_name().is_some_and(|name| name == CUDA)
        }
        _ => false,
    };
    let problem = driver.problems.iter().find(of_cuda);
    let none = |problem: &&Problem| matches!(problem, Problem::NoLibrary { .. });
    let problem = problem.or_else(|| driver.problems.iter().find(none));
    Some(match problem {
        Some(problem) => problem.to_string(),
        None => format!("the node has no {CUDA}"),
    })
}

/// Why libcuda is among what is left out, where it is wanted: the rest is of no use then.
fn without_cuda<'a>(
    driver: &Driver,
    capabilities: Capabilities,
    left_out: &'a [String],
) -> Option<&'a String> {
    let mut wanted = driver.libraries_for(capabilities);
    let cuda = wanted.find(|library| library.soname == CUDA)?;
    let begin = left_out_of(&cuda.path);
    left_out.iter().find(|note| note.starts_with(&begin))
}

fn left_out_of(path: &Path) -> String {
    format!("NVIDIA's driver: {} is left out: ", path.display())
}

/// A file that only root can have written: its path without links, and what it needs where
/// it is a program or a library.
type Whole = (PathBuf, Option<Demands>);

/// Opens a file of the node's and looks who can have written it.
fn whole(path: &Path) -> Result<Whole, String> {
    let why = |error: &dyn std::fmt::Display| format!("{}{error}", left_out_of(path));
    // It is what it was found to be, unless root exchanges it now.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(|error| why(&error))?;
    if let Some(doubt) = trust::doubt(file.as_fd()) {
        return Err(why(&doubt));
    }
    let from = std::fs::read_link(mount::descriptor_path(file.as_fd()).as_str())
        .map_err(|error| why(&error))?;
    Ok((from, demands(path, &file)))
}

fn demands(path: &Path, file: &File) -> Option<Demands> {
    let elf = Elf::read(file).ok()?;
    Some(Demands::of(&path.file_name()?.to_string_lossy(), &elf))
}

/// All that could be shown for these capabilities, and lines on what cannot.
fn parts(
    driver: &Driver,
    capabilities: Capabilities,
    look: impl Fn(&Path) -> Result<Whole, String>,
) -> (Vec<Part>, Vec<String>) {
    let (mut parts, mut left_out) = (Vec::new(), Vec::new());
    for library in driver.libraries_for(capabilities) {
        let names = std::iter::once(&library.soname).chain(&library.links);
        match look(&library.path) {
            Ok((from, _)) => parts.push(Part {
                from,
                // A name, and no way to somewhere else.
                to: names
                    .filter(|name| !name.contains('/'))
                    .map(|name| Path::new(LIBRARIES).join(name))
                    .collect(),
                demands: Some(library.demands.clone()),
                about: format!("{} ({})", library.soname, library.capabilities),
                kind: What::Library,
            }),
            Err(why) => left_out.push(why),
        }
    }
    for file in driver.files_for(capabilities) {
        match other(file, &look) {
            Ok(part) => parts.push(part),
            Err(why) => left_out.push(why),
        }
    }
    (parts, left_out)
}

fn other(
    file: &DriverFile,
    look: &impl Fn(&Path) -> Result<Whole, String>,
) -> Result<Part, String> {
    let (from, demands) = match file.kind {
        // Its service decides who may talk to it; there is nothing to be read.
        Kind::Socket => (file.path.clone(), None),
        // It is for the GPU's own processor, and looks like a library all the same.
        Kind::Firmware => (look(&file.path)?.0, None),
        Kind::Program | Kind::Loader => look(&file.path)?,
    };
    Ok(Part {
        from,
        to: vec![file.path.clone()],
        demands,
        about: format!("{} ({})", file.path.display(), file.capabilities),
        kind: What::Other(file.kind),
    })
}

/// Decides; without an image, all that could be.
fn show(parts: &[Part], image: Option<&Defined>) -> Shown {
    let demands = parts.iter().filter_map(|part| part.demands.as_ref());
    let refused = image.map_or(Vec::new(), |image| judge::refusals(demands, image));
    let is_refused = |part: &Part| {
        let name = part.demands.as_ref().map(|demands| &demands.soname);
        refused.iter().find(|refusal| Some(&refusal.soname) == name)
    };
    let mut shown = Shown {
        told: told(&refused, parts),
        ..Shown::default()
    };
    let cuda_is_refused = refused.iter().any(|refusal| refusal.soname == CUDA);
    for part in parts {
        match is_refused(part) {
            Some(refusal) => shown.notes.push(format!("NVIDIA's driver: {refusal}")),
            // The rest is of no use, and would only be half of a driver.
            None if cuda_is_refused => {}
            None => shown.mounts.extend(mounts(part)),
        }
    }
    shown
}

/// One line for all that the image cannot load: of libcuda where it is among them. What
/// is no library is left out quietly: it is missed when it is called.
fn told(refused: &[Refusal], parts: &[Part]) -> Option<String> {
    let is_library = |refusal: &&Refusal| {
        parts.iter().any(|part| {
            let name = part.demands.as_ref().map(|demands| &demands.soname);
            part.kind == What::Library && name == Some(&refusal.soname)
        })
    };
    let libraries: Vec<&Refusal> = refused.iter().filter(is_library).collect();
    let cuda = libraries.iter().find(|refusal| refusal.soname == CUDA);
    let first = cuda.or(libraries.first())?;
    let more = match libraries.len() {
        1 => String::new(),
        2 => " (and one more of the driver's)".to_owned(),
        many => format!(" (and {} more of the driver's)", many - 1),
    };
    let consequence = match (cuda, libraries.len()) {
        (Some(_), _) => ONLY_DEVICES,
        (None, 1) => "it is left out",
        (None, _) => "they are left out",
    };
    Some(format!(
        "GPUs: {first}{more}; {consequence}; {}",
        advice(&first.why)
    ))
}

fn advice(why: &Reason) -> &'static str {
    match why {
        Reason::Musl | Reason::NoLibc => NO_GLIBC,
        Reason::Through { why, .. } => advice(why),
        Reason::Missing(_) | Reason::Older { .. } | Reason::Other { .. } => OLD_IMAGE,
    }
}

fn mounts(part: &Part) -> Vec<Mount> {
    let Ok(from) = HostPath::new(&part.from) else {
        return Vec::new();
    };
    let targets = part.to.iter().filter_map(|to| ContainerPath::new(to).ok());
    let noexec = matches!(part.kind, What::Other(Kind::Socket | Kind::Firmware));
    targets
        .map(|target| Mount {
            source: Source::Host(from.clone()),
            target,
            attributes: Attributes {
                read_only: true,
                nosuid: true,
                nodev: true,
                noexec,
            },
            propagation: None,
            create: Create::File,
            need: Need::IfPossible,
        })
        .collect()
}

/// For `--container-explain`: what there is, why, and what the image must have for it.
fn lines(driver: &Driver, parts: &[Part], capabilities: Capabilities, from: &str) -> Vec<String> {
    let version = driver
        .version
        .as_deref()
        .unwrap_or("of unknown version, as no kernel module says its own");
    let mut lines = vec![
        format!("driver: NVIDIA {version}, found on the node: no CDI spec stands for the GPUs"),
        format!("driver: for {capabilities} ({CAPABILITIES}: {from})"),
    ];
    lines.extend(parts.iter().map(|part| {
        let by = match part.kind {
            What::Library => "as the loader finds it",
            What::Other(_) => "at its usual place",
        };
        format!(
            "driver: {}: {}, {by}{}",
            part.about,
            part.from.display(),
            needs(part)
        )
    }));
    lines
}

/// The newest version of the C library that it needs.
fn needs(part: &Part) -> String {
    let all = part.demands.iter().flat_map(|demands| &demands.needs);
    let of_glibc = all
        .map(|need| need.version.as_str())
        .filter(|version| version.starts_with("GLIBC_"));
    let newest = of_glibc.reduce(|a, b| match compare(a, b) {
        Some(std::cmp::Ordering::Less) => b,
        _ => a,
    });
    newest.map_or(String::new(), |version| {
        format!(", where the image has {version}")
    })
}

#[cfg(test)]
mod tests;
