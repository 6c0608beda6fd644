// A calculator's server in C++, as `interop/schema/abacus.capnp` says. It knows nothing of capspan.

#pragma once

#include "abacus.capnp.h"

#include <capnp/capability.h>
#include <kj/async.h>
#include <kj/debug.h>
#include <kj/map.h>
#include <kj/vector.h>

namespace {

using kj::uint;

// Counts up or down, and tells who waits for a count.
class Count {
public:
  void change(int by) {
    count += by;
    for (auto& waiter: waiters) {
      if (waiter.count == count) waiter.fulfiller->fulfill();
    }
  }

  kj::Promise<void> is(int wanted) {
    if (wanted == count) return kj::READY_NOW;
    auto paf = kj::newPromiseAndFulfiller<void>();
    waiters.add(Waiter { wanted, kj::mv(paf.fulfiller) });
    return kj::mv(paf.promise);
  }

  int get() const { return count; }

private:
  struct Waiter {
    int count;
    kj::Own<kj::PromiseFulfiller<void>> fulfiller;
  };
  int count = 0;
  kj::Vector<Waiter> waiters;
};

Count alive;

struct Alive {
  Alive() { alive.change(1); }
  ~Alive() noexcept(false) { alive.change(-1); }
  KJ_DISALLOW_COPY(Alive);
};

class NumberImpl final: public Number::Server {
public:
  explicit NumberImpl(double value): value(value) {}

  kj::Promise<void> read(ReadContext context) override {
    context.getResults().setValue(value);
    return kj::READY_NOW;
  }

  kj::Promise<void> mark(MarkContext context) override { return kj::READY_NOW; }

private:
  double value;
  Alive counted;
};

class MultiplierImpl final: public Function::Server {
public:
  explicit MultiplierImpl(double factor): factor(factor) {}

  kj::Promise<void> call(CallContext context) override {
    auto params = context.getParams();
    context.getResults().setValue(factor * params.getLeft() * params.getRight());
    return kj::READY_NOW;
  }

private:
  double factor;
};

class SummingImpl final: public Summing::Server {
public:
  kj::Promise<void> add(AddContext context) override {
    total += context.getParams().getValue();
    ++count;
    return kj::READY_NOW;
  }

  kj::Promise<void> sum(SumContext context) override {
    context.getResults().setSum(total);
    context.getResults().setCount(count);
    return kj::READY_NOW;
  }

private:
  double total = 0;
  uint count = 0;
};

kj::Promise<double> read(Number::Client number) {
  return number.readRequest().send().then([](auto response) { return response.getValue(); });
}

kj::Promise<double> call(Function::Client function, double left, double right) {
  auto request = function.callRequest();
  request.setLeft(left);
  request.setRight(right);
  return request.send().then([](auto response) { return response.getValue(); });
}

// One for each connection.
class AbacusImpl final: public Abacus::Server {
public:
  AbacusImpl(): AbacusImpl(kj::newPromiseAndFulfiller<void>()) {}

  kj::Promise<void> put(PutContext context) override {
    context.getResults().setNumber(number(context.getParams().getValue()));
    return kj::READY_NOW;
  }

  kj::Promise<void> evaluate(EvaluateContext context) override {
    auto stack = kj::heap<kj::Vector<double>>();
    auto& values = *stack;
    return evaluate(context.getParams().getTerms(), 0, values).attach(kj::mv(stack))
        .then([this, context](double value) mutable { context.getResults().setNumber(number(value)); });
  }

  kj::Promise<void> fold(FoldContext context) override {
    auto numbers = context.getParams().getNumbers();
    KJ_REQUIRE(numbers.size() > 0, "there are no numbers");
    return ::read(numbers[0]).then([context, numbers](double first) mutable {
      return fold(numbers, 1, context.getParams().getFunction(), first);
    }).then([context](double value) mutable { context.getResults().setValue(value); });
  }

  kj::Promise<void> multiplier(MultiplierContext context) override {
    context.getResults().setFunction(kj::heap<MultiplierImpl>(context.getParams().getFactor()));
    return kj::READY_NOW;
  }

  kj::Promise<void> summing(SummingContext context) override {
    context.getResults().setSumming(kj::heap<SummingImpl>());
    return kj::READY_NOW;
  }

