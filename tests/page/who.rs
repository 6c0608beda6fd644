//! Who gets an answer, and what goes with it.

use capspan::page::Page;
use capspan_testkit::run::run;
use futures::FutureExt;
use http::{Method, Request, StatusCode};

use super::stage::{Stage, get};

const TOKEN: &str = "correct-horse-battery";

fn page() -> Page {
    Page::new(|_| std::future::pending())
}

/// Without a board nothing is waited for.
fn at_once(page: &Page, path: &str, headers: &[(&str, &str)]) -> super::stage::Seen {
    get(page, path, headers).now_or_never().expect("at once")
}

#[test]
fn each_answer_has_the_headers_that_keep_it_safe() {
    for (path, token) in [
        ("/", None),
        ("/tracez", None),
        ("/tracez.json", None),
        ("/tracez/limits", None),
        ("/tracez/session/00000000000000ab", None),
        ("/other", None),
        ("/tracez", Some(TOKEN)),
    ] {
        let page = match token {
            Some(token) => page().token(token.parse().unwrap()),
            None => page(),
        };
        let headers = at_once(&page, path, &[]).headers;
        let policy = headers["content-security-policy"].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(
                policy.split("; ").any(|have| have == part),
                "{path}: {policy}"
            );
        }
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(headers[name], value, "{path}");
        }
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
}

#[test]
fn a_name_that_is_not_ours_is_told_nothing() {
    let page = page();
    for host in ["evil.example", "localhost.evil.example:4000"] {
        let seen = at_once(&page, "/tracez", &[("host", host)]);
        assert_eq!(seen.status, StatusCode::MISDIRECTED_REQUEST);
    }
    let known = page.host("ops.example");
    let seen = at_once(&known, "/tracez", &[("host", "ops.example:4000")]);
    assert_eq!(seen.status, StatusCode::OK);
}

#[test]
fn a_browser_exchanges_the_token_for_a_cookie() {
    let page = page().token(TOKEN.parse().unwrap());
    let refused = at_once(&page, "/tracez", &[]);
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers["www-authenticate"], "Bearer");
    assert!(refused.text.contains("type=\"password\""));
    let wrong = at_once(&page, "/tracez?token=correct-horse-batterx", &[]);
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(!wrong.headers.contains_key("set-cookie"));

    let path = format!("/tracez/session/00000000000000ab?x=1&token={TOKEN}");
    let welcome = at_once(&page, &path, &[]);
    assert_eq!(welcome.status, StatusCode::SEE_OTHER);
    assert_eq!(
        welcome.headers["location"],
        "/tracez/session/00000000000000ab"
    );
    let cookie = welcome.headers["set-cookie"].to_str().unwrap();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
        "{cookie}"
    );
    assert!(
        !cookie.contains(TOKEN) && cookie.contains("Path=/;"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap();
    let seen = at_once(&page, "/tracez", &[("cookie", cookie)]);
    assert_eq!(seen.status, StatusCode::OK);
    let bearer = format!("Bearer {TOKEN}");
    let seen = at_once(&page, "/tracez.json", &[("authorization", &bearer)]);
    assert_eq!(seen.status, StatusCode::OK);
    let other = self::page().token(TOKEN.parse().unwrap());
    let seen = at_once(&other, "/tracez", &[("cookie", cookie)]);
    assert_eq!(
        seen.status,
        StatusCode::UNAUTHORIZED,
        "it is of one process"
    );
}

#[test]
fn only_who_asks_is_answered() {
    let page = page();
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let request = Request::builder().method(method).uri("/tracez");
        let request = request.header("host", "localhost").body(()).unwrap();
        let response = page.respond(&request).now_or_never().unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()["allow"], "GET, HEAD");
        assert!(page.refusal(&request).is_some());
    }
    let request = Request::head("/tracez")
        .header("host", "localhost")
        .body(())
        .unwrap();
    assert!(page.refusal(&request).is_none());
    let head = page.respond(&request).now_or_never().unwrap();
    let whole = at_once(&page, "/tracez", &[]);
    assert!(head.body().is_empty());
    assert_eq!(
        head.headers()["content-length"],
        whole.text.len().to_string()
    );
}

#[test]
fn style_and_script_are_kept_by_who_has_them() {
    let page = page().token(TOKEN.parse().unwrap());
    let asking = at_once(&page, "/", &[]).text;
    let style = asking
        .split("href=\"")
        .find(|part| part.contains(".css"))
        .unwrap();
    let style = style.split('"').next().unwrap();
    let seen = at_once(&page, style, &[]);
    assert_eq!(
        (seen.status, &seen.headers["content-type"]),
        (StatusCode::OK, &"text/css; charset=utf-8".parse().unwrap())
    );
    assert!(
        seen.headers["cache-control"]
            .to_str()
            .unwrap()
            .contains("immutable")
    );
    let tag = seen.headers["etag"].to_str().unwrap();
    let again = at_once(&page, style, &[("if-none-match", tag)]);
    assert_eq!((again.status, &*again.text), (StatusCode::NOT_MODIFIED, ""));
}

#[test]
fn it_is_the_same_below_another_path() {
    run(async {
        let stage = Stage::new();
        let (_client, _session) = stage.begin("orders");
        let page = stage.page.clone().mounted_at("/debug/");
        let root = get(&page, "/debug", &[]).await;
        assert_eq!(
            (root.status, &root.headers["location"]),
            (StatusCode::SEE_OTHER, &"/debug/tracez".parse().unwrap())
        );
        for path in ["/debug/tracez", "/tracez"] {
            let seen = get(&page, path, &[]).await;
            assert!(
                seen.text.contains("<a href=\"/debug/tracez/session/"),
                "{}",
                seen.text
            );
            let links = seen.text.match_indices("=\"/").count();
            assert_eq!(seen.text.match_indices("=\"/debug/").count(), links);
        }
    });
}

#[test]
fn without_a_script_it_is_loaded_again_only_where_that_is_asked_for() {
    let page = page();
    assert!(!at_once(&page, "/tracez", &[]).text.contains("http-equiv"));
    let seen = at_once(&page, "/tracez?refresh=5", &[]);
    assert!(
        seen.text
            .contains("<meta http-equiv=\"refresh\" content=\"5\">")
    );
    for query in ["refresh=0", "refresh=x", "refresh=-1", "refresh=300"] {
        let seen = at_once(&page, &format!("/tracez?{query}"), &[]);
        assert!(!seen.text.contains("http-equiv"), "{query}");
    }
}
