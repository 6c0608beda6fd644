use super::*;
use crate::trace::tracer::tests::observed;
use crate::trace::{Dropped, SpanBuilder, SpanKind};

/// The record of a span with these limits after `act`.
fn limited(limits: SpanLimits, act: impl FnOnce(&SpanBuilder)) -> SpanRecord {
    let (tracer, spans, _) = observed();
    let span = tracer
        .with_limits(limits)
        .root()
        .start("span", SpanKind::Internal);
    act(&span);
    drop(span);
    spans.closed().remove(0)
}

fn dropped(set: impl FnOnce(&mut Dropped)) -> Dropped {
    let mut dropped = Dropped::default();
    set(&mut dropped);
    dropped
}

#[test]
fn e6_a_name_is_cut_at_a_character_and_its_length_kept() {
    let span = limited(SpanLimits::default(), |span| {
        span.set_name(format!("a{}", "é".repeat(200)));
    });
    assert_eq!(
        (span.name().len(), span.full_name_bytes()),
        (255, Some(401))
    );
    assert_eq!(*span.dropped(), dropped(|d| d.cut_names = 1));
}

#[test]
fn e6_attributes_beyond_128_are_dropped_but_known_keys_still_change() {
    let span = limited(SpanLimits::default(), |span| {
        for i in 0..130 {
            span.set_attribute(format!("k{i}"), 0);
        }
        span.set_attribute("k127", 1);
    });
    assert_eq!(span.attributes().len(), 128);
    assert_eq!(span.attributes().get("k127"), Some(&Value::Int(1)));
    assert_eq!(*span.dropped(), dropped(|d| d.attributes = 2));
}

#[test]
fn e6_keys_that_are_empty_or_too_long_are_refused() {
    let span = limited(SpanLimits::default(), |span| {
        span.set_attribute("", 1)
            .set_attribute("k".repeat(257), 1)
            .set_attribute("k".repeat(256), 1);
    });
    assert_eq!(span.attributes().len(), 1);
    assert_eq!(*span.dropped(), dropped(|d| d.invalid_keys = 2));
}

#[test]
fn e6_values_are_cut_to_4_kib() {
    let span = limited(SpanLimits::default(), |span| {
        span.set_attribute("text", "x".repeat(5000))
            .set_attribute("list", vec![1_i64; 600]);
        span.set_attribute("fits", "x".repeat(4096));
    });
    assert_eq!(span.attributes().get("text").map(Value::size), Some(4096));
    assert_eq!(
        span.attributes().get("list"),
        Some(&Value::IntList(vec![1; 512]))
    );
    assert_eq!(*span.dropped(), dropped(|d| d.cut_values = 2));
}

#[test]
fn e6_a_span_holds_64_kib_in_all() {
    let span = limited(SpanLimits::default(), |span| {
        for i in 0..20 {
            span.set_attribute(format!("k{i}"), "x".repeat(4096));
        }
    });
    assert_eq!(span.attributes().len(), 15);
    assert!(span.details().bytes.all <= 64 * 1024);
    assert_eq!(*span.dropped(), dropped(|d| d.attributes = 5));
}

#[test]
fn e6_bytes_of_a_value_that_is_replaced_are_free_again() {
    let limits = SpanLimits::default().max_total_bytes(100);
    let span = limited(limits, |span| {
        span.set_attribute("k", "x".repeat(60));
        span.set_attribute("k", "y".repeat(67));
        span.set_attribute("k", "z".repeat(68));
    });
    assert_eq!(
        span.attributes().get("k"),
        Some(&Value::from("y".repeat(67)))
    );
    assert_eq!(span.details().bytes.all, 100);
    assert_eq!(*span.dropped(), dropped(|d| d.attributes = 1));
}

#[test]
fn e6_a_flood_of_empty_texts_counts() {
    let span = limited(SpanLimits::default(), |span| {
        for i in 0..128 {
            span.set_attribute(format!("k{i}"), vec![""; 1000]);
        }
    });
    assert_eq!(span.attributes().len(), 3);
    assert_eq!(span.dropped().attributes, 125);
}

