//! RDMA: the adapters, and how much memory jobs may lock for them.

use std::path::Path;

use host_devices::rdma::Rdma;

use super::check::Findings;
use super::node::{Node, SLURMD};

/// A process' limits are some 16 lines.
const MAX_LIMITS: u64 = 64 << 10;

pub(super) fn look(node: &Node, findings: &mut Findings) {
    let found = host_devices::Host::at(Path::new("/"));
    let rdma = match found {
        Ok(host) if node.host.is_this() => Rdma::find(&host),
        _ => Rdma::default(),
    };
    if !rdma.has_adapter() {
        findings.not_here("adapters", "none that a program can open");
        return;
    }
    let names: Vec<String> = rdma
        .nodes
        .iter()
        .map(|node| node.path.display().to_string())
        .collect();
    findings.ok("adapters", names.join(", "));
    let limits = node.numbers_of(&SLURMD).first().map(|number| {
        let path = format!("/proc/{number}/limits");
        node.host.look_into(Path::new(&path), MAX_LIMITS)
    });
    match limits {
        None => findings.not_here("memlock", "slurmd does not run"),
        Some(Err(error)) => findings.unknown("memlock", error.to_string(), "run this as root"),
        Some(Ok(text)) => memlock(&rdma, &String::from_utf8_lossy(&text), findings),
    }
}

/// What slurmd may lock, which a job has where no limit of the user's is handed on.
fn memlock(rdma: &Rdma, limits: &str, findings: &mut Findings) {
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max locked memory"));
    let mut words = line.unwrap_or_default().split_whitespace();
    let mut limit = || match words.next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    };
    let (Some(soft), Some(hard)) = (limit(), limit()) else {
        findings.unknown(
            "memlock",
            "slurmd's limits are not understood",
            "look at /proc/PID/limits",
        );
        return;
    };
    match rdma.memlock_warning(soft, hard) {
        None => findings.ok("memlock", "slurmd may lock all memory"),
        Some(_) => findings.warning(
            "memlock",
            format!("slurmd may lock {} bytes: what a job registers with an adapter is locked", soft.unwrap_or_default()),
            "set LimitMEMLOCK=infinity for slurmd, and PropagateResourceLimitsExcept=MEMLOCK in slurm.conf",
        ),
    }
}

#[cfg(test)]
mod tests {
    use host_devices::rdma::{self, Kind};

    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn slurmds_limit_is_judged() {
        let rdma = Rdma {
            nodes: vec![rdma::Node {
                path: "/dev/infiniband/uverbs0".into(),
                kind: Kind::Verbs,
            }],
            ..Rdma::default()
        };
        const HEAD: &str = "Limit                     Soft Limit           Hard Limit           Units     \nMax processes  10  10  processes\n";
        for (line, verdict) in [
            (
                "Max locked memory         unlimited            unlimited            bytes",
                Verdict::Ok,
            ),
            (
                "Max locked memory         8388608              8388608              bytes",
                Verdict::Warning,
            ),
            (
                "Max locked memory         65536                unlimited            bytes",
                Verdict::Warning,
            ),
            (
                "Max locked memory         much                 unlimited            bytes",
                Verdict::Unknown,
            ),
            ("", Verdict::Unknown),
        ] {
            let mut findings = Findings::new("rdma");
            memlock(&rdma, &format!("{HEAD}{line}\n"), &mut findings);
            assert_eq!(findings.checks[0].verdict, verdict, "{line}");
        }
    }
}
