//! Disks and clocks of every kind.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use runtime_core::host::Host;

use super::*;

#[test]
fn file_systems_are_judged_by_what_they_carry() {
    for (kind, what, verdict) in [
        ("ext4", Use::Copies, Verdict::Ok),
        ("ext4", Use::Overlays, Verdict::Ok),
        ("xfs", Use::Overlays, Verdict::Ok),
        ("nfs", Use::Copies, Verdict::Warning),
        ("nfs", Use::Overlays, Verdict::Warning),
        ("lustre", Use::Overlays, Verdict::Warning),
        ("overlay", Use::Overlays, Verdict::Warning),
        ("overlay", Use::Copies, Verdict::Ok),
        ("tmpfs", Use::Copies, Verdict::Warning),
        ("tmpfs", Use::Overlays, Verdict::Warning),
    ] {
        let (found, text, advice) = judge(kind, what);
        assert_eq!(found, verdict, "{kind} {what:?}");
        assert!(text.starts_with(kind) && advice.is_some() == (verdict != Verdict::Ok));
    }
    assert_eq!(kind(0xEF53), "ext4");
    // On some machines the number is signed, of 32 bits.
    assert_eq!(kind(i64::from(0xFF53_4D42_u32.cast_signed())), "cifs");
    assert!(kind(1).starts_with("of a kind"));
}

#[test]
fn before_they_are_made_their_disk_is_looked_at() {
    let of = |config: &str| {
        let tree = tempfile::tempdir().unwrap();
        let file = tree.path().join("etc/oarlock/oarlock.toml");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::create_dir(tree.path().join("var")).unwrap();
        std::fs::write(&file, config).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let node = Node::of(Host::at(tree.path()).unwrap(), None, None, true);
        let mut findings = Findings::new("store");
        look(&node, &mut findings);
        let names = findings.checks.into_iter().map(|check| check.name);
        names.collect::<Vec<_>>()
    };
    let has = |names: &[String], name: &str| names.iter().any(|one| one == name);
    let names = of("");
    assert!(
        has(&names, "store's disk") && has(&names, "containers' disk"),
        "{names:?}"
    );
    assert!(!has(&names, "images"), "{names:?}");
    let names = of("[writable]\nnamed = false");
    assert!(
        has(&names, "containers") && !has(&names, "containers' disk"),
        "{names:?}"
    );
}

#[test]
fn a_clock_that_is_wrong_is_told() {
    let now = SystemTime::now();
    let of = |program: Option<SystemTime>| {
        let mut findings = Findings::new("store");
        is_sane(now, program, &mut findings);
        findings.checks[0].verdict
    };
    assert_eq!(of(Some(now - DAY)), Verdict::Ok);
    assert_eq!(of(Some(now + DAY / 2)), Verdict::Ok);
    assert_eq!(of(Some(now + DAY * 3)), Verdict::Failed);
    assert_eq!(of(None), Verdict::Ok);
    let found = |newest| Contents {
        images: 1,
        bytes: 4096,
        under_way: 1,
        unfinished: 0,
        stale: 0,
        newest,
        bound: 1 << 30,
        free: 1 << 40,
    };
    let of = |newest| {
        let mut findings = Findings::new("store");
        times(&found(newest), now, &mut findings);
        findings.checks[0].verdict
    };
    assert_eq!(of(Some(now + SKEW * 2)), Verdict::Warning);
    assert_eq!(of(Some(now)), Verdict::Ok);
    assert_eq!(of(None), Verdict::Ok);
    assert_eq!(images(&found(None)), "1, 4 KiB of 1 GiB, 1 being copied");
}
