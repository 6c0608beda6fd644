//! A stream that writes to another one's place, up to a limit.
//!
//! Peers in C++ ask for one where a body passes through them on its way here: what comes later then takes
//! the shorter way (`schema/capnp/compat/byte-stream.capnp`).

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{self, LocalBoxFuture};

use super::pipe::{MAX_WAITING, Pipe, WAITING_WRITE};
use super::writer::{Nexts, Writer, export, lent, no_tls, room};
use crate::byte_stream_capnp::byte_stream::{self, substream_callback};
use crate::error::{Error, Result};

/// Of how many streams one may be a substream.
const MAX_DEPTH: usize = 64;

/// One substream.
pub(super) struct Substream {
    pipe: Rc<Pipe>,
    nexts: Weak<Nexts>,
    depth: usize,
    limit: u64,
    written: Cell<u64>,
    state: RefCell<State>,
    /// Calls that come after the limit go on one by one.
    last: RefCell<Option<oneshot::Receiver<()>>>,
}

enum State {
    Streaming {
        below: Below,
        callback: substream_callback::Client,
    },
    /// It has a substream itself.
    Lent {
        below: Below,
        callback: substream_callback::Client,
    },
    /// Its limit has been reached; what comes now goes elsewhere.
    Redirected,
    Ended,
    Broken(Error),
}

/// What a substream is one of.
pub(super) enum Below {
    Stream(Rc<Writer>),
    Substream(Rc<Substream>),
}

impl Substream {
    pub(super) fn new(
        pipe: Rc<Pipe>,
        nexts: Weak<Nexts>,
        below: Below,
        callback: substream_callback::Client,
        limit: u64,
    ) -> Result<Self> {
        let depth = match &below {
            Below::Stream(_) => 1,
            Below::Substream(below) => below.depth + 1,
        };
        if depth > MAX_DEPTH {
            return Err(Error::overloaded(format!(
                "a substream of more than {MAX_DEPTH} streams, which is the limit"
            )));
        }
        Ok(Self {
            pipe,
            nexts,
            depth,
            limit,
            written: Cell::new(0),
            state: RefCell::new(State::Streaming { below, callback }),
            last: RefCell::default(),
        })
    }

    /// Is it the one that writes? Otherwise what comes now goes elsewhere.
    fn is_streaming(&self) -> Result<bool> {
        match &*self.state.borrow() {
            State::Streaming { .. } => Ok(true),
            State::Redirected => Ok(false),
            State::Lent { .. } => Err(lent()),
            State::Ended => Err(Error::malformed("a substream goes on after its end")),
            State::Broken(error) => Err(error.clone()),
        }
    }

    /// It no longer writes.
    fn stop(&self, state: State) -> Option<(Below, substream_callback::Client)> {
        match self.state.replace(state) {
            State::Streaming { below, callback } => Some((below, callback)),
            _ => None,
        }
    }

    /// Its limit has been reached: from now on calls wait for where to go, which the future asks for.
    fn reach_limit(self: &Rc<Self>) -> Result<LocalBoxFuture<'static, capnp::Result<()>>> {
        let Some((below, callback)) = self.stop(State::Redirected) else {
            return Ok(future::ready(Ok(())).boxed_local());
        };
        let (substream, turn) = (self.clone(), self.turn(0)?);
        let outer = below.returned(self.limit)?;
        let outer = outer.map(|outer| outer.reach_limit()).transpose()?;
        Ok(async move {
            let reached = callback.reached_limit_request().send().promise.await?;
            let next = reached.get()?.get_next()?;
            let nexts = substream.nexts.upgrade().ok_or_else(over)?;
            nexts.borrow_mut().insert(substream.key(), next);
            turn.done();
            match outer {
                Some(outer) => outer.await,
                None => Ok(()),
            }
        }
        .boxed_local())
    }

    fn key(&self) -> usize {
        std::ptr::from_ref(self) as usize
    }

    fn next(&self) -> Result<byte_stream::Client> {
        let nexts = self.nexts.upgrade().ok_or_else(over)?;
        let next = nexts.borrow().get(&self.key()).cloned();
        next.ok_or_else(over)
    }

    /// The turn of a call that takes up so many bytes while it waits.
    fn turn(self: &Rc<Self>, bytes: usize) -> Result<Turn> {
        let cost = bytes + WAITING_WRITE;
        let waiting = self.pipe.passing_on.get().saturating_add(cost);
        if waiting > MAX_WAITING {
            let error = Error::overloaded(format!(
                "more than {MAX_WAITING} bytes wait to be passed on after the limits of substreams, which is the \
                 limit"
            ));
            // What comes after this would leave it out.
            self.state.replace(State::Broken(error.clone()));
            return Err(error);
        }
        self.pipe.passing_on.set(waiting);
        let (ends, end) = oneshot::channel();
        Ok(Turn {
            substream: self.clone(),
            before: self.last.replace(Some(end)),
            ends: Some(ends),
            cost,
        })
    }
}

fn over() -> Error {
    Error::disconnected("the request is over, and with it what comes after a substream")
}

impl Below {
    /// It may be written to again, after so many bytes of the substream's. Gives the one that has thereby
    /// come to its own limit.
    fn returned(&self, written: u64) -> Result<Option<Rc<Substream>>> {
        let outer = match self {
            Self::Stream(writer) => {
                writer.is_returned();
                return Ok(None);
            }
            Self::Substream(outer) => outer,
        };
        let mut state = outer.state.borrow_mut();
        match std::mem::replace(&mut *state, State::Ended) {
            State::Lent { below, callback } => *state = State::Streaming { below, callback },
            other => *state = other,
        }
        drop(state);
        let all = outer.written.get().saturating_add(written);
        outer.written.set(all);
        match all {
            all if all < outer.limit => Ok(None),
            all if all == outer.limit => Ok(Some(outer.clone())),
            _ => Err(Error::malformed(
                "a substream has more than the limit of the one that it belongs to",
            )),
        }
    }
}

