//! A page of what a service is doing now, for its operators: which sessions are open, what each keeps open,
//! and how the last ones went.
//!
//! When a capability leaks, a session stays open, and nobody can say which one holds it. Here it stands: the
//! call that introduced it, since when it is held, how often it was called.
//!
//! A [`Page`] answers HTTP requests of whatever server it is mounted in; there is one a process. Each event
//! loop has a [`Board`], on which is noted what happens there. A board shares nothing and locks nothing: the
//! page sends it a question, which a task on its loop answers with plain data. A loop that does not answer
//! in time is shown as such.
//!
//! ```
//! # use capspan::page::Page;
//! # use capspan::pipeline::{Callee, Service};
//! # use capspan::session::CallSpans;
//! # use capspan::trace::Tracer;
//! # use capspan_testkit::greeter_capnp::greeter;
//! # fn example(service: impl Service, tasks: &capspan::Tasks) {
//! let page = Page::new(tokio::time::sleep);
//!
//! // On each event loop:
//! let names = CallSpans::new().interface::<greeter::Client>("Greeter", ["greet"]);
//! let board = page.board("loop 0", tasks).with_names(&names);
//! let tracer = Tracer::new(board.observer()).with_service("greetings");
//! let callee = Callee::new(service, tasks)
//!     .tracer(tracer)
//!     .call_spans(names)
//!     .live(&board.live());
//! # let _ = callee; }
//! ```
//!
//! Mounted in a server of `hyper`'s:
//!
//! ```
//! # use std::convert::Infallible;
//! # use capspan::page::Page;
//! use http_body_util::Full;
//! use hyper::body::Incoming;
//! use hyper::server::conn::http1;
//! use hyper::service::service_fn;
//!
//! # async fn serve(page: Page, stream: impl hyper::rt::Read + hyper::rt::Write + Unpin) -> hyper::Result<()> {
//! let service = service_fn(move |request: http::Request<Incoming>| {
//!     let page = page.clone();
//!     async move { Ok::<_, Infallible>(page.respond(&request).await.map(Full::new)) }
//! });
//! http1::Builder::new().serve_connection(stream, service).await
//! # }
//! ```
//!
//! `docs/page.md` tells more of that, and of who may see it.
//!
//! - [`Page`]: the handle; `settings`: what it is told; [`Token`]: who may see it.
//! - [`Board`] and what it hands out: [`BoardObserver`], [`BoardGuard`].
//! - `boards`: asks all boards.
//! - `route`, `gate`, `response`: from a request to an answer, and who gets none.
//! - `view`: what a board says; `query`: what of it is asked for.
//! - `html`, `json`: how that is written; `assets`: the style and the script.
//!
//! # What is kept
//!
//! A peer can make many of all these. So each has a limit, on each board, and what goes beyond is counted:
//!
//! | what | how many |
//! |---|---|
//! | open sessions | 10,000 |
//! | closed sessions | 200, the last ones |
//! | spans of a session | 500: the first 100, and the last |
//! | spans in all | 50,000: with more, closed sessions go before their time |
//! | methods told apart | 256: those of which no call has gone well make room for others |
//! | attributes and events of a session | 64 and 32; in all sessions 16 MiB |
//! | bytes of a name or a value | 256 |
//! | refusals of the guard, with their texts | 50, the last ones |
//!
//! A page shows at most 200 open sessions, in the order that is asked for, and 500 capabilities of one.

mod assets;
mod board;
mod boards;
mod gate;
mod handle;
mod html;
mod json;
mod query;
mod response;
mod route;
mod settings;
mod token;
mod view;

pub use board::{Board, BoardGuard, BoardObserver};
pub use handle::Page;
pub use token::Token;
