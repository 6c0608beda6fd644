//! What the callee does: a text analysis, seen from the session in which it is asked for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use capnp::capability::{Client, FromClientHook as _};
use capspan::pipeline::{EventContext, Service};
use capspan::trace::{Outcome, SpanBuilder, SpanEvent, SpanKind, SpanUpdate, Value};

use crate::analysis::{self, Analysis, AnalysisResult, Counter, Cursor, wire};
use crate::analysis_capnp::{analyzer, cursor};

/// How much text is analysed before others have their turn on the event loop.
const PIECE: usize = 64 << 10;

/// Opens a session for each caller that wants a text analysed.
pub(super) struct TextAnalysis {
    title: String,
}

impl TextAnalysis {
    /// `title`: what people call the text.
    pub(super) fn new(title: String) -> Self {
        Self { title }
    }
}

impl Service for TextAnalysis {
    async fn open_session(self: Rc<Self>, event: EventContext) -> Result<Client, capnp::Error> {
        event.enricher().update(
            SpanUpdate::new()
                .name(format!("analyze {}", self.title))
                .attribute("analysis.model", analysis::MODEL),
        );
        let analyzer: analyzer::Client = capnp_rpc::new_client(Analyzer { event });
        Ok(Client::new(analyzer.into_client_hook()))
    }
}

struct Analyzer {
    event: EventContext,
}

impl analyzer::Server for Analyzer {
    async fn analyze(
        self: Rc<Self>,
        params: analyzer::AnalyzeParams,
        mut results: analyzer::AnalyzeResults,
    ) -> Result<(), capnp::Error> {
        let text = params.get()?.get_text()?.to_str()?;
        let analysis = analyse(text, &self.event).await;
        let summary = &analysis.summary;
        self.event.enricher().update(
            SpanUpdate::new()
                .attribute("analysis.bytes", number(summary.bytes))
                .attribute("analysis.tokens", number(summary.tokens))
                .attribute("analysis.words", number(summary.words)),
        );
        let cursor: cursor::Client = capnp_rpc::new_client(OpenCursor::new(&self.event, analysis));
        results.get().set_cursor(cursor);
        Ok(())
    }
}

/// Counts piece by piece, so that a long text keeps nobody else waiting.
async fn analyse(text: &str, event: &EventContext) -> Analysis {
    let span = begin(event, "count");
    let (mut counter, mut rest, mut pieces) = (Counter::default(), text, 0);
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.floor_char_boundary(PIECE));
        counter.feed(piece);
        (rest, pieces) = (later, pieces + 1);
        tokio::task::yield_now().await;
    }
    span.set_attribute("text.pieces", pieces);
    complete(span);

    let span = begin(event, "rank");
    let analysis = counter.finish();
    let distinct = analysis.summary.distinct_words;
    span.set_attribute("words.distinct", number(distinct));
    complete(span);
    analysis
}

/// A cursor that somebody holds. Its span is open for as long: it is what keeps the session open.
struct OpenCursor {
    event: EventContext,
    cursor: RefCell<Cursor>,
    span: SpanBuilder,
    calls: Cell<u64>,
    results: Cell<u64>,
}

impl OpenCursor {
    fn new(event: &EventContext, analysis: Analysis) -> Self {
        Self {
            event: event.clone(),
            cursor: RefCell::new(Cursor::new(analysis)),
            span: begin(event, "cursor"),
            calls: Cell::new(0),
            results: Cell::new(0),
        }
    }

    /// Tells of the results that are about to be handed out.
    fn tell(&self, results: &[AnalysisResult], done: bool) {
        if self.calls.get() == 0 {
            self.event
                .enricher()
                .add_event(SpanEvent::new("first result"));
        }
        self.calls.set(self.calls.get() + 1);
        self.results.set(self.results.get() + results.len() as u64);
        let sent = number(self.results.get());
        self.span
            .set_attribute("cursor.calls", number(self.calls.get()))
            .set_attribute("cursor.results", sent.clone());
        self.event
            .update(&SpanUpdate::new().attribute("results.sent", sent));
        if done {
            self.span.set_outcome(Outcome::Ok);
        }
    }
}

impl cursor::Server for OpenCursor {
    async fn next(
        self: Rc<Self>,
        params: cursor::NextParams,
        mut results: cursor::NextResults,
    ) -> Result<(), capnp::Error> {
        let limit = params.get()?.get_limit();
        let (found, done) = self.cursor.borrow_mut().next(limit);
        self.tell(&found, done);
        // At most `MAX_LIMIT`.
        let mut results = results.get();
        wire::write(&found, results.reborrow().init_results(found.len() as u32));
        results.set_done(done);
        Ok(())
    }
}

/// Opens a span of the callee's own. Whatever is dropped before it is complete was not wanted.
fn begin(event: &EventContext, name: &str) -> SpanBuilder {
    let span = event.parent().start(name, SpanKind::Internal);
    span.set_outcome(Outcome::Canceled);
    span
}

fn complete(span: SpanBuilder) {
    span.set_outcome(Outcome::Ok).end();
}

/// Attributes know signed numbers only.
fn number(number: u64) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}
