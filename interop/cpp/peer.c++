// A callee and a caller in C++ of what `testkit/schema/legal.capnp` declares, as `testkit/src/legal/` is in Rust.
//
//     peer serve SOCKET
//
// serves a number on a Unix socket to one connection, says `listening` when it can be connected to, and when that
// connection is over how many of its objects are alive.
//
//     peer call SOCKET SEED COUNT
//
// connects to one, makes an exchange for each seed from SEED on, and says how many gave what they must.

#include "number.h"

#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>
#include <kj/debug.h>
#include <kj/vector.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr uint LANES = 32;
constexpr uint HELD = 24;

// Numbers that look random and are the same everywhere (splitmix64).
class Random {
public:
  explicit Random(uint64_t seed): state(seed * 0x9e3779b97f4a7c15ull) {}

  uint below(uint count) { return next() % count; }
  uint32_t value() { return next() % MODULUS; }

  // Mostly a few turns, sometimes none, seldom many.
  uint8_t turns() {
    switch (below(8)) {
      case 0: case 1: return 0;
      case 2: return below(40);
      default: return below(6);
    }
  }

private:
  uint64_t state;

  uint64_t next() {
    uint64_t word = state += 0x9e3779b97f4a7c15ull;
    word = (word ^ word >> 30) * 0xbf58476d1ce4e5b9ull;
    word = (word ^ word >> 27) * 0x94d049bb133111ebull;
    return word ^ word >> 31;
  }
};

// A number, and what it must say.
struct Held {
  Number::Client number;
  uint32_t value;
};

void is(const char* what, uint32_t got, uint32_t want) {
  KJ_REQUIRE(got == want, what, got, want);
}

// Has it failed as it must?
kj::Promise<void> failsWith(kj::Promise<void> promise, kj::StringPtr text) {
  return promise.then(
      []() { KJ_FAIL_REQUIRE("it does not fail"); },
      [text = kj::str(text)](kj::Exception&& error) {
        KJ_REQUIRE(strstr(error.getDescription().cStr(), text.cStr()) != nullptr, error.getDescription(), text);
      });
}

kj::Promise<void> both(kj::Promise<void> one, kj::Promise<void> other) {
  auto all = kj::heapArrayBuilder<kj::Promise<void>>(2);
  all.add(kj::mv(one));
  all.add(kj::mv(other));
  return kj::joinPromises(all.finish());
}

// Makes exchanges, each as its seed says.
class Caller {
public:
  explicit Caller(Number::Client service) { held.add(Held { kj::mv(service), SERVICE }); }

  // Makes all of them, many at a time.
  kj::Promise<void> run(uint64_t first, uint64_t count) {
    seed = first;
    end = first + count;
    auto lanes = kj::heapArrayBuilder<kj::Promise<void>>(LANES);
    for (uint i = 0; i < LANES; i++) lanes.add(lane());
    return kj::joinPromises(lanes.finish());
  }

private:
  kj::Vector<Held> held;
  uint64_t seed = 0;
  uint64_t end = 0;

  kj::Promise<void> lane() {
    if (seed == end) return kj::READY_NOW;
    uint64_t mine = seed++;
    auto random = kj::heap<Random>(mine);
    auto& reference = *random;
    return kj::evalNow([&]() { return exchange(reference); })
        .attach(kj::mv(random))
        .then([this]() { return lane(); }, [mine](kj::Exception&& error) -> kj::Promise<void> {
          auto said = kj::str("exchange ", mine, " from C++: ", error.getDescription(), "\n");
          fputs(said.cStr(), stderr);
          return kj::mv(error);
        });
  }

  kj::Promise<void> exchange(Random& random) {
    switch (random.below(16)) {
      case 0: return readOne(random);
      case 1: case 2: return chain(random);
      case 3: case 4: return same(random);
      case 5: return promise(random, Ask::PROMISE);
      case 6: return promise(random, Ask::SETTLE);
      case 7: return promise(random, Ask::FORWARD);
      case 8: return broken(random);
      case 9: return functions(random);
      case 10: return fail(random);
      case 11: return giveUp(random);
      case 12: return keep(random);
      case 13: return push(random);
      case 14: return all(random);
      default: return order(random);
    }
  }

