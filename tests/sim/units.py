# SPDX-License-Identifier: Apache-2.0
"""Units to try the simulators on."""

import dataclasses

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from carrysave.sim.verilog import from_component

__all__ = ["Double", "E2M1Dot", "Echo", "Pipe", "e2m1_dot", "echo_board"]

VALUES = (0, 1, 2, 3, 4, 6, 8, 12)  # of E2M1, in halves


def e2m1_dot(a, b):
    """Dot product of two vectors of codes, in quarters: the other way to compute E2M1Dot."""
    numbers = [[VALUES[code & 7] * (-1 if code & 8 else 1) for code in codes] for codes in (a, b)]
    return sum(x * y for x, y in zip(*numbers, strict=True))


def integer(code):
    """A 4-bit E2M1 code as an integer number of halves, -12 to 12."""
    mantissa, exponent, sign = code[0], code[1:3], code[3]
    magnitude = Mux(exponent == 0, mantissa, Cat(mantissa, 1) << exponent >> 1)[:4]
    return Mux(sign, -magnitude, magnitude)


class E2M1Dot(wiring.Component):
    """Dot product of two vectors of E2M1 codes, in quarters."""

    latency = 2

    def __init__(self, lanes=8):
        self.lanes = lanes
        codes = data.ArrayLayout(4, lanes)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"a": codes, "b": codes}))),
            "o": Out(stream.Signature(range(-144 * lanes, 144 * lanes + 1))),
            "monitor": Out(wiring.Signature({"advance": Out(1), "product": Out(signed(9))})),
        })

    def elaborate(self, platform):
        m = Module()
        products = [Signal(range(-144, 145), name=f"product_{k}") for k in range(self.lanes)]
        products_valid = Signal()

        advance = self.o.ready | ~self.o.valid
        m.d.comb += self.i.ready.eq(advance)
        with m.If(advance):
            m.d.sync += products_valid.eq(self.i.valid)
            for k, product in enumerate(products):
                m.d.sync += product.eq(integer(self.i.p.a[k]) * integer(self.i.p.b[k]))
            m.d.sync += self.o.valid.eq(products_valid)
            m.d.sync += self.o.p.eq(sum(products))
        m.d.comb += self.monitor.advance.eq(advance)
        m.d.comb += self.monitor.product.eq(products[0])
        return m


class Pipe(wiring.Component):
    """A register that any payload passes unchanged, unless it is made to break the protocol."""

    latency = 1

    def __init__(self, shape, *, unstable=False, repeat=1):
        self.unstable, self.repeat = unstable, repeat
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        left = Signal(range(self.repeat + 1))
        payload = Signal.like(Value.cast(self.o.payload))
        m.d.comb += Value.cast(self.o.payload).eq(payload)
        m.d.comb += self.o.valid.eq(left != 0)
        m.d.comb += self.i.ready.eq((left == 0) | (left == 1) & self.o.ready)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += left.eq(left - 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [payload.eq(Value.cast(self.i.payload)), left.eq(self.repeat)]
        if self.unstable:
            with m.Elif(self.o.valid & ~self.o.ready):
                m.d.sync += payload.eq(payload + 1)
        return m


class Double(wiring.Component):
    """Twice the input, without a register, for sinks that are always ready."""

    latency = 0

    i: In(stream.Signature(unsigned(8)))
    o: Out(stream.Signature(unsigned(9), always_ready=True))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.p.eq(self.i.p << 1), self.o.valid.eq(self.i.valid)]
        m.d.comb += self.i.ready.eq(1)
        return m


class Echo(wiring.Component):
    """Answers each UART byte with its complement, once its stop bit has begun."""

    def __init__(self, divisor):
        self.divisor = divisor
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        last = Signal(init=1)
        timer = Signal(range(2 * self.divisor))
        count = Signal(range(11))
        bits = Signal(10)
        m.d.sync += last.eq(self.rx)
        with m.If((count == 0) & last & ~self.rx):
            m.d.sync += [count.eq(10), timer.eq(self.divisor // 2)]
        with m.Elif(count != 0):
            m.d.sync += timer.eq(timer - 1)
            with m.If(timer == 0):
                m.d.sync += [count.eq(count - 1), timer.eq(self.divisor - 1)]
                m.d.sync += bits.eq(Cat(bits[1:], self.rx))

        received = Signal()
        m.d.sync += received.eq((count == 1) & (timer == 0))
        shift = Signal(10, init=0x3FF)
        sending = Signal(range(self.divisor))
        m.d.comb += [self.tx.eq(shift[0]), self.busy.eq(count != 0)]
        with m.If(received):
            m.d.sync += [shift.eq(Cat(0, ~bits[1:9], 1)), sending.eq(self.divisor - 1)]
        with m.Elif(sending == 0):
            m.d.sync += [shift.eq(Cat(shift[1:], 1)), sending.eq(self.divisor - 1)]
        with m.Else():
            m.d.sync += sending.eq(sending - 1)
        return m


def echo_board(divisor):
    """Echo with a power-on reset of nine cycles and no reset pin."""
    design = from_component(Echo(divisor))
    wrapper = """
    module board(input clk, input rx, output tx);
      reg [3:0] count = 0;
      always @(posedge clk) if (count != 9) count <= count + 1;
      top top(.clk(clk), .rst(count != 9), .rx(rx), .tx(tx), .busy());
    endmodule
    """
    return dataclasses.replace(
        design, sources={**design.sources, "board.v": wrapper}, top="board", reset=None,
        ports=tuple(port for port in design.ports if port.name != "busy"))
