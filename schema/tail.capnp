@0xdb9ff9325c28bde6;
# What happens in an invocation of one service, told to another while it happens.
#
# An invocation is one event that a service takes: an RPC session, an HTTP request, a scheduled run.
# Its span, and the spans below it in the same process, are told by tail events, in the order in
# which things happened: first the `onset`, last the `outcome`. `EventDispatcher.tail` in
# pipeline.capnp gives the stream that takes them.
#
#     producer                                   receiver
#       startEvent(), tail(service) ──────────▶    begins to read
#       events([onset, spanOpen, …]) ─────────▶    returns when it can take more
#       events([attributes, …, outcome]) ─────▶
#       end() ────────────────────────────────▶    there is no more
#       ◀──────────────────────────────── results  it has dealt with all of it
#       drops the stream ─────────────────────▶    closes its span
#
# Evolution: ids and ordinals never change; unknown fields are ignored; a null or missing field has
# the default that is written beside it. A receiver leaves out tail events that it does not know, and
# checks every list, text and number against its own limits.

using Cxx = import "/capnp/c++.capnp";
using Trace = import "trace.capnp";
$Cxx.namespace("capspan::tail");

interface TailStream {
  # Takes the tail events of one invocation. Dropping it before `end` has returned cancels the event.
  # A receiver that fails lets `events` and `end` fail with the reason; one that has seen enough lets
  # `events` fail with an error of the kind `disconnected`.

  events @0 (events :List(TailEvent)) -> stream;
  # Takes the next ones, in their order. Returns when more can be taken; whoever sends more before
  # that may be refused. A receiver need not take more than 1,024 at once.

  end @1 ();
  # There are no more. Returns when the receiver has dealt with all of them.
}

struct TailEvent {
  # One thing that happened in an invocation.

  sequence @0 :UInt64;
  # Numbers what happened in the invocation, from zero. Numbers that are left out belong to tail
  # events that were lost, as the receiver was too slow; the onset and the outcome never are.

  timeUnixNano @1 :UInt64;
  # When it happened, by the producer's clock, in nanoseconds since 1970-01-01 UTC.

  spanId @2 :Trace.SpanId;
  # The span of which it is told. All spans of an invocation are in the trace of the onset. Zero: the
  # tail event is left out.

  byCallee @3 :Bool;
  # A callee wrote it to this span, by its enricher. Of openings and closings: always false.

  union {
    onset @4 :Onset;
    # The invocation begins. The default: a tail event without anything is an onset without a
    # context, and is left out.

    spanOpen @5 :SpanOpen;
    # A span below the invocation's is opened.

    attributes @6 :List(Trace.Attribute);
    # Attributes are set, one after the other; a key that the span has already gets the new value.

    rename @7 :Text;
    # The span gets another name. Null or empty: the tail event is left out.

    spanEvent @8 :Trace.SpanEvent;
    # Something happened at one moment of the span. Its time is that of the tail event, and need not
    # be said again.

    link @9 :Trace.SpanContext;
    # The span has to do with another one.

    status @10 :Status;
    # Something is said about how the work went.

    spanClose @11 :SpanClose;
    # A span below the invocation's is closed.

    outcome @12 :Invocation;
    # The invocation is over. The last tail event.
  }

  struct Onset {
    # How an invocation begins.

    context @0 :Trace.SpanContext;
    # The invocation's span. Missing: the tail event is left out.

    service @1 :Text;
    # Which service, or process, it is an invocation of. Null or empty: not said.

    internal @2 :Bool;
    # It is told as the operator of the services sees it, not as the tenant does whose code runs.

    span @3 :SpanOpen;
    # The invocation's span. Its parent is the caller's span, if there is one.
  }

  struct SpanOpen {
    # How a span begins. What has been said about it until the tail event was sent is in it.

    parentSpanId @0 :Trace.SpanId;
    # Zero: it has no parent.

    kind @1 :SpanKind;

    name @2 :Text;
    # Null: empty.

    attributes @3 :List(Trace.Attribute);
    # Null: none.

    links @4 :List(Trace.SpanContext);
    # Other spans that it has to do with. Null: none.
  }

  struct SpanClose {
    # How a span ends.

    outcome @0 :Text;
    # The name of an `Outcome` of pipeline.capnp, e.g. "canceled"; one that is not known is
    # "exception". Null or empty: not said.

    dropped @1 :List(Count);
    # What was cut from the span or refused, as a limit was reached. Null: nothing.
  }

  struct Invocation {
    # How an invocation ends.

    span @0 :SpanClose;
    # The invocation's span has closed so.

    openSpans @1 :UInt32;
    # How many spans below it are still open. Nothing more is told of them.
  }

  struct Status {
    status @0 :Trace.SpanStatus;

    message @1 :Text;
    # Why it is an error. Ignored with any other status.
  }

  struct Count {
    what @0 :Text;
    # What is counted, e.g. "attributes", "lateUpdates".

    count @1 :UInt32;
  }
}

enum SpanKind {
  # On which side of a call a span stands. A receiver that gets a value it does not know treats it as
  # `internal`.

  internal @0;
  # On neither.

  server @1;
  # It answers a call.

  client @2;
  # It calls another service.
}
