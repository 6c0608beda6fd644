//! The receiver's side.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures::future::{AbortHandle, Abortable};
use futures::{FutureExt, Stream};

use super::pipe::{Counts, Pipe, ROOM};
use super::read_service;
use crate::drive::Tasks;
use crate::error::{Error, Result};
use crate::pipeline_capnp::event_dispatcher;
use crate::room::Place;
use crate::session::{Life, SessionEnd};
use crate::tail_capnp::tail_stream;
use crate::trace::{Dropped, Outcome, SpanUpdate, TailEvent};

/// The tail events of one invocation of another service, in the order in which they were sent: a stream.
///
/// Whoever sends waits while 64 KiB of them have not been read. It ends after the producer has said that
/// there is no more; with an error, if the producer gives up before, or sends what it must not send. A
/// service that has seen enough may return; the producer then loses the rest.
pub struct TailEvents {
    service: Box<str>,
    pipe: Rc<RefCell<Pipe>>,
}

/// A tail whose service has not begun yet.
pub(in crate::pipeline) struct Receiving {
    pipe: Rc<RefCell<Pipe>>,
}

/// The producer's end.
struct Writer {
    pipe: Rc<RefCell<Pipe>>,
    life: Rc<Life>,
    /// Stops the service.
    stop: AbortHandle,
}

/// The service at work; dropped before it is done, it was stopped.
struct Working {
    pipe: Rc<RefCell<Pipe>>,
    life: Rc<Life>,
}

/// What comes through a stream, and what becomes of that. What waits to be read is counted in `place`.
pub(in crate::pipeline) fn receive(
    from: event_dispatcher::tail_params::Reader<'_>,
    place: Option<Place>,
) -> Result<(TailEvents, Receiving)> {
    let service = read_service(from)?.into();
    let pipe = Rc::new(RefCell::new(Pipe {
        is_read: true,
        place,
        ..Pipe::default()
    }));
    let events = TailEvents {
        service,
        pipe: pipe.clone(),
    };
    Ok((events, Receiving { pipe }))
}

impl Receiving {
    /// Lets the service begin; gives the stream for the producer, unless the service has failed already, as
    /// one does that takes no tails.
    pub(in crate::pipeline) async fn begin(
        self,
        work: impl Future<Output = capnp::Result<()>> + 'static,
        life: &Rc<Life>,
        tasks: &Tasks,
    ) -> capnp::Result<tail_stream::Client> {
        let pipe = self.pipe;
        let (stop, stops) = AbortHandle::new_pair();
        let mut work = Box::pin(work);
        match futures::poll!(&mut work) {
            Poll::Ready(result) => {
                result?;
                pipe.borrow_mut().done = Some(Ok(()));
            }
            Poll::Pending => {
                let working = Working {
                    pipe: pipe.clone(),
                    life: life.clone(),
                };
                let work = async move { working.end(work.await) };
                tasks.spawn(Abortable::new(work, stops).map(drop));
            }
        }
        let life = life.clone();
        Ok(capnp_rpc::new_client(Writer { pipe, life, stop }))
    }
}

impl Working {
    fn end(&self, result: capnp::Result<()>) {
        if let Err(error) = &result {
            let error = Error::from(error.clone());
            self.life
                .will_end(SessionEnd::new(Outcome::Exception, Some(error.reason())));
        }
        let mut pipe = self.pipe.borrow_mut();
        pipe.done.get_or_insert(result);
        let writers = std::mem::take(&mut pipe.writers);
        drop(pipe);
        writers.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let is_done = self.pipe.borrow().done.is_some();
        if !is_done {
            self.end(Err(Error::canceled("the service was stopped").into()));
        }
    }
}

impl TailEvents {
    /// Which service they are of; empty if it has no name.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// How many have been received, those that wait to be read among them.
    pub fn received(&self) -> u64 {
        self.pipe.borrow().counts.received
    }

    /// How many have been lost on the way, or could not be read, among those before the last one that was
    /// received: as the producer numbers them.
    pub fn lost(&self) -> u64 {
        self.pipe.borrow().counts.lost
    }

