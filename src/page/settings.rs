//! What a page is told about where it is.

use std::time::Duration;

use super::query::encode;
use super::token::Token;

#[derive(Clone)]
pub(super) struct Settings {
    /// What stands before each path: empty, or `/debug`.
    pub(super) base: String,
    pub(super) title: String,
    pub(super) token: Option<Token>,
    /// Names by which it may be asked, beside those of the machine itself.
    pub(super) hosts: Vec<String>,
    pub(super) patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base: String::new(),
            title: "capspan".into(),
            token: None,
            hosts: Vec::new(),
            patience: Duration::from_millis(500),
        }
    }
}

/// `path` as the beginning of a URL on the same host, without a slash at its end.
pub(super) fn base(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty());
    parts.map(|part| format!("/{}", encode(part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_leads_nowhere_else() {
        for (path, expected) in [
            ("", ""),
            ("/", ""),
            ("debug", "/debug"),
            ("//elsewhere.example/", "/elsewhere.example"),
            ("/a/b c\r\n", "/a/b%20c%0D%0A"),
        ] {
            assert_eq!(base(path), expected);
        }
    }
}
