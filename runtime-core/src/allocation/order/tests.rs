//! The list as slurmd makes it, and where it is not known.

use std::path::Path;

use host_devices::gpu::MigInstance;

use super::*;
use crate::slurm::conf::{Conf, Statement, parse};
use crate::slurm::gres::{configured, lines_of};

fn conf(text: &str) -> Conf {
    let lines = parse(text, Path::new("x.conf")).unwrap().into_iter();
    Conf {
        lines: lines
            .filter_map(|statement| match statement {
                Statement::Keys(line) => Some(line),
                Statement::Include(..) => None,
            })
            .collect(),
        files: Vec::new(),
    }
}

fn gpu(vendor: Vendor, index: u32, node: &str, bus: &str) -> Gpu {
    Gpu {
        vendor,
        index,
        nodes: vec![node.into()],
        uuid: None,
        bus: Some(bus.to_owned()),
        model: None,
        mig: Vec::new(),
        shared: Vec::new(),
    }
}

/// A part, by the numbers of its two capabilities.
fn part(gpu_node: u32, compute_node: u32) -> MigInstance {
    MigInstance {
        gpu_instance: 0,
        compute_instance: 0,
        gpu_node: format!("/dev/nvidia-caps/nvidia-cap{gpu_node}").into(),
        compute_node: format!("/dev/nvidia-caps/nvidia-cap{compute_node}").into(),
    }
}

/// Three GPUs whose places on the bus are in another order than their files; the one at
/// /dev/nvidia1 in two parts where `divided`.
fn nvidia(divided: bool) -> Gpus {
    let mut all: Vec<Gpu> = [
        (0, "/dev/nvidia2"),
        (1, "/dev/nvidia0"),
        (2, "/dev/nvidia1"),
    ]
    .map(|(index, node)| gpu(Vendor::Nvidia, index, node, "0000:17:00.0"))
    .into();
    if divided {
        all[2].mig = vec![part(102, 103), part(21, 22)];
    }
    Gpus {
        all,
        problems: Vec::new(),
    }
}

/// The list as one text: `/dev` left out, files of one with a plus between.
fn list(gres: &str, slurm: Option<&str>, found: &Gpus) -> Result<String, String> {
    let listing = Listing {
        lines: lines_of(&conf(gres), "n1").unwrap(),
        configured: slurm
            .and_then(|gres| configured(&conf(&format!("NodeName=n1 Gres={gres}\n")), "n1")),
    };
    let gpus = listing.gpus(found).map_err(|error| error.to_string())?;
    let one = |files: Vec<PathBuf>| {
        let names: Vec<String> = files
            .iter()
            .map(|file| file.display().to_string().replace("/dev/", ""))
            .collect();
        names.join("+").replace("nvidia-caps/nvidia-", "")
    };
    Ok(gpus.into_iter().map(one).collect::<Vec<_>>().join(" "))
}

#[test]
fn lines_are_taken_as_slurm_conf_has_them() {
    let typed = "Name=gpu Type=b File=/dev/b[0-1]\nName=gpu Type=A File=/dev/a[0-3]\n";
    for (gres, slurm, expected) in [
        ("Name=gpu File=/dev/g[0-1]\n", None, "g0 g1"),
        ("Name=gpu File=/dev/g[0-3]\n", Some("gpu:2"), "g0 g1"),
        (typed, None, "b0 b1 a0 a1 a2 a3"),
        (typed, Some("gpu:6"), "b0 b1 a0 a1 a2 a3"),
        (typed, Some("gpu:a:3,shard:9,gpu:b:2"), "a0 a1 a2 b0 b1"),
        (typed, Some("gpu:c:2"), ""),
        // Who has no type is nobody's by type.
        ("Name=gpu File=/dev/g0\n", Some("gpu:a:1"), ""),
        // Slurm reads lines that begin with NodeName after the others.
        (
            "NodeName=n1 Name=gpu File=/dev/x0\nName=gpu File=/dev/y0\nNodeName=n2 Name=gpu File=/dev/z0\n",
            Some("gpu:2"),
            "y0 x0",
        ),
        (
            "Name=gpu MultipleFiles=/dev/card0,/dev/render0\nName=shard Count=4\nName=gpu File=/dev/g1\n",
            Some("gpu:2,shard:4"),
            "card0+render0 g1",
        ),
        // A line without files gives nothing, where slurmd finds nothing.
        ("Name=gpu Count=2\nName=gpu File=/dev/g0\n", None, "g0"),
    ] {
        assert_eq!(
            list(gres, slurm, &nvidia(false)).as_deref(),
            Ok(expected),
            "{gres} {slurm:?}"
        );
    }
}

#[test]
fn what_slurm_finds_is_in_the_order_of_the_bus() {
    const NVML: &str = "AutoDetect=nvml\n";
    for (gres, slurm, divided, expected) in [
        (NVML, "gpu:3", false, "nvidia2 nvidia0 nvidia1"),
        // With room for two, those with the first files are Slurm's.
        (NVML, "gpu:2", false, "nvidia0 nvidia1"),
        (NVML, "gpu:a100:3", false, "nvidia2 nvidia0 nvidia1"),
        (
            "AutoDetect=nvml\nName=gpu File=/dev/nvidia[0-2]\n",
            "gpu:3",
            false,
            "nvidia2 nvidia0 nvidia1",
        ),
        (
            "AutoDetect=nvml\nName=gpu File=/dev/nvidia0\nName=gpu File=/dev/other9\n",
            "gpu:2",
            false,
            "nvidia0 other9",
        ),
        (
            "AutoDetect=nvidia\n",
            "gpu:3",
            false,
            "nvidia0 nvidia1 nvidia2",
        ),
        // A node's own word goes before the word for all.
        (
            "AutoDetect=nvml\nNodeName=n1 AutoDetect=off Name=gpu File=/dev/nvidia[0-2]\n",
            "gpu:3",
            false,
            "nvidia0 nvidia1 nvidia2",
        ),
        // Parts have no links, and come last, by file.
        (
            NVML,
            "gpu:4",
            true,
            "nvidia2 nvidia0 nvidia1+cap21+cap22 nvidia1+cap102+cap103",
        ),
        (
            "AutoDetect=nvml\nName=gpu MultipleFiles=/dev/nvidia1,/dev/nvidia-caps/nvidia-cap102,/dev/nvidia-caps/nvidia-cap103\n",
            "gpu:1",
            true,
            "nvidia1+cap102+cap103",
        ),
    ] {
        assert_eq!(
            list(gres, Some(slurm), &nvidia(divided)).as_deref(),
            Ok(expected),
            "{gres} {slurm}"
        );
    }
}