  kj::Promise<void> hold(HoldContext context) override {
    auto params = context.getParams();
    kept.upsert(kj::str(params.getName()), params.getNumber(), [](auto& old, auto&& number) { old = number; });
    return kj::READY_NOW;
  }

  kj::Promise<void> held(HeldContext context) override {
    auto name = context.getParams().getName();
    KJ_IF_MAYBE(number, kept.find(name)) {
      context.getResults().setNumber(*number);
      return kj::READY_NOW;
    }
    return KJ_EXCEPTION(FAILED, "nothing is held", name);
  }

  kj::Promise<void> letGo(LetGoContext context) override {
    kept.erase(context.getParams().getName());
    return kj::READY_NOW;
  }

  kj::Promise<void> later(LaterContext context) override {
    context.getResults().setNumber(
        rung.addBranch().then([number = context.getParams().getNumber()]() mutable { return number; }));
    return kj::READY_NOW;
  }

  kj::Promise<void> ring(RingContext context) override {
    bell->fulfill();
    return kj::READY_NOW;
  }

  kj::Promise<void> wait(WaitContext context) override {
    context.allowCancellation();
    return kj::Promise<void>(kj::NEVER_DONE)
        .attach(kj::defer([this, self = thisCap()]() mutable { givenUp.change(1); }));
  }

  kj::Promise<void> canceled(CanceledContext context) override {
    return givenUp.is(context.getParams().getCount());
  }

  kj::Promise<void> isMine(IsMineContext context) override {
    auto number = context.getParams().getNumber();
    return number.markRequest().send().ignoreResult().then([this, number]() mutable {
      return numbers.getLocalServer(number);
    }).then([context](auto server) mutable { context.getResults().setMine(server != nullptr); });
  }

  kj::Promise<void> fail(FailContext context) override {
    using Type = kj::Exception::Type;
    constexpr Type KINDS[] = { Type::FAILED, Type::OVERLOADED, Type::DISCONNECTED, Type::UNIMPLEMENTED };
    auto params = context.getParams();
    KJ_REQUIRE(params.getKind() < 4, "no such kind");
    return kj::Exception(KINDS[params.getKind()], __FILE__, __LINE__, kj::str(params.getText()));
  }

  kj::Promise<void> echo(EchoContext context) override {
    context.getResults().setData(context.getParams().getData());
    return kj::READY_NOW;
  }

  kj::Promise<void> alive(AliveContext context) override { return ::alive.is(context.getParams().getCount()); }

private:
  kj::HashMap<kj::String, Number::Client> kept;
  capnp::CapabilityServerSet<Number> numbers;
  kj::Own<kj::PromiseFulfiller<void>> bell;
  kj::ForkedPromise<void> rung;
  Count givenUp;

  explicit AbacusImpl(kj::PromiseFulfillerPair<void> paf)
      : bell(kj::mv(paf.fulfiller)), rung(paf.promise.fork()) {}

  Number::Client number(double value) { return numbers.add(kj::heap<NumberImpl>(value)); }

  static kj::Promise<double> fold(
      capnp::List<Number>::Reader numbers, uint at, Function::Client function, double value) {
    if (at == numbers.size()) return value;
    return ::read(numbers[at]).then([function, value](double next) mutable { return call(function, value, next); })
        .then([numbers, at, function](double value) mutable { return fold(numbers, at + 1, function, value); });
  }

  static double pop(kj::Vector<double>& values) {
    if (values.empty()) kj::throwFatalException(KJ_EXCEPTION(FAILED, "the stack is empty"));
    double value = values.back();
    values.removeLast();
    return value;
  }

  static kj::Promise<double> evaluate(capnp::List<Term>::Reader terms, uint at, kj::Vector<double>& values) {
    if (at == terms.size()) return pop(values);
    auto next = [terms, at, &values](double value) {
      values.add(value);
      return evaluate(terms, at + 1, values);
    };
    auto term = terms[at];
    if (term.isLiteral()) return next(term.getLiteral());
    if (term.isNumber()) return ::read(term.getNumber()).then(kj::mv(next));
    double right = pop(values), left = pop(values);
    if (term.isAdd()) return next(left + right);
    if (term.isMultiply()) return next(left * right);
    return call(term.getApply(), left, right).then(kj::mv(next));
  }
};

}  // namespace
