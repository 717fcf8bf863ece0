//! Whether a rank may lock as much memory as an RDMA adapter will want of it.
//!
//! What is registered with an adapter is locked, and counts against the limit of the
//! process (`ib_umem_get` of the kernel: `pinned_vm` against `RLIMIT_MEMLOCK`). A rank
//! can register all that it has, so less than its part of the step's memory is little.
//! Only told: a program that uses no RDMA needs none of it.

use std::ffi::OsString;

use host_devices::rdma::{Node, Rdma};

use crate::limits::{self, Bounds};

/// What a rank is taken to have, where Slurm does not hold it to any memory: less has no
/// rank that computes.
const UNKNOWN: u64 = 1 << 30;

/// The line for the user, if any. `memory` is the step's on this node, in MiB.
pub(super) fn line(
    nodes: &[Node],
    environment: &[OsString],
    now: Bounds,
    memory: Option<u64>,
    ranks: u32,
) -> Option<String> {
    let Bounds { soft, hard } = limits::memlock(environment, now);
    let each = memory
        .filter(|memory| *memory > 0)
        .map_or(UNKNOWN, |memory| {
            memory.saturating_mul(1 << 20) / u64::from(ranks.max(1))
        });
    let rdma = Rdma {
        nodes: nodes.to_vec(),
        ..Rdma::default()
    };
    rdma.memlock_warning(soft.filter(|soft| *soft < each), hard)
}

#[cfg(test)]
mod tests {
    use host_devices::rdma::Kind;

    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn less_than_a_ranks_part_is_little() {
        let said = |value: &str| vec![OsString::from(format!("SLURM_RLIMIT_MEMLOCK={value}"))];
        let bounds = |soft, hard| Bounds { soft, hard };
        for (environment, now, memory, ranks, is_told) in [
            (vec![], bounds(Some(65536), Some(65536)), None, 1, true),
            (vec![], bounds(Some(GIB), Some(GIB)), None, 1, false),
            (vec![], bounds(None, None), None, 1, false),
            // The step's memory, in parts.
            (vec![], bounds(Some(GIB), None), Some(4096), 1, true),
            (vec![], bounds(Some(GIB), None), Some(4096), 4, false),
            (vec![], bounds(Some(GIB), None), Some(0), 0, false),
            // What Slurm will set goes before what is now.
            (said("65536"), bounds(None, None), None, 1, true),
            (said("U65536"), bounds(None, None), None, 1, true),
            (
                said("18446744073709551615"),
                bounds(Some(65536), None),
                None,
                1,
                false,
            ),
            // And does not go above the hard limit.
            (
                said("18446744073709551615"),
                bounds(Some(65536), Some(65536)),
                None,
                1,
                true,
            ),
        ] {
            let node = |kind| Node {
                path: "/dev/x".into(),
                kind,
            };
            let line_for = |kind| line(&[node(kind)], &environment, now, memory, ranks).is_some();
            assert_eq!(line_for(Kind::Verbs), is_told, "{environment:?} {now:?}");
            assert!(!line_for(Kind::SharedMemory));
        }
    }
}