/// A call's turn to go on. Dropped before it is done, it breaks the substream: something is missing then.
struct Turn {
    substream: Rc<Substream>,
    before: Option<oneshot::Receiver<()>>,
    /// Taken when it is done.
    ends: Option<oneshot::Sender<()>>,
    cost: usize,
}

impl Turn {
    /// Waits for it.
    async fn comes(&mut self) -> Result<byte_stream::Client> {
        if let Some(before) = self.before.take() {
            let _however_it_ended = before.await;
        }
        self.substream.is_streaming()?;
        self.substream.next()
    }

    fn done(mut self) {
        self.ends.take();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let substream = &self.substream;
        let passing_on = &substream.pipe.passing_on;
        passing_on.set(passing_on.get() - self.cost);
        let is_broken = matches!(*substream.state.borrow(), State::Broken(_));
        if self.ends.is_some() && !is_broken {
            let error = Error::disconnected("a call that was to go on after a substream failed");
            substream.state.replace(State::Broken(error));
        }
    }
}

impl Substream {
    /// Writes as much as fits; gives what does not.
    fn write_here(&self, piece: &[u8]) -> Result<(Option<oneshot::Receiver<()>>, Vec<u8>)> {
        let left = self.limit.saturating_sub(self.written.get());
        let fits = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let (first, rest) = piece.split_at(fits);
        let waits = self.pipe.write(first)?;
        self.written.set(self.written.get() + first.len() as u64);
        Ok((waits, rest.to_vec()))
    }

    /// Writes where it goes after the limit, after all that came before.
    async fn write_on(mut turn: Turn, rest: Vec<u8>) -> capnp::Result<()> {
        let next = turn.comes().await?;
        let mut request = next.write_request();
        request.get().set_bytes(&rest);
        drop(rest);
        request.send().await?;
        turn.done();
        Ok(())
    }
}

impl byte_stream::Server for Substream {
    async fn write(self: Rc<Self>, params: byte_stream::WriteParams) -> capnp::Result<()> {
        let piece = params.get()?.get_bytes()?;
        if !self.is_streaming()? {
            let (turn, rest) = (self.turn(piece.len())?, piece.to_vec());
            drop(params);
            return Self::write_on(turn, rest).await;
        }
        let (waits, rest) = self.write_here(piece)?;
        drop(params);
        if self.written.get() < self.limit {
            return Ok(room(&self.pipe, waits).await?);
        }
        let reached = self.reach_limit()?;
        if rest.is_empty() {
            return reached.await;
        }
        let turn = self.turn(rest.len())?;
        reached.await?;
        Self::write_on(turn, rest).await
    }

    async fn end(
        self: Rc<Self>,
        _params: byte_stream::EndParams,
        _results: byte_stream::EndResults,
    ) -> capnp::Result<()> {
        if !self.is_streaming()? {
            let mut turn = self.turn(0)?;
            turn.comes().await?.end_request().send().promise.await?;
            turn.done();
            return Ok(());
        }
        let Some((below, callback)) = self.stop(State::Ended) else {
            return Ok(());
        };
        let outer = below.returned(self.written.get())?;
        let outer = outer.map(|outer| outer.reach_limit()).transpose()?;
        drop(below);
        let mut ended = callback.ended_request();
        ended.get().set_byte_count(self.written.get());
        ended.send().promise.await?;
        match outer {
            Some(outer) => outer.await,
            None => Ok(()),
        }
    }

    async fn get_substream(
        self: Rc<Self>,
        params: byte_stream::GetSubstreamParams,
        mut results: byte_stream::GetSubstreamResults,
    ) -> capnp::Result<()> {
        let params = params.get()?;
        let (callback, limit) = (params.get_callback()?, params.get_limit());
        if !self.is_streaming()? {
            let mut turn = self.turn(0)?;
            let mut request = turn.comes().await?.get_substream_request();
            request.get().set_callback(callback);
            request.get().set_limit(limit);
            let answer = request.send().promise.await?;
            results.get().set_substream(answer.get()?.get_substream()?);
            turn.done();
            return Ok(());
        }
        let (pipe, nexts) = (self.pipe.clone(), self.nexts.clone());
        let inner = Self::new(pipe, nexts, Below::Substream(self.clone()), callback, limit)?;
        let mut state = self.state.borrow_mut();
        match std::mem::replace(&mut *state, State::Ended) {
            State::Streaming { below, callback } => *state = State::Lent { below, callback },
            other => *state = other,
        }
        drop(state);
        results.get().set_substream(export(inner));
        Ok(())
    }

    async fn start_tls(self: Rc<Self>, _params: byte_stream::StartTlsParams) -> capnp::Result<()> {
        Err(no_tls())
    }
}

impl Drop for Substream {
    fn drop(&mut self) {
        if let Some(nexts) = self.nexts.upgrade() {
            let next = nexts.borrow_mut().remove(&self.key());
            drop(next);
        }
        // One that has ended, or goes on elsewhere, leaves the stream to who has it.
        if !matches!(self.state.get_mut(), State::Ended | State::Redirected) {
            self.pipe.lose();
        }
    }
}
