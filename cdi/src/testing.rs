//! What several tests need.

use std::path::Path;

use crate::spec::{Format, Spec};

/// A spec in YAML that must be good.
pub(crate) fn spec(text: &str) -> Spec {
    Spec::parse(
        text.as_bytes(),
        Format::Yaml,
        Path::new("/etc/cdi/test.yaml"),
    )
    .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What is said of one that must not be.
pub(crate) fn refused(text: &str) -> String {
    let path = Path::new("/etc/cdi/test.yaml");
    let said = Spec::parse(text.as_bytes(), Format::Yaml, path)
        .map(|_| panic!("this was accepted:\n{text}"))
        .expect_err("refused")
        .to_string();
    assert!(
        !said.is_empty() && !said.chars().any(char::is_control),
        "{said:?}"
    );
    said
}
