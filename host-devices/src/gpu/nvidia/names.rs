//! What NVIDIA's driver consists of, by name. Only names: what of it a node has is looked up elsewhere.
//!
//! After the driver's own list of files (README.txt, "Installed Components") and what other container runtimes
//! bind. Not here: what the image brings itself (libGL and the other libraries of libglvnd, libOpenCL), GTK's
//! parts of nvidia-settings, and the X server's module.

use super::capabilities::Capabilities;
use super::capabilities::Capability::{Compute, Display, Graphics, Ngx, Utility, Video};

const COMPUTE: Capabilities = Capabilities::of(&[Compute]);
const UTILITY: Capabilities = Capabilities::of(&[Utility]);
const VIDEO: Capabilities = Capabilities::of(&[Video]);
const GRAPHICS: Capabilities = Capabilities::of(&[Graphics, Display]);
const NGX: Capabilities = Capabilities::of(&[Ngx]);
const COMPUTE_GRAPHICS: Capabilities = COMPUTE.and(GRAPHICS);

/// Libraries: the name before `.so`.
pub(super) const LIBRARIES: [(&str, Capabilities); 47] = [
    ("libcuda", COMPUTE.and(VIDEO)),
    ("libcudadebugger", COMPUTE),
    ("libnvidia-compiler", COMPUTE),
    ("libnvidia-fatbinaryloader", COMPUTE),
    ("libnvidia-nvvm", COMPUTE),
    ("libnvidia-nvvm70", COMPUTE),
    ("libnvidia-opencl", COMPUTE),
    ("libnvidia-pkcs11", COMPUTE),
    ("libnvidia-pkcs11-openssl3", COMPUTE),
    ("libnvidia-ptxjitcompiler", COMPUTE),
    ("libnvidia-tileiras", COMPUTE),
    ("libnvidia-allocator", COMPUTE_GRAPHICS),
    ("libnvidia-gpucomp", COMPUTE_GRAPHICS),
    ("libnvidia-api", UTILITY),
    ("libnvidia-cfg", UTILITY),
    ("libnvidia-ml", UTILITY),
    ("libnvidia-nscq", UTILITY),
    ("libnvidia-sandboxutils", UTILITY),
    ("libnvsdm", UTILITY),
    ("libnvcuvid", VIDEO),
    ("libnvidia-encode", VIDEO),
    ("libnvidia-opticalflow", VIDEO),
    ("libvdpau_nvidia", VIDEO),
    ("libEGL_nvidia", GRAPHICS),
    ("libGLESv1_CM_nvidia", GRAPHICS),
    ("libGLESv2_nvidia", GRAPHICS),
    ("libGLX_nvidia", GRAPHICS),
    ("libnvidia-cbl", GRAPHICS),
    ("libnvidia-egl-gbm", GRAPHICS),
    ("libnvidia-egl-wayland", GRAPHICS),
    ("libnvidia-egl-wayland2", GRAPHICS),
    ("libnvidia-egl-xcb", GRAPHICS),
    ("libnvidia-egl-xlib", GRAPHICS),
    ("libnvidia-eglcore", GRAPHICS),
    ("libnvidia-fbc", GRAPHICS),
    ("libnvidia-glcore", GRAPHICS),
    ("libnvidia-glsi", GRAPHICS),
    ("libnvidia-glvkspirv", GRAPHICS),
    ("libnvidia-ifr", GRAPHICS),
    ("libnvidia-present", GRAPHICS),
    ("libnvidia-rtcore", GRAPHICS),
    ("libnvidia-tls", GRAPHICS),
    ("libnvidia-vksc-core", GRAPHICS),
    ("libnvidia-vulkan-producer", GRAPHICS),
    ("libnvidia-wayland-client", GRAPHICS),
    ("libnvoptix", GRAPHICS),
    ("libnvidia-ngx", NGX),
];

/// Programs.
pub(super) const PROGRAMS: [(&str, Capabilities); 5] = [
    ("nvidia-smi", UTILITY),
    ("nvidia-debugdump", UTILITY),
    ("nvidia-persistenced", UTILITY),
    ("nvidia-cuda-mps-control", COMPUTE),
    ("nvidia-cuda-mps-server", COMPUTE),
];

/// Where they are looked for.
pub(super) const PROGRAM_DIRECTORIES: [&str; 5] =
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"];

/// Sockets of the node's services. The one of MPS is a user's, below /tmp, and not looked for.
pub(super) const SOCKETS: [(&str, Capabilities); 2] = [
    ("/run/nvidia-persistenced/socket", UTILITY),
    ("/run/nvidia-fabricmanager/socket", COMPUTE),
];

/// Files by their whole paths.
pub(super) const FILES: [(&str, Capabilities); 3] = [
    ("/etc/OpenCL/vendors/nvidia.icd", COMPUTE),
    ("/usr/share/nvidia/nvoptix.bin", GRAPHICS),
    (
        "/usr/share/nvidia/files.d/sandboxutils-filelist.json",
        UTILITY,
    ),
];

/// Directories in which files that have NVIDIA in their names tell loaders of its libraries.
pub(super) const DIRECTORIES: [&str; 11] = [
    "/etc/vulkan/icd.d",
    "/usr/share/vulkan/icd.d",
    "/etc/vulkan/icdsc.d",
    "/usr/share/vulkan/icdsc.d",
    "/etc/vulkan/implicit_layer.d",
    "/usr/share/vulkan/implicit_layer.d",
    "/etc/glvnd/egl_vendor.d",
    "/usr/share/glvnd/egl_vendor.d",
    "/etc/egl/egl_external_platform.d",
    "/usr/share/egl/egl_external_platform.d",
    "/usr/share/nvidia",
];

/// Files beside the libraries, in directories that loaders look into by themselves.
pub(super) const BESIDE: [(&str, Capabilities); 2] = [
    ("vdpau/libvdpau_nvidia.so.1", VIDEO),
    ("gbm/nvidia-drm_gbm.so", GRAPHICS),
];

/// What of [`DIRECTORIES`] belongs to graphics.
pub(super) const GRAPHICS_FILES: Capabilities = GRAPHICS;
/// Firmware is the driver's, whatever runs.
pub(super) const FIRMWARE: Capabilities = Capabilities::ALL;
