//! The form by tables, includes over real files, and text of any kind.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

use super::*;
use crate::host::tests::tree;

fn entries(text: &str) -> Vec<Vec<(String, String)>> {
    let statements = parse(text, Path::new("t.conf")).unwrap();
    statements
        .into_iter()
        .map(|statement| match statement {
            Statement::Keys(line) => line.entries,
            Statement::Include(_, path) => vec![("include".into(), path.display().to_string())],
        })
        .collect()
}

#[test]
fn lines_in_every_form() {
    for (text, wanted) in [
        ("A=b", vec![("A", "b")]),
        ("  A = b  # c", vec![("A", "b")]),
        (
            "A=b C=\"d e\" F=1,2",
            vec![("A", "b"), ("C", "d e"), ("F", "1,2")],
        ),
        ("A+=b", vec![("A", "b")]),
        ("A=x=y", vec![("A", "x=y")]),
        ("A=b \\\n  C=d", vec![("A", "b"), ("C", "d")]),
        ("A=b \\  \n  C=d", vec![("A", "b"), ("C", "d")]),
        ("A=b\\#c", vec![("A", "b#c")]),
        ("A=b\\\\", vec![("A", "b\\")]),
        ("A=b\r\n", vec![("A", "b")]),
        ("A=\"\"", vec![("A", "")]),
        ("Include /etc/x", vec![("include", "/etc/x")]),
        ("INCLUDE\t\"x y\"", vec![("include", "x y")]),
        ("include = b", vec![("include", "b")]),
    ] {
        let wanted: Vec<_> = wanted
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(entries(text), [wanted], "{text}");
    }
    for text in ["", "# A=b", "   ", "#A=b \\", "\\"] {
        assert!(entries(text).is_empty(), "{text}");
    }
    // A comment does not go on.
    assert_eq!(entries("# a \\\nA=b").len(), 1);
}

#[test]
fn what_has_not_the_form_names_its_line() {
    for (text, part) in [
        ("A=b\nnonsense", "line 2: \"nonsense\""),
        ("A=b \\\n c\nD=e", "line 1: \"c\""),
        ("A=\"b", "line 1: \"A=\"b\""),
        ("\n\n=b", "line 3: \"=b\""),
        ("A=\"b\"c", "line 1"),
    ] {
        let error = parse(text, Path::new("t.conf")).unwrap_err().to_string();
        assert!(
            error.starts_with("t.conf: ") && error.contains(part),
            "{error}"
        );
    }
}

#[test]
fn keys_have_any_case_and_the_last_one_counts() {
    let (_place, host) = tree(&[(
        "slurm.conf",
        "TaskPlugin=task/none\nNodeName=n1 State=UP TaskPlugin=x\ntaskplugin=task/affinity,task/cgroup\n\
         PartitionName=p Nodes=ALL\nA=YES\nB=no\n",
    )]);
    let conf = Conf::load(&host, Path::new("/slurm.conf")).unwrap();
    assert_eq!(conf.get("TASKPLUGIN"), Some("task/affinity,task/cgroup"));
    assert!(conf.lists("TaskPlugin", "task/cgroup") && !conf.lists("TaskPlugin", "cgroup"));
    assert_eq!(conf.get("State"), None);
    assert_eq!(conf.switch("a"), Some(true));
    assert_eq!(conf.switch("b"), Some(false));
    assert_eq!(conf.switch("c"), None);
    let nodes: Vec<_> = conf.records("nodename").collect();
    assert_eq!(nodes.len(), 1);
    assert_eq!((nodes[0].number, nodes[0].get("state")), (2, Some("UP")));
}

#[test]
fn what_is_included_stands_in_its_place() {
    let (_place, host) = tree(&[
        (
            "etc/slurm.conf",
            "A=1\nInclude more.conf\nA=3\ninclude /etc/d/*.conf\n",
        ),
        ("etc/more.conf", "A=2\nB=1\nInclude d/x.txt"),
        ("etc/d/x.txt", "C=1"),
        ("etc/d/a.conf", "D=1"),
        ("etc/d/b.conf", "D=2"),
    ]);
    let conf = Conf::load(&host, Path::new("/etc/slurm.conf")).unwrap();
    let shown: Vec<_> = [("A", "3"), ("B", "1"), ("C", "1"), ("D", "2")].into();
    for (key, value) in shown {
        assert_eq!(conf.get(key), Some(value), "{key}");
    }
    assert_eq!(conf.files.len(), 5);
}

#[test]
fn includes_without_end_end() {
    let (_place, host) = tree(&[("a", "Include a")]);
    let error = Conf::load(&host, Path::new("/a")).unwrap_err();
    assert!(
        matches!(error, ConfError::Includes { number: 1, .. }),
        "{error}"
    );
    // Twice at each depth would be 2^8 files and more.
    let (_place, host) = tree(&[
        ("a", "Include b\nInclude b"),
        ("b", "Include a*\nInclude a\n"),
    ]);
    assert!(Conf::load(&host, Path::new("/a")).is_err());
}

#[test]
fn others_files_are_not_believed() {
    let (place, host) = tree(&[("a", "A=1\nInclude b"), ("b", "B=1")]);
    let mode = Permissions::from_mode(0o666);
    std::fs::set_permissions(place.path().join("b"), mode).unwrap();
    let error = Conf::load(&host, Path::new("/a")).unwrap_err();
    assert!(
        matches!(error, ConfError::Read(ReadError::NotRoots(_))),
        "{error}"
    );
    // For people it is read all the same.
    assert!(Conf::look_into(&host, Path::new("/a")).is_ok());
    let missing = Conf::load(&host, Path::new("/none")).unwrap_err();
    assert!(matches!(missing, ConfError::Read(error) if error.is_missing()));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[ -~\\n\\\\#=\"]{0,200}") {
        let _ = parse(&text, Path::new("t.conf"));
    }

    #[test]
    fn plain_values_come_back(key in "[A-Za-z_]{1,12}", value in "[a-z0-9/,:.\\[\\]-]{1,20}", quoted in any::<bool>()) {
        let text = if quoted { format!("{key}=\"{value}\"") } else { format!("{key}={value}") };
        prop_assert_eq!(entries(&text), vec![vec![(key, value)]]);
    }
}