  Held& theirs(Random& random) { return held[random.below(HELD) % held.size()]; }

  Held own(Random& random) {
    uint32_t value = random.value();
    return Held { kj::heap<NumberImpl>(value), value };
  }

  Held any(Random& random) { return random.below(2) == 0 ? own(random) : theirs(random); }

  void hold(Random& random, Held number) {
    if (held.size() < HELD) {
      held.add(kj::mv(number));
    } else {
      theirs(random) = kj::mv(number);
    }
  }

  kj::Promise<void> readOne(Random& random) {
    auto target = theirs(random);
    return read(target.number, random.turns()).then([target](uint32_t got) { is("what is read", got, target.value); });
  }

  // Sums of sums, each asked for before the one before it is known.
  kj::Promise<void> chain(Random& random) {
    uint32_t value = random.value();
    auto make = theirs(random).number.makeRequest();
    make.setValue(value);
    Number::Client sum = make.send().getNumber();
    for (uint count = random.below(5); count > 0; count--) {
      auto other = any(random);
      value = (value + other.value) % MODULUS;
      auto plus = sum.plusRequest();
      plus.setOther(other.number);
      sum = plus.send().getSum();
    }
    return read(sum).then([this, &random, sum, value](uint32_t got) mutable {
      is("a sum", got, value);
      hold(random, Held { kj::mv(sum), value });
    });
  }

  // What is passed comes back; it is called before that is known.
  kj::Promise<void> same(Random& random) {
    auto other = any(random);
    auto request = theirs(random).number.sameRequest();
    request.setOther(other.number);
    return read(request.send().getNumber()).then([other](uint32_t got) { is("what came back", got, other.value); });
  }

  // How a number is asked for what it settles: for a promise, which is there at once; for a return, which is as late; for
  // one that comes from the last on a way.
  enum class Ask { PROMISE, SETTLE, FORWARD };

  // What was promised, and by whom.
  struct Promised {
    Number::Client number;
    uint32_t last;
  };

  template <typename Request>
  static Number::Client promised(Request request, Settled to, Number::Client other, uint8_t count) {
    request.setTo(to);
    request.setOther(kj::mv(other));
    request.setTurns(count);
    return request.send().getNumber();
  }

  Promised promised(Random& random, Ask ask, Settled to, Number::Client other) {
    auto target = theirs(random);
    uint8_t count = random.turns();
    switch (ask) {
      case Ask::PROMISE: return { promised(target.number.promiseRequest(), to, kj::mv(other), count), target.value };
      case Ask::SETTLE: return { promised(target.number.settleRequest(), to, kj::mv(other), count), target.value };
      case Ask::FORWARD: break;
    }
    auto last = target.value;
    auto steps = way(random, last);
    return { forwarded(target.number, steps, 0, to, kj::mv(other), count).send().getNumber(), last };
  }

  // Theirs and ours, and what the last of them says, if there is any.
  kj::Vector<Number::Client> way(Random& random, uint32_t& last) {
    kj::Vector<Number::Client> way;
    for (uint count = random.below(4); count > 0; count--) {
      auto next = any(random);
      last = next.value;
      way.add(kj::mv(next.number));
    }
    return way;
  }

  // Promises that resolve to something of the peer's, of ours, or to what is pipelined on one of both; or returns
  // that do. They are called before and after that.
  kj::Promise<void> promise(Random& random, Ask ask) {
    auto other = any(random);
    auto to = static_cast<Settled>(random.below(3));
    auto settled = promised(random, ask, to, other.number);
    auto number = kj::mv(settled.number);
    uint32_t value = to == Settled::OWN ? settled.last
        : to == Settled::GIVEN ? other.value : (settled.last + other.value) % MODULUS;
    auto reads = kj::heapArrayBuilder<kj::Promise<void>>(4);
    for (uint i = 0; i < 3; i++) {
      reads.add(turns(random.turns()).then([number]() mutable { return read(number); })
          .then([value](uint32_t got) { is("what was promised", got, value); }));
    }
    reads.add(number.whenResolved().then([number]() mutable { return read(number); })
        .then([value](uint32_t got) { is("what was promised in the end", got, value); }));
    return kj::joinPromises(reads.finish());
  }