#[test]
fn e6_events_beyond_128_and_without_a_name_are_dropped() {
    let span = limited(SpanLimits::default(), |span| {
        span.add_event("");
        for _ in 0..130 {
            span.add_event("e");
        }
    });
    assert_eq!(span.events().len(), 128);
    assert_eq!(*span.dropped(), dropped(|d| d.events = 3));
}

#[test]
fn e6_an_event_has_limits_of_its_own() {
    let limits = SpanLimits::default()
        .max_event_attributes(2)
        .max_value_bytes(3)
        .max_name_bytes(4);
    let span = limited(limits, |span| {
        let mut event = SpanEvent::new("event")
            .attribute("a", "12345")
            .attribute("", 1);
        event = event.attribute("b", 1).attribute("c", 1);
        event.attributes.push(Attribute::new("b", 2));
        span.add_event(event);
    });
    let event = &span.events()[0];
    assert_eq!(event.name(), "even");
    assert_eq!(event.attributes().get("a"), Some(&Value::from("123")));
    assert_eq!(event.attributes().get("b"), Some(&Value::Int(2)));
    let counts = dropped(|d| {
        (
            d.event_attributes,
            d.cut_names,
            d.cut_values,
            d.invalid_keys,
        ) = (1, 1, 1, 1);
    });
    assert_eq!(*span.dropped(), counts);
}

#[test]
fn e6_links_beyond_the_limit_are_dropped() {
    let span = limited(SpanLimits::default().max_links(1), |span| {
        let link = span.context().unwrap();
        span.add_link(link.clone()).add_link(link);
    });
    assert_eq!(span.links().len(), 1);
    assert_eq!(*span.dropped(), dropped(|d| d.links = 1));
}

#[test]
fn e6_a_callee_has_half_of_each_limit_and_leaves_the_owner_the_other() {
    let span = limited(SpanLimits::default(), |span| {
        let mut update = SpanUpdate::new().name("n".repeat(300)).attribute("", 1);
        for i in 0..200 {
            update = update.attribute(format!("k{i}"), i).event("e");
        }
        span.downgrade().enrich(&update);
        for i in 0..64 {
            span.set_attribute(format!("own{i}"), i).add_event("own");
        }
    });
    assert_eq!((span.attributes().len(), span.events().len()), (128, 128));
    assert_eq!(span.set_by_callee().len(), 64);
    let counts = dropped(|d| {
        (d.attributes, d.events, d.cut_names, d.invalid_keys) = (136, 136, 1, 1);
    });
    assert_eq!(*span.dropped(), counts);
}

#[test]
fn e6_a_callee_has_half_of_the_bytes() {
    // A key of one byte and 32 for the attribute.
    let value = |bytes: usize| "x".repeat(bytes - 33);
    let limits = SpanLimits::default().max_total_bytes(200);
    let span = limited(limits, |span| {
        let weak = span.downgrade();
        weak.enrich(&SpanUpdate::new().attribute("a", value(60)));
        weak.enrich(&SpanUpdate::new().attribute("b", value(41)));
        weak.enrich(&SpanUpdate::new().event("123456789"));
        weak.enrich(&SpanUpdate::new().attribute("b", value(40)));
        weak.enrich(&SpanUpdate::new().status(SpanStatus::error("x")));
        span.set_attribute("c", value(101))
            .set_attribute("d", value(100));
    });
    let keys: Vec<_> = span
        .attributes()
        .iter()
        .map(|attribute| &*attribute.key)
        .collect();
    assert_eq!(keys, ["a", "b", "d"]);
    assert_eq!(*span.status(), SpanStatus::error(""));
    assert_eq!(
        (span.details().bytes.all, span.details().bytes.callees),
        (200, 100)
    );
    let counts = dropped(|d| (d.attributes, d.events, d.cut_values) = (2, 1, 1));
    assert_eq!(*span.dropped(), counts);
}

