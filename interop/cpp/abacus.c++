// A calculator's server and client in C++ (`interop/schema/abacus.capnp`). They know nothing of capspan.
//
//     abacus serve ADDRESS
//
// serves one connection after the other, at `unix:PATH` or `HOST:PORT`. It says `listening`, and the port; and when a
// connection is over how many numbers are alive.
//
//     abacus call ADDRESS
//
//

#include "abacus.h"

#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>

#include <cstdio>

namespace {

void say(kj::StringPtr line) {
  puts(line.cStr());
  fflush(stdout);
}

class OwnFunction final: public Function::Server {
public:
  kj::Promise<void> call(CallContext context) override {
    double left = context.getParams().getLeft(), right = context.getParams().getRight();
    say(kj::str("  called with ", left, " and ", right));
    if (right == 13) return KJ_EXCEPTION(OVERLOADED, "13 is too much");
    context.getResults().setValue(10 * left + right);
    return kj::READY_NOW;
  }

private:
  Alive counted;
};

kj::String checked(capnp::Data::Reader data) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (auto byte: data) hash = (hash ^ byte) * 0x100000001b3ull;
  return kj::str(data.size(), " bytes, ", hash);
}

// A client, and all that it does.
class Caller {
public:
  Caller(Abacus::Client abacus, kj::WaitScope& scope): abacus(kj::mv(abacus)), scope(scope) {}

  void all() {
    pipelined();
    callbacks();
    streamed();
    held();
    promised();
    canceled();
    failed();
    payloads();
    auto request = abacus.aliveRequest();
    request.setCount(0);
    request.send().wait(scope);
    say("nothing is alive at the server");
    // The server lets go of what it was given.
    alive.is(0).wait(scope);
    say("nothing is alive at the client");
  }

private:
  Abacus::Client abacus;
  kj::WaitScope& scope;

  template <typename T>
  void result(kj::StringPtr what, kj::Promise<T> promise) {
    promise.then([what](T value) { say(kj::str(what, ": ", value)); },
                 [what](kj::Exception&& error) {
                   say(kj::str(what, ": ", error.getType(), ": ", error.getDescription()));
                 }).wait(scope);
  }

  Number::Client put(double value) {
    auto request = abacus.putRequest();
    request.setValue(value);
    return request.send().getNumber();
  }

  Function::Client multiplier(double factor) {
    auto request = abacus.multiplierRequest();
    request.setFactor(factor);
    return request.send().getFunction();
  }

  Number::Client sum(Number::Client left, Number::Client right) {
    auto request = abacus.evaluateRequest();
    auto terms = request.initTerms(3);
    terms[0].setNumber(left);
    terms[1].setNumber(right);
    terms[2].setAdd();
    return request.send().getNumber();
  }

  void pipelined() {
    auto five = put(5);
    auto request = abacus.evaluateRequest();
    auto terms = request.initTerms(5);
    terms[0].setNumber(five);
    terms[1].setLiteral(7);
    terms[2].setMultiply();
    terms[3].setLiteral(2);
    terms[4].setApply(multiplier(0.5));
    auto product = request.send().getNumber();
    auto total = sum(product, five);
    result("five", read(five));
    result("a sum of what is not known yet", read(total));
    result("five times seven", read(product));
  }

  kj::Promise<double> fold(kj::ArrayPtr<Number::Client> numbers, Function::Client function) {
    auto request = abacus.foldRequest();
    auto list = request.initNumbers(numbers.size());
    for (uint i = 0; i < numbers.size(); i++) list.set(i, numbers[i]);
    request.setFunction(kj::mv(function));
    return request.send().then([](auto response) { return response.getValue(); });
  }

  void callbacks() {
    Number::Client theirs[] = { put(1), put(2), put(3), put(4) };
    result("theirs, by a function of ours", fold(theirs, kj::heap<OwnFunction>()));
    result("theirs, by a function of theirs", fold(theirs, multiplier(3)));
    Number::Client mixed[] = { kj::heap<NumberImpl>(6), put(7), kj::heap<NumberImpl>(8) };
    result("both, by a function of ours", fold(mixed, kj::heap<OwnFunction>()));
    Number::Client much[] = { put(1), put(13), put(2) };
    result("a function of ours that fails", fold(much, kj::heap<OwnFunction>()));
    result("their function", call(multiplier(4), 2, 3));
  }

  void streamed() {
    auto summing = abacus.summingRequest().send().getSumming();
    for (uint i = 1; i <= 500; i++) {
      auto request = summing.addRequest();
      request.setValue(i);
      auto sent = request.send();
      // Some without a pause, as long as there is room.
      if (i % 7 == 0) sent.wait(scope);
      else sent.detach([](kj::Exception&& error) { say(kj::str("a stream: ", error)); });
    }
    auto response = summing.sumRequest().send().wait(scope);
    say(kj::str("a stream: ", response.getSum(), " of ", response.getCount()));
  }

  kj::Promise<bool> isMine(Number::Client number) {
    auto request = abacus.isMineRequest();
    request.setNumber(kj::mv(number));
    return request.send().then([](auto response) { return response.getMine(); });
  }

