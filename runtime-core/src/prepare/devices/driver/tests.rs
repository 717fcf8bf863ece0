//! What is shown of a driver, by tables: drivers and images are values here.

use host_devices::gpu::nvidia::driver::Library;
use host_devices::libraries::elf::Need as Version;
use host_devices::libraries::versions::{Libc, Versions};

use super::*;

fn demands(name: &str, version: &str) -> Demands {
    let needs = (!version.is_empty()).then(|| Version {
        file: "libc.so.6".to_owned(),
        version: version.to_owned(),
    });
    Demands {
        soname: name.to_owned(),
        needed: vec!["libc.so.6".to_owned()],
        needs: needs.into_iter().collect(),
    }
}

fn library(soname: &str, version: &str, capabilities: &str) -> Library {
    Library {
        soname: soname.to_owned(),
        path: Path::new("/usr/lib64").join(soname),
        links: Vec::new(),
        capabilities: Capabilities::parse(capabilities).unwrap(),
        demands: demands(soname, version),
    }
}

fn file(path: &str, kind: Kind) -> DriverFile {
    DriverFile {
        path: path.into(),
        kind,
        capabilities: Capabilities::ALL,
    }
}

fn driver() -> Driver {
    let mut cuda = library(CUDA, "GLIBC_2.27", "compute");
    cuda.links = vec!["libcuda.so".to_owned(), "../escape".to_owned()];
    Driver {
        version: Some("550.54.15".to_owned()),
        libraries: vec![
            cuda,
            library("libnvidia-ml.so.1", "GLIBC_2.14", "utility"),
            library("libnvidia-new.so.1", "GLIBC_2.38", "compute"),
            library("libGLX_nvidia.so.0", "GLIBC_2.14", "graphics"),
        ],
        files: vec![
            file("/lib/firmware/nvidia/550.54.15/gsp.bin", Kind::Firmware),
            file("/run/nvidia-persistenced/socket", Kind::Socket),
            file("/usr/bin/nvidia-smi", Kind::Program),
        ],
        problems: Vec::new(),
    }
}

fn image(versions: &[&str]) -> Defined {
    let names: Vec<String> = versions.iter().map(ToString::to_string).collect();
    Defined {
        libc: Libc::Glibc(Versions::try_from(names).unwrap()),
        libstdcxx: None,
        libgcc: None,
    }
}

/// Files are where their links lead; programs need what nvidia-smi does.
fn at_their_links(path: &Path) -> Result<Whole, String> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let needs = (name == "nvidia-smi").then(|| demands(name, "GLIBC_2.14"));
    Ok((Path::new("/real").join(name), needs))
}

fn shown(image: Option<&Defined>) -> (Vec<String>, Option<String>) {
    let (parts, left_out) = parts(&driver(), Capabilities::DEFAULT, at_their_links);
    assert!(left_out.is_empty());
    let shown = show(&parts, image);
    let all = shown.mounts.iter();
    let all = all.map(|mount| format!("{} {}", mount.source, mount.target));
    (all.collect(), shown.told)
}

const LIBCUDA: [&str; 2] = [
    "/real/libcuda.so.1 /.oarlock/libs/libcuda.so.1",
    "/real/libcuda.so.1 /.oarlock/libs/libcuda.so",
];
const OTHERS: [&str; 4] = [
    "/real/libnvidia-ml.so.1 /.oarlock/libs/libnvidia-ml.so.1",
    "/real/gsp.bin /lib/firmware/nvidia/550.54.15/gsp.bin",
    "/run/nvidia-persistenced/socket /run/nvidia-persistenced/socket",
    "/real/nvidia-smi /usr/bin/nvidia-smi",
];

#[test]
fn an_image_gets_what_it_can_load() {
    let new = "/real/libnvidia-new.so.1 /.oarlock/libs/libnvidia-new.so.1";
    let with = |libraries: &[&'static str]| -> Vec<&str> {
        let ml = OTHERS.iter().take(1);
        let all = LIBCUDA.iter().chain(ml).chain(libraries);
        all.chain(OTHERS.iter().skip(1)).copied().collect()
    };
    let (mounts, told) = shown(Some(&image(&["GLIBC_2.14", "GLIBC_2.27", "GLIBC_2.38"])));
    assert_eq!(
        (mounts, told),
        (with(&[new]).into_iter().map(str::to_owned).collect(), None)
    );
    let (mounts, told) = shown(Some(&image(&["GLIBC_2.14", "GLIBC_2.27"])));
    assert_eq!(mounts, with(&[]));
    assert_eq!(
        told.as_deref(),
        Some(
            "GPUs: host library libnvidia-new.so.1 needs GLIBC_2.38, the image has GLIBC_2.27; it is left out; use an image with a newer C library"
        )
    );
    // Nothing is known of an image that is only explained.
    assert_eq!(
        shown(None),
        (with(&[new]).into_iter().map(str::to_owned).collect(), None)
    );
}

