@0xf9cec03643919d70;
# What capspan says about spans on the wire: which span somebody is in, and what
# somebody wants written on a span.
#
# The words are those of OpenTelemetry (https://opentelemetry.io/docs/specs/otel/trace/api/)
# and of W3C Trace Context (https://www.w3.org/TR/trace-context/).
#
# Evolution: ids and ordinals never change. A reader ignores fields that it does not know, and
# takes the default written beside a field for one that is missing or null. Every list, text and
# number comes from a peer: a reader checks all of them against its own limits.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("capspan::trace");

struct TraceId {
  # Names one trace: 128 bits, as two big-endian halves of the 16 bytes. All zero is no trace id,
  # and whoever reads one treats the whole context as missing.

  high @0 :UInt64;
  # The first eight bytes.

  low @1 :UInt64;
  # The last eight bytes. Whoever needs only 64 bits takes these.
}

using SpanId = UInt64;
# Names one span in a trace: eight bytes, big-endian. Zero is no span id, and whoever reads one
# treats the whole context as missing.

struct SpanContext {
  # Which span somebody is in. Enough to start children of it in another process, and for nothing
  # else: it holds no name, no attribute and no right to change the span.

  traceId @0 :TraceId;
  # Missing: the whole context is missing.

  spanId @1 :SpanId;
  # Zero: the whole context is missing.

  flags :union {
    # The W3C trace flags. They may be unset: then nobody upstream has decided yet whether the trace
    # is sampled, and the receiver decides for itself.

    unset @2 :Void;
    value @3 :UInt8;
    # Bit 0 is "sampled". Bits that the receiver does not know are passed on unchanged.
  }

  traceState @4 :Text;
  # The W3C `tracestate` list as it stands in the header; null or empty: none. A receiver that
  # can't read it drops it and keeps the rest of the context.
}

struct Value {
  # The value of an attribute.

  union {
    text @0 :Text;
    # The default: a value that was never set is the empty text.

    bool @1 :Bool;
    int64 @2 :Int64;
    float64 @3 :Float64;
    # NaN and the infinities are values as any other.

    textList @4 :List(Text);
    boolList @5 :List(Bool);
    int64List @6 :List(Int64);
    float64List @7 :List(Float64);
  }
}

struct Attribute {
  # One thing that is said about a span or an event.

  key @0 :Text;
  # Dotted lower-case words by custom, e.g. "http.request.method". Null or empty: the attribute is
  # refused. Keys that begin with "capspan.", "service." or "telemetry." belong to the span's owner
  # and are refused from anybody else.

  value @1 :Value;
  # Null: the empty text.
}

struct SpanEvent {
  # Something that happened at one moment of a span.

  name @0 :Text;
  # Null or empty: the event is refused.

  timeUnixNano @1 :UInt64;
  # Nanoseconds since 1970-01-01 UTC; kept as it is, also where it lies outside of the span's own time.
  # Zero: the moment at which it is received.

  attributes @2 :List(Attribute);
  # Null: none.
}

enum SpanStatus {
  # How the work that a span stands for went, in OpenTelemetry's words.

  unset @0;
  # Nobody has said; taken for a success. In an update: leave it as it is.

  ok @1;
  # Somebody has said that it is a success. Final for whoever set it; the span's owner always has the
  # last word.

  error @2;
}

struct SpanUpdate {
  # What to write on a span. Everything in it is optional; what is missing stays as it is. Parts that
  # break a limit of the receiver, or that it can't read (text that is no UTF-8, a kind of value that it
  # does not know), are cut or dropped, and counted on the span; the rest is applied. Texts may have
  # control characters in them: who shows them escapes them.

  name @0 :Text;
  # The new name. Null or empty: the name stays. The first name is kept beside it.

  attributes @1 :List(Attribute);
  # Set one after the other; a key that the span has already gets the new value.

  events @2 :List(SpanEvent);
  # Added one after the other.

  status @3 :SpanStatus;
  # `unset`: the status stays.

  statusMessage @4 :Text;
  # Why it is an error. Ignored with any other status.

  links @5 :List(SpanContext);
  # Other spans that it has to do with; added one after the other. Null: none. One whose context is missing
  # is refused.

  unsent @6 :UInt32;
  # How much its author had to leave out since the update before: attributes, events and links beyond what
  # it sends at once, and texts and lists that it cut. Counted on the span.
}

struct EnrichResult {
  # What became of an update.

  status @0 :EnrichStatus;
}

enum EnrichStatus {
  # A receiver that gets a value it does not know treats it as `spanEnded`: nothing more to do.

  applied @0;
  # Written on the span, within the limits of the span's owner.

  spanEnded @1;
  # The span is over: nothing was written, and nothing ever will be.

  overloaded @2;
  # Too many updates at once: nothing of this one was written.
}
