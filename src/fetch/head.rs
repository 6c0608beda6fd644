//! All of a request or of a response but its body, on the wire.

use capnp::struct_list;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, request, response};

use super::body::Body;
use super::headers;
use crate::error::{Error, Result};
use crate::http_over_capnp_capnp::{
    CommonHeaderValue, HttpMethod, http_header, http_request, http_response,
};
use crate::wire;

/// Bytes of a URL.
const MAX_URL_BYTES: usize = 32 * 1024;

/// How many headers there are at most, and bytes of all of them, names and values.
const MAX_HEADERS: u32 = 512;
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// What a header takes beside its bytes.
const HEADER: usize = 128;

/// What the one common value stands for.
const GZIP_DEFLATE: &str = "gzip, deflate";

const METHODS: [(HttpMethod, &str); 28] = [
    (HttpMethod::Get, "GET"),
    (HttpMethod::Head, "HEAD"),
    (HttpMethod::Post, "POST"),
    (HttpMethod::Put, "PUT"),
    (HttpMethod::Delete, "DELETE"),
    (HttpMethod::Patch, "PATCH"),
    (HttpMethod::Purge, "PURGE"),
    (HttpMethod::Options, "OPTIONS"),
    (HttpMethod::Trace, "TRACE"),
    (HttpMethod::Copy, "COPY"),
    (HttpMethod::Lock, "LOCK"),
    (HttpMethod::Mkcol, "MKCOL"),
    (HttpMethod::Move, "MOVE"),
    (HttpMethod::Propfind, "PROPFIND"),
    (HttpMethod::Proppatch, "PROPPATCH"),
    (HttpMethod::Search, "SEARCH"),
    (HttpMethod::Unlock, "UNLOCK"),
    (HttpMethod::Acl, "ACL"),
    (HttpMethod::Report, "REPORT"),
    (HttpMethod::Mkactivity, "MKACTIVITY"),
    (HttpMethod::Checkout, "CHECKOUT"),
    (HttpMethod::Merge, "MERGE"),
    (HttpMethod::Msearch, "M-SEARCH"),
    (HttpMethod::Notify, "NOTIFY"),
    (HttpMethod::Subscribe, "SUBSCRIBE"),
    (HttpMethod::Unsubscribe, "UNSUBSCRIBE"),
    (HttpMethod::Query, "QUERY"),
    (HttpMethod::Ban, "BAN"),
];

/// What is sent of a request is within the limits, and can be said.
pub(crate) fn check(request: &Request<Body>) -> Result<()> {
    request.body().check()?;
    method_of(request.method())?;
    wire::checked_str("HttpRequest.url", &request.uri().to_string(), MAX_URL_BYTES)?;
    check_headers("HttpRequest.headers", request.headers())
}

fn method_of(method: &Method) -> Result<HttpMethod> {
    let mut all = METHODS.iter();
    let found = all.find(|(_, name)| *name == method.as_str());
    found.map(|(number, _)| *number).ok_or_else(|| {
        Error::invalid(format!(
            "the method {method} can't be said over Cap'n Proto"
        ))
    })
}

/// Writes what has been [`check`]ed. `length`: that of the body, if it is known.
pub(super) fn write_request(
    head: &request::Parts,
    length: Option<u64>,
    mut to: http_request::Builder<'_>,
) -> Result<()> {
    to.set_method(method_of(&head.method)?);
    to.set_url(head.uri.to_string());
    let headers = to.reborrow().init_headers(count(&head.headers)?);
    write_headers(&head.headers, headers);
    match length {
        Some(length) => to.init_body_size().set_fixed(length),
        None => to.init_body_size().set_unknown(()),
    }
    Ok(())
}

/// Reads a request without its body, whose length it tells if that is known.
pub(super) fn read_request(from: http_request::Reader<'_>) -> Result<(Request<()>, Option<u64>)> {
    let method = from.get_method().map_err(|capnp::NotInSchema(number)| {
        Error::malformed(format!("HttpRequest.method {number} is not known here"))
    })?;
    let name = METHODS.iter().find(|(number, _)| *number == method);
    let method = name.and_then(|(_, name)| Method::from_bytes(name.as_bytes()).ok());
    let url = wire::received_str("HttpRequest.url", from.get_url(), MAX_URL_BYTES)?;
    let uri: Uri = url
        .parse()
        .map_err(|error| Error::malformed(format!("HttpRequest.url is no URL: {error}")))?;
    let mut request = Request::new(());
    *request.method_mut() = method.unwrap_or_default();
    *request.uri_mut() = uri;
    *request.headers_mut() = read_headers("HttpRequest.headers", from.get_headers()?)?;
    let length = match from.get_body_size().which() {
        Ok(http_request::body_size::Fixed(length)) => Some(length),
        Ok(http_request::body_size::Unknown(())) | Err(capnp::NotInSchema(_)) => None,
    };
    Ok((request, length))
}

/// About what a request's head takes in memory, in bytes.
pub(super) fn size(request: &Request<()>) -> usize {
    let uri = request.uri();
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let authority = uri
        .authority()
        .map_or(0, |authority| authority.as_str().len());
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| HEADER + name.as_str().len() + value.len());
    path + authority + headers.sum::<usize>()
}

