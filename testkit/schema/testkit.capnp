@0xe4931bea5f4c0cb2;
# What the tests and benches call: one interface with every way in which a capability can travel.

interface Thing {
  # An object of a service. Each has a number of its own, to be told apart.

  number @0 () -> (number :UInt32);
  # Which one it is.

  echo @1 (data :Data) -> (data :Data);
  # A payload, without a capability.

  echoWith @2 (data :Data, thing :Thing) -> (data :Data, thing :Thing);
  # A payload and a capability, in and out.

  swap @3 (thing :Thing) -> (thing :Thing);
  # One in, the same one out.

  make @4 () -> (thing :Thing);
  # A new one.

  store @5 (thing :Thing);
  # Keeps it until it is taken.

  take @6 () -> (thing :Thing);
  # What was stored; null where nothing was.

  reflect @7 (bundle :Bundle) -> (bundle :Bundle);
  # All that is in it comes back where it was.

  call @8 (thing :Thing) -> (number :UInt32);
  # The number that `thing` says it has: a call back.

  never @9 (thing :Thing) -> (thing :Thing);
  # Is never answered. Keeps what it was given for as long.

  gated @10 (thing :Thing) -> (thing :Thing);
  # Answered when the service's gate opens: a new one, as `thing` may be null.

  early @11 () -> (thing :Thing);
  # Its pipeline is set at once; it is answered when the service's gate opens.

  fail @12 (kind :UInt8, text :Text);
  # Fails: 0 failed, 1 overloaded, 2 disconnected, 3 unimplemented.

  push @13 (data :Data) -> stream;
  # Counts bytes.

  pushed @14 () -> (bytes :UInt64);
  # How many bytes were pushed.

  promise @15 (thing :Thing) -> (thing :Thing);
  # At once a promise, which resolves when the gate opens: to `thing`, or where that is null to a new
  # one.

  broken @16 () -> (thing :Thing);
  # At once a promise, which fails when the gate opens.

  many @17 (count :UInt32) -> (things :List(Thing));
  # That many new ones.

  nothing @18 () -> (thing :Thing);
  # A null capability.

  panics @19 ();
  # Panics.
}

struct Bundle {
  # Capabilities in every place where a message can have one.

  plain @0 :Thing;
  any @1 :AnyPointer;
  list @2 :List(Thing);
  lists @3 :List(List(Thing));
  nested @4 :Bundle;
  bundles @5 :List(Bundle);
  text @6 :Text;
  data @7 :Data;
  choice :union {
    none @8 :Void;
    chosen @9 :Thing;
    number @10 :UInt64;
  }
  group :group {
    inner @11 :Thing;
  }
}
