//! Who gets no answer: who asks by a name that is not ours, or does not know the token.

use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::request::Parts;

use super::query::parameters;
use super::settings::Settings;

/// The name of the cookie.
pub(super) const COOKIE_NAME: &str = "capspan-page";

/// Whether a request gets an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// It knows the token: a browser, which is to come again with a cookie in its place.
    Welcome,
    /// It has to know the token.
    NoToken,
    /// It was not meant for this host.
    WrongHost,
}

impl Gate {
    pub(super) fn of(request: &Parts, settings: &Settings) -> Self {
        let Some(token) = &settings.token else {
            // A page on a site elsewhere may make a name of its own lead here, and read what it is given.
            return match is_our_name(request, &settings.hosts) {
                true => Self::Open,
                false => Self::WrongHost,
            };
        };
        let query = request.uri.query().unwrap_or_default();
        let in_query = parameters(query).find(|(name, _)| name == "token");
        if let Some((_, given)) = in_query {
            return match token.is(&given) {
                true => Self::Welcome,
                false => Self::NoToken,
            };
        }
        let bearer = || {
            let given = request.headers.get(AUTHORIZATION)?.to_str().ok()?;
            let (scheme, given) = given.split_once(' ')?;
            let is_bearer = scheme.eq_ignore_ascii_case("bearer");
            is_bearer.then(|| token.is(given.trim()))
        };
        let is_known = bearer().unwrap_or_else(|| {
            let lines = request.headers.get_all(COOKIE).iter();
            let cookies = lines.filter_map(|line| line.to_str().ok());
            let mut cookies = cookies.flat_map(|line| line.split(';'));
            cookies.any(|cookie| match cookie.trim().split_once('=') {
                Some((COOKIE_NAME, value)) => token.is_cookie(value),
                _ => false,
            })
        });
        match is_known {
            true => Self::Open,
            false => Self::NoToken,
        }
    }
}

/// Is each name that it asks by one of this machine's own, or one that was given?
fn is_our_name(request: &Parts, hosts: &[String]) -> bool {
    let headers = request.headers.get_all(HOST).iter();
    let named = headers.map(|host| host.to_str().unwrap_or_default());
    let authority = request.uri.authority().map(http::uri::Authority::as_str);
    let mut names = named.chain(authority).peekable();
    names.peek().is_some() && names.all(|name| is_ours(name, hosts))
}

fn is_ours(authority: &str, hosts: &[String]) -> bool {
    let Some(name) = without_port(authority) else {
        return false;
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_loopback = name.eq_ignore_ascii_case("localhost")
        || name
            .parse()
            .is_ok_and(|ip: std::net::Ipv4Addr| ip.is_loopback())
        || name == "[::1]";
    is_loopback || hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
}

fn without_port(authority: &str) -> Option<&str> {
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (authority, ""),
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    (is_port && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(settings: &Settings, uri: &str, headers: &[(&str, &str)]) -> Gate {
        let mut request = http::Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Gate::of(&parts, settings)
    }

    #[test]
    fn a_name_that_may_lead_here_from_elsewhere_is_refused() {
        let settings = Settings {
            hosts: vec!["ops.example".into()],
            ..Settings::default()
        };
        for host in [
            "localhost",
            "LocalHost:80",
            "localhost.",
            "127.0.0.1:9000",
            "127.8.0.1",
            "[::1]",
            "[::1]:80",
            "OPS.example:443",
        ] {
            assert_eq!(
                gate(&settings, "/", &[("host", host)]),
                Gate::Open,
                "{host}"
            );
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example:80",
            "localhost:80:80",
            "10.0.0.1",
            "[::2]",
            "::1",
            "",
            ":80",
            "user@localhost",
        ] {
            let refused = gate(&settings, "/", &[("host", host)]);
            assert_eq!(refused, Gate::WrongHost, "{host}");
        }
        assert_eq!(gate(&settings, "/", &[]), Gate::WrongHost);
        let both = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(gate(&settings, "/", &both), Gate::WrongHost);
        let authority = "http://evil.example/";
        let refused = gate(&settings, authority, &[("host", "localhost")]);
        assert_eq!(refused, Gate::WrongHost);
        assert_eq!(gate(&settings, "http://localhost:1/", &[]), Gate::Open);
    }

    #[test]
    fn with_a_token_only_who_knows_it_gets_in() {
        let settings = Settings {
            token: Some("0123456789abcdef".parse().unwrap()),
            ..Settings::default()
        };
        let cookie = settings.token.as_ref().unwrap().cookie().to_owned();
        let cookies = |value: &str| format!("a=b; {COOKIE_NAME}={value}; c");
        let (good, bad) = (cookies(&cookie), cookies("0123456789abcdef"));
        for (uri, headers, expected) in [
            (
                "/",
                ("authorization", "Bearer 0123456789abcdef"),
                Gate::Open,
            ),
            (
                "/",
                ("authorization", "bearer  0123456789abcdef "),
                Gate::Open,
            ),
            (
                "/",
                ("authorization", "Bearer 0123456789abcdee"),
                Gate::NoToken,
            ),
            (
                "/",
                ("authorization", "Basic 0123456789abcdef"),
                Gate::NoToken,
            ),
            ("/", ("cookie", &*good), Gate::Open),
            ("/", ("cookie", &*bad), Gate::NoToken),
            (
                "/?token=0123456789abcdef",
                ("host", "anything"),
                Gate::Welcome,
            ),
            ("/?token=0123456789abcde", ("cookie", &*good), Gate::NoToken),
            ("/", ("host", "localhost"), Gate::NoToken),
        ] {
            assert_eq!(
                gate(&settings, uri, &[headers]),
                expected,
                "{uri} {headers:?}"
            );
        }
    }
}
