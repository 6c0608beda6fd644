@0xc1d35a0e7b1f4a6d;
# What random legal exchanges are made of (`testkit/src/legal/`): a calculator whose numbers are objects of either
# side. It is implemented in Rust, C++ and Python. All is counted modulo 1,000,003.

interface Number {
  # An object that stands for a number.

  read @0 (turns :UInt8) -> (value :UInt32);
  # Which one, after that many turns of the event loop.

  make @1 (value :UInt32) -> (number :Number);
  # A new one.

  plus @2 (other :Number) -> (sum :Number);
  # A new one: this and `other`, which is called back for it.

  same @3 (other :Number) -> (number :Number);
  # What was given.

  settle @4 (to :Settled, other :Number, turns :UInt8) -> (number :Number);
  # Returns after that many turns.

  promise @5 (to :Settled, other :Number, turns :UInt8) -> (number :Number);
  # Returns at once a promise, which resolves as `settle` returns.

  apply @6 (function :Function, times :UInt8) -> (value :UInt32);
  # The function of the function of … this number.

  function @7 (factor :UInt32) -> (function :Function);
  # A new function.

  keep @8 (number :Number);
  # Keeps it until it is taken.

  take @9 () -> (number :Number);
  # What was kept.

  next @10 () -> (count :UInt32);
  # How often this was called before.

  push @11 (value :UInt32) -> stream;
  # Adds it to what was pushed.

  pushed @12 () -> (sum :UInt32);
  # The sum of all that was pushed.

  all @13 (numbers :List(Number)) -> (numbers :List(Number), sum :UInt32);
  # All that was given, and their sum: each is called back, all at once.

  fail @14 (text :Text) -> (number :Number);
  # Fails with this text.

  never @15 (other :Number);
  # Is never answered.

  forward @16 (way :List(Number), to :Settled, other :Number, turns :UInt8) -> (number :Number);
  # `settle`, by the last on the way: each asks the next, after that many turns, and gives what it is given. In C++
  # that is a tail call.
}

interface Function {
  call @0 (value :UInt32) -> (value :UInt32);
  # `factor * value + 1`.
}

enum Settled {
  own @0;     # a new one, with the same value
  given @1;   # `other`
  answer @2;  # what `other.plus` gives, called with this number: a pipelined capability
  broken @3;  # an error whose text is "broken"
}
