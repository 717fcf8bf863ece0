//! Profiles as tables: what is merged how, and what is refused.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::*;

/// Profiles in memory, by their names or paths.
struct Memory(BTreeMap<String, String>);

impl Library for Memory {
    fn read(&mut self, name: &ProfileName) -> Result<Found, ProfileError> {
        let name_text = name.to_string();
        let place = self.0.keys().position(|key| *key == name_text);
        match (place, self.0.get(&name_text)) {
            (Some(place), Some(text)) => Ok(Found {
                path: PathBuf::from(format!("/p/{name_text}.toml")),
                id: (1, place as u64),
                text: text.clone(),
            }),
            _ => Err(ProfileError::Unknown {
                name: name.clone(),
                directories: vec!["/p".into(), "/q".into()],
            }),
        }
    }
}

fn resolved(files: &[(&str, &str)], missing: Missing) -> Result<Profile, String> {
    let mut library = Memory(
        files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect(),
    );
    let variable = |name: &str| match name {
        "USER" => Some(OsString::from("alice")),
        "LONG" => Some("x".repeat(60_000).into()),
        "BASE" => Some("a".into()),
        _ => None,
    };
    let cwd = HostPath::new("/home/alice/run").unwrap();
    let name = ProfileName::parse(OsStr::new("top")).unwrap();
    resolve(&name, &mut library, &variable, Some(&cwd), missing).map_err(|e| e.to_string())
}

fn refused(files: &[(&str, &str)]) -> String {
    resolved(files, Missing::Refused).unwrap_err()
}

#[test]
fn later_files_count() {
    let profile = resolved(
        &[
            (
                "a",
                "image = \"/a.sif\"\nwritable = true\nmounts = [\"/1:/one\", \"/2:/two\"]\n[env]\nA = \"a\"\nB = \"a\"\n[annotations]\nx.y = \"a\"\nx.z = \"a\"",
            ),
            (
                "b",
                "image = \"/b.sif\"\nworkdir = \"/work\"\nentrypoint = true\n[env]\nB = \"b\"",
            ),
            (
                "top",
                "base_environment = [\"${BASE}\", \"b\"]\nentrypoint = false\nmounts = [\"/3:/two:ro\", \"./d:/d\"]\n[env]\nC = \"${PATH}:/x\"\n[annotations]\n\"x.y\" = \"${USER}\"",
            ),
        ],
        Missing::Refused,
    )
    .unwrap();
    assert_eq!(
        profile.to_toml(),
        "image = \"/b.sif\"\nworkdir = \"/work\"\nentrypoint = false\nwritable = true\nmounts = [\"/1:/one\", \"/3:/two:ro\", \"./d:/d\"]\n\n[env]\nA = \"a\"\nB = \"b\"\nC = \"${PATH}:/x\"\n\n[annotations]\n\"x.y\" = \"alice\"\n\"x.z\" = \"a\"\n"
    );
}

#[test]
fn what_is_printed_means_the_same() {
    let text = "image = \"./$$x/${USER}.sif\"\nworkdir = \"./w\"\nmounts = [\"/$$a:/b\"]\n[env]\nP = \"$$x ${PATH:-y}\"\nE = \"\"\n[annotations]\na.b = \"$$\"";
    let first = resolved(&[("top", text)], Missing::Refused).unwrap();
    assert_eq!(
        first.image.as_ref().map(ToString::to_string).as_deref(),
        Some("./$x/alice.sif")
    );
    assert_eq!(
        first.workdir.as_ref().map(ToString::to_string).as_deref(),
        Some("/home/alice/run/w")
    );
    let again = resolved(&[("top", &first.to_toml())], Missing::Refused).unwrap();
    assert_eq!(again, first);
    assert_eq!(wire::decode(&wire::encode(&first)), Some(first));
}

#[test]
fn a_value_that_is_overridden_need_not_be_filled_in() {
    let files = [
        ("a", "image = \"${SITE_IMAGE}\""),
        ("top", "base_environment = \"a\"\nimage = \"/x.sif\""),
    ];
    let profile = resolved(&files, Missing::Refused).unwrap();
    assert_eq!(
        profile.image.map(|i| i.to_string()).as_deref(),
        Some("/x.sif")
    );
}

#[test]
fn two_ways_to_one_base_are_no_circle() {
    let files = [
        ("a", "base_environment = \"c\"\nmounts = [\"/a:/a\"]"),
        ("b", "base_environment = \"c\"\nmounts = [\"/b:/b\"]"),
        ("c", "mounts = [\"/c:/c\"]"),
        ("top", "base_environment = [\"a\", \"b\"]"),
    ];
    let profile = resolved(&files, Missing::Refused).unwrap();
    let targets: Vec<_> = profile
        .mounts
        .iter()
        .map(|m| m.mount.target.to_string())
        .collect();
    assert_eq!(targets, ["/a", "/c", "/b"]);
}

