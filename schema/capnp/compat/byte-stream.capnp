@0x8f5d14e1c273738d;
# A stream of bytes as Cap'n Proto's own libraries have it: the same file id, names and ordinals as in
# their `capnp/compat/byte-stream.capnp`, so that peers which have that one understand this one. It is
# here for those who have not. Compile one of the two, not both.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("capnp");

interface ByteStream {
  # Takes bytes. Dropping it before `end` means that what was written is not the whole.

  write @0 (bytes :Data) -> stream;
  # Takes the next bytes. Returns when more can be taken.

  end @1 ();
  # There are no more.

  getSubstream @2 (callback :SubstreamCallback, limit :UInt64 = 0xffffffffffffffff)
               -> (substream :ByteStream);
  # A stream that writes to the same place until `limit` bytes have come or it has ended, and tells
  # `callback` then. Meanwhile nothing is to be written here. For shorter paths.

  startTls @3 (expectedServerHostname :Text) -> stream;
  # From here on the stream is to be encrypted. Only where it stands for a connection.

  interface SubstreamCallback {
    # Is told how a substream has ended.

    ended @0 (byteCount :UInt64);
    # It was ended after so many bytes; the stream below goes on.

    reachedLimit @1 () -> (next :ByteStream);
    # As many bytes have come as it takes. What comes after them goes to `next`.
  }
}
