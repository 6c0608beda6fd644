@0xb60e3b9a2f4d71c5;
# A calculator of nobody's in particular: it has no part of capspan, and its programs in C++ and Python know nothing of
# it. `interop/tests/foreign/` puts `capspan proxy` between them.

annotation allowCancellation @0xac7096ff8cfc9dce (interface, method, file) :Void;
# The one of `capnp/c++.capnp`, which Debian's 0.9.2 does not have yet: by its id a server in Python knows it.

interface Abacus {
  put @0 (value :Float64) -> (number :Number);
  # A new number.

  evaluate @1 (terms :List(Term)) -> (number :Number);
  # What the terms come to, in the order of a stack: two numbers before what is done with them.

  fold @2 (numbers :List(Number), function :Function) -> (value :Float64);
  # `function(… function(first, second) …, last)`, one call after the other.

  multiplier @3 (factor :Float64) -> (function :Function);
  # `factor * left * right`.

  summing @4 () -> (summing :Summing);

  hold @5 (name :Text, number :Number);
  # Keeps it, as long as the connection lasts.

  held @6 (name :Text) -> (number :Number);
  # What is kept under this name.

  letGo @7 (name :Text);
  # Keeps it no longer.

  later @8 (number :Number) -> (number :Number);
  # Returns at once a promise, which resolves to `number` when the bell is rung.

  ring @9 ();
  # Rings the bell. It is rung once.

  wait @10 (number :Number) $allowCancellation;
  # Is never answered.

  canceled @11 (count :UInt32);
  # Returns when so many calls of `wait` have been given up, since the server was started.

  isMine @12 (number :Number) -> (mine :Bool);
  # Is it an object of this server's own?

  fail @13 (kind :UInt8, text :Text);
  # Fails: 0 for failed, 1 for overloaded, 2 for disconnected, 3 for unimplemented.

  echo @14 (data :Data) -> (data :Data);

  alive @15 (count :UInt32);
  # Returns when so many numbers of the server's are alive, and no more.
}

struct Term {
  union {
    literal @0 :Float64;
    number @1 :Number;
    add @2 :Void;
    multiply @3 :Void;
    apply @4 :Function;
  }
}

interface Number {
  read @0 () -> (value :Float64);

  mark @1 ();
  # For who wants to know whether it is the object that it thinks it is.
}

interface Function {
  call @0 (left :Float64, right :Float64) -> (value :Float64);
}

interface Summing {
  add @0 (value :Float64) -> stream;

  sum @1 () -> (sum :Float64, count :UInt32);
}