#[test]
fn without_libcuda_there_is_nothing() {
    let musl = Defined {
        libc: Libc::Musl,
        ..image(&[])
    };
    let none = Defined {
        libc: Libc::None,
        ..image(&[])
    };
    for (image, expected) in [
        (
            image(&["GLIBC_2.14", "GLIBC_2.17"]),
            "GPUs: host library libcuda.so.1 needs GLIBC_2.27, the image has GLIBC_2.17 (and one more of the driver's); the container has the devices and not the driver's libraries; use an image with a newer C library",
        ),
        (
            musl,
            "GPUs: host library libcuda.so.1 needs glibc, the image has musl (and 2 more of the driver's); the container has the devices and not the driver's libraries; use an image with glibc",
        ),
        (
            none,
            "GPUs: host library libcuda.so.1 needs glibc, the image has no libc.so.6 (and 2 more of the driver's); the container has the devices and not the driver's libraries; use an image with glibc",
        ),
    ] {
        let (mounts, told) = shown(Some(&image));
        assert_eq!(mounts, Vec::<String>::new());
        assert_eq!(told.as_deref(), Some(expected));
    }
}

#[test]
fn every_mount_is_read_only_and_closed() {
    let (parts, _) = parts(&driver(), Capabilities::ALL, at_their_links);
    let shown = show(&parts, None);
    assert_eq!(shown.mounts.len(), 8);
    for mount in shown.mounts {
        let Attributes {
            read_only,
            nosuid,
            nodev,
            noexec,
        } = mount.attributes;
        assert!(read_only && nosuid && nodev, "{mount:?}");
        let target = mount.target.to_string();
        assert_eq!(
            noexec,
            target.contains("/firmware/") || target.contains("/run/"),
            "{target}"
        );
        assert_eq!(mount.need, Need::IfPossible);
    }
}

#[test]
fn what_others_can_write_is_left_out() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("libcuda.so.1");
    std::fs::write(&path, "").unwrap();
    // /tmp is everybody's, whoever runs this.
    let why = whole(&path).unwrap_err();
    assert!(why.starts_with("NVIDIA's driver: /tmp/"), "{why}");
    let is_said =
        why.contains("others than root can write it") || why.contains("not belong to root");
    assert!(is_said, "{why}");
    assert!(
        whole(Path::new("/dev/null"))
            .unwrap_err()
            .ends_with("it is no regular file")
    );

    let look = |path: &Path| match path.ends_with("libnvidia-ml.so.1") {
        true => Err("left out".to_owned()),
        false => at_their_links(path),
    };
    let (parts, left_out) = parts(&driver(), Capabilities::DEFAULT, look);
    assert_eq!((parts.len(), left_out.len()), (5, 1));
    let why = |capabilities, note: &str| {
        let notes = [note.to_owned()];
        without_cuda(&driver(), capabilities, &notes).cloned()
    };
    let note = "NVIDIA's driver: /usr/lib64/libcuda.so.1 is left out: it is no regular file";
    assert_eq!(why(Capabilities::DEFAULT, note).as_deref(), Some(note));
    assert_eq!(why(Capabilities::parse("utility").unwrap(), note), None);
    let other = "NVIDIA's driver: /usr/lib64/libcuda.so.1.old is left out: it is no regular file";
    assert_eq!(why(Capabilities::DEFAULT, other), None);
}

#[test]
fn a_program_of_the_nodes_is_itself_and_has_needs() {
    let (real, needs) = whole(Path::new("/bin/sh")).unwrap();
    assert!(real.starts_with("/usr/bin"), "{}", real.display());
    assert!(needs.unwrap().needed.contains(&"libc.so.6".to_owned()));
}

#[test]
fn what_is_wrong_with_libcuda_is_said() {
    let mut without = driver();
    assert_eq!(lacking(&without), None);
    without.libraries.clear();
    assert_eq!(lacking(&without).unwrap(), "the node has no libcuda.so.1");
    without.problems.push(Problem::NoLibrary {
        node: "/dev/nvidia0".into(),
        soname: CUDA.to_owned(),
    });
    assert!(lacking(&without).unwrap().contains("run ldconfig"));
    without.problems.push(Problem::OtherVersion {
        path: "/usr/lib64/libcuda.so.1".into(),
        version: "1.2".to_owned(),
        module: "3.4".to_owned(),
    });
    assert!(
        lacking(&without)
            .unwrap()
            .contains("finish the driver's update")
    );
}

#[test]
fn what_is_explained_says_why() {
    let (parts, _) = parts(&driver(), Capabilities::DEFAULT, at_their_links);
    let lines = lines(
        &driver(),
        &parts,
        Capabilities::DEFAULT,
        "nobody says otherwise",
    );
    insta::assert_snapshot!(lines.join("\n"), @r"
    driver: NVIDIA 550.54.15, found on the node: no CDI spec stands for the GPUs
    driver: for compute,utility (NVIDIA_DRIVER_CAPABILITIES: nobody says otherwise)
    driver: libcuda.so.1 (compute): /real/libcuda.so.1, as the loader finds it, where the image has GLIBC_2.27
    driver: libnvidia-ml.so.1 (utility): /real/libnvidia-ml.so.1, as the loader finds it, where the image has GLIBC_2.14
    driver: libnvidia-new.so.1 (compute): /real/libnvidia-new.so.1, as the loader finds it, where the image has GLIBC_2.38
    driver: /lib/firmware/nvidia/550.54.15/gsp.bin (compute,utility,video,graphics,ngx,display,compat32): /real/gsp.bin, at its usual place
    driver: /run/nvidia-persistenced/socket (compute,utility,video,graphics,ngx,display,compat32): /run/nvidia-persistenced/socket, at its usual place
    driver: /usr/bin/nvidia-smi (compute,utility,video,graphics,ngx,display,compat32): /real/nvidia-smi, at its usual place, where the image has GLIBC_2.14
    ");
}
