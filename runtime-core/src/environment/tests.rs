//! The environment of a rank, by tables.

use super::*;

fn pairs(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    list.iter()
        .map(|(n, v)| ((*n).into(), (*v).into()))
        .collect()
}

fn job(list: &[&str]) -> Vec<OsString> {
    list.iter().map(|e| (*e).into()).collect()
}

fn result(given: &[&str], image: &[(&str, &str)], locales: &[&str]) -> Vec<String> {
    let given = job(given);
    let chosen = ["CHOSEN".into(), "LC_TIME".into()];
    let list = changes(&given, &pairs(image), &chosen, |l| {
        locales.iter().any(|k| k.as_bytes() == l)
    });
    let mut out: Vec<String> = apply(&given, &decode(&encode(&list)))
        .into_iter()
        .map(|e| e.into_string().unwrap())
        .collect();
    out.sort();
    out
}

#[test]
fn precedence() {
    for (given, image, expected) in [
        (vec!["A=job"], vec![("A", "image")], vec!["A=image"]),
        (
            vec!["A=job", "OARLOCKENV_A=user"],
            vec![("A", "image")],
            vec!["A=user", "OARLOCKENV_A=user"],
        ),
        (vec!["B=job"], vec![], vec!["B=job"]),
        (
            vec!["CHOSEN=job"],
            vec![("CHOSEN", "image")],
            vec!["CHOSEN=job"],
        ),
        (vec![], vec![("CHOSEN", "image")], vec!["CHOSEN=image"]),
        (vec!["LC_TIME=de_DE"], vec![], vec!["LC_TIME=de_DE"]),
        (
            vec!["SLURM_JOB_ID=7"],
            vec![("SLURM_JOB_ID", "0")],
            vec!["SLURM_JOB_ID=7"],
        ),
        (
            vec![],
            vec![("OMP_NUM_THREADS", "1"), ("PMI_FD", "3")],
            vec![],
        ),
        (vec!["HOME=/h"], vec![("HOME", "/root")], vec!["HOME=/h"]),
        (vec!["LD_LIBRARY_PATH=/host"], vec![], vec![]),
        (
            vec!["LD_LIBRARY_PATH=/host"],
            vec![("LD_LIBRARY_PATH", "/img")],
            vec!["LD_LIBRARY_PATH=/img"],
        ),
        (vec!["LANG=C.UTF-8"], vec![], vec!["LANG=C.UTF-8"]),
        (vec!["LANG=de_DE.UTF-8"], vec![], vec![]),
        (vec!["LANG=en_US.UTF-8"], vec![], vec!["LANG=en_US.UTF-8"]),
        (
            vec!["LC_ALL=de_DE.UTF-8"],
            vec![("LC_ALL", "C")],
            vec!["LC_ALL=C"],
        ),
    ] {
        let mut expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
        expected.push(format!("PATH={DEFAULT_PATH}"));
        expected.sort();
        assert_eq!(
            result(&given, &image, &["en_US.UTF-8"]),
            expected,
            "{given:?} {image:?}"
        );
    }
    assert_eq!(
        result(&["PATH=/host"], &[("PATH", "/img")], &[]),
        ["PATH=/img"]
    );
}

#[test]
fn an_environment_file_has_lines() {
    let text = b"A=1\n# B=2\nC=\"x y\"\nD='z'\nE=a\"b\n\nnothing\nF=\nG H=1\n";
    assert_eq!(
        parse_environment_file(text),
        ["A=1", "C=x y", "D=z", "E=a\"b", "F="].map(OsString::from)
    );
}

#[test]
fn exports_of_dash_and_bash() {
    let dash = b"export A='x'\nexport B='it'\"'\"'s'\nexport C='two\nlines'\nexport NOVALUE\nexport D=''\n";
    assert_eq!(
        parse_exports(dash),
        pairs(&[("A", "x"), ("B", "it's"), ("C", "two\nlines"), ("D", "")])
    );
    let bash =
        b"declare -x A=\"x \\\"y\\\" \\$z \\\\ \"\ndeclare -x T=$'tab\\there\\033'\ndeclare -x U\n";
    assert_eq!(
        parse_exports(bash),
        pairs(&[("A", "x \"y\" $z \\ "), ("T", "tab\there\x1b")])
    );
}

proptest::proptest! {
    #[test]
    fn any_text_is_parsed_without_harm(text: Vec<u8>) {
        let _ = parse_exports(&text);
        let _ = decode(&text);
    }

    #[test]
    fn single_quotes_round_trip(value in "[^\0]*") {
        let quoted = format!("export X='{}'\n", value.replace('\'', "'\"'\"'"));
        proptest::prop_assert_eq!(parse_exports(quoted.as_bytes()), pairs(&[("X", &value)]));
    }
}
