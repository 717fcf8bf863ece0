//! Nodes as the kernel and the drivers show them, in directories: real files, links and, where they can be made,
//! devices.

use super::*;
use crate::testing::Root;

mod nvidia;
mod others;

/// A graphics device: its nodes in /dev and in /sys, each with a link to the device.
fn card(root: &Root, bus: &str, vendor: &str, card: u32, render: Option<u32>) {
    let device = format!("sys/devices/pci/{bus}");
    root.file(&format!("{device}/vendor"), &format!("{vendor}\n"));
    root.file(
        &format!("{device}/uevent"),
        &format!("DRIVER=x\nPCI_ID=1002:740F\nPCI_SLOT_NAME={bus}\n"),
    );
    let names = [
        Some(format!("card{card}")),
        render.map(|n| format!("renderD{n}")),
    ];
    for name in names.into_iter().flatten() {
        let place = format!("{device}/drm/{name}");
        root.directory(&place);
        root.link(&format!("{place}/device"), "../..");
        root.link(
            &format!("sys/class/drm/{name}"),
            &format!("../../devices/pci/{bus}/drm/{name}"),
        );
        root.device(&format!("dev/dri/{name}"));
    }
    root.directory(&format!("sys/class/drm/card{card}-HDMI-A-1"));
}

fn paths(names: &[&str]) -> Vec<PathBuf> {
    names.iter().map(PathBuf::from).collect()
}

fn problems(gpus: &Gpus) -> Vec<String> {
    gpus.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_node_without_gpus_has_none() {
    assert_eq!(Gpus::find(&Root::new().host()), Gpus::default());
}

#[test]
fn places_on_the_bus_are_in_the_order_of_their_numbers() {
    let mut all = [
        "10000:01:00.0",
        "0000:c1:00.0",
        "0000:17:00.1",
        "0000:17:00.0",
        "odd",
    ];
    all.sort_by_key(|bus| bus_order(bus));
    assert_eq!(
        all,
        [
            "0000:17:00.0",
            "0000:17:00.1",
            "0000:c1:00.0",
            "10000:01:00.0",
            "odd"
        ]
    );
}
