"""A callee and a caller in Python of what `testkit/schema/legal.capnp` declares, as `testkit/src/legal/` is in Rust.

    peer.py serve SOCKET

serves a number on a Unix socket to one connection, says `listening` when it can be connected to, and when that
connection is over how many of its objects are alive.

    peer.py call SOCKET SEED COUNT

connects to one, makes an exchange for each seed from SEED on, and says how many gave what they must.
"""

import asyncio
import gc
import random
import sys
import weakref

import capnp

from schemas import IMPORTS, ROOT

legal = capnp.load(str(ROOT / "testkit" / "schema" / "legal.capnp"), imports=IMPORTS)

MODULUS = 1_000_003
SERVICE = 7  # what the number that is served stands for
LANES = 32
HELD = 24

alive = 0


def count_in(server):
    global alive
    alive += 1
    weakref.finalize(server, count_out).atexit = False


def count_out():
    global alive
    alive -= 1


async def pause(count):
    """Lets others go on, so often."""
    for _ in range(count):
        await asyncio.sleep(0)


def applied(factor, value):
    return (factor * value + 1) % MODULUS


async def read(number, count=0):
    return (await number.read(count)).value


def forwarded(first, way, to, other, count):
    """Asks `first` to settle, or to have the last on the `way` do that."""
    request = first.forward_request()
    request.way, request.to, request.other, request.turns = way, to, other, count
    return request


class Function(legal.Function.Server):
    def __init__(self, factor):
        self.factor = factor
        count_in(self)

    async def call(self, value, **_):
        return applied(self.factor, value)


class Number(legal.Number.Server):
    def __init__(self, value):
        self.value = value % MODULUS
        self.count = self.sum = 0
        self.kept = None
        count_in(self)

    def settled(self, to, other):
        """What `settle` returns in the end, and a promise of it resolves to."""
        if to == "own":
            return Number(self.value)
        if to == "given":
            return other
        if to == "answer":
            return other.plus(legal.Number._new_client(self)).sum
        raise ValueError("broken")

    async def read(self, turns, **_):
        await pause(turns)
        return self.value

    async def make(self, value, **_):
        return Number(value)

    async def plus(self, other, **_):
        return Number(self.value + await read(other))

    async def same(self, other, **_):
        return other

    async def settle(self, to, other, turns, **_):
        await pause(turns)
        return self.settled(str(to), other)

    async def promise(self, to, other, turns, **_):
        # What is pipelined on a call of this process is a promise like any other.
        return legal.Number._new_client(self).settle(str(to), other, turns).number

    async def apply(self, function, times, **_):
        value = self.value
        for _ in range(times):
            value = (await function.call(value)).value
        return value

    async def function(self, factor, **_):
        return Function(factor)

    async def keep(self, number, **_):
        self.kept = number

    async def take(self, **_):
        kept, self.kept = self.kept, None
        return kept

    async def next(self, **_):
        self.count += 1
        return self.count - 1

    async def push(self, value, **_):
        self.sum = (self.sum + value) % MODULUS

    async def pushed(self, **_):
        return self.sum

    async def all(self, numbers, _context, **_):
        numbers = list(numbers)
        values = await asyncio.gather(*map(read, numbers))
        _context.results.numbers = numbers
        _context.results.sum = sum(values) % MODULUS

    async def fail(self, text, **_):
        raise ValueError(text)

    async def never(self, **_):
        await asyncio.get_running_loop().create_future()

    async def forward(self, way, to, other, turns, **_):
        way = list(way)
        await pause(turns)
        if way:
            return (await forwarded(way[0], way[1:], str(to), other, turns).send()).number
        return self.settled(str(to), other)


async def serve(path):
    over = asyncio.get_running_loop().create_future()

    async def connected(stream):
        await capnp.TwoPartyServer(stream, bootstrap=Number(SERVICE)).on_disconnect()
        over.set_result(None)

    server = await capnp.AsyncIoStream.create_unix_server(connected, path)
    print("listening", flush=True)
    await over
    server.close()
    await pause(2)  # what the connection held goes with its task


