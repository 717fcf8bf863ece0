//! The devices that a step's container shows: what Slurm granted it, and what the site
//! shows to all.

pub(super) mod cdi;
pub(super) mod driver;
mod image;

use std::path::{Path, PathBuf};

use cdi_specs::{QualifiedName, Registry};
use host_devices::gpu::{Gpus, Vendor};
use host_devices::rdma;

use self::driver::Seen;
use super::failure::Failure;
use super::node::Node;
use crate::allocation::{Allocation, has_devices};
use crate::config;
use crate::host::Host;
use crate::plan::mounts::Mount;
use crate::visible::Shown;

/// NVIDIA's libraries belong to the driver, and no image can bring them.
const NO_SPEC: &str = "GPUs: no CDI spec of this node stands for them, and devices.driver = \"never\" in oarlock.toml, so that the container has the devices and not the driver's libraries; for admins: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml";

/// Whoever joins by name has been told what he joins; not that it may be another GPU.
const JOINED: &str =
    "the container that is joined shows the devices of the step that made it, and not this step's";

/// The devices of a step on this node.
#[derive(Debug, Default)]
pub(super) struct Devices {
    /// Their places in the host's /dev, which are those in the container's.
    pub(super) nodes: Vec<PathBuf>,
    /// What else they need of the host.
    pub(super) mounts: Vec<Mount>,
    /// What variables tell of them.
    pub(super) shown: Shown,
    /// What Slurm granted.
    pub(super) allocation: Allocation,
    /// What `--container-explain` says of a driver that no spec describes.
    pub(super) lines: Vec<String>,
}

impl Node<'_> {
    /// Finds them. What is wrong with Slurm's files costs the devices that they name,
    /// and not the step. `seen` is the image, where it is mounted by now.
    ///
    /// # Errors
    /// [`Failure::Device`] and [`Failure::Cdi`].
    pub(super) fn devices(&self, seen: Option<Seen<'_>>) -> Result<Devices, Failure> {
        let allocation = Allocation::of(self.request, &Host::this());
        for problem in &allocation.problems {
            tracing::warn!(JOB_STEP = %self.request.label, "{problem}");
        }
        let mut devices = Devices::default();
        match host_devices::Host::at(Path::new("/")) {
            Ok(host) => self.look_at(&host, &allocation, seen, &mut devices)?,
            Err(error) => tracing::warn!(%error, "no devices are looked for"),
        }
        devices.allocation = allocation;
        Ok(devices)
    }

    /// A container that is joined shows what it shows: the devices of the step that
    /// made it. What this step may open is what it was granted itself.
    pub(super) fn devices_of_joined(&self) -> Devices {
        if has_devices(self.request) {
            self.tell(JOINED);
        }
        let own = self.devices(None).unwrap_or_else(|error| {
            tracing::warn!(JOB_STEP = %self.request.label, "{error}");
            Devices::default()
        });
        Devices {
            nodes: own.nodes,
            allocation: own.allocation,
            ..Devices::default()
        }
    }

    fn look_at(
        &self,
        host: &host_devices::Host,
        allocation: &Allocation,
        seen: Option<Seen<'_>>,
        devices: &mut Devices,
    ) -> Result<(), Failure> {
        let site = &self.config.devices;
        let gpus = allocation.gpus.as_ref().filter(|_| site.gpus);
        let asked = &self.request.options.devices;
        if gpus.is_some() || !asked.is_empty() {
            let registry = cdi::load(&site.cdi);
            for error in registry.errors() {
                tracing::warn!(%error, "a CDI spec is passed over");
            }
            let found = Gpus::find(host);
            let mut granted = Vec::new();
            let mut names = Vec::new();
            // A device of an NVIDIA GPU for which no spec stands.
            let mut without_spec = None;
            for gpu in gpus.iter().flat_map(|gpus| &gpus.value.all) {
                let nodes = found.nodes_for(&gpu.nodes(&found));
                if nodes.is_empty() {
                    tracing::warn!(
                        JOB_STEP = %self.request.label,
                        "GPU {}: gres.conf names no device for it, and it is not known which it is",
                        gpu.number
                    );
                    continue;
                }
                let known = gpu.known(&found);
                let uuid = known.and_then(|known| known.uuid.as_deref());
                let devices = cdi::standing_for(&registry, gpu.number, uuid, &nodes);
                if devices.is_empty() && known.is_some_and(|known| known.vendor == Vendor::Nvidia) {
                    without_spec = nodes.first().cloned();
                }
                names.extend(devices);
                granted.extend(nodes);
            }
            self.add_asked(&registry, &granted, &mut names)?;
            devices.nodes = granted;
            if let Some(gpus) = gpus {
                devices.shown.numbers = gpus.value.numbers();
            }
            let said = cdi::resolve(&registry, &names, site.cdi_hooks)?;
            for note in said.notes {
                tracing::info!(JOB_STEP = %self.request.label, "{note}");
            }
            devices.nodes.extend(said.nodes);
            devices.mounts = said.mounts;
            devices.shown.variables = said.variables;
            devices.shown.libraries = said.libraries;
            match (without_spec, site.driver) {
                (None, _) => {}
                (Some(_), config::Driver::Never) => self.tell(NO_SPEC),
                (Some(gpu), config::Driver::Auto) => self.show_driver(host, &gpu, seen, devices),
            }
        }
        if site.rdma == config::Rdma::Auto {
            let nodes = rdma::nodes(host).into_iter().map(|node| node.path);
            devices.nodes.extend(nodes);
        }
        Ok(())
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