    /// What had to be left out of those that have been received, as it is beyond the limits of this side or
    /// can't be read.
    pub fn dropped(&self) -> Dropped {
        self.pipe.borrow().dropped
    }
}

impl Stream for TailEvents {
    type Item = Result<TailEvent>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut pipe = self.pipe.borrow_mut();
        if let Some(event) = pipe.events.pop_front() {
            pipe.read(event.size());
            if pipe.waiting < ROOM {
                let writers = std::mem::take(&mut pipe.writers);
                drop(pipe);
                writers.into_iter().for_each(Waker::wake);
            }
            return Poll::Ready(Some(Ok(event)));
        }
        if let Some(error) = pipe.error.take() {
            // Once: nothing comes after it.
            pipe.is_ended = true;
            return Poll::Ready(Some(Err(error)));
        }
        if pipe.is_ended {
            return Poll::Ready(None);
        }
        let old = pipe.reader.replace(cx.waker().clone());
        drop(pipe);
        drop(old);
        Poll::Pending
    }
}

impl Drop for TailEvents {
    fn drop(&mut self) {
        let mut pipe = self.pipe.borrow_mut();
        pipe.is_read = false;
        let events = std::mem::take(&mut pipe.events);
        pipe.read(usize::MAX);
        let wakers = (std::mem::take(&mut pipe.writers), pipe.reader.take());
        drop(pipe);
        drop(events);
        wakers.0.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for TailEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TailEvents")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// Changes the pipe, and wakes its reader.
    fn with<T>(&self, f: impl FnOnce(&mut Pipe) -> T) -> T {
        let mut pipe = self.pipe.borrow_mut();
        let result = f(&mut pipe);
        let reader = pipe.reader.take();
        drop(pipe);
        if let Some(reader) = reader {
            reader.wake();
        }
        result
    }

    /// Waits for room.
    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<capnp::Result<()>> {
        let mut pipe = self.pipe.borrow_mut();
        pipe.check_has_not_failed()?;
        if pipe.waiting < ROOM || !pipe.is_read {
            return Poll::Ready(Ok(()));
        }
        pipe.writers.push(cx.waker().clone());
        Poll::Pending
    }

    /// Waits for the service.
    fn poll_done(&self, cx: &mut Context<'_>) -> Poll<capnp::Result<()>> {
        let mut pipe = self.pipe.borrow_mut();
        if let Some(done) = &pipe.done {
            return Poll::Ready(done.clone());
        }
        pipe.writers.push(cx.waker().clone());
        Poll::Pending
    }

    /// Says on the event's span how many have come.
    fn tell(&self) {
        let Counts { received, lost, .. } = self.pipe.borrow().counts;
        self.life.with_spans(|spans| {
            for span in spans.iter().filter(|span| span.is_observed()) {
                let update = SpanUpdate::new();
                let update = update.attribute("capspan.tail.events", received);
                span.apply(&update.attribute("capspan.tail.lost", lost));
            }
        });
    }
}

impl tail_stream::Server for Writer {
    async fn events(self: Rc<Self>, params: tail_stream::EventsParams) -> capnp::Result<()> {
        // In the order in which they come, whatever waits before.
        let list = params.get()?.get_events()?;
        let taken = self.with(|pipe| pipe.take(list));
        drop(params);
        self.tell();
        taken?;
        poll_fn(|cx| self.poll_room(cx)).await
    }

    async fn end(
        self: Rc<Self>,
        _params: tail_stream::EndParams,
        _results: tail_stream::EndResults,
    ) -> capnp::Result<()> {
        self.with(|pipe| pipe.is_ended = true);
        poll_fn(|cx| self.poll_done(cx)).await
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let reason = "the producer left before the end";
        let is_left = self.with(|pipe| {
            let is_unread = pipe.is_read && !pipe.is_ended && pipe.error.is_none();
            if is_unread {
                pipe.error = Some(Error::canceled(reason));
            }
            is_unread || pipe.done.is_none()
        });
        self.stop.abort();
        if is_left {
            self.life
                .will_end(SessionEnd::new(Outcome::Canceled, Some(reason)));
        }
    }
}
