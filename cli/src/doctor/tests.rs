//! Reports as text and as JSON, and what the command line takes.

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: DoctorArgs,
}

fn report() -> Report {
    let mut findings = Findings::new("kernel");
    findings.ok("version", "6.12.43");
    findings.warning("landlock", "off", "switch it on");
    findings.unknown(
        "oarlock's",
        "only root sees it",
        "run oarlock doctor as root",
    );
    let mut checks = findings.checks;
    let mut findings = Findings::new("slurm");
    findings.failed("plugin", "no line\x1b[31m of Oarlock's", "write it");
    findings.not_here("other", "none");
    checks.extend(findings.checks);
    Report {
        version: "1.2.3",
        ..Report::new("node1".to_owned(), checks)
    }
}

#[test]
fn people_see_at_once_what_is_wrong() {
    insta::assert_snapshot!(text::render(&report()), @r"
    kernel
      ok        version    6.12.43
      WARNING   landlock   off
                           -> switch it on
      unknown   oarlock's  only root sees it
                           -> run oarlock doctor as root
    slurm
      FAILED    plugin     no line [31m of Oarlock's
                           -> write it
      not here  other      none
    node1: 1 FAILED, 1 WARNING, 1 unknown, 1 not here, 1 ok
    ");
}

#[test]
fn programs_read_json() {
    let json = serde_json::to_string_pretty(&report()).unwrap();
    insta::assert_snapshot!(json, @r#"
    {
      "version": "1.2.3",
      "node": "node1",
      "verdict": "failed",
      "checks": [
        {
          "section": "kernel",
          "name": "version",
          "verdict": "ok",
          "found": "6.12.43"
        },
        {
          "section": "kernel",
          "name": "landlock",
          "verdict": "warning",
          "found": "off",
          "advice": "switch it on"
        },
        {
          "section": "kernel",
          "name": "oarlock's",
          "verdict": "unknown",
          "found": "only root sees it",
          "advice": "run oarlock doctor as root"
        },
        {
          "section": "slurm",
          "name": "plugin",
          "verdict": "failed",
          "found": "no line [31m of Oarlock's",
          "advice": "write it"
        },
        {
          "section": "slurm",
          "name": "other",
          "verdict": "not-here",
          "found": "none"
        }
      ]
    }
    "#);
}

#[test]
fn a_monitor_reads_the_exit_code() {
    let code = |verdict, strict| format!("{:?}", exit_code(verdict, strict));
    let (good, bad) = (
        format!("{:?}", ExitCode::SUCCESS),
        format!("{:?}", ExitCode::FAILURE),
    );
    for (verdict, plain, strict) in [
        (Verdict::Ok, &good, &good),
        (Verdict::NotHere, &good, &good),
        (Verdict::Unknown, &good, &good),
        (Verdict::Warning, &good, &bad),
        (Verdict::Failed, &bad, &bad),
    ] {
        assert_eq!(&code(verdict, false), plain);
        assert_eq!(&code(verdict, true), strict);
    }
    assert_eq!(Report::new(String::new(), Vec::new()).verdict, Verdict::Ok);
    assert_eq!(report().verdict, Verdict::Failed);
    let mut findings = Findings::new("kernel");
    findings.not_here("a", "none");
    findings.unknown("b", "only root sees it", "be root");
    let report = Report::new(String::new(), findings.checks);
    assert_eq!(report.verdict, Verdict::Ok);
}

#[test]
fn sections_are_known_words() {
    let line = Line::try_parse_from(["doctor", "--json", "loop", "kernel"]).unwrap();
    assert_eq!(line.args.sections, ["loop", "kernel"]);
    let error = Line::try_parse_from(["doctor", "gpus"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("leftovers"), "{error}");
}

#[test]
fn only_the_sections_that_were_asked_for_are_looked_at() {
    let place = tempfile::tempdir().unwrap();
    let node = Arc::new(Node::of(Host::at(place.path()).unwrap(), None, None, true));
    let sections = |wanted: &[&str]| {
        let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        let mut found: Vec<&str> = examine(&node, &wanted, Deadline::after(watch::PATIENCE))
            .checks
            .iter()
            .map(|check| check.section)
            .collect();
        found.dedup();
        found
    };
    // In the order of the list, whatever was typed.
    assert_eq!(sections(&["cgroup", "kernel"]), ["kernel", "cgroup"]);
    let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    assert_eq!(sections(&[]), names);
}
