@0x8aaeda116f3ff750;
# What the tests of the membrane talk: one object that does whatever it is asked, so
# that every way in which a capability can travel is one method away.

interface Probe {
  # An object that does what it is told. Every capability here is one, or can be taken for one.

  echo @0 (data :Data) -> (data :Data);
  # Gives the payload back.

  swap @1 (cap :Probe) -> (cap :Probe);
  # One capability in, one out: gives a new object and lets `cap` go.

  label @2 () -> (label :Text);
  # Who is it that answers?

  make @3 (label :Text) -> (probe :Probe);
  # Gives a new object.

  store @4 (cap :Probe);
  # Keeps `cap` in place of what was kept before.

  stored @5 () -> (cap :Probe);
  # Gives what was stored last; null where nothing was.

  bundle @6 (bundle :Bundle, swap :Bool) -> (bundle :Bundle);
  # Gives a bundle of the same shape, with the same capabilities or, if `swap`, with a new object in
  # place of each.

  many @7 (caps :List(Probe), count :UInt32) -> (caps :List(Probe));
  # Gives back `caps` and after them `count` new objects.

  hang @8 (cap :Probe) -> (cap :Probe);
  # Never returns, and holds its parameters.

  wait @9 (cap :Probe) -> (cap :Probe);
  # Returns a new object when the test opens the gate; holds its parameters until then.

  fail @10 (reason :Text) -> (cap :Probe);
  # Fails.

  early @11 () -> (cap :Probe, late :Probe);
  # Gives its results to the pipeline at once (a new object, and no `late`), and returns when the test
  # opens the gate.

  push @12 (data :Data, cap :Probe) -> stream;
  # Counts calls and bytes; an empty `data` fails the stream.

  pushed @13 () -> (calls :UInt64, bytes :UInt64);
  # What came through `push`.

  promise @14 (to :Target, cap :Probe) -> (cap :Probe);
  # Gives a promise at once, which resolves when the test opens the gate.

  open @15 (text :Text) -> (cursor :Cursor);
  # Gives the words of a text, one by one.

  call @16 (to :Probe, data :Data) -> (data :Data);
  # Calls `to.echo(data)` and gives what it gives.

  relay @17 (to :Probe, cap :Probe) -> (cap :Probe);
  # Calls `to.swap(cap)` and gives what it gives.

  any @18 (any :AnyPointer) -> (any :AnyPointer);
  # Gives it back, whatever it is.

  enum Target {
    # What a promise resolves to.
    inside @0;   # a new object
    given @1;    # the `cap` that was passed
    error @2;    # an error
    promise @3;  # another promise, which resolves to a new object at the next opening of the gate
  }
}

interface Cursor {
  # Reads forward.
  next @0 () -> (word :Text, done :Bool);
}

struct Bundle {
  # A place for a capability wherever a message can have one.

  plain @0 :Probe;
  nested @1 :Holder;
  holders @2 :List(Holder);
  caps @3 :List(Probe);
  lists @4 :List(List(Probe));
  holderLists @5 :List(List(Holder));
  anyStruct @6 :AnyPointer;
  # A `Holder`.
  anyList @7 :AnyPointer;
  # A `List(Probe)`.
  anyCap @8 :AnyPointer;
  # A `Probe`.
  group :group {
    note @9 :Text;
    cap @10 :Probe;
  }
  union {
    none @11 :Void;
    one @12 :Probe;
    held @13 :Holder;
  }
  data @14 :Data;
}

struct Holder {
  # A capability among other things.
  number @0 :UInt64;
  before @1 :Text;
  cap @2 :Probe;
  after @3 :Data;
  inner @4 :Holder;
}
