//! What a request asks for.

use http::header::ACCEPT;
use http::request::Parts;

use super::assets::Asset;
use crate::trace::SpanId;

#[derive(Debug, PartialEq)]
pub(super) enum Route {
    /// Leads to the overview.
    Root,
    Overview(Format),
    Session(SpanId, Format),
    Limits(Format),
    Asset(Asset),
    Nothing,
}

/// How it is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Html,
    Json,
}

impl Route {
    /// `base` may stand before the path: whoever mounts the page may have taken it away.
    pub(super) fn of(request: &Parts, base: &str) -> Self {
        let path = request.uri.path();
        let path = match path.strip_prefix(base) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
            _ => path,
        };
        let path = path.trim_matches('/');
        if let Some(asset) = Asset::at(path) {
            return Self::Asset(asset);
        }
        let (path, format) = match path.strip_suffix(".json") {
            Some(path) => (path, Format::Json),
            None => (path, accepted(request)),
        };
        match path {
            "" => Self::Root,
            "tracez" => Self::Overview(format),
            "tracez/limits" => Self::Limits(format),
            _ => {
                let id = path.strip_prefix("tracez/session/");
                let id = id.and_then(|id| id.parse().ok());
                id.map_or(Self::Nothing, |id| Self::Session(id, format))
            }
        }
    }
}

/// HTML, unless it wants JSON and no HTML.
fn accepted(request: &Parts) -> Format {
    let lines = request.headers.get_all(ACCEPT).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let kinds: Vec<_> = lines.flat_map(|line| line.split(',')).collect();
    let has = |wanted: &str| {
        let kinds = kinds.iter().map(|kind| kind.split(';').next());
        kinds
            .flatten()
            .any(|kind| kind.trim().eq_ignore_ascii_case(wanted))
    };
    match has("application/json") && !has("text/html") {
        true => Format::Json,
        false => Format::Html,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(uri: &str, base: &str, accept: &str) -> Route {
        let request = http::Request::get(uri).header(ACCEPT, accept).body(());
        Route::of(&request.unwrap().into_parts().0, base)
    }

    #[test]
    fn each_path_leads_somewhere() {
        let id: SpanId = "00000000000000ab".parse().unwrap();
        use Format::{Html, Json};
        for (path, expected) in [
            ("/", Route::Root),
            ("/tracez", Route::Overview(Html)),
            ("/tracez/?q=x", Route::Overview(Html)),
            ("/tracez.json?q=x", Route::Overview(Json)),
            ("/tracez/limits", Route::Limits(Html)),
            ("/tracez/limits.json", Route::Limits(Json)),
            ("/tracez/session/00000000000000ab", Route::Session(id, Html)),
            (
                "/tracez/session/00000000000000ab.json",
                Route::Session(id, Json),
            ),
            ("/tracez/session/0000000000000000", Route::Nothing),
            ("/tracez/session/..%2f", Route::Nothing),
            ("/other", Route::Nothing),
        ] {
            assert_eq!(route(path, "", "*/*"), expected, "{path}");
            assert_eq!(route(&format!("/debug{path}"), "/debug", ""), expected);
            assert_eq!(route(path, "/debug", ""), expected, "{path}");
        }
        assert_eq!(route("/debugtracez", "/debug", ""), Route::Nothing);
    }

    #[test]
    fn json_is_for_who_wants_nothing_else() {
        for (accept, expected) in [
            ("application/json", Format::Json),
            ("text/plain, Application/JSON;q=0.9", Format::Json),
            ("text/html,application/json", Format::Html),
            ("*/*", Format::Html),
        ] {
            assert_eq!(route("/tracez", "", accept), Route::Overview(expected));
        }
    }
}