def expect(what, got, want):
    if got != want:
        raise AssertionError(f"{what} is {got}, not {want}")


async def fails_with(text, awaitable):
    try:
        await awaitable
    except capnp.KjException as error:
        assert text in error.description, error.description
    else:
        raise AssertionError("it does not fail")


class Caller:
    """Makes exchanges, each as its seed says."""

    def __init__(self, service):
        self.held = [(service, SERVICE)]

    async def run(self, first, count):
        seeds = iter(range(first, first + count))
        await asyncio.gather(*(self.lane(seeds) for _ in range(LANES)))

    async def lane(self, seeds):
        kinds = [
            self.read, self.chain, self.chain, self.same, self.promise, self.promise, self.broken, self.functions,
            self.fail, self.give_up, self.keep, self.push, self.all, self.order,
        ]  # fmt: skip
        for seed in seeds:
            chosen = random.Random(seed)
            try:
                await chosen.choice(kinds)(chosen)
            except Exception:
                print(f"exchange {seed} from Python:", file=sys.stderr)
                raise

    def theirs(self, chosen):
        return chosen.choice(self.held)

    def own(self, chosen):
        value = chosen.randrange(MODULUS)
        return legal.Number._new_client(Number(value)), value

    def any(self, chosen):
        return self.own(chosen) if chosen.random() < 0.5 else self.theirs(chosen)

    def hold(self, chosen, number, value):
        if len(self.held) < HELD:
            self.held.append((number, value))
        else:
            self.held[chosen.randrange(HELD)] = (number, value)

    async def read(self, chosen):
        number, value = self.theirs(chosen)
        expect("what is read", await read(number, few(chosen)), value)

    async def chain(self, chosen):
        """Sums of sums, each asked for before the one before it is known."""
        value = chosen.randrange(MODULUS)
        answers = [self.theirs(chosen)[0].make(value)]
        number = answers[0].number
        for _ in range(chosen.randrange(5)):
            other, more = self.any(chosen)
            value = (value + more) % MODULUS
            answers.append(number.plus(other))
            number = answers[-1].sum
        expect("a sum", await read(number), value)
        self.hold(chosen, number, value)

    async def same(self, chosen):
        """What is passed comes back; it is called before that is known."""
        other, value = self.any(chosen)
        answer = self.theirs(chosen)[0].same(other)
        expect("what came back", await read(answer.number), value)

    def promised(self, chosen, to, other):
        """What is asked for what it settles: for a promise, for a return, or for what comes from the last on a way. And
        the value of who settles."""
        target, value = self.theirs(chosen)
        ask = chosen.randrange(5)
        if ask < 3:
            return target.promise(to, other, few(chosen)), value
        if ask == 3:
            return target.settle(to, other, few(chosen)), value
        way = self.way(chosen)
        last = way[-1][1] if way else value
        return forwarded(target, [number for number, _ in way], to, other, few(chosen)).send(), last

    def way(self, chosen):
        """Theirs and ours."""
        return [self.any(chosen) for _ in range(chosen.randrange(4))]

    async def promise(self, chosen):
        """Promises that resolve to something of the peer's, of ours, or to what is pipelined on one of both; or
        returns that do. They are called before and after that."""
        other, more = self.any(chosen)
        to = chosen.choice(["own", "given", "answer"])
        answer, value = self.promised(chosen, to, other)
        want = {"own": value, "given": more, "answer": (value + more) % MODULUS}[to]

        async def later(number):
            await pause(few(chosen))
            return await read(number)

        got = await asyncio.gather(*(later(answer.number) for _ in range(3)))
        got.append(await read((await answer).number))
        expect("what was promised", got, [want] * 4)

    async def broken(self, chosen):
        answer, _ = self.promised(chosen, "broken", self.theirs(chosen)[0])
        await fails_with("broken", read(answer.number))

    async def functions(self, chosen):
        """Functions of ours, which the peer calls; functions of the peer's, which we call, or it calls itself."""
        target, value = self.theirs(chosen)
        factor, times = chosen.randrange(MODULUS), chosen.randrange(5)
        want = value
        for _ in range(times):
            want = applied(factor, want)
        if chosen.random() < 0.5:
            expect("a function of ours", (await target.apply(Function(factor), times)).value, want)
            return
        made = self.theirs(chosen)[0].function(factor)
        function = made.function
        call, apply = function.call(value), target.apply(function, times)
        expect("a function of theirs", (await call).value, applied(factor, value))
        expect("their function, by them", (await apply).value, want)

    async def fail(self, chosen):
        text = f"as it must {chosen.randrange(MODULUS)}"
        answer = self.theirs(chosen)[0].fail(text)
        await asyncio.gather(fails_with(text, read(answer.number)), fails_with(text, answer))

    async def give_up(self, chosen):
        """Calls that are given up at any time."""
        target, (other, _) = self.theirs(chosen)[0], self.any(chosen)
        kind = chosen.randrange(20)
        if kind == 0:
            answer = target.never(other)
        elif kind < 4:
            answer = target.plus(other)
        elif kind < 7:
            answer = target.same(other)
        elif kind < 10:
            answer = target.make(kind)
        elif kind >= 16:
            way = [number for number, _ in self.way(chosen)]
            answer = forwarded(target, way, "given", other, few(chosen)).send()
        else:
            answer = target.read(few(chosen))
        await pause(few(chosen))
        del answer

    async def keep(self, chosen):
        """What is kept may be taken."""
        made = self.theirs(chosen)[0].make(1)
        other, value = self.any(chosen)
        kept = made.number.keep(other)
        if chosen.random() < 0.25:
            await kept  # it goes with its keeper
            return
        taken = made.number.take()
        await kept
        expect("what was kept", await read(taken.number), value)

    async def push(self, chosen):
        number = self.theirs(chosen)[0].make(0).number
        values = [chosen.randrange(MODULUS) for _ in range(chosen.randrange(9))]
        pushes = [number.push(value) for value in values]
        pushed = number.pushed()
        for push in pushes:
            await push
        expect("what was pushed", (await pushed).sum, sum(values) % MODULUS)

    async def all(self, chosen):
        """A list of theirs and ours."""
        given = [self.any(chosen) for _ in range(chosen.randrange(12))]
        answer = await self.theirs(chosen)[0].all([number for number, _ in given])
        values = [value for _, value in given]
        expect("the sum of all", answer.sum, sum(values) % MODULUS)
        expect("what came back of a list", await asyncio.gather(*map(read, answer.numbers)), values)

    async def order(self, chosen):
        """Calls on a promise arrive as they were made, also where it resolves to one of ours meanwhile."""
        answer = self.theirs(chosen)[0].promise("given", self.own(chosen)[0], few(chosen))
        number, calls = answer.number, []
        for _ in range(chosen.randrange(12)):
            calls.append(number.next())
            await pause(chosen.randrange(3))
        expect("the order", [(await call).count for call in calls], list(range(len(calls))))


def few(chosen):
    """Mostly a few turns, sometimes none, seldom many."""
    return chosen.choice([0, 0, chosen.randrange(40)] + [chosen.randrange(6)] * 5)


async def call(path, seed, count):
    stream = await capnp.AsyncIoStream.create_unix_connection(path)
    client = capnp.TwoPartyClient(stream)
    await Caller(client.bootstrap().cast_as(legal.Number)).run(seed, count)
    client.close()
    del client, stream
    gc.collect()
    print(f"exchanges {count}, alive {alive}")


async def main(mode, *rest):
    if mode == "serve":
        await serve(*rest)
        gc.collect()
        print("alive", alive)
    else:
        await call(rest[0], *map(int, rest[1:]))


if __name__ == "__main__":
    asyncio.run(capnp.run(main(*sys.argv[1:])))
