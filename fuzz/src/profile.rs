//! Profiles: files that are based on each other, and what the process that reads
//! them tells root.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use runtime_core::path::HostPath;
use runtime_core::profile::{
    Found, Library, MAX_RESULT, Missing, Profile, ProfileError, expand, resolve, wire,
};
use runtime_core::request::ProfileName;

use crate::assert_one_line;

/// Files by number: the first is `0`, which the others can be based on and the
/// reverse.
struct Parts<'a>(Vec<&'a str>);

impl Library for Parts<'_> {
    fn read(&mut self, name: &ProfileName) -> Result<Found, ProfileError> {
        let number = name.as_os_str().to_str().and_then(|n| n.parse().ok());
        let text = number.and_then(|n: usize| Some((n, self.0.get(n)?)));
        match text {
            Some((number, text)) => Ok(Found {
                path: PathBuf::from(format!("/{number}.toml")),
                id: (0, number as u64),
                text: (*text).to_owned(),
            }),
            None => Err(ProfileError::Absent(PathBuf::from("/none"))),
        }
    }
}

fn read(files: Vec<&str>, missing: Missing) -> Result<Profile, ProfileError> {
    let variable = |name: &str| (name.len() == 1).then(|| OsString::from("$x"));
    let cwd = HostPath::new("/w").ok();
    let top = ProfileName::parse(OsStr::new("0")).expect("a name");
    resolve(&top, &mut Parts(files), &variable, cwd.as_ref(), missing)
}

/// Reads the bytes as files with NUL between them, as one value, and as a message.
///
/// # Panics
/// Where what is understood is not printed as what means the same, where bounds do
/// not hold, or where a message is more than a line.
pub fn check(data: &[u8]) {
    if let Some(profile) = wire::decode(data) {
        assert_eq!(wire::decode(&wire::encode(&profile)), Some(profile));
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(template) = expand::Template::parse(text)
        && let Ok(value) = template.fill(&|_| Some(OsString::from("v")))
    {
        assert!(value.len() <= expand::MAX_VALUE);
        let again = expand::Template::parse(&expand::quote(&value)).expect("quoted");
        assert_eq!(again.fill(&|_| None), Ok(value));
    }
    for missing in [Missing::Refused, Missing::LeftOut] {
        match read(text.split('\0').collect(), missing) {
            Ok(profile) => {
                let printed = profile.to_toml();
                let mut again = read(vec![&printed], missing)
                    .unwrap_or_else(|error| panic!("{error}\n{printed}"));
                again.is_partial = profile.is_partial;
                assert_eq!(again, profile, "{printed}");
                let mut sent = wire::decode(&wire::encode(&profile)).expect("of its own make");
                sent.is_partial = profile.is_partial;
                assert_eq!(sent, profile);
                assert!(profile.env.values().map(String::len).sum::<usize>() <= MAX_RESULT);
            }
            Err(error) => assert_one_line(&error),
        }
    }
}

/// Files with every key, bases, and mistakes.
///
/// # Panics
/// Where a good one is not understood.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let good = [
        "image = \"/a/${A}.sif\"\nworkdir = \"./w\"\nentrypoint = true\nwritable = false\nmounts = [\"/a:/b:ro\", \"tmpfs:/t\"]\n[env]\nA = \"${PATH:-/bin}:$$\"\nB = \"\"\n[annotations]\ncom.hooks.x.enabled = \"true\"\n",
        "base_environment = [\"1\", \"2\"]\n\0image = \"b\"\n[env]\nX = \"1\"\0base_environment = \"1\"\nmounts = [\"./d:/d\"]\n",
        "devices = []\n",
    ];
    for text in good {
        read(text.split('\0').collect(), Missing::Refused).expect("a seed is a profile");
    }
    let wrong = [
        "base_environment = \"0\"\n",
        "imge = 1\n",
        "[annotations]\na = {b = {c = {d = [1]}}}\n",
        "image = \"${\"\n",
    ];
    let profile = read(vec![good[0]], Missing::Refused).expect("a seed is a profile");
    let texts = good.iter().chain(&wrong).map(|s| s.as_bytes().to_vec());
    texts.chain([wire::encode(&profile)]).collect()
}
