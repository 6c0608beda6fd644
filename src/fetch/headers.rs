//! Names of headers that have a number on the wire.

use http::header::{self, HeaderName};

use crate::http_over_capnp_capnp::CommonHeaderName;

/// All of them, in the order of their numbers, which begin with one.
const COMMON: [(CommonHeaderName, HeaderName); 47] = [
    (CommonHeaderName::AcceptCharset, header::ACCEPT_CHARSET),
    (CommonHeaderName::AcceptEncoding, header::ACCEPT_ENCODING),
    (CommonHeaderName::AcceptLanguage, header::ACCEPT_LANGUAGE),
    (CommonHeaderName::AcceptRanges, header::ACCEPT_RANGES),
    (CommonHeaderName::Accept, header::ACCEPT),
    (
        CommonHeaderName::AccessControlAllowOrigin,
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
    ),
    (CommonHeaderName::Age, header::AGE),
    (CommonHeaderName::Allow, header::ALLOW),
    (CommonHeaderName::Authorization, header::AUTHORIZATION),
    (CommonHeaderName::CacheControl, header::CACHE_CONTROL),
    (
        CommonHeaderName::ContentDisposition,
        header::CONTENT_DISPOSITION,
    ),
    (CommonHeaderName::ContentEncoding, header::CONTENT_ENCODING),
    (CommonHeaderName::ContentLanguage, header::CONTENT_LANGUAGE),
    (CommonHeaderName::ContentLength, header::CONTENT_LENGTH),
    (CommonHeaderName::ContentLocation, header::CONTENT_LOCATION),
    (CommonHeaderName::ContentRange, header::CONTENT_RANGE),
    (CommonHeaderName::ContentType, header::CONTENT_TYPE),
    (CommonHeaderName::Cookie, header::COOKIE),
    (CommonHeaderName::Date, header::DATE),
    (CommonHeaderName::Etag, header::ETAG),
    (CommonHeaderName::Expect, header::EXPECT),
    (CommonHeaderName::Expires, header::EXPIRES),
    (CommonHeaderName::From, header::FROM),
    (CommonHeaderName::Host, header::HOST),
    (CommonHeaderName::IfMatch, header::IF_MATCH),
    (CommonHeaderName::IfModifiedSince, header::IF_MODIFIED_SINCE),
    (CommonHeaderName::IfNoneMatch, header::IF_NONE_MATCH),
    (CommonHeaderName::IfRange, header::IF_RANGE),
    (
        CommonHeaderName::IfUnmodifiedSince,
        header::IF_UNMODIFIED_SINCE,
    ),
    (CommonHeaderName::LastModified, header::LAST_MODIFIED),
    (CommonHeaderName::Link, header::LINK),
    (CommonHeaderName::Location, header::LOCATION),
    (CommonHeaderName::MaxForwards, header::MAX_FORWARDS),
    (
        CommonHeaderName::ProxyAuthenticate,
        header::PROXY_AUTHENTICATE,
    ),
    (
        CommonHeaderName::ProxyAuthorization,
        header::PROXY_AUTHORIZATION,
    ),
    (CommonHeaderName::Range, header::RANGE),
    (CommonHeaderName::Referer, header::REFERER),
    (CommonHeaderName::Refresh, header::REFRESH),
    (CommonHeaderName::RetryAfter, header::RETRY_AFTER),
    (CommonHeaderName::Server, header::SERVER),
    (CommonHeaderName::SetCookie, header::SET_COOKIE),
    (
        CommonHeaderName::StrictTransportSecurity,
        header::STRICT_TRANSPORT_SECURITY,
    ),
    (
        CommonHeaderName::TransferEncoding,
        header::TRANSFER_ENCODING,
    ),
    (CommonHeaderName::UserAgent, header::USER_AGENT),
    (CommonHeaderName::Vary, header::VARY),
    (CommonHeaderName::Via, header::VIA),
    (CommonHeaderName::WwwAuthenticate, header::WWW_AUTHENTICATE),
];

/// The name that has a number.
pub(super) fn of_common(name: CommonHeaderName) -> Option<&'static HeaderName> {
    let index = usize::from(u16::from(name)).checked_sub(1)?;
    COMMON.get(index).map(|(_, name)| name)
}

/// The number that a name has.
pub(super) fn to_common(name: &HeaderName) -> Option<CommonHeaderName> {
    let mut all = COMMON.iter();
    all.find(|(_, common)| common == name)
        .map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_at_its_number() {
        for (number, name) in &COMMON {
            assert_eq!(of_common(*number), Some(name));
            assert_eq!(to_common(name), Some(*number));
        }
        assert_eq!(of_common(CommonHeaderName::Invalid), None);
        assert_eq!(to_common(&HeaderName::from_static("x-own")), None);
    }
}
