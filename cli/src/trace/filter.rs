//! What spans are wanted.

use std::time::Duration;

use crate::args::FilterArgs;
use crate::records::{End, LateUpdate, Record, Span};

/// Tells whether a span is wanted: everything that was asked for must hold.
#[derive(Debug)]
pub(super) struct Filter {
    id: Option<String>,
    name: Option<String>,
    outcome: Vec<String>,
    service: Vec<String>,
    min: Option<u64>,
    max: Option<u64>,
    failed: bool,
}

impl Filter {
    pub(super) fn new(args: &FilterArgs) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            id: args.id.as_deref().map(str::to_ascii_lowercase),
            name: args.name.as_deref().map(str::to_lowercase),
            outcome: args.outcome.clone(),
            service: args.service.clone(),
            min: args.min_duration.map(nanos),
            max: args.max_duration.map(nanos),
            failed: args.failed,
        }
    }

    pub(super) fn wants(&self, record: &Record) -> bool {
        match record {
            Record::Span(span) => self.wants_span(span),
            Record::Late(late) => self.wants_late(late),
        }
    }

    fn wants_span(&self, span: &Span) -> bool {
        self.is_of_id(&span.trace_id, &span.span_id)
            && self.is_of_service(&span.service)
            && (self.outcome.is_empty() || self.outcome.iter().any(|one| one == span.outcome()))
            && (!self.failed || span.end() == End::Bad)
            && self.is_of_length(span.duration())
            && (self.is_called(&span.name)
                || span
                    .original_name
                    .as_deref()
                    .is_some_and(|name| self.is_called(name)))
    }

    /// It has neither an end nor a length of its own.
    fn wants_late(&self, late: &LateUpdate) -> bool {
        self.is_of_id(&late.trace_id, &late.span_id)
            && self.is_of_service(&late.service)
            && self.is_called(&late.event.name)
            && self.outcome.is_empty()
            && !self.failed
            && self.is_of_length(None)
    }

    fn is_of_id(&self, trace: &str, span: &str) -> bool {
        let begins = |id: &str, prefix: &str| {
            let begin = id.as_bytes().get(..prefix.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix.as_bytes()))
        };
        self.id
            .as_deref()
            .is_none_or(|prefix| begins(trace, prefix) || begins(span, prefix))
    }

    fn is_called(&self, name: &str) -> bool {
        self.name
            .as_deref()
            .is_none_or(|part| name.to_lowercase().contains(part))
    }

    fn is_of_service(&self, service: &str) -> bool {
        self.service.is_empty() || self.service.iter().any(|one| one == service)
    }

    fn is_of_length(&self, length: Option<u64>) -> bool {
        match length {
            None => self.min.is_none() && self.max.is_none(),
            Some(length) => {
                self.min.is_none_or(|min| length >= min) && self.max.is_none_or(|max| length <= max)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span() -> Span {
        Span {
            trace_id: "4bf92f".into(),
            span_id: "a2fb".into(),
            name: "Übergabe".into(),
            original_name: Some("session".into()),
            service: "caller".into(),
            start_time_unix_nano: Some(5),
            end_time_unix_nano: Some(1_005),
            outcome: Some("exception".into()),
            ..Span::default()
        }
    }

    fn wants(span: &Span, change: impl FnOnce(&mut FilterArgs)) -> bool {
        let mut args = FilterArgs::default();
        change(&mut args);
        Filter::new(&args).wants(&Record::Span(Box::new(span.clone())))
    }

    #[test]
    fn no_filter_wants_all() {
        assert!(wants(&Span::default(), |_| {}));
    }

    #[test]
    fn each_filter_takes_what_it_says() {
        let nanos = |n| Some(Duration::from_nanos(n));
        for (yes, no) in [("4B", "5b"), ("A2FB", "a2fb0"), ("", "bf")] {
            assert!(wants(&span(), |args| args.id = Some(yes.into())));
            assert!(!wants(&span(), |args| args.id = Some(no.into())));
        }
        for name in ["über", "ÜBERGABE", "SESS"] {
            assert!(wants(&span(), |args| args.name = Some(name.into())));
        }
        assert!(!wants(&span(), |args| args.name = Some("query".into())));
        assert!(wants(&span(), |args| args.outcome =
            vec!["ok".into(), "exception".into()]));
        assert!(!wants(&span(), |args| args.outcome = vec!["ok".into()]));
        assert!(wants(&span(), |args| args.service = vec!["caller".into()]));
        assert!(!wants(&span(), |args| args.service = vec!["call".into()]));
        assert!(wants(&span(), |args| (
            args.min_duration,
            args.max_duration
        ) = (nanos(1_000), nanos(1_000))));
        assert!(!wants(&span(), |args| args.min_duration = nanos(1_001)));
        assert!(!wants(&span(), |args| args.max_duration = nanos(999)));
        assert!(wants(&span(), |args| args.failed = true));
        assert!(!wants(&span(), |args| (args.failed, args.id) =
            (true, Some("5".into()))));
    }

    #[test]
    fn an_open_span_is_open_and_has_no_length() {
        let open = Span {
            open: true,
            outcome: None,
            end_time_unix_nano: None,
            ..span()
        };
        assert!(wants(&open, |args| args.outcome = vec!["open".into()]));
        assert!(!wants(&open, |args| args.max_duration = Some(Duration::MAX)));
        assert!(!wants(&open, |args| args.failed = true));
    }

    #[test]
    fn canceled_is_not_failed_but_an_error_is() {
        let canceled = Span {
            outcome: Some("canceled".into()),
            ..span()
        };
        assert!(!wants(&canceled, |args| args.failed = true));
        let error = Span {
            outcome: Some("ok".into()),
            status: Some(crate::records::Status {
                code: "ERROR".into(),
                message: String::new(),
            }),
            ..span()
        };
        assert!(wants(&error, |args| args.failed = true));
    }

    #[test]
    fn what_came_late_goes_by_ids_service_and_name() {
        let late = LateUpdate {
            trace_id: "4b".into(),
            span_id: "a2".into(),
            service: "caller".into(),
            ..LateUpdate::default()
        };
        let wants = |change: fn(&mut FilterArgs)| {
            let mut args = FilterArgs::default();
            change(&mut args);
            Filter::new(&args).wants(&Record::Late(late.clone()))
        };
        assert!(wants(|args| args.id = Some("a".into())));
        assert!(!wants(|args| args.service = vec!["callee".into()]));
        assert!(!wants(|args| args.failed = true));
    }
}
