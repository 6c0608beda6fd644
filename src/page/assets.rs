//! The style, the script and the icon, as they are in the sources. Their paths change when they do.

use std::hash::{DefaultHasher, Hash, Hasher};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asset {
    Style,
    Script,
    Icon,
}

impl Asset {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Style => include_str!("assets/page.css"),
            Self::Script => include_str!("assets/page.js"),
            Self::Icon => include_str!("assets/icon.svg"),
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Style => "text/css; charset=utf-8",
            Self::Script => "text/javascript; charset=utf-8",
            Self::Icon => "image/svg+xml",
        }
    }

    /// Its path below the page's base.
    pub(super) fn path(self) -> String {
        let extension = match self {
            Self::Style => "css",
            Self::Script => "js",
            Self::Icon => "svg",
        };
        format!("tracez/assets/{}.{extension}", self.version())
    }

    /// Another one when its text is.
    pub(super) fn version(self) -> String {
        let mut hasher = DefaultHasher::new();
        self.text().hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }

    pub(super) fn at(path: &str) -> Option<Self> {
        let all = [Self::Style, Self::Script, Self::Icon];
        all.into_iter().find(|asset| asset.path() == path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_small_and_each_is_found_at_its_path() {
        assert!(Asset::Script.text().len() < 10_000);
        for asset in [Asset::Style, Asset::Script, Asset::Icon] {
            assert_eq!(Asset::at(&asset.path()), Some(asset));
        }
        for path in ["tracez/assets/", "tracez/assets/0000000000000000.js"] {
            assert_eq!(Asset::at(path), None);
        }
    }
}
