//! What the caller says to the callee: one session.

use capspan::pipeline::Pipeline;
use capspan::session::SessionEnd;
use capspan::trace::{Outcome, SpanBuilder, SpanStatus};

use super::child::Child;
use super::screen::Screen;
use crate::analysis::{AnalysisResult, wire};
use crate::analysis_capnp::{analyzer, cursor};
use crate::args::End;
use crate::failure::Failure;

/// How many results the caller takes at once.
const CHUNK: u32 = 16;

/// All that the caller needs for its session.
pub(super) struct Caller<'a> {
    pub(super) pipeline: &'a Pipeline,
    /// What the session is a part of.
    pub(super) root: &'a SpanBuilder,
    pub(super) callee: &'a mut Child,
    pub(super) screen: &'a mut Screen,
    pub(super) end: End,
}

/// Why it goes no further.
enum Stop {
    /// A call did not come back.
    Call(capspan::Error),
    /// Something else.
    Failure(Failure),
}

impl Caller<'_> {
    /// Lets the service analyse `text`, in a session that ends as it is to end. The root span then
    /// says how that was; it is a failure if it was otherwise.
    pub(super) async fn analyse(mut self, text: String) -> Result<(), Failure> {
        let (outcome, reason) = match self.talk(text).await {
            Ok(end) => (end.outcome(), end.reason().unwrap_or_default().to_owned()),
            Err(Stop::Call(error)) if error.is_disconnected() => {
                (Outcome::Disconnected, error.reason().to_owned())
            }
            Err(Stop::Call(error)) => (Outcome::Exception, error.to_string()),
            Err(Stop::Failure(failure)) => return Err(failure),
        };
        self.root.set_outcome(outcome);
        if !matches!(outcome, Outcome::Ok | Outcome::Canceled) {
            self.root.set_status(SpanStatus::error(&reason[..]));
        }
        let wanted = match self.end {
            End::Finish => Outcome::Ok,
            End::Cancel => Outcome::Canceled,
            End::Kill => Outcome::Disconnected,
        };
        if outcome == wanted {
            Ok(())
        } else {
            let outcome = outcome.as_str();
            let message = format!("the session's end is '{outcome}': {reason}");
            Err(Failure::told(message))
        }
    }

    async fn talk(&mut self, text: String) -> Result<SessionEnd, Stop> {
        let event = self.pipeline.event("session").parent(self.root.parent());
        let (analyzer, handle) = event.open_session().into_parts();
        let done = handle.done();

        let cursor = analyze(analyzer, text).await?;
        let (results, mut is_done) = next(&cursor).await?;
        self.screen.results(&results)?;
        match self.end {
            End::Finish => {
                while !is_done {
                    let (results, last) = next(&cursor).await?;
                    self.screen.results(&results)?;
                    is_done = last;
                }
                // The last reference: with it the session is complete.
                drop(cursor);
                Ok(done.await?)
            }
            End::Cancel => {
                drop(handle);
                let end = done.await;
                let refused = next(&cursor).await;
                self.screen.after("the caller drops the session", refused)?;
                Ok(end?)
            }
            End::Kill => {
                self.callee.kill().await?;
                // Nobody is left to tell how it ended over there.
                let end = done.await.or_else(|lost| handle.end().ok_or(lost));
                let refused = next(&cursor).await;
                self.screen.after("the callee is killed", refused)?;
                Ok(end?)
            }
        }
    }
}

/// Asks for an analysis. The analyzer itself is let go; what keeps the session open from now on is
/// the cursor alone.
async fn analyze(analyzer: analyzer::Client, text: String) -> capspan::Result<cursor::Client> {
    let mut request = analyzer.analyze_request();
    request.get().set_text(&text[..]);
    drop(text);
    let response = request.send().promise.await?;
    Ok(response.get()?.get_cursor()?)
}

/// The next results, and whether they were the last.
async fn next(cursor: &cursor::Client) -> capspan::Result<(Vec<AnalysisResult>, bool)> {
    let mut request = cursor.next_request();
    request.get().set_limit(CHUNK);
    let response = request.send().promise.await?;
    let response = response.get()?;
    Ok((wire::read(response.get_results()?)?, response.get_done()))
}

impl From<capspan::Error> for Stop {
    fn from(error: capspan::Error) -> Self {
        Self::Call(error)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}