  void held() {
    auto theirs = put(42);
    auto hold = abacus.holdRequest();
    hold.setName("theirs");
    hold.setNumber(theirs);
    hold.send().wait(scope);
    auto holdOurs = abacus.holdRequest();
    holdOurs.setName("ours");
    holdOurs.setNumber(kj::heap<NumberImpl>(43));
    holdOurs.send().wait(scope);
    result("theirs is theirs", isMine(theirs));
    for (auto name: { "theirs", "ours" }) {
      auto ask = abacus.heldRequest();
      ask.setName(name);
      auto sent = ask.send();
      result(kj::str(name, ", before it is there"), read(sent.getNumber()));
      auto number = sent.wait(scope).getNumber();
      result(kj::str(name, ", held"), read(number));
      result(kj::str(name, ", held: is theirs"), isMine(number));
      auto letGo = abacus.letGoRequest();
      letGo.setName(name);
      letGo.send().wait(scope);
    }
    result("ours is theirs", isMine(kj::heap<NumberImpl>(44)));
  }

  Number::Client later(Number::Client number) {
    auto request = abacus.laterRequest();
    request.setNumber(kj::mv(number));
    return request.send().wait(scope).getNumber();
  }

  void promised() {
    auto theirs = put(50);
    auto first = later(theirs), second = later(kj::heap<NumberImpl>(51));
    auto early = read(first).eagerlyEvaluate(nullptr), ours = read(second).eagerlyEvaluate(nullptr);
    auto total = read(sum(first, second)).eagerlyEvaluate(nullptr);
    result("another call meanwhile", read(theirs));
    abacus.ringRequest().send().wait(scope);
    result("theirs, later", kj::mv(early));
    result("ours, later", kj::mv(ours));
    result("their sum, later", kj::mv(total));
    result("theirs, when it is there", read(first));
    result("ours, when it is there", read(second));
    result("what was promised is theirs", isMine(first));
    result("what was promised of ours is theirs", isMine(second));
  }

  void canceled() {
    auto number = put(60);
    {
      auto request = abacus.waitRequest();
      request.setNumber(number);
      auto waits = request.send();
      // It has come when this is answered.
      result("before it is given up", read(number));
    }
    auto request = abacus.canceledRequest();
    request.setCount(1);
    request.send().wait(scope);
    say("the server knows of a call that was given up");
  }

  void failed() {
    for (uint kind = 0; kind < 4; kind++) {
      auto request = abacus.failRequest();
      request.setKind(kind);
      request.setText(kj::str("on purpose, ", kind));
      result("fails", request.send().then([](auto) { return 0; }));
    }
    auto nothing = abacus.evaluateRequest();
    auto terms = nothing.initTerms(1);
    terms[0].setAdd();
    auto sent = nothing.send();
    auto pipelined = read(sent.getNumber()).eagerlyEvaluate(nullptr);
    result("too little on the stack", sent.then([](auto) { return 0; }));
    result("what was to come of it", kj::mv(pipelined));
    auto ask = abacus.heldRequest();
    ask.setName("nothing");
    result("nothing is held", read(ask.send().getNumber()));
    // It is no `Summing`.
    result("no such interface", abacus.castAs<Summing>().sumRequest().send().then([](auto) { return 0; }));
  }

  void payloads() {
    auto data = kj::heapArray<kj::byte>(1 << 20);
    for (uint i = 0; i < data.size(); i++) data[i] = i * i % 251;
    auto all = kj::heapArrayBuilder<kj::Promise<kj::String>>(3);
    for (uint i = 0; i < 3; i++) {
      data[0] = i;
      auto request = abacus.echoRequest(capnp::MessageSize { (1 << 17) + 100, 0 });
      request.setData(data);
      all.add(request.send().then([](auto response) { return checked(response.getData()); }));
    }
    for (auto& line: kj::joinPromises(all.finish()).wait(scope)) say(line);
  }
};

kj::Own<kj::NetworkAddress> parsed(kj::AsyncIoContext& io, kj::StringPtr address) {
  return io.provider->getNetwork().parseAddress(address).wait(io.waitScope);
}

void serve(kj::StringPtr address) {
  auto io = kj::setupAsyncIo();
  auto listener = parsed(io, address)->listen();
  say(kj::str("listening ", listener->getPort()));
  for (;;) {
    auto stream = listener->accept().wait(io.waitScope);
    {
      capnp::TwoPartyServer server(kj::heap<AbacusImpl>());
      server.accept(*stream).wait(io.waitScope);
    }
    say(kj::str("over, alive ", alive.get()));
  }
}

void call(kj::StringPtr address) {
  auto io = kj::setupAsyncIo();
  auto stream = parsed(io, address)->connect().wait(io.waitScope);
  capnp::TwoPartyClient client(*stream);
  Caller(client.bootstrap().castAs<Abacus>(), io.waitScope).all();
}

}  // namespace

int main(int argc, char** argv) {
  kj::StringPtr mode = argc > 1 ? argv[1] : "";
  auto failure = kj::runCatchingExceptions([&]() {
    if (mode == "serve" && argc == 3) {
      serve(argv[2]);
    } else if (mode == "call" && argc == 3) {
      call(argv[2]);
    } else {
      KJ_FAIL_REQUIRE("abacus serve ADDRESS | abacus call ADDRESS");
    }
  });
  KJ_IF_MAYBE(exception, failure) {
    auto said = kj::str(*exception, "\n");
    fputs(said.cStr(), stderr);
    return 1;
  }
  return 0;
}