/// Writes a response without its body; `length` is that of the body, if it is known.
pub(super) fn write_response(
    head: &response::Parts,
    length: Option<u64>,
    mut to: http_response::Builder<'_>,
) -> Result<()> {
    check_headers("HttpResponse.headers", &head.headers)?;
    if head.status.is_informational() {
        return Err(Error::invalid(format!(
            "{} is no response to a request: it only announces one",
            head.status
        )));
    }
    to.set_status_code(head.status.as_u16());
    let headers = to.reborrow().init_headers(count(&head.headers)?);
    write_headers(&head.headers, headers);
    match length {
        Some(length) => to.init_body_size().set_fixed(length),
        None => to.init_body_size().set_unknown(()),
    }
    Ok(())
}

/// Reads a response without its body, whose length it tells if that is known.
pub(super) fn read_response(
    from: http_response::Reader<'_>,
) -> Result<(Response<()>, Option<u64>)> {
    let code = from.get_status_code();
    let status = StatusCode::from_u16(code).ok();
    let status = status.filter(|status| !status.is_informational());
    let status = status.ok_or_else(|| {
        Error::malformed(format!(
            "HttpResponse.statusCode is {code}; it has three digits, and is at least 200"
        ))
    })?;
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = read_headers("HttpResponse.headers", from.get_headers()?)?;
    let length = match from.get_body_size().which() {
        Ok(http_response::body_size::Fixed(length)) => Some(length),
        Ok(http_response::body_size::Unknown(())) | Err(capnp::NotInSchema(_)) => None,
    };
    Ok((response, length))
}

fn check_headers(field: &str, headers: &HeaderMap) -> Result<()> {
    count(headers)?;
    let sizes = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    let bytes: usize = sizes.sum();
    if bytes > MAX_HEADER_BYTES {
        return Err(too_large(field, bytes));
    }
    match headers
        .values()
        .any(|value| str::from_utf8(value.as_bytes()).is_err())
    {
        true => Err(Error::invalid(format!(
            "{field} has a value that is no UTF-8 text"
        ))),
        false => Ok(()),
    }
}

fn count(headers: &HeaderMap) -> Result<u32> {
    match u32::try_from(headers.len()) {
        Ok(count) if count <= MAX_HEADERS => Ok(count),
        _ => Err(Error::limit(format!(
            "{} headers; the limit is {MAX_HEADERS}",
            headers.len()
        ))),
    }
}

fn too_large(field: &str, bytes: usize) -> Error {
    Error::limit(format!(
        "{field} has {bytes} bytes or more; the limit is {MAX_HEADER_BYTES}"
    ))
}

fn write_headers(headers: &HeaderMap, mut to: struct_list::Builder<'_, http_header::Owned>) {
    for (at, (name, value)) in (0..).zip(headers) {
        let to = to.reborrow().get(at);
        // It has been checked that it is a text.
        let value = str::from_utf8(value.as_bytes()).unwrap_or_default();
        match headers::to_common(name) {
            Some(common) => {
                let mut to = to.init_common();
                to.set_name(common);
                match value {
                    GZIP_DEFLATE => to.set_common_value(CommonHeaderValue::GzipDeflate),
                    value => to.set_value(value),
                }
            }
            None => {
                let mut to = to.init_uncommon();
                to.set_name(name.as_str());
                to.set_value(value);
            }
        }
    }
}

fn read_headers(
    field: &str,
    from: struct_list::Reader<'_, http_header::Owned>,
) -> Result<HeaderMap> {
    let count = from.len();
    if count > MAX_HEADERS {
        return Err(Error::limit(format!(
            "{field} has {count} elements; the limit is {MAX_HEADERS}"
        )));
    }
    let (mut headers, mut bytes) = (HeaderMap::with_capacity(count as usize), 0);
    for header in from {
        let (name, value) = read_header(field, header)?;
        bytes += name.as_str().len() + value.len();
        if bytes > MAX_HEADER_BYTES {
            return Err(too_large(field, bytes));
        }
        headers.append(name, value);
    }
    Ok(headers)
}

fn read_header(field: &str, from: http_header::Reader<'_>) -> Result<(HeaderName, HeaderValue)> {
    use http_header::common;
    let unknown = || Error::malformed(format!("{field} has an element that is not known here"));
    let text = |text| wire::received_str(field, text, MAX_HEADER_BYTES);
    let (name, value) = match from.which() {
        Ok(http_header::Common(from)) => {
            let name = from.get_name().ok().and_then(headers::of_common);
            let value = match from.which() {
                Ok(common::CommonValue(Ok(CommonHeaderValue::GzipDeflate))) => GZIP_DEFLATE,
                Ok(common::Value(value)) => text(value)?,
                Ok(common::CommonValue(_)) | Err(capnp::NotInSchema(_)) => return Err(unknown()),
            };
            (name.ok_or_else(unknown)?.clone(), value)
        }
        Ok(http_header::Uncommon(from)) => {
            let from = from?;
            let name = HeaderName::from_bytes(text(from.get_name())?.as_bytes())
                .map_err(|_| Error::malformed(format!("{field} has a name that is none")))?;
            (name, text(from.get_value())?)
        }
        Err(capnp::NotInSchema(_)) => return Err(unknown()),
    };
    let value = HeaderValue::from_str(value)
        .map_err(|_| Error::malformed(format!("{field} has a value that is none, of {name}")))?;
    Ok((name, value))
}
