@0x8f6d2b1b8cc07e3e;
# What is delivered as an event, for the kinds of events whose parameters are data.
#
# The words for spans are those of OpenTelemetry's semantic conventions
# (https://opentelemetry.io/docs/specs/semconv/faas/, .../messaging/).
#
# Evolution: ids and ordinals never change; unknown fields are ignored; a null or missing field has
# the default that is written beside it. A receiver checks every list, text and number against its
# own limits.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("capspan::event");

struct Scheduled {
  # A run at a time that was set beforehand.

  timeUnixNano @0 :UInt64;
  # For when it was set, in nanoseconds since 1970-01-01 UTC; it may begin later. Zero: not said.

  cron @1 :Text;
  # The rule by which it comes again, as a cron expression. Null or empty: none.
}

struct Alarm {
  # A run that the service itself asked for.

  timeUnixNano @0 :UInt64;
  # For when it asked, in nanoseconds since 1970-01-01 UTC; it may begin later. Zero: not said.

  retries @1 :UInt32;
  # How often it was tried before.
}

struct RunResult {
  # What became of a run.

  union {
    done @0 :Void;
    # It did what it was to do. The default: a service that says nothing has done it.

    retry :group {
      # It could not, and is to be tried again.

      afterMillis @1 :UInt64;
      # Not before this time has passed. Zero: when the caller thinks best.

      isFree @2 :Bool;
      # It does not count against the caller's limit of tries.
    }

    failed @3 :Text;
    # It failed, and is not to be tried again; the text says why, for people. The outcome of such an
    # event is `exception`.
  }
}

struct QueueBatch {
  # Messages of one queue.

  queue @0 :Text;
  # The queue's name. Null or empty: it has none.

  messages @1 :List(QueueMessage);
  # In the order in which they came. Null: none.
}

struct QueueMessage {
  # One message of a queue.

  id @0 :Text;
  # Names it in its queue. Null or empty: it has no name.

  timeUnixNano @1 :UInt64;
  # When it was put into the queue, in nanoseconds since 1970-01-01 UTC. Zero: not said.

  attempts @2 :UInt32;
  # How often it was delivered before.

  contentType @3 :Text;
  # What `body` is, as a media type. Null or empty: not said.

  body @4 :Data;
  # Null: empty.
}

struct QueueResult {
  # Which messages of a batch have been dealt with.

  rest @0 :Disposition;
  # What is to become of all that `dispositions` does not name. Null: acknowledged.

  dispositions @1 :List(Entry);
  # Single messages. Of several for one message the last counts. Null: none.

  struct Entry {
    index @0 :UInt32;
    # Where the message stands in the batch. One that is not there is ignored.

    disposition @1 :Disposition;
    # Null: acknowledged.
  }

  struct Disposition {
    # What is to become of a message.

    union {
      acknowledge @0 :Void;
      # It has been dealt with, and is never delivered again.

      retryAfterMillis @1 :UInt64;
      # It is to be delivered again, not before this time has passed. Zero: when the caller thinks
      # best.
    }
  }
}
