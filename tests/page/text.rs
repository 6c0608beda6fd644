//! Names and values of anybody's, which are only ever text.

use capspan::guard::GuardOptions;
use capspan::trace::{SpanEvent, SpanUpdate, Tracer};
use capspan_testkit::run::{run, until_idle};

use super::stage::{Stage, get};

const HOSTILE: &str = "</title></bdi><script>alert(1)</script><img src=x onerror='alert(2)'>\"`&amp;\
    \u{0}\u{1b}[2J\r\n\u{202e}txt.exe\u{2066}\u{feff}";

/// The elements and attributes that the page's own markup has.
const ELEMENTS: &str = "!doctype a b bdi body button caption code dd div dl dt form h1 h2 head header html input label \
    line link main meta nav noscript p rect script section span strong svg table tbody td th thead title tr wbr";
const ATTRIBUTES: &str = "action aria-current aria-hidden aria-label aria-labelledby aria-sort autocomplete charset class \
    content data-live defer for height hidden href html id lang maxlength method name placeholder preserveaspectratio rel \
    role rx scope spellcheck src tabindex title type value viewbox width x x1 x2 y y1 y2";

/// Makes sure that whatever stands between `<` and `>` is the page's own, and that nothing is not to be seen.
fn assert_harmless(page: &str) {
    for character in page.chars() {
        let turns = ('\u{2028}'..='\u{202e}').contains(&character) || character == '\u{2066}';
        assert!(
            !character.is_control() && !turns && character != '\u{feff}',
            "{character:?}\n{page}"
        );
    }
    let is_among = |list: &str, name: &str| list.split(' ').any(|known| known == name);
    for tag in page.split('<').skip(1) {
        let end = tag.find('>').expect("a tag ends");
        let mut parts = tag[..end].split('"');
        let mut attributes = Vec::new();
        // Outside of quotes are names alone.
        while let Some(outside) = parts.next() {
            attributes.extend(
                outside
                    .split([' ', '=', '/'])
                    .filter(|name| !name.is_empty()),
            );
            assert!(parts.next().is_some() || outside.len() < 60, "{tag}");
        }
        let name = attributes.remove(0).to_lowercase();
        assert!(is_among(ELEMENTS, &name), "{tag}");
        let is_known = |name: &&str| is_among(ATTRIBUTES, &name.to_lowercase());
        assert!(attributes.iter().all(is_known), "{tag}");
    }
    assert_eq!(page.matches("<script").count(), 1, "{page}");
}

#[test]
fn hostile_names_are_text_on_each_page() {
    run(async {
        let stage = Stage::new();
        let (client, session) = stage.begin(HOSTILE);
        let update = SpanUpdate::new().attribute("network.peer.address", HOSTILE);
        session.update(
            &update
                .attribute(HOSTILE, HOSTILE)
                .event(SpanEvent::new(HOSTILE).attribute(HOSTILE, HOSTILE)),
        );
        let mut fail = client.fail_request();
        fail.get().set_text(HOSTILE);
        fail.send().promise.await.err().unwrap();
        let work = session
            .parents()
            .user
            .start(HOSTILE, capspan::trace::SpanKind::Internal);
        let _second = stage.begin(HOSTILE);
        stage
            .begin(HOSTILE)
            .1
            .abort(capspan::trace::Outcome::Revoked, HOSTILE);
        until_idle().await;

        let page = stage.page.clone().title(HOSTILE);
        let encoded: String = HOSTILE.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let all = stage.json("/tracez").await;
        let mut paths = vec![
            "/tracez".to_owned(),
            "/tracez/limits".into(),
            format!("/tracez?q={encoded}"),
        ];
        for row in all["open"]
            .as_array()
            .unwrap()
            .iter()
            .chain(all["recent"].as_array().unwrap())
        {
            paths.push(format!(
                "/tracez/session/{}",
                row["spanId"].as_str().unwrap()
            ));
        }
        assert_eq!(paths.len(), 6);
        for path in paths {
            let seen = get(&page, &path, &[]).await;
            assert!(seen.text.contains("&lt;script&gt;alert(1)"), "{path}");
            assert!(seen.text.contains("\\u{202e}"), "{path}");
            assert_harmless(&seen.text);
        }
        // As it is for programs, which know how to read it.
        assert_eq!(all["open"][0]["name"], HOSTILE);
        drop(work);
    });
}

#[test]
fn ten_kilobytes_of_a_name_are_cut() {
    run(async {
        let stage = Stage::new();
        let limits = capspan::trace::SpanLimits::default().max_name_bytes(100_000);
        let tracer = Tracer::new(stage.board.observer()).with_limits(limits);
        let long = "ä<".repeat(5_000);
        let span = capspan::session::SessionBuilder::new(&stage.tasks)
            .parent(tracer.root())
            .live(&stage.board.live())
            .begin(&long, stage.world.thing());
        let all = stage.json("/tracez").await;
        let name = all["open"][0]["name"].as_str().unwrap();
        assert!(name.len() <= 256 && long.starts_with(name));
        let page = stage.html("/tracez").await;
        let shown = "ä&lt;".repeat(40);
        assert!(page.contains(&format!("\">{shown}…</bdi>")), "{page}");
        drop(span);
    });
}

#[test]
fn what_a_guard_says_of_a_peer_is_text() {
    run(async {
        let stage = Stage::new();
        let options = GuardOptions::from(capspan::guard::GuardLimits::default().max_calls(1));
        let (client, cutter) = stage.serve_as(HOSTILE, "orders", options);
        let first = tokio::task::spawn_local(client.never_request().send().promise);
        until_idle().await;
        client.never_request().send().promise.await.err().unwrap();
        let limits = stage.json("/tracez/limits").await;
        let said = &limits["eventLoops"][0];
        assert_eq!(
            said["refused"],
            serde_json::json!([{ "breach": "calls_in_flight", "refused": 1, "ended": 0 }])
        );
        assert_eq!(
            (
                &said["last"][0]["peer"],
                &said["last"][0]["endedConnection"]
            ),
            (&HOSTILE.into(), &false.into())
        );
        assert_eq!(stage.json("/tracez").await["refusedByGuards"], 1);
        let page = stage.html("/tracez/limits").await;
        assert!(page.contains("<code>calls_in_flight</code>"), "{page}");
        assert_harmless(&page);
        cutter.cut();
        until_idle().await;
        assert!(first.is_finished());
    });
}
