"""A service in Python that takes events of capspan's: a model to start from. docs/other-languages.md tells why.

    callee.py SOCKET

serves a `Pipeline` on a Unix socket, says `listening` when it can be connected to, tells of each session that is
over, and ends with its standard input.
"""

import asyncio
import sys
import weakref

import capnp

from schemas import greeter, pipeline


class Metadata:
    """What travels with an event, as plain values: what is received is gone when the call is over."""

    def __init__(self, received):
        self.parent = context(received.userParent)
        self.application = received.application


def context(received):
    """The caller's span as (trace id, span id) in W3C's hexadecimal digits, or None: not observed."""
    trace = received.traceId
    if (trace.high, trace.low) == (0, 0) or received.spanId == 0:
        return None
    return f"{trace.high:016x}{trace.low:016x}", f"{received.spanId:016x}"


class Enricher:
    """Writes to the caller's span. It never waits: a method that used it would take a round trip longer."""

    def __init__(self, capability):
        self.capability = capability  # None: the caller's span is not observed
        self.answers = set()

    def write(self, **update):
        """Sends a `SpanUpdate`. It is on the span before the caller sees any return that is sent later."""
        if self.capability is None:
            return
        # The call leaves here. Its answer is waited for all the same: dropping the promise would cancel the call,
        # and a canceled call may keep its place in the tables of both sides.
        answer = asyncio.ensure_future(self.answered(self.capability.enrich(update)))
        self.answers.add(answer)
        answer.add_done_callback(self.answers.discard)

    async def answered(self, promise):
        try:
            status = str((await promise).result.status)
        except capnp.KjException:
            status = "spanEnded"  # the connection is lost
        # A status of a later version, which is not known here, means nothing more to do, too.
        if status not in ("applied", "overloaded"):
            self.close()

    def close(self):
        self.capability = None


class Session:
    """One session, until the last of its capabilities is dropped.

    It counts the objects that the caller can reach, and holds none of them: a reference from here would keep the
    session open for ever.
    """

    def __init__(self, metadata, enricher):
        self.metadata = metadata
        self.enricher = enricher
        self.alive = 0
        self.over = asyncio.get_running_loop().create_future()

    def adopt(self, server):
        """Makes an object part of the session. pycapnp lets go of it when the caller has dropped it."""
        self.alive += 1
        weakref.finalize(server, self.dropped).atexit = False
        return server

    def dropped(self):
        self.alive -= 1
        if self.alive == 0:
            self.end("ok")

    def end(self, outcome, reason=None):
        """The first end counts. Here a service that has spans of its own closes the session's."""
        if not self.over.done():
            self.over.set_result((outcome, reason))
            self.enricher.close()  # what is over holds nothing of the caller's
            print("session", outcome, flush=True)

    def check(self):
        """What each method does first: when the session is over, its capabilities are revoked."""
        if self.over.done():
            raise RuntimeError("the session is over: " + self.over.result()[0])


class RpcSession(pipeline.RpcSession.Server):
    """What the caller holds of the session. Dropped before the session is over, it cancels it."""

    def __init__(self, session):
        self.session = session
        weakref.finalize(self, session.end, "canceled", "the caller dropped it").atexit = False

    async def done(self, _context, **_):
        # Shielded: a caller that gives up this call has not ended the session.
        outcome, reason = await asyncio.shield(self.session.over)
        _context.results.outcome = outcome
        if reason is not None:
            _context.results.reason = reason


class Greeter(greeter.Greeter.Server):
    """The application."""

    def __init__(self, session):
        self.session = session

    async def greet(self, name, **_):
        self.session.check()
        attributes = {"greeted": name, "application": self.session.metadata.application}
        if self.session.metadata.parent is not None:
            attributes["caller"] = "-".join(self.session.metadata.parent)
        self.session.enricher.write(
            name="greet in Python",
            attributes=[{"key": key, "value": {"text": text}} for key, text in attributes.items()],
            events=[{"name": "greeting"}],
        )
        return f"Hello, {name}!"

    async def another(self, **_):
        self.session.check()
        return self.session.adopt(Greeter(self.session))


class EventDispatcher(pipeline.EventDispatcher.Server):
    """Takes one event."""

    def __init__(self, metadata, enricher):
        self.event = (metadata, enricher)

    def take(self):
        if self.event is None:
            raise RuntimeError("this dispatcher has delivered its event")
        event, self.event = self.event, None
        return event

    async def openSession(self, _context, **_):
        session = Session(*self.take())
        _context.results.session = RpcSession(session)
        _context.results.topLevel = session.adopt(Greeter(session))

    async def scheduled(self, event, _context, **_):
        _, enricher = self.take()
        enricher.write(attributes=[{"key": "cron", "value": {"text": event.cron}}])
        _context.results.result.init("retry").afterMillis = 1500

    # pycapnp can't answer with an error of the kind `unimplemented`: all of its errors are `failed`. So that these
    # name at least the kind of event.

    async def alarm(self, **_):
        raise NotImplementedError("this service serves no alarm events")

    async def queue(self, **_):
        raise NotImplementedError("this service serves no queue events")

    async def custom(self, **_):
        raise NotImplementedError("this service serves no custom events")

    async def fetch(self, **_):
        raise NotImplementedError("this service serves no fetch events")

    async def tail(self, **_):
        raise NotImplementedError("this service serves no tail events")


class Pipeline(pipeline.Pipeline.Server):
    """Starts events. It holds nothing of any of them."""

    async def startEvent_context(self, context):
        params = context.params
        # Only so is a null capability seen; without this it looks like any other until it is called.
        enricher = params.enricher if params._has("enricher") else None
        context.results.dispatcher = EventDispatcher(Metadata(params.metadata), Enricher(enricher))


async def serve(stream):
    # An object of its own for each connection: what it holds ends with that.
    await capnp.TwoPartyServer(stream, bootstrap=Pipeline()).on_disconnect()


async def main(path):
    server = await capnp.AsyncIoStream.create_unix_server(serve, path)
    print("listening", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(capnp.run(main(sys.argv[1])))