  kj::Promise<void> broken(Random& random) {
    auto number = promised(random, Ask(random.below(3)), Settled::BROKEN, theirs(random).number).number;
    auto late = number.whenResolved().then([number]() mutable { return read(number).ignoreResult(); });
    return both(failsWith(read(number).ignoreResult(), "broken"), failsWith(kj::mv(late), "broken"));
  }

  // Functions of ours, which the peer calls; functions of the peer's, which we call, or it calls itself.
  kj::Promise<void> functions(Random& random) {
    auto target = theirs(random);
    uint32_t factor = random.value();
    uint times = random.below(5);
    uint32_t want = target.value;
    for (uint i = 0; i < times; i++) want = applied(factor, want);
    auto request = target.number.applyRequest();
    request.setTimes(times);
    kj::Promise<void> called = kj::READY_NOW;
    if (random.below(2) == 0) {
      request.setFunction(kj::heap<FunctionImpl>(factor));
    } else {
      auto make = theirs(random).number.functionRequest();
      make.setFactor(factor);
      auto function = make.send().getFunction();
      auto call = function.callRequest();
      call.setValue(target.value);
      called = call.send().then([want = applied(factor, target.value)](auto response) {
        is("a function of theirs", response.getValue(), want);
      });
      request.setFunction(kj::mv(function));
    }
    return both(kj::mv(called), request.send().then([want](auto response) {
      is("a function, called by them", response.getValue(), want);
    }));
  }

  kj::Promise<void> fail(Random& random) {
    auto text = kj::str("as it must ", random.value());
    auto request = theirs(random).number.failRequest();
    request.setText(text);
    auto sent = request.send();
    auto pipelined = read(sent.getNumber()).ignoreResult();
    return both(failsWith(sent.ignoreResult(), text), failsWith(kj::mv(pipelined), text));
  }

  template <typename Sent>
  static kj::Promise<void> givenUp(Sent sent, uint8_t count) {
    return turns(count).then([sent = kj::mv(sent)]() {});
  }

  // Calls that are given up at any time.
  kj::Promise<void> giveUp(Random& random) {
    auto target = theirs(random).number;
    auto other = any(random).number;
    uint8_t wait = random.turns();
    switch (random.below(20)) {
      case 0: {
        auto request = target.neverRequest();
        request.setOther(other);
        return givenUp(request.send(), wait);
      }
      case 16: case 17: case 18: case 19: {
        uint32_t last = 0;
        auto steps = way(random, last);
        auto request = forwarded(target, steps, 0, Settled::GIVEN, other, random.turns());
        return givenUp(request.send(), wait);
      }
      case 1: case 2: case 3: {
        auto request = target.plusRequest();
        request.setOther(other);
        return givenUp(request.send(), wait);
      }
      case 4: case 5: case 6: {
        auto request = target.sameRequest();
        request.setOther(other);
        return givenUp(request.send(), wait);
      }
      case 7: case 8: case 9: {
        auto request = target.makeRequest();
        request.setValue(random.value());
        return givenUp(request.send(), wait);
      }
      default: {
        auto request = target.readRequest();
        request.setTurns(random.turns());
        return givenUp(request.send(), wait);
      }
    }
  }

  // What is kept may be taken.
  kj::Promise<void> keep(Random& random) {
    auto make = theirs(random).number.makeRequest();
    make.setValue(random.value());
    auto keeper = make.send().getNumber();
    auto other = any(random);
    auto request = keeper.keepRequest();
    request.setNumber(other.number);
    auto kept = request.send().ignoreResult();
    if (random.below(4) == 0) return kj::mv(kept);  // it goes with its keeper
    auto taken = keeper.takeRequest().send().getNumber();
    return both(kj::mv(kept), read(taken).then([other](uint32_t got) { is("what was kept", got, other.value); }));
  }

  kj::Promise<void> push(Random& random) {
    auto make = theirs(random).number.makeRequest();
    auto number = make.send().getNumber();
    uint32_t sum = 0;
    uint count = random.below(9);
    auto pushes = kj::heapArrayBuilder<kj::Promise<void>>(count + 1);
    for (uint i = 0; i < count; i++) {
      auto value = random.value();
      sum = (sum + value) % MODULUS;
      auto request = number.pushRequest();
      request.setValue(value);
      pushes.add(request.send());
    }
    pushes.add(number.pushedRequest().send().then([sum](auto response) {
      is("what was pushed", response.getSum(), sum);
    }));
    return kj::joinPromises(pushes.finish());
  }