#[test]
fn what_is_not_known_is_not_guessed() {
    for (gres, slurm, expected) in [
        (
            "AutoDetect=nrt\n",
            "gpu:3",
            "what Slurm finds by AutoDetect=nrt is not known here",
        ),
        (
            "AutoDetect=full\n",
            "gpu:3",
            "what Slurm finds by AutoDetect=full is not known here",
        ),
        (
            "AutoDetect=nvml\n",
            "gpu:1g.10gb:2",
            "slurm.conf has 2 of the 4 that Slurm finds here, by type, and it is not known which",
        ),
        (
            "AutoDetect=nvidia\n",
            "gpu:4",
            "what Slurm finds by AutoDetect=nvidia is not known here",
        ),
    ] {
        let found = list(gres, Some(slurm), &nvidia(true));
        assert_eq!(found, Err(expected.to_owned()), "{gres} {slurm}");
    }
}

/// slurmd found them when it began: what has gone since has kept its number.
#[test]
fn a_gpu_that_is_lost_moves_no_other() {
    const FEWER: &str = "Slurm has found 3 of them by itself, and 2 are here now, so that it is not known which have which number";
    const GONE: &str = "/dev/nvidia0 of gres.conf is not among the GPUs that are here now, so that it is not known which number it has";
    let mut without_device = nvidia(false);
    without_device.all[1].nodes.clear();
    let mut off_the_bus = nvidia(false);
    off_the_bus.all.remove(1);
    let named = "Name=gpu File=/dev/nvidia[0-2]\n";
    for word in ["nvml", "nvidia"] {
        for found in [&without_device, &off_the_bus] {
            let own = format!("AutoDetect={word}\n");
            let found_of = |gres: &str| list(gres, Some("gpu:3"), found);
            assert_eq!(found_of(&own), Err(FEWER.to_owned()), "{word}");
            assert_eq!(found_of(&format!("{own}{named}")), Err(GONE.to_owned()));
            // What slurmd does not look for stays where its line says.
            assert_eq!(found_of(named).as_deref(), Ok("nvidia0 nvidia1 nvidia2"));
        }
    }
    // Of two that slurm.conf takes, the one without a device may have been one.
    assert_eq!(
        list("AutoDetect=nvml\n", Some("gpu:2"), &without_device),
        Err(FEWER.to_owned())
    );
    // What udev or an administrator made stays when the card has gone.
    let mut with_remains = nvidia(false);
    with_remains.all[1].bus = None;
    for (word, gres) in [("nvml", ""), ("nvidia", ""), ("nvml", named)] {
        assert_eq!(
            list(&format!("AutoDetect={word}\n{gres}"), Some("gpu:3"), &with_remains),
            Err("/dev/nvidia0 is a device of no GPU that is here now, so that it is not known which have which number".to_owned()),
            "{word}"
        );
    }
}

#[test]
fn the_gpus_of_other_vendors() {
    let all = [
        gpu(Vendor::Amd, 0, "/dev/dri/renderD130", "0000:c1:00.0"),
        gpu(Vendor::Amd, 1, "/dev/dri/renderD128", "0000:03:00.0"),
        gpu(Vendor::Intel, 0, "/dev/dri/renderD131", "0000:04:00.0"),
    ];
    let mut found = Gpus {
        all: all.into(),
        problems: Vec::new(),
    };
    for (word, slurm, expected) in [
        ("rsmi", "gpu:2", "dri/renderD128 dri/renderD130"),
        ("oneapi", "gpu:1", "dri/renderD131"),
    ] {
        let gres = format!("AutoDetect={word}\n");
        assert_eq!(list(&gres, None, &found).as_deref(), Ok(""));
        assert_eq!(list(&gres, Some(slurm), &found).as_deref(), Ok(expected));
        let gone = format!("{gres}Name=gpu File=/dev/dri/renderD129\n");
        assert!(list(&gone, Some(slurm), &found).is_err());
    }
    found.all[0].bus = found.all[1].bus.clone();
    assert!(list("AutoDetect=rsmi\n", Some("gpu:2"), &found).is_err());
}

#[test]
fn numbers_count_by_their_value() {
    for (a, b) in [
        ("/dev/nvidia2", "/dev/nvidia10"),
        ("/dev/nvidia0", "/dev/nvidia10"),
        ("/dev/nvidia0,/dev/a", "/dev/nvidia0,/dev/b"),
        ("/dev/a", "/dev/a1"),
        ("", "x"),
    ] {
        assert_eq!(
            natural(a.as_bytes(), b.as_bytes()),
            Ordering::Less,
            "{a} {b}"
        );
        assert_eq!(natural(b.as_bytes(), a.as_bytes()), Ordering::Greater);
        assert_eq!(natural(a.as_bytes(), a.as_bytes()), Ordering::Equal);
    }
}