#[test]
fn e6_what_the_owner_takes_over_no_longer_counts_as_the_callees() {
    let limits = SpanLimits::default().max_attributes(4);
    let span = limited(limits, |span| {
        let weak = span.downgrade();
        weak.enrich(&SpanUpdate::new().attribute("a", 1).attribute("b", 1));
        weak.enrich(
            &SpanUpdate::new()
                .attribute("c", 1)
                .status(SpanStatus::error("abc")),
        );
        span.set_attribute("a", 2)
            .set_status(SpanStatus::error("abc"));
        weak.enrich(&SpanUpdate::new().attribute("c", 1));
    });
    assert_eq!(
        (span.attributes().len(), span.set_by_callee().len()),
        (3, 2)
    );
    assert_eq!(span.details().bytes.callees, 2 * (1 + 8 + 32));
    assert_eq!(*span.dropped(), dropped(|d| d.attributes = 1));
}

#[test]
fn e6_what_the_callee_overwrites_counts_as_the_callees() {
    let limits = SpanLimits::default().max_attributes(2);
    let span = limited(limits, |span| {
        span.set_attribute("a", 1)
            .set_attribute("b", 1)
            .allow_callee_overwrite(true);
        span.downgrade()
            .enrich(&SpanUpdate::new().attribute("a", 2).attribute("b", 2));
    });
    assert_eq!(span.set_by_callee(), ["a".into()]);
    assert_eq!(
        (span.details().bytes.all, span.details().bytes.callees),
        (2 * 41, 41)
    );
    assert_eq!(*span.dropped(), dropped(|d| d.attributes = 1));
}

/// The status after these words, `true` for the owner's; whether it is the callee's; how many were refused.
fn said(words: &[(bool, SpanStatus)]) -> (SpanStatus, bool, u32) {
    let span = limited(SpanLimits::default(), |span| {
        for (is_owner, status) in words {
            let update = SpanUpdate::new().status(status.clone());
            if *is_owner {
                span.apply(&update);
            } else {
                span.downgrade().enrich(&update);
            }
        }
    });
    let by_callee = span.is_status_by_callee();
    (span.status().clone(), by_callee, span.dropped().refused)
}

#[test]
fn a_status_of_ok_is_final_for_whoever_set_it() {
    for by in [true, false] {
        let words = [
            (by, SpanStatus::error("first")),
            (by, SpanStatus::Ok),
            (by, SpanStatus::error("second")),
            (by, SpanStatus::Ok),
            (by, SpanStatus::Unset),
        ];
        assert_eq!(said(&words), (SpanStatus::Ok, !by, 1));
    }
}

#[test]
fn e5_the_owners_status_replaces_the_callees_whatever_it_is() {
    for callees in [SpanStatus::Ok, SpanStatus::error("callee")] {
        for owners in [SpanStatus::Ok, SpanStatus::error("owner")] {
            let words = [(false, callees.clone()), (true, owners.clone())];
            assert_eq!(said(&words), (owners, false, 0));
        }
        let words = [(false, callees.clone()), (true, SpanStatus::Unset)];
        assert_eq!(said(&words), (callees, true, 0));
    }
}

#[test]
fn e5_the_callees_status_never_replaces_the_owners() {
    for owners in [SpanStatus::Ok, SpanStatus::error("owner")] {
        for callees in [SpanStatus::Ok, SpanStatus::error("callee")] {
            let is_refused = u32::from(owners != callees);
            let words = [(true, owners.clone()), (false, callees)];
            assert_eq!(said(&words), (owners.clone(), false, is_refused));
        }
    }
    let error = SpanStatus::error;
    let words = [(true, error("a")), (false, error("b")), (true, error("c"))];
    assert_eq!(said(&words), (error("c"), false, 1));
}

#[test]
fn e5_a_status_that_both_have_said_is_the_owners() {
    for status in [SpanStatus::Ok, SpanStatus::error("x")] {
        let words = [
            (false, status.clone()),
            (true, status.clone()),
            (false, SpanStatus::error("y")),
        ];
        assert_eq!(said(&words), (status, false, 1));
    }
}

#[test]
fn a_message_that_does_not_fit_does_not_hide_the_error() {
    let limits = SpanLimits::default().max_total_bytes(4).max_value_bytes(6);
    let span = limited(limits, |span| {
        span.set_status(SpanStatus::error("abcd"));
        span.set_status(SpanStatus::error("0123456789"));
    });
    assert_eq!(*span.status(), SpanStatus::error(""));
    assert_eq!(
        (span.details().bytes.all, span.dropped().cut_values),
        (0, 1)
    );
}
