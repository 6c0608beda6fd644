//! The handle that answers requests.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};

use super::board::{Board, State};
use super::boards::{Answer, Boards};
use super::gate::Gate;
use super::query::{Query, parameters};
use super::response::Reply;
use super::route::{Format, Route};
use super::settings::{Settings, base};
use super::token::Token;
use super::{html, json};
use crate::drive::Tasks;
use crate::trace::SpanId;

/// Answers HTTP requests with what happens on the [boards](Board) of a process. It is no server: mount it in
/// one. Clones are handles to the same boards, and may be told other things about where they are.
///
/// Without a [token](Page::token) it answers only to names of the machine's own, `localhost` and its
/// addresses, and to those that it is [given](Page::host): so no page on a site elsewhere can read it by a
/// name that leads here. Bind it to a loopback address then.
#[derive(Clone)]
pub struct Page {
    boards: Boards,
    settings: Arc<Settings>,
    sleep: Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,
}

impl Page {
    /// A page without a board. `sleep` waits for as long as it is told, as `tokio::time::sleep` does, within
    /// whatever polls [`respond`](Self::respond).
    pub fn new<F>(sleep: impl Fn(Duration) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            boards: Boards::default(),
            settings: Arc::default(),
            sleep: Arc::new(move |time| Box::pin(sleep(time))),
        }
    }

    /// A board for the event loop of `tasks`, which is called `name` on the page.
    pub fn board(&self, name: &str, tasks: &Tasks) -> Board {
        self.boards.add(name, tasks)
    }

    /// The same under another title: the service's name, for instance.
    #[must_use]
    pub fn title(self, title: &str) -> Self {
        self.with(|settings| settings.title = title.into())
    }

    /// The same where all its paths begin with `path`, as `/debug`. What mounts it may take that away from
    /// requests, or leave it there.
    #[must_use]
    pub fn mounted_at(self, path: &str) -> Self {
        self.with(|settings| settings.base = base(path))
    }

    /// The same for who knows a token: as `Authorization: Bearer …`, or in a browser once as
    /// `/tracez?token=…`, which is exchanged for a cookie. Then it answers to any name.
    ///
    /// It is for a connection that nobody listens to: put TLS before it.
    #[must_use]
    pub fn token(self, token: Token) -> Self {
        self.with(|settings| settings.token = Some(token))
    }

    /// The same, which also answers to this name, or address.
    #[must_use]
    pub fn host(self, name: &str) -> Self {
        self.with(|settings| settings.hosts.push(name.into()))
    }

    /// The same, which waits for so long for what an event loop has to say; by default half a second.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        self.with(|settings| settings.patience = patience)
    }

    /// Is there a token that one has to know?
    pub fn has_token(&self) -> bool {
        self.settings.token.is_some()
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    /// What is answered to who may not see the page; `None` for who may. For what else is to be seen only by
    /// these, such as metrics beside the page.
    pub fn refusal<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        let request = head(request);
        let reply = self.refusal_of(&request)?;
        Some(reply.into_response(&request.method))
    }

    /// Answers a request. Its body is not looked at.
    pub fn respond<B>(
        &self,
        request: &Request<B>,
    ) -> impl Future<Output = Response<Bytes>> + Send + use<B> {
        let (request, page) = (head(request), self.clone());
        async move { page.reply(&request).await.into_response(&request.method) }
    }

    async fn reply(&self, request: &Parts) -> Reply {
        let route = Route::of(request, &self.settings.base);
        match (route, self.refusal_of(request)) {
            // What is in these is nobody's secret, and the page that asks for a token has them.
            (Route::Asset(asset), _) => Reply::asset(asset, request),
            (_, Some(refusal)) => refusal,
            (route, None) => {
                let query = request.uri.query().unwrap_or_default();
                self.answer(route, query).await
            }
        }
    }

    fn refusal_of(&self, request: &Parts) -> Option<Reply> {
        if ![Method::GET, Method::HEAD].contains(&request.method) {
            return Some(Reply::method_not_allowed());
        }
        match Gate::of(request, &self.settings) {
            Gate::Open => None,
            Gate::Welcome => Some(self.welcome(request)),
            Gate::NoToken => {
                let page = html::token(&self.settings);
                Some(Reply::html(StatusCode::UNAUTHORIZED, page).asking_for_token())
            }
            Gate::WrongHost => Some(Reply::text(
                StatusCode::MISDIRECTED_REQUEST,
                "This page answers to localhost, and to names that it is given (Page::host).\n",
            )),
        }
    }

    /// Leads to the same place without the token, which is not to stay in the browser's history.
    fn welcome(&self, request: &Parts) -> Reply {
        let base = &self.settings.base;
        let place = match Route::of(request, base) {
            Route::Session(id, _) => format!("{base}/tracez/session/{id}"),
            Route::Limits(_) => format!("{base}/tracez/limits"),
            _ => format!("{base}/tracez"),
        };
        let path = if base.is_empty() { "/" } else { base };
        let reply = Reply::redirect(&place);
        match &self.settings.token {
            Some(token) => reply.with_cookie(token, path),
            None => reply,
        }
    }

    async fn answer(&self, route: Route, query: &str) -> Reply {
        let settings = &*self.settings;
        match route {
            Route::Overview(format) => {
                let asked = Query::parse(query);
                let of_board = asked.clone();
                let answers = self.ask(move |state| state.overview(&of_board)).await;
                match format {
                    Format::Json => Reply::json(StatusCode::OK, json::overview(answers, &asked)),
                    Format::Html => {
                        let page = html::overview(settings, answers, &asked, refresh(query));
                        Reply::html(StatusCode::OK, page)
                    }
                }
            }
            Route::Limits(format) => {
                let answers = self.ask(State::limits).await;
                match format {
                    Format::Json => Reply::json(StatusCode::OK, json::limits(&answers)),
                    Format::Html => {
                        let page = html::limits(settings, &answers, refresh(query));
                        Reply::html(StatusCode::OK, page)
                    }
                }
            }
            Route::Session(id, format) => self.session(id, format, refresh(query)).await,
            Route::Root => Reply::redirect(&format!("{}/tracez", settings.base)),
            Route::Asset(_) | Route::Nothing => {
                let page = html::nothing(settings);
                Reply::html(StatusCode::NOT_FOUND, page)
            }
        }
    }

    async fn session(&self, id: SpanId, format: Format, refresh: Option<u8>) -> Reply {
        let answers = self.ask(move |state| state.session(id)).await;
        let mut silent = Vec::new();
        let mut found = None;
        for Answer { board, said } in answers {
            match said {
                None => silent.push(board),
                Some(Some(session)) => found = Some((board, session)),
                Some(None) => {}
            }
        }
        let status = match found {
            Some(_) => StatusCode::OK,
            None => StatusCode::NOT_FOUND,
        };
        match format {
            Format::Json => Reply::json(status, json::session(id, found.as_ref(), &silent)),
            Format::Html => {
                let found = found.as_ref();
                let page = html::session(&self.settings, id, found, &silent, refresh);
                Reply::html(status, page)
            }
        }
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl Fn(&State) -> T + Clone + Send + 'static,
    ) -> impl Future<Output = Vec<Answer<T>>> + Send {
        let time_is_up = (self.sleep)(self.settings.patience);
        let boards = self.boards.clone();
        async move { boards.ask(question, time_is_up).await }
    }
}

/// All of a request but its body.
fn head<B>(request: &Request<B>) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = request.method().clone();
    parts.uri = request.uri().clone();
    parts.headers = request.headers().clone();
    parts
}

/// After how many seconds a browser without scripts loads the page again, where that is asked for.
fn refresh(query: &str) -> Option<u8> {
    let mut all = parameters(query);
    let (_, seconds) = all.find(|(name, _)| name == "refresh")?;
    seconds.parse().ok().filter(|seconds| *seconds > 0)
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("title", &self.settings.title)
            .field("token", &self.settings.token)
            .finish_non_exhaustive()
    }
}
