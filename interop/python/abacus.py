"""A calculator's server and client in Python (`interop/schema/abacus.capnp`). They know nothing of capspan.

    abacus.py serve ADDRESS

serves connections at `unix:PATH` or `HOST:PORT`. It says `listening`, and the port; and when a connection is over how
many numbers are alive.

    abacus.py call ADDRESS

does all that there is to do, and says what came of it.
"""

import asyncio
import gc
import sys
import weakref
from pathlib import Path

import capnp

SCHEMA = Path(__file__).resolve().parents[1] / "schema" / "abacus.capnp"
# pycapnp brings `capnp/stream.capnp`.
abacus = capnp.load(str(SCHEMA), imports=[str(Path(capnp.__file__).resolve().parents[1])])

KINDS = ["FAILED", "OVERLOADED", "DISCONNECTED", "UNIMPLEMENTED"]


class Count:
    """Counts up or down, and tells who waits for a count."""

    def __init__(self):
        self.count = 0
        self.waiting = []

    def change(self, by):
        self.count += by
        for count, waits in self.waiting:
            if count == self.count and not waits.done():
                waits.set_result(None)

    async def reaches(self, count):
        if count != self.count:
            waits = asyncio.get_running_loop().create_future()
            self.waiting.append((count, waits))
            await waits


alive = Count()


def count_in(server):
    alive.change(1)
    weakref.finalize(server, alive.change, -1).atexit = False


class Number(abacus.Number.Server):
    def __init__(self, value):
        self.value = value
        self.is_marked = False
        count_in(self)

    async def read(self, **_):
        return self.value

    async def mark(self, **_):
        self.is_marked = True


class Multiplier(abacus.Function.Server):
    def __init__(self, factor):
        self.factor = factor

    async def call(self, left, right, **_):
        return self.factor * left * right


class Summing(abacus.Summing.Server):
    def __init__(self):
        self.total, self.count = 0, 0

    async def add(self, value, **_):
        self.total += value
        self.count += 1

    async def sum(self, **_):
        return self.total, self.count


async def read(number):
    return (await number.read()).value


class Abacus(abacus.Abacus.Server):
    """One for each connection."""

    def __init__(self):
        self.kept = {}
        self.numbers = weakref.WeakSet()
        self.rung = asyncio.get_running_loop().create_future()
        self.given_up = Count()

    def number(self, value):
        number = Number(value)
        self.numbers.add(number)
        return number

    async def put(self, value, **_):
        return self.number(value)

    async def evaluate(self, terms, **_):
        stack = []
        for term in terms:
            kind = str(term.which())
            if kind == "literal":
                stack.append(term.literal)
            elif kind == "number":
                stack.append(await read(term.number))
            elif len(stack) < 2:
                raise ValueError("the stack is empty")
            else:
                right, left = stack.pop(), stack.pop()
                if kind == "add":
                    stack.append(left + right)
                elif kind == "multiply":
                    stack.append(left * right)
                else:
                    stack.append((await term.apply.call(left, right)).value)
        return self.number(stack.pop())

    async def fold(self, numbers, function, **_):
        first, *rest = list(numbers)
        value = await read(first)
        for number in rest:
            value = (await function.call(value, await read(number))).value
        return value

    async def multiplier(self, factor, **_):
        return Multiplier(factor)

    async def summing(self, **_):
        return Summing()

    async def hold(self, name, number, **_):
        self.kept[name] = number

    async def held(self, name, **_):
        if name not in self.kept:
            raise ValueError(f"nothing is held as {name}")
        return self.kept[name]

    async def letGo(self, name, **_):
        del self.kept[name]

    async def later(self, number, **_):
        # What is pipelined on a call of this process is a promise like any other.
        return abacus.Abacus._new_client(Rung(self.rung, number)).held("").number

    async def ring(self, **_):
        self.rung.set_result(None)

    async def wait(self, number, **_):
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.given_up.change(1)

    async def canceled(self, count, **_):
        await self.given_up.reaches(count)

    async def isMine(self, number, **_):
        # There is no way in pycapnp to ask a capability for the object behind it: so the object is asked whether it is
        # called.
        await number.mark()
        marked = [own for own in self.numbers if own.is_marked]
        for own in marked:
            own.is_marked = False
        return bool(marked)

    async def fail(self, kind, text, **_):
        raise capnp.KjException(message=text, type=KINDS[kind])

    async def echo(self, data, **_):
        return data

    async def alive(self, count, **_):
        gc.collect()
        await alive.reaches(count)


class Rung(abacus.Abacus.Server):
    """Gives a number when the bell rings."""

    def __init__(self, rung, number):
        self.rung, self.number = rung, number

    async def held(self, **_):
        await asyncio.shield(self.rung)
        return self.number


async def serve(address):
    async def connected(stream):
        await capnp.TwoPartyServer(stream, bootstrap=Abacus()).on_disconnect()
        await asyncio.sleep(0)
        gc.collect()
        print("over, alive", alive.count, flush=True)

    kind, _, place = address.partition(":")
    if kind == "unix":
        server = await capnp.AsyncIoStream.create_unix_server(connected, place)
        print("listening 0", flush=True)
    else:
        server = await capnp.AsyncIoStream.create_server(connected, kind, int(place))
        print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class OwnFunction(abacus.Function.Server):
    def __init__(self):
        count_in(self)

    async def call(self, left, right, **_):
        print(f"  called with {left:g} and {right:g}")
        if right == 13:
            raise ValueError("13 is too much")
        return 10 * left + right


