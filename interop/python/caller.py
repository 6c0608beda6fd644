"""A caller in Python that starts events on a capspan service: a model to start from. docs/other-languages.md tells why.

    caller.py SOCKET

connects to a `Pipeline` on a Unix socket, starts some events, and prints what became of them as JSON.
"""

import asyncio
import json
import secrets
import sys
import time

import capnp

from schemas import greeter, pipeline

# No call of this program takes longer, unless something is wrong.
SECONDS = 20


class Span(pipeline.SpanEnricher.Server):
    """The span of one event on this side. The callee writes to it: it is an enricher as well.

    A real one has limits: it counts what it refuses instead of keeping whatever a callee sends.
    """

    def __init__(self, name, trace_id):
        self.name = self.original_name = name
        self.trace_id = trace_id
        self.span_id = secrets.randbits(64) or 1  # zero is no id
        self.start = time.time_ns()
        self.attributes, self.events = {}, []
        self.is_over = False

    def metadata(self, **rest):
        """What tells the callee whose child its own span is."""
        ids = {"high": self.trace_id >> 64, "low": self.trace_id & (1 << 64) - 1}
        parent = {"traceId": ids, "spanId": self.span_id, "flags": {"value": 1}}
        return {"userParent": parent, "startTimeUnixNano": self.start, **rest}

    async def enrich(self, update, _context, **_):
        # Written before anything is waited for: it is to be there when the callee's return is.
        if self.is_over:
            _context.results.result.status = "spanEnded"
            return
        self.name = update.name or self.name
        for attribute in update.attributes:
            value = attribute.value
            kind = value.which()
            self.attributes[attribute.key] = getattr(value, str(kind))
        self.events += [event.name for event in update.events]
        _context.results.result.status = "applied"

    def end(self, outcome):
        self.is_over = True
        ids = {"traceId": f"{self.trace_id:032x}", "spanId": f"{self.span_id:016x}"}
        names = {"name": self.name, "originalName": self.original_name}
        return {**ids, **names, "attributes": self.attributes, "events": self.events, "outcome": outcome}


def start(service, span, **rest):
    """Announces an event. Nothing is waited for: what is called on the dispatcher leaves together with this."""
    return service.startEvent(metadata=span.metadata(**rest), enricher=span).dispatcher


async def session(service, trace_id):
    span = Span("greet Ada", trace_id)
    opened = start(service, span, application='{"a":1}').openSession()
    top_level = opened.topLevel.cast_as(greeter.Greeter)
    # Held until the end: dropping it cancels the session. It is taken from the promise, not from the answer: what is
    # taken from an answer keeps all of that, and with it the top-level capability.
    handle = opened.session
    # By position: pycapnp has parameters called `name` of its own.
    answer = await top_level.greet("Ada")
    # What was written before the return is here.
    assert span.attributes["greeted"] == "Ada", span.attributes
    text = answer.text
    other = (await top_level.another()).greeter
    del opened, top_level, answer
    # The other one still holds the session.
    assert (await other.greet("Grace")).text == "Hello, Grace!"
    assert span.attributes["greeted"] == "Grace", span.attributes
    del other
    # Nothing is left of the session but its handle: it is over.
    done = await handle.done()
    return {**span.end(str(done.outcome)), "text": text}


async def scheduled(service, trace_id):
    span = Span("nightly", trace_id)
    event = {"timeUnixNano": 86_400_000_000_000, "cron": "0 0 * * *"}
    result = (await start(service, span).scheduled(event)).result
    became = str(result.which())
    retry = result.retry.afterMillis if became == "retry" else None
    return {**span.end("ok"), "result": became, "retryAfterMillis": retry}


async def custom(service, trace_id):
    span = Span("ping", trace_id)
    request = start(service, span).custom_request()
    request.name = "ping"
    request.payload.set_as_text("from Python")
    result = (await request.send()).result.as_text()
    return {**span.end("ok"), "result": result}


async def refused(call):
    """The kind of error with which a call is refused, and what it says."""
    try:
        await call
    except capnp.KjException as error:
        return [error.type, error.description]
    raise AssertionError("it was not refused")


async def main(path):
    stream = await capnp.AsyncIoStream.create_unix_connection(path)
    service = capnp.TwoPartyClient(stream).bootstrap().cast_as(pipeline.Pipeline)
    trace_id = secrets.randbits(128) or 1
    told = {
        "session": await session(service, trace_id),
        "scheduled": await scheduled(service, trace_id),
        "custom": await custom(service, trace_id),
    }
    span = Span("alarm", trace_id)
    dispatcher = start(service, span)
    told["unserved"] = await refused(dispatcher.alarm({"retries": 1}))
    told["second"] = await refused(dispatcher.scheduled({}))
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(asyncio.wait_for(capnp.run(main(sys.argv[1])), SECONDS))