#[test]
fn what_is_wrong_names_file_and_line() {
    for (files, wanted) in [
        (
            vec![],
            "profile top: no top.toml in /p, /q; see: oarlock profile list",
        ),
        (
            vec![("top", "\nbase_environment = \"gone\"")],
            "profile gone: no gone.toml in /p, /q; see: oarlock profile list",
        ),
        (
            vec![("a", "imge = 1"), ("top", "base_environment = \"a\"")],
            "profile /p/a.toml: line 1: unknown field `imge`, expected one of",
        ),
        (
            vec![("top", "\n\nimage = \"/${NONE}/x\"")],
            "profile /p/top.toml: line 3: image: the variable NONE is not set; export it, or write ${NONE:-}",
        ),
        (
            vec![("top", "image = \"\"")],
            "profile /p/top.toml: line 1: image: no image is named",
        ),
        (
            vec![("top", "workdir = \"work\"")],
            "profile /p/top.toml: line 1: workdir: \"work\" is not an absolute path",
        ),
        (
            vec![("top", "mounts = [\n\"/a:/b\",\n\"/a:/b:up\"]")],
            "profile /p/top.toml: line 3: mounts: mount \"/a:/b:up\": unknown flag \"up\"",
        ),
        (
            vec![("top", "\nbase_environment = \"top\"")],
            "profile /p/top.toml: line 2: base_environment leads back to this file",
        ),
        (
            vec![
                ("a", "base_environment = \"b\""),
                ("b", "base_environment = [\"c\",\n\"a\"]"),
                ("c", ""),
                ("top", "base_environment = \"a\""),
            ],
            "profile /p/b.toml: line 2: base_environment leads back to this file",
        ),
        (
            vec![("top", "base_environment = \"\"")],
            "profile /p/top.toml: line 1: base_environment: no profile is named",
        ),
    ] {
        let error = refused(&files);
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[test]
fn levels_files_and_lengths_are_bounded() {
    let chain = |levels: usize| -> Vec<(String, String)> {
        let mut files = vec![("top".to_owned(), "base_environment = \"1\"".to_owned())];
        for level in 1..levels {
            files.push((
                level.to_string(),
                format!("base_environment = \"{}\"", level + 1),
            ));
        }
        files.push((levels.to_string(), "image = \"/x.sif\"".to_owned()));
        files
    };
    fn borrowed(files: &[(String, String)]) -> Vec<(&str, &str)> {
        files
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect()
    }
    let ten = chain(MAX_LEVELS);
    assert!(resolved(&borrowed(&ten), Missing::Refused).is_ok());
    let eleven = chain(MAX_LEVELS + 1);
    assert_eq!(
        refused(&borrowed(&eleven)),
        "profile /p/10.toml: line 1: base_environment: more than 10 levels"
    );

    let wide = format!("base_environment = [{}]", "\"a\",".repeat(MAX_FILES));
    assert!(refused(&[("a", ""), ("top", &wide)]).contains("more than 64 files"));

    let long = format!("mounts = [{}]", "\"/${LONG}:/m\",".repeat(100));
    assert!(refused(&[("top", &long)]).contains("it is longer than 12 KiB"));
    let many = format!("mounts = [{}]", "\"/a:/m\",".repeat(MAX_MOUNTS + 1));
    assert!(refused(&[("top", &many)]).contains("it is longer than 12 KiB"));
}

#[test]
fn what_is_not_known_here_is_left_to_another_machine() {
    let files = [(
        "top",
        "base_environment = [\"gone\", \"${NONE}\"]\nimage = \"${NONE}/x.sif\"\nworkdir = \"/w\"",
    )];
    let profile = resolved(&files, Missing::LeftOut).unwrap();
    assert!(profile.is_partial);
    assert_eq!(profile.image, None);
    assert!(profile.workdir.is_some());
    // A mistake is one everywhere.
    let error = resolved(&[("top", "workdir = \"w\"")], Missing::LeftOut).unwrap_err();
    assert!(error.contains("not an absolute path"), "{error}");
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_decoded_without_harm(bytes: Vec<u8>) {
        if let Some(profile) = wire::decode(&bytes) {
            proptest::prop_assert_eq!(wire::decode(&wire::encode(&profile)), Some(profile));
        }
    }

    #[test]
    fn any_text_is_read_without_harm(text in "(\\PC|[\\n=\\[\\]\"$\\{\\}])*") {
        let _ = resolved(&[("top", &text)], Missing::Refused);
    }
}
