//! The devices that a step's container shows: what Slurm granted it, and what the site
//! shows to all.

pub(super) mod cdi;
pub(super) mod driver;
mod image;
mod imex;
mod memlock;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use cdi_specs::{QualifiedName, Registry};
use host_devices::Problem;
use host_devices::gpu::{Gpu, Gpus, Vendor};
use host_devices::rdma;
use serde::{Deserialize, Serialize};

use self::driver::Seen;
use super::failure::Failure;
use super::node::Node;
use super::protocol::fits;
use super::search::Progress;
use crate::allocation::{Allocation, has_devices};
use crate::cgroup::devices::Rule;
use crate::config;
use crate::host::Host;
use crate::limits;
use crate::plan::mounts::Mount;
use crate::slurm::place;
use crate::visible::Shown;
use cdi::CdiError;

/// NVIDIA's libraries belong to the driver, and no image can bring them.
const NO_SPEC: &str = "GPUs: no CDI spec of this node stands for them, and devices.driver = \"never\" in oarlock.toml, so that the container has the devices and not the driver's libraries; for admins: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml";

/// Where a site has shares of two kinds, Slurm lets one kind's plugin take the other's
/// variables away (`gres_g_step_set_env`, with GresTypes of both shard and mps).
const SHARES_OF_NONE: &str = "the step has shares of GPUs (SLURM_SHARDS_ON_NODE), and Slurm does not say of which; the container shows none; for admins: GresTypes must not have both shard and mps";

/// Whoever joins by name has been told what he joins; not that it may be another GPU.
const JOINED: &str =
    "the container that is joined shows the devices of the step that made it, and not this step's";

/// The devices of a step on this node.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Devices {
    /// Their places in the host's /dev, which are those in the container's.
    pub(super) nodes: Vec<PathBuf>,
    /// Those that the step may open: the same, but in a container that is joined.
    pub(super) own: Vec<Rule>,
    /// What else they need of the host.
    pub(super) mounts: Vec<Mount>,
    /// What variables tell of them.
    pub(super) shown: Shown,
    /// What Slurm granted, which specs are followed, which not, and why, and what of a
    /// driver is shown that no spec describes: for who asks.
    pub(super) lines: Vec<String>,
}

/// Begins the line that says why there is no answer.
const SUBJECT: &str = "devices of the step";

