//! Bounds in time: what is looked at may lie on a file system that hangs, and then the
//! kernel does not come back. The thread that waits for it is left behind, and ends with
//! this process.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::check::{Check, Findings};
use super::node::Node;

/// All sections together take no longer, so that a monitor with a bound of half a minute
/// has its answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A section gets so much when the others have taken all.
const LEAST: Duration = Duration::from_secs(1);

/// What a section that waits for something is told by.
pub(super) const NAME: &str = "answer";

/// How long the rest may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Instant);

impl Deadline {
    pub(super) fn after(patience: Duration) -> Self {
        Self(Instant::now() + patience)
    }

    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now()).max(LEAST)
    }
}

/// What `work` returns, unless it takes too long.
pub(super) fn within<T: Send + 'static>(
    deadline: Deadline,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let _ = sender.send(work());
    });
    receiver.recv_timeout(deadline.left()).ok()
}

/// What a section finds; where it does not come to its end, what it had found, and that.
pub(super) fn section(
    name: &'static str,
    look: fn(&Node, &mut Findings),
    node: &Arc<Node>,
    deadline: Deadline,
) -> Vec<Check> {
    let (sender, receiver) = channel();
    let node = Arc::clone(node);
    let thread = std::thread::spawn(move || look(&node, &mut Findings::telling(name, sender)));
    let began = Instant::now();
    let end = Deadline::after(deadline.left()).0;
    let mut findings = Findings::new(name);
    loop {
        match receiver.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(check) => findings.checks.push(check),
            Err(RecvTimeoutError::Timeout) => {
                late(began.elapsed(), &mut findings);
                break;
            }
            Err(RecvTimeoutError::Disconnected) => {
                if let Err(panic) = thread.join() {
                    std::panic::resume_unwind(panic);
                }
                break;
            }
        }
    }
    findings.checks
}

/// What there is to say where not even the configuration could be read.
pub(super) fn nothing() -> Vec<Check> {
    let mut findings = Findings::new("config");
    late(PATIENCE, &mut findings);
    findings.checks
}

fn late(waited: Duration, findings: &mut Findings) {
    let after = match findings.checks.last() {
        Some(check) => format!(", after \"{}\"", check.name),
        None => String::new(),
    };
    findings.failed(
        NAME,
        format!(
            "none within {} s{after}: something that is looked at hangs",
            waited.as_secs()
        ),
        "see which file system: df, and processes in state D; sections can be looked at one by one",
    );
}

#[cfg(test)]
mod tests {
    use runtime_core::host::Host;

    use super::super::check::Verdict;
    use super::*;

    fn hangs(_: &Node, findings: &mut Findings) {
        findings.ok("first", "there");
        std::thread::sleep(Duration::from_secs(600));
    }

    fn answers(_: &Node, findings: &mut Findings) {
        findings.ok("first", "there");
        findings.ok("second", "there");
    }

    #[test]
    fn what_hangs_is_told_and_the_rest_is_looked_at() {
        let place = tempfile::tempdir().unwrap();
        let node = Node::of(Host::at(place.path()).unwrap(), None, None, true);
        let node = Arc::new(node);
        let began = Instant::now();
        let none = Deadline::after(Duration::ZERO);
        let found = section("store", hangs, &node, none);
        assert!(began.elapsed() < Duration::from_secs(60));
        let shown: Vec<_> = found.iter().map(|c| (c.name.as_str(), c.verdict)).collect();
        assert_eq!(shown, [("first", Verdict::Ok), (NAME, Verdict::Failed)]);
        assert!(found[1].found.contains("after \"first\""), "{found:?}");
        assert_eq!(nothing().len(), 1);
        // It has a second of its own.
        assert_eq!(section("loop", answers, &node, none).len(), 2);
    }

    #[test]
    fn what_takes_too_long_is_left_behind() {
        let none = Deadline::after(Duration::ZERO);
        assert_eq!(within(none, || 7), Some(7));
        let hangs = || std::thread::sleep(Duration::from_secs(600));
        assert_eq!(within(none, hangs), None);
    }
}
