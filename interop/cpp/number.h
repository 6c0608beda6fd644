// The objects of a side in C++: what `testkit/schema/legal.capnp` declares.

#pragma once

#include "legal.capnp.h"

#include <kj/async.h>
#include <kj/debug.h>

namespace {

using kj::uint;

constexpr uint32_t MODULUS = 1000003;
constexpr uint32_t SERVICE = 7;  // what the number that is served stands for

int alive = 0;

struct Alive {
  Alive() { ++alive; }
  ~Alive() noexcept(false) { --alive; }
  KJ_DISALLOW_COPY(Alive);
};

// Lets others go on, so often.
kj::Promise<void> turns(uint count) {
  if (count == 0) return kj::READY_NOW;
  return kj::evalLater([count]() { return turns(count - 1); });
}

uint32_t applied(uint32_t factor, uint32_t value) {
  return (uint64_t(factor) * value + 1) % MODULUS;
}

kj::Promise<uint32_t> read(Number::Client number, uint8_t count = 0) {
  auto request = number.readRequest();
  request.setTurns(count);
  return request.send().then([](auto response) { return response.getValue(); });
}

// Asks `first` to settle, or to have the last on the `way` do that.
template <typename Way>
capnp::Request<Number::ForwardParams, Number::ForwardResults> forwarded(
    Number::Client first, Way& way, uint begin, Settled to, Number::Client other, uint8_t count) {
  auto request = first.forwardRequest();
  request.setTo(to);
  request.setOther(kj::mv(other));
  request.setTurns(count);
  auto rest = request.initWay(way.size() - begin);
  for (uint i = begin; i < way.size(); i++) rest.set(i - begin, way[i]);
  return request;
}

class FunctionImpl final: public Function::Server {
public:
  explicit FunctionImpl(uint32_t factor): factor(factor) {}

  kj::Promise<void> call(CallContext context) override {
    context.getResults().setValue(applied(factor, context.getParams().getValue()));
    return kj::READY_NOW;
  }

private:
  uint32_t factor;
  Alive counted;
};

class NumberImpl final: public Number::Server {
public:
  explicit NumberImpl(uint32_t value): value(value % MODULUS) {}

  kj::Promise<void> read(ReadContext context) override {
    uint count = context.getParams().getTurns();
    if (count % 2 == 1) context.allowCancellation();
    return turns(count).then([this, context]() mutable { context.getResults().setValue(value); });
  }

  kj::Promise<void> make(MakeContext context) override {
    context.getResults().setNumber(kj::heap<NumberImpl>(context.getParams().getValue()));
    return kj::READY_NOW;
  }

  kj::Promise<void> plus(PlusContext context) override {
    return ::read(context.getParams().getOther()).then([this, context](uint32_t other) mutable {
      context.getResults().setSum(kj::heap<NumberImpl>(value + other));
    });
  }

  kj::Promise<void> same(SameContext context) override {
    context.getResults().setNumber(context.getParams().getOther());
    return kj::READY_NOW;
  }

  kj::Promise<void> settle(SettleContext context) override {
    auto params = context.getParams();
    return turns(params.getTurns()).then([this, context, params]() mutable {
      context.getResults().setNumber(settled(params.getTo(), params.getOther()));
    });
  }

  kj::Promise<void> promise(PromiseContext context) override {
    auto params = context.getParams();
    auto to = params.getTo();
    auto resolved = turns(params.getTurns())
        .then([this, self = thisCap(), to, other = params.getOther()]() mutable { return settled(to, other); });
    context.getResults().setNumber(kj::mv(resolved));
    return kj::READY_NOW;
  }

  kj::Promise<void> apply(ApplyContext context) override {
    auto params = context.getParams();
    return apply(params.getFunction(), params.getTimes(), value).then([context](uint32_t result) mutable {
      context.getResults().setValue(result);
    });
  }

  kj::Promise<void> function(FunctionContext context) override {
    context.getResults().setFunction(kj::heap<FunctionImpl>(context.getParams().getFactor()));
    return kj::READY_NOW;
  }

  kj::Promise<void> keep(KeepContext context) override {
    kept = context.getParams().getNumber();
    return kj::READY_NOW;
  }

  kj::Promise<void> take(TakeContext context) override {
    context.getResults().setNumber(KJ_REQUIRE_NONNULL(kept, "nothing was kept"));
    kept = nullptr;
    return kj::READY_NOW;
  }

  kj::Promise<void> next(NextContext context) override {
    context.getResults().setCount(count++);
    return kj::READY_NOW;
  }

  kj::Promise<void> push(PushContext context) override {
    sum = (sum + context.getParams().getValue()) % MODULUS;
    return kj::READY_NOW;
  }

  kj::Promise<void> pushed(PushedContext context) override {
    context.getResults().setSum(sum);
    return kj::READY_NOW;
  }

  kj::Promise<void> all(AllContext context) override {
    auto numbers = context.getParams().getNumbers();
    auto reads = kj::heapArrayBuilder<kj::Promise<uint32_t>>(numbers.size());
    for (auto number: numbers) reads.add(::read(number));
    return kj::joinPromises(reads.finish()).then([context, numbers](kj::Array<uint32_t> values) mutable {
      uint32_t total = 0;
      for (auto value: values) total = (total + value) % MODULUS;
      context.getResults().setNumbers(numbers);
      context.getResults().setSum(total);
    });
  }

  kj::Promise<void> fail(FailContext context) override {
    return KJ_EXCEPTION(FAILED, kj::str(context.getParams().getText()));
  }

  kj::Promise<void> never(NeverContext context) override {
    context.allowCancellation();
    return kj::Promise<void>(kj::NEVER_DONE).attach(kj::cp(context));
  }

  kj::Promise<void> forward(ForwardContext context) override {
    auto params = context.getParams();
    uint count = params.getTurns();
    if (count % 2 == 1) context.allowCancellation();
    return turns(count).then([this, context, params, count]() mutable -> kj::Promise<void> {
      auto way = params.getWay();
      if (way.size() == 0) {
        context.getResults().setNumber(settled(params.getTo(), params.getOther()));
        return kj::READY_NOW;
      }
      return context.tailCall(forwarded(way[0], way, 1, params.getTo(), params.getOther(), count));
    });
  }

private:
  uint32_t value;
  uint32_t count = 0;
  uint32_t sum = 0;
  kj::Maybe<Number::Client> kept;
  Alive counted;

  // What `settle` returns in the end, and a promise of it resolves to.
  Number::Client settled(Settled to, Number::Client other) {
    switch (to) {
      case Settled::OWN: return kj::heap<NumberImpl>(value);
      case Settled::GIVEN: return other;
      case Settled::ANSWER: {
        auto request = other.plusRequest();
        request.setOther(thisCap());
        return request.send().getSum();
      }
      case Settled::BROKEN: break;
    }
    kj::throwFatalException(KJ_EXCEPTION(FAILED, "broken"));
  }

  static kj::Promise<uint32_t> apply(Function::Client function, uint times, uint32_t value) {
    if (times == 0) return value;
    auto request = function.callRequest();
    request.setValue(value);
    return request.send().then([function, times](auto response) mutable {
      return apply(function, times - 1, response.getValue());
    });
  }
};

}  // namespace