impl Node<'_> {
    /// The devices of the step, whose task is in `namespace`; `seen` is the image, where it
    /// is mounted by now. A step that has none pays for no child that searches.
    ///
    /// # Errors
    /// What [`Node::find_devices`] says, and [`super::as_user::Unanswered`].
    pub(super) fn devices(
        &self,
        namespace: &OwnedFd,
        seen: Option<Seen<'_>>,
    ) -> Result<Devices, Failure> {
        if !has_devices(self.request) {
            return self.find_devices(Progress::UNWATCHED, seen);
        }
        let image = seen
            .iter()
            .flat_map(|seen| seen.root.into_iter().chain([seen.known]).chain(seen.asked));
        let keep: Vec<_> = image.collect();
        let mut found = self.search(SUBJECT, &keep, |node, progress| {
            if let Some(path) = place::configuration(&Host::this(), self.request.slurm_conf()) {
                progress.at_file(&path);
            }
            node.find_devices(progress, seen)
        })?;
        imex::add(&mut found, namespace)?;
        Ok(found)
    }

    /// Finds them, however long that takes. What is wrong with Slurm's files costs the
    /// devices that they name, and not the step. `seen` is the image, where it is
    /// mounted by now.
    ///
    /// # Errors
    /// [`Failure::Device`] and [`Failure::Cdi`].
    fn find_devices(
        &self,
        progress: Progress<'_>,
        seen: Option<Seen<'_>>,
    ) -> Result<Devices, Failure> {
        let mut allocation = Allocation::of(self.request, &Host::this());
        for problem in &allocation.problems {
            tracing::warn!(JOB_STEP = %self.request.label, "{problem}");
        }
        let mut devices = Devices::default();
        match host_devices::Host::at(Path::new("/")) {
            Ok(host) => self.look_at(&host, &mut allocation, (progress, seen), &mut devices)?,
            Err(error) => tracing::warn!(%error, "no devices are looked for"),
        }
        devices.lines.splice(0..0, allocation.lines());
        devices.own = devices
            .nodes
            .iter()
            .filter_map(|node| Rule::of(node))
            .collect();
        Ok(devices)
    }

    /// A container that is joined shows what it shows: the devices of the step that
    /// made it. What this step may open is what it was granted itself.
    pub(super) fn devices_of_joined(&self, namespace: &OwnedFd) -> Devices {
        if has_devices(self.request) {
            self.tell(JOINED);
        }
        let own = self.devices(namespace, None).unwrap_or_else(|error| {
            tracing::warn!(JOB_STEP = %self.request.label, "{error}");
            Devices::default()
        });
        Devices {
            own: own.own,
            ..Devices::default()
        }
    }

    fn look_at(
        &self,
        host: &host_devices::Host,
        allocation: &mut Allocation,
        (progress, seen): (Progress<'_>, Option<Seen<'_>>),
        devices: &mut Devices,
    ) -> Result<(), Failure> {
        let site = &self.config.devices;
        if site.gpus && allocation.gpus.is_none() && allocation.shares.is_some() {
            self.tell(SHARES_OF_NONE);
        }
        let gpus = allocation.gpus.as_mut().filter(|_| site.gpus);
        let asked = &self.request.options.devices;
        if gpus.is_some() || !asked.is_empty() {
            let directories: Vec<String> = site
                .cdi
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            progress.at(&directories.join(", "));
            let registry = cdi::load(&site.cdi);
            progress.at("/dev, /proc/driver and /sys/class");
            for error in registry.errors() {
                tracing::warn!(%error, "a CDI spec is passed over");
                devices
                    .lines
                    .push(format!("a CDI spec is passed over: {error}"));
            }
            let found = Gpus::find(host);
            let mut granted = Vec::new();
            let mut names = Vec::new();
            let mut notes = Vec::new();
            // A device of an NVIDIA GPU for which no spec stands.
            let mut without_spec = None;
            if let Some(gpus) = gpus {
                if let Some(line) = gpus.value.place(&found) {
                    tracing::warn!(JOB_STEP = %self.request.label, "{line}");
                    self.tell(&line);
                }
                for gpu in gpus.value.all.iter().filter(|gpu| !gpu.files.is_empty()) {
                    let nodes = found.nodes_for(&gpu.files);
                    let known = gpu.known(&found);
                    let (standing, reasons) = cdi::standing_for(&registry, gpu, &found, &nodes);
                    if standing.is_empty()
                        && known.is_some_and(|known| known.vendor == Vendor::Nvidia)
                    {
                        without_spec = nodes.first().cloned();
                    }
                    let number = gpu.number;
                    notes.extend(
                        standing
                            .iter()
                            .map(|name| format!("GPU {number} is {name}")),
                    );
                    if standing.is_empty() {
                        notes.extend(reasons.iter().map(|why| format!("GPU {number}: {why}")));
                    }
                    names.extend(standing);
                    granted.extend(nodes);
                }
                devices.shown.numbers = gpus.value.numbers();
                self.tell_missing(&found, &granted);
            }
            self.add_asked(&registry, &granted, &mut names)?;
            devices.nodes = granted;
            progress.at("the files that CDI specs name");
            let said = cdi::resolve(&registry, &names, site.cdi_hooks)?;
            notes.extend(said.notes);
            for note in &notes {
                tracing::info!(JOB_STEP = %self.request.label, "{note}");
            }
            devices.lines.extend(notes);
            devices.nodes.extend(said.nodes);
            devices.mounts = said.mounts;
            devices.shown.variables = said.variables;
            devices.shown.libraries = said.libraries;
            match (without_spec, site.driver) {
                (None, _) => {}
                (Some(_), config::Driver::Never) => self.tell(NO_SPEC),
                (Some(gpu), config::Driver::Auto) => self.show_driver(host, &gpu, seen, devices),
            }
            if !fits(&devices.shown) {
                return Err(CdiError::Variables.into());
            }
        }
        if site.rdma == config::Rdma::Auto {
            let nodes = rdma::nodes(host);
            let memory = allocation.memory.as_ref().map(|memory| memory.value);
            let (environment, now) = (&self.request.environment, limits::memlock_now());
            if let Some(line) = memlock::line(&nodes, environment, now, memory, allocation.ranks) {
                self.tell(&line);
            }
            devices
                .nodes
                .extend(nodes.into_iter().map(|node| node.path));
        }
        Ok(())
    }

    /// Devices that programs need beside the GPU's own, and that nobody can make within.
    fn tell_missing(&self, found: &Gpus, granted: &[PathBuf]) {
        let is_granted = |gpu: &Gpu| gpu.nodes.iter().any(|node| granted.contains(node));
        if !found.of(Vendor::Nvidia).any(is_granted) {
            return;
        }
        for problem in &found.problems {
            if let Problem::NoControl(_) = problem {
                let line = problem.to_string().replacen("; ", "; for admins: ", 1);
                self.tell(&format!("GPUs: {line}"));
            }
        }
    }

    /// What the user names must be his already.
    fn add_asked(
        &self,
        registry: &Registry,
        granted: &[PathBuf],
        names: &mut Vec<QualifiedName>,
    ) -> Result<(), Failure> {
        for asked in &self.request.options.devices {
            let refused = |why: String| Failure::Device {
                name: asked.clone(),
                why,
            };
            let name: QualifiedName = asked
                .as_str()
                .parse()
                .map_err(|error: cdi_specs::NameError| refused(error.to_string()))?;
            registry
                .within(&name, granted)
                .map_err(|error| refused(error.to_string()))?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(())
    }
}