  // A list of theirs and ours.
  kj::Promise<void> all(Random& random) {
    uint count = random.below(12);
    auto request = theirs(random).number.allRequest();
    auto numbers = request.initNumbers(count);
    auto values = kj::heapArray<uint32_t>(count);
    uint32_t sum = 0;
    for (uint i = 0; i < count; i++) {
      auto one = any(random);
      numbers.set(i, one.number);
      values[i] = one.value;
      sum = (sum + one.value) % MODULUS;
    }
    return request.send().then([sum, values = kj::mv(values)](auto response) mutable {
      is("the sum of all", response.getSum(), sum);
      auto numbers = response.getNumbers();
      KJ_REQUIRE(numbers.size() == values.size());
      auto reads = kj::heapArrayBuilder<kj::Promise<uint32_t>>(numbers.size());
      for (auto number: numbers) reads.add(read(number));
      return kj::joinPromises(reads.finish()).then([values = kj::mv(values)](kj::Array<uint32_t> got) {
        KJ_REQUIRE(got.asPtr() == values.asPtr(), "what came back of a list", got, values);
      });
    });
  }

  // Calls on a promise arrive as they were made, whatever it resolves to meanwhile. With `capnp-rpc` 0.27.3 on the other
  // side that is so where it resolves to one of ours, and not where it resolves to one of theirs.
  kj::Promise<void> order(Random& random) {
    auto number = promised(random, Ask::PROMISE, Settled::GIVEN, own(random).number).number;
    return next(random, kj::mv(number), 0, random.below(12));
  }

  kj::Promise<void> next(Random& random, Number::Client number, uint32_t want, uint left) {
    if (left == 0) return kj::READY_NOW;
    auto call = number.nextRequest().send().then([want](auto response) {
      is("the order", response.getCount(), want);
    }).eagerlyEvaluate(nullptr);
    auto rest = turns(random.below(3)).then([this, &random, number, want, left]() mutable {
      return next(random, kj::mv(number), want + 1, left - 1);
    });
    return both(kj::mv(call), kj::mv(rest));
  }
};

kj::Own<kj::NetworkAddress> address(kj::AsyncIoContext& io, kj::StringPtr socket) {
  return io.provider->getNetwork().parseAddress(kj::str("unix:", socket)).wait(io.waitScope);
}

void serve(kj::StringPtr socket) {
  auto io = kj::setupAsyncIo();
  auto listener = address(io, socket)->listen();
  printf("listening\n");
  fflush(stdout);
  auto stream = listener->accept().wait(io.waitScope);
  {
    capnp::TwoPartyServer server(kj::heap<NumberImpl>(SERVICE));
    server.accept(*stream).wait(io.waitScope);
  }
  printf("alive %d\n", alive);
}

void call(kj::StringPtr socket, uint64_t seed, uint64_t count) {
  auto io = kj::setupAsyncIo();
  auto stream = address(io, socket)->connect().wait(io.waitScope);
  {
    capnp::TwoPartyClient client(*stream);
    Caller caller(client.bootstrap().castAs<Number>());
    caller.run(seed, count).wait(io.waitScope);
  }
  printf("exchanges %llu, alive %d\n", (unsigned long long)count, alive);
}

}  // namespace

int main(int argc, char** argv) {
  kj::StringPtr mode = argc > 1 ? argv[1] : "";
  auto failure = kj::runCatchingExceptions([&]() {
    if (mode == "serve" && argc == 3) {
      serve(argv[2]);
    } else if (mode == "call" && argc == 5) {
      call(argv[2], strtoull(argv[3], nullptr, 10), strtoull(argv[4], nullptr, 10));
    } else {
      KJ_FAIL_REQUIRE("peer serve SOCKET | peer call SOCKET SEED COUNT");
    }
  });
  KJ_IF_MAYBE(exception, failure) {
    auto said = kj::str(*exception, "\n");
    fputs(said.cStr(), stderr);
    return 1;
  }
  return 0;
}
