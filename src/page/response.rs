//! Answers, with the headers that keep a page safe.

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue,
    IF_NONE_MATCH, LOCATION, REFERRER_POLICY, SET_COOKIE, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{HeaderName, Method, Response, StatusCode};

use super::assets::Asset;
use super::gate::COOKIE_NAME;
use super::token::Token;

/// Nothing but our own style, script and answers; nobody frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// What is answered, before it is made a response.
pub(super) struct Reply {
    response: Response<Bytes>,
}

impl Reply {
    pub(super) fn html(status: StatusCode, page: String) -> Self {
        Self::new(status, HTML, Bytes::from(page))
    }

    pub(super) fn json(status: StatusCode, json: String) -> Self {
        Self::new(status, JSON, Bytes::from(json))
    }

    pub(super) fn text(status: StatusCode, text: &'static str) -> Self {
        Self::new(status, TEXT, Bytes::from_static(text.as_bytes()))
    }

    pub(super) fn asset(asset: Asset, request: &Parts) -> Self {
        let tag = format!("\"{}\"", asset.version());
        let known = request.headers.get_all(IF_NONE_MATCH).iter();
        let mut known = known.filter_map(|known| known.to_str().ok());
        let is_known = known.any(|known| known.contains(&tag));
        let mut reply = match is_known {
            true => Self::new(StatusCode::NOT_MODIFIED, asset.media_type(), Bytes::new()),
            false => {
                let text = Bytes::from_static(asset.text().as_bytes());
                Self::new(StatusCode::OK, asset.media_type(), text)
            }
        };
        reply.set(ETAG, &tag);
        reply.set(CACHE_CONTROL, "public, max-age=31536000, immutable");
        reply
    }

    /// To `location`, on the same host.
    pub(super) fn redirect(location: &str) -> Self {
        let mut reply = Self::text(StatusCode::SEE_OTHER, "");
        reply.set(LOCATION, location);
        reply
    }

    /// Gives a browser what it may come again with.
    pub(super) fn with_cookie(mut self, token: &Token, path: &str) -> Self {
        let value = token.cookie();
        let cookie = format!("{COOKIE_NAME}={value}; Path={path}; HttpOnly; SameSite=Strict");
        self.set(SET_COOKIE, &cookie);
        self
    }

    pub(super) fn asking_for_token(mut self) -> Self {
        self.set(WWW_AUTHENTICATE, "Bearer");
        self
    }

    pub(super) fn method_not_allowed() -> Self {
        let mut reply = Self::text(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD.\n");
        reply.set(ALLOW, "GET, HEAD");
        reply
    }

    /// As it is sent in answer to `method`.
    pub(super) fn into_response(self, method: &Method) -> Response<Bytes> {
        let mut response = self.response;
        if *method == Method::HEAD {
            let length = response.body().len().to_string();
            if let Ok(length) = HeaderValue::from_str(&length) {
                response.headers_mut().insert(CONTENT_LENGTH, length);
            }
            *response.body_mut() = Bytes::new();
        }
        response
    }

    fn new(status: StatusCode, media_type: &'static str, body: Bytes) -> Self {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let mut reply = Self { response };
        for (name, value) in [
            (CONTENT_TYPE, media_type),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (X_FRAME_OPTIONS, "DENY"),
            (REFERRER_POLICY, "no-referrer"),
            (CACHE_CONTROL, "no-store"),
            (VARY, "Accept, Cookie, Authorization"),
            (
                HeaderName::from_static("cross-origin-resource-policy"),
                "same-origin",
            ),
            (
                HeaderName::from_static("cross-origin-opener-policy"),
                "same-origin",
            ),
        ] {
            let headers = reply.response.headers_mut();
            headers.insert(name, HeaderValue::from_static(value));
        }
        reply
    }

    /// What is no header's value is left out: all that comes here is ours, or encoded.
    fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.response.headers_mut().insert(name, value);
        }
    }
}