def checked(data):
    value = 0xCBF29CE484222325
    for byte in data[:1000] + data[-1000:]:
        value = ((value ^ byte) * 0x100000001B3) % (1 << 64)
    return f"{len(data)} bytes, {value}"


async def result(what, awaitable):
    try:
        print(f"{what}: {await awaitable}")
    except capnp.KjException as error:
        print(f"{what}: {error.type}: {error.description}")


class Caller:
    """A client, and all that it does."""

    def __init__(self, service):
        self.abacus = service

    async def all(self):
        await self.pipelined()
        await self.callbacks()
        await self.streamed()
        await self.held()
        await self.promised()
        await self.canceled()
        await self.failed()
        await self.payloads()
        gc.collect()
        await self.abacus.alive(0)
        print("nothing is alive at the server")
        await alive.reaches(0)
        print("nothing is alive at the client")

    def put(self, value):
        return self.abacus.put(value).number

    def sum(self, left, right):
        return self.abacus.evaluate([{"number": left}, {"number": right}, {"add": None}]).number

    async def pipelined(self):
        five, half = self.put(5), self.abacus.multiplier(0.5).function
        terms = [{"number": five}, {"literal": 7}, {"multiply": None}, {"literal": 2}, {"apply": half}]
        product = self.abacus.evaluate(terms).number
        total = self.sum(product, five)
        await result("five", read(five))
        await result("a sum of what is not known yet", read(total))
        await result("five times seven", read(product))

    async def fold(self, numbers, function):
        return (await self.abacus.fold(numbers, function)).value

    async def callbacks(self):
        theirs = [self.put(value) for value in (1, 2, 3, 4)]
        await result("theirs, by a function of ours", self.fold(theirs, OwnFunction()))
        await result("theirs, by a function of theirs", self.fold(theirs, self.abacus.multiplier(3).function))
        await result("both, by a function of ours", self.fold([own(6), self.put(7), own(8)], OwnFunction()))
        much = [self.put(value) for value in (1, 13, 2)]
        await result("a function of ours that fails", self.fold(much, OwnFunction()))
        called = self.abacus.multiplier(4).function.call(2, 3)
        await result("their function", value_of(called))

    async def streamed(self):
        summing = self.abacus.summing().summing
        adding = [summing.add(value) for value in range(1, 501)]
        for added in adding:
            await added
        sums = await summing.sum()
        print(f"a stream: {sums.sum:g} of {sums.count}")

    async def isMine(self, number):
        return (await self.abacus.isMine(number)).mine

    async def held(self):
        theirs = self.put(42)
        await self.abacus.hold("theirs", theirs)
        await self.abacus.hold("ours", own(43))
        await result("theirs is theirs", self.isMine(theirs))
        for name in ("theirs", "ours"):
            answer = self.abacus.held(name)
            await result(f"{name}, before it is there", read(answer.number))
            number = (await answer).number
            await result(f"{name}, held", read(number))
            await result(f"{name}, held: is theirs", self.isMine(number))
            await self.abacus.letGo(name)
        await result("ours is theirs", self.isMine(own(44)))

    async def promised(self):
        theirs = self.put(50)
        first = (await self.abacus.later(theirs)).number
        second = (await self.abacus.later(own(51))).number
        early, ours = asyncio.ensure_future(read(first)), asyncio.ensure_future(read(second))
        total = asyncio.ensure_future(read(self.sum(first, second)))
        await result("another call meanwhile", read(theirs))
        await self.abacus.ring()
        await result("theirs, later", early)
        await result("ours, later", ours)
        await result("their sum, later", total)
        await result("theirs, when it is there", read(first))
        await result("ours, when it is there", read(second))
        await result("what was promised is theirs", self.isMine(first))
        await result("what was promised of ours is theirs", self.isMine(second))

    async def canceled(self):
        number = self.put(60)
        waits = self.abacus.wait(number)
        # It has come when this is answered.
        await result("before it is given up", read(number))
        waits.cancel()
        del waits
        await self.abacus.canceled(1)
        print("the server knows of a call that was given up")

    async def failed(self):
        for kind in range(4):
            await result("fails", self.abacus.fail(kind, f"on purpose, {kind}"))
        answer = self.abacus.evaluate([{"add": None}])
        pipelined = asyncio.ensure_future(read(answer.number))
        await result("too little on the stack", answer)
        await result("what was to come of it", pipelined)
        await result("nothing is held", read(self.abacus.held("nothing").number))
        # It is no `Summing`.
        await result("no such interface", self.abacus.cast_as(abacus.Summing).sum())

    async def payloads(self):
        datas = [bytes([which]) + bytes(at * at % 251 for at in range(1, 1 << 20)) for which in range(3)]
        for echoed in [self.abacus.echo(data) for data in datas]:
            echoed = (await echoed).data
            assert echoed == datas[echoed[0]]
            print(checked(echoed))


def own(value):
    return abacus.Number._new_client(Number(value))


async def value_of(promise):
    return (await promise).value


async def call(address):
    kind, _, place = address.partition(":")
    if kind == "unix":
        stream = await capnp.AsyncIoStream.create_unix_connection(place)
    else:
        stream = await capnp.AsyncIoStream.create_connection(kind, int(place))
    client = capnp.TwoPartyClient(stream)
    await Caller(client.bootstrap().cast_as(abacus.Abacus)).all()
    client.close()


if __name__ == "__main__":
    mode, address = sys.argv[1:]
    asyncio.run(capnp.run({"serve": serve, "call": call}[mode](address)))
