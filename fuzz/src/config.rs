//! The site's file: what was understood is printed in a form that is understood
//! as the same.

use std::path::Path;

use runtime_core::config::SiteConfig;

/// Parses the text, prints the result, parses it again.
///
/// # Panics
/// Where the two differ.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let place = Path::new("oarlock.toml");
    match SiteConfig::parse(text, place) {
        Ok(config) => {
            let printed = config.to_toml();
            match SiteConfig::parse(&printed, place) {
                Ok(again) => assert_eq!(again, config, "{printed}"),
                Err(error) => panic!("{error}\n{printed}"),
            }
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with("oarlock.toml: "), "{message}");
            assert!(!message.contains('\n'), "{message:?}");
        }
    }
}

/// The shipped file, the defaults as they are printed, and each line of them by
/// itself.
///
/// # Panics
/// Where they are not accepted.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let shipped = include_str!("../../etc/oarlock.toml").to_owned();
    let printed = SiteConfig::default().to_toml();
    let mut seeds = Vec::new();
    let mut section = "";
    for line in printed.lines() {
        if line.starts_with('[') {
            section = line;
        } else {
            seeds.push(format!("{section}\n{line}\n").into_bytes());
        }
    }
    for text in [shipped, printed] {
        SiteConfig::parse(&text, Path::new("seed")).expect("a seed is a configuration");
        seeds.push(text.into_bytes());
    }
    seeds
}
