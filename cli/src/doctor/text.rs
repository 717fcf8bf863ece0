//! A report as people read it: what is not in order has its word in capitals.

use std::fmt::Write;

use super::check::{Report, Verdict};

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::NotHere => "not here",
        Verdict::Unknown => "unknown",
        Verdict::Warning => "WARNING",
        Verdict::Failed => "FAILED",
    }
}

/// `1 file`, `2 files`.
pub(super) fn many(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// The whole report, ending in a newline.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    let mut section = "";
    let names = report.checks.iter().map(|check| check.name.chars().count());
    let width = names.max().unwrap_or_default().min(30);
    for check in &report.checks {
        if check.section != section {
            section = check.section;
            let _ = writeln!(out, "{section}");
        }
        let verdict = word(check.verdict);
        let _ = writeln!(
            out,
            "  {verdict:<8}  {:<width$}  {}",
            check.name, check.found
        );
        if let Some(advice) = &check.advice {
            let _ = writeln!(out, "  {:<8}  {:<width$}  -> {advice}", "", "");
        }
    }
    let counts: Vec<String> = [
        Verdict::Failed,
        Verdict::Warning,
        Verdict::Unknown,
        Verdict::NotHere,
        Verdict::Ok,
    ]
    .into_iter()
    .filter(|verdict| report.count(*verdict) > 0)
    .map(|verdict| format!("{} {}", report.count(verdict), word(verdict)))
    .collect();
    let _ = writeln!(out, "{}: {}", report.node, counts.join(", "));
    out
}
