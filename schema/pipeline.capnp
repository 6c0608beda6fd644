@0xffb3fd4c1e1229e9;
# How one service starts an event on another, so that both tell it as one trace.
#
# The caller holds a `Pipeline`. It calls `startEvent`, delivers exactly one event through the
# dispatcher that it gets, and goes on with what the event gives it. All of these calls may be
# pipelined: `startEvent`, `openSession` and the first call on the session's capability leave
# together, so that a session costs no round trip of its own.
#
#     caller                                     callee
#       startEvent(metadata, enricher) ───────▶    reads whose child it is
#       openSession() ────────────────────────▶    opens the callee session span
#       topLevel.someMethod() ────────────────▶    works, and writes to the caller's
#       ◀──────────────────────── enricher.enrich  span, before it returns
#       ◀─────────────────────────────── results
#       drops its last capability ────────────▶    closes the callee session span
#
# Evolution: ids and ordinals never change; unknown fields are ignored; a null or missing field has
# the default that is written beside it.

using Cxx = import "/capnp/c++.capnp";
using Event = import "event.capnp";
using Http = import "/capnp/compat/http-over-capnp.capnp";
using Tail = import "tail.capnp";
using Trace = import "trace.capnp";
$Cxx.namespace("capspan::pipeline");

interface Pipeline {
  # Starts events on a service. It holds no state of any event and may be used as often as one likes.

  startEvent @0 (metadata :SubrequestMetadata, enricher :SpanEnricher)
             -> (dispatcher :EventDispatcher);
  # Announces one event. Nothing has begun yet: the event begins when it is delivered through
  # `dispatcher`. A dispatcher that is dropped without an event is an event that was canceled.
  #
  # `metadata`: who is calling, and why; null: nothing is known of the caller, and a callee that is
  # observed starts a trace of its own.
  #
  # `enricher`: writes to the caller's span of this event; null when that span is not observed, and
  # then the callee writes nothing.
}

struct SubrequestMetadata {
  # What travels with an event from the caller to the callee.

  internalParent @0 :Trace.SpanContext;
  # The caller's span on the *internal* channel: what the operator of the services sees. Null: not
  # observed there.

  userParent @1 :Trace.SpanContext;
  # The caller's span on the *user* channel: what the tenant whose code runs sees. The two never
  # mix. Null: not observed there.

  startTimeUnixNano @2 :UInt64;
  # When the caller started the event, by its own clock, in nanoseconds since 1970-01-01 UTC.
  # Zero: not said.

  baggage @3 :Text;
  # A W3C `baggage` header value. Null or empty: none.

  featureFlags @4 :Text;
  # The caller's feature flags, as one JSON object. Null or empty: none.

  application @5 :Text;
  # What the application wants to pass along, as one JSON value. Null or empty: none.

  origin :group {
    # How the event came to be.

    synthetic @6 :Bool;
    # A probe or a test made it, not a user.

    resent @7 :Bool;
    # It was tried before; the work may have been done already.
  }
}

interface SpanEnricher {
  # Writes to one span of the caller, and reads nothing. It does not keep the span open: an update
  # that comes after the span's end is refused.

  enrich @0 (update :Trace.SpanUpdate) -> (result :Trace.EnrichResult);
  # Applies `update` before any message that comes later on the same connection is looked at. So
  # what was written before a call returned is on the span before the caller sees the return.
  # It fails only when the connection does.
}

interface EventDispatcher {
  # Takes exactly one event. A second is refused. What a service does not serve it answers with an
  # error of the kind `unimplemented` that names the kind of event.
  #
  # An event other than a session begins when its call arrives, and lasts until the call has returned
  # and every capability that came of it, in either direction, has been dropped. Giving up the call
  # cancels it. A call that fails is an event with the outcome `exception`.

  openSession @0 () -> (topLevel :Capability, session :RpcSession);
  # Delivers an RPC session. It lasts until `topLevel` and every capability that came of it, in
  # either direction, have been dropped, or until `session` is.

  scheduled @1 (event :Event.Scheduled) -> (result :Event.RunResult);
  # Delivers a run at a time that was set beforehand, once or again and again.

  alarm @2 (event :Event.Alarm) -> (result :Event.RunResult);
  # Delivers a run that the service itself asked for, for a certain time.

  queue @3 (batch :Event.QueueBatch) -> (result :Event.QueueResult);
  # Delivers messages of a queue. If the call fails, none of them counts as delivered.

  custom @4 (name :Text, payload :AnyPointer) -> (result :AnyPointer);
  # Delivers something that caller and callee have agreed upon. `name` tells them what, and what
  # `payload` and `result` are; it is also what the event's span is called. Null or empty: refused.

  fetch @5 () -> (http :Http.HttpService);
  # Delivers one HTTP request, which is made on `http`; a second is refused. The event lasts until
  # `http` and all that came of it have been dropped.

  tail @6 (service :Text) -> (stream :Tail.TailStream);
  # Delivers what happens in one invocation of `service`, while it happens. It returns at once; tail
  # events may be sent on `stream` before. The event lasts until `stream` has been dropped. Null or
  # empty: the service has no name.
}

interface RpcSession {
  # A session that is under way. Dropping this capability cancels it: all of its capabilities are
  # revoked. Dropped after the session is complete, it does nothing.

  done @0 () -> (outcome :Outcome, reason :Text);
  # Answered when the session is complete. `reason` is null unless there is something to say; it is
  # for people. A lost connection fails the call, as any other.
}

enum Outcome {
  # How an event ended. A receiver that gets a value it does not know treats it as `exception`.

  ok @0;
  # The last capability was dropped and nothing went wrong.

  exception @1;
  # The service's handler of the event failed.

  canceled @2;
  # The caller no longer wanted it.

  disconnected @3;
  # The connection between the two was lost.

  revoked @4;
  # Somebody took the session's capabilities back.

  timeout @5;
  # It took longer than it was allowed to.

  overloaded @6;
  # A limit was reached.
}
