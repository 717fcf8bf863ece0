//! Which hooks are done here, and which are not.

use std::path::PathBuf;

use super::{Native, Symlink, classify};
use crate::edits::{Hook, Stage};

fn hook(path: &str, args: &str) -> Hook {
    Hook {
        stage: Stage::CreateContainer,
        path: PathBuf::from(path),
        args: args.split_whitespace().map(str::to_owned).collect(),
        env: Vec::new(),
        timeout: None,
    }
}

fn paths(all: &[&str]) -> Vec<PathBuf> {
    all.iter().map(PathBuf::from).collect()
}

#[test]
fn known_commands_are_done_natively() {
    let links = Native::Symlinks(vec![
        Symlink {
            target: PathBuf::from("libcuda.so.1"),
            link: PathBuf::from("/usr/lib64/libcuda.so"),
        },
        Symlink {
            target: PathBuf::from("../card1"),
            link: PathBuf::from("/dev/dri/by-path/pci-0000:3b:00.0-card"),
        },
    ]);
    let ldconfig = |folders: &[&str]| Native::LdConfig {
        folders: paths(folders),
    };
    let cases = [
        (
            "/usr/bin/nvidia-ctk",
            "nvidia-ctk hook create-symlinks --link libcuda.so.1::/usr/lib64/libcuda.so --link ../card1::/dev/dri/by-path/pci-0000:3b:00.0-card",
            links.clone(),
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "nvidia-cdi-hook create-symlinks --link=libcuda.so.1::/usr/lib64/libcuda.so --link=../card1::/dev/dri/by-path/pci-0000:3b:00.0-card",
            links,
        ),
        (
            "/usr/local/nvidia/toolkit/nvidia-cdi-hook.real",
            "x --debug update-ldcache --ldconfig-path @/sbin/ldconfig --folder /usr/lib64 --folder /usr/lib64/vdpau",
            ldconfig(&["/usr/lib64", "/usr/lib64/vdpau"]),
        ),
        (
            "/usr/bin/nvidia-ctk",
            "nvidia-ctk hook update-ldcache --folder=/a,/b",
            ldconfig(&["/a", "/b"]),
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "nvidia-cdi-hook update-ldcache",
            ldconfig(&[]),
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "nvidia-cdi-hook create-soname-symlinks --folder /usr/lib64",
            Native::SonameLinks {
                folders: paths(&["/usr/lib64"]),
            },
        ),
        (
            "/usr/bin/nvidia-ctk",
            "nvidia-ctk --quiet hook chmod --mode 755 --path /dev/dri",
            Native::Chmod {
                mode: 0o755,
                paths: paths(&["/dev/dri"]),
            },
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "nvidia-cdi-hook enable-cuda-compat --host-driver-version=570.86.15",
            Native::CudaCompat {
                host_driver: Some(String::from("570.86.15")),
            },
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "nvidia-cdi-hook disable-device-node-modification",
            Native::NotNeeded {
                command: "disable-device-node-modification",
            },
        ),
    ];
    for (path, args, native) in cases {
        assert_eq!(classify(&hook(path, args)), Ok(native), "{args}");
    }
}

#[test]
fn what_is_not_known_is_foreign() {
    let cases = [
        (
            "/opt/site/hook",
            "hook --all",
            "what this program does is not known",
        ),
        (
            "/usr/bin/nvidia-container-runtime-hook",
            "x prestart",
            "is not known",
        ),
        (
            "/usr/bin/nvidia-ctk",
            "nvidia-ctk cdi generate",
            "is not known",
        ),
        ("/usr/bin/nvidia-ctk", "nvidia-ctk hook", "no command"),
        ("/usr/bin/nvidia-cdi-hook", "nvidia-cdi-hook", "no command"),
        ("/usr/bin/nvidia-cdi-hook", "", "no command"),
        (
            "/usr/bin/nvidia-cdi-hook",
            "h rm-all",
            "command \"rm-all\" is not known",
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "h create-symlinks --link a",
            "not of the form",
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "h create-symlinks --link ::/a",
            "not of the form",
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "h create-symlinks --link a::b",
            "must be absolute",
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "h create-symlinks --link a::/../b",
            "must not have ..",
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "h create-symlinks --link",
            "has no value",
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "h create-symlinks --links a::/b",
            "option \"--links\"",
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "h create-symlinks a::/b",
            "option \"a::/b\"",
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "h update-ldcache --folder lib",
            "must be absolute",
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "h chmod --mode 4755 --path /a",
            "mode \"4755\"",
        ),
        (
            "/usr/bin/nvidia-cdi-hook",
            "h chmod --mode +755 --path /a",
            "mode \"+755\"",
        ),
        ("/usr/bin/nvidia-cdi-hook", "h chmod --path /a", "mode \"\""),
        (
            "/usr/bin/nvidia-cdi-hook",
            "h disable-device-node-modification --x",
            "option \"--x\"",
        ),
    ];
    for (path, args, part) in cases {
        let said = classify(&hook(path, args)).expect_err(args).to_string();
        assert!(
            said.starts_with(&format!("createContainer hook {path}: ")),
            "{said}"
        );
        assert!(said.contains(part), "{said}");
    }
    let mut late = hook("/usr/bin/nvidia-cdi-hook", "h update-ldcache");
    late.stage = Stage::Poststop;
    assert!(classify(&late).is_err());
    let odd = Hook {
        args: vec![
            String::new(),
            String::from("create-symlinks"),
            String::from("--link"),
            String::from("a\n::/b"),
        ],
        ..late
    };
    let odd = Hook {
        stage: Stage::CreateRuntime,
        ..odd
    };
    let said = classify(&odd).expect_err("control").to_string();
    assert!(!said.contains('\n'), "{said:?}");
}
