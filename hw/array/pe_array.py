# SPDX-License-Identifier: Apache-2.0
"""Output-stationary array of any processing element."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..arithmetic import check_positive

__all__ = ["PEArray", "delayed"]


def delayed(m, value, cycles, *, name, init=False):
    """A value some cycles later: a shift register, with a reset if ``init``."""
    for k in range(cycles):
        register = Signal.like(value, name=f"{name}_{k}", reset_less=not init)
        m.d.sync += register.eq(value)
        value = register
    return value


class PEArray(wiring.Component):
    """``rows`` by ``columns`` elements, each computing the dot products of its row and column.

    Activations enter by row and weights by column, codes that are decoded at the borders only.
    Systolic, they go from element to element in each cycle [1]_, so that all wires are short: row r
    and column c are to be presented r and c cycles after the first. Otherwise all elements see
    their operands at once. At the end of a group each sum moves to a shadow register, and all of
    them leave by ``chains``, one of each per cycle, while the next group is computed.

    ``sums[d]`` of transfer t is that of column ``(d + 1) * columns / chains - 1 - t // rows`` and
    row ``rows - 1 - t % rows``: of each chain the column that ends last comes first, so that
    groups of ``chain`` steps follow each other without a gap.

    :Latency: :attr:`latency` cycles from the last step of a group to its first sums.
    :Throughput: one step per cycle; ends of groups must be at least ``chain`` steps apart.
    :Backpressure: none. Steps are always taken, and sums must be.

    .. [1] Kung, Why systolic architectures? (IEEE Computer 15, 1982).

    Parameters
    ----------
    kind : Kind
    rows, columns : int
    steps : int
        Of the longest group.
    chains : int
        Must divide ``columns``.
    systolic : bool
    tag : shape

    Members
    -------
    i : In(stream)
        ``rows`` and ``columns``, of the kind's layouts; ``last`` ends the group, whose ``tag`` it
        is, both with the first row and column.
    o : Out(stream)
        ``sums`` by chain, and the ``tag`` of their group.
    """

    def __init__(self, kind, rows, columns, *, steps, chains=1, systolic=True, tag=1):
        for name, value in (("Rows", rows), ("Columns", columns), ("Steps", steps),
                            ("Chains", chains)):
            check_positive(name, value)
        if columns % chains:
            raise ValueError(f"Chains must divide the {columns} columns, not {chains!r}")
        self.kind, self.rows, self.columns, self.chains = kind, rows, columns, chains
        self.systolic = bool(systolic)
        self.chain = rows * columns // chains
        self.elements = [[kind.build(steps, border=True) for _ in range(columns)]
                         for _ in range(rows)]
        first = self.elements[0][0]
        self.sum_shape = first.o.p.shape()
        self.latency = 2 + first.latency + (rows + columns - 2 if systolic else 0)
        row, column = kind.layouts()
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({
                "rows": data.ArrayLayout(row, rows),
                "columns": data.ArrayLayout(column, columns),
                "last": 1,
                "tag": tag,
            }), always_ready=True)),
            "o": Out(stream.Signature(data.StructLayout({
                "sums": data.ArrayLayout(self.sum_shape, chains),
                "tag": tag,
            }), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        rows, columns = range(self.rows), range(self.columns)

        # Borders: decode, into the first registers of each row and column.
        row_operands = [self._border(m, code, f"row_{r}") for r, code in enumerate(self.i.p.rows)]
        column_operands = [self._border(m, code, f"column_{c}")
                           for c, code in enumerate(self.i.p.columns)]
        control = Signal(data.StructLayout({"valid": 1, "last": 1}), name="control")
        m.d.sync += [control.valid.eq(self.i.valid), control.last.eq(self.i.p.last)]

        # Elements, and the registers on the way to the next of the row and of the column.
        controls = [control]
        for r in rows[1:]:
            controls.append(self._hop(m, controls[-1], f"control_{r}", init=True))
        above = column_operands
        for r in rows:
            left, steps = row_operands[r], controls[r]
            below = []
            for c in columns:
                element = self.elements[r][c]
                m.submodules[f"element_{r}_{c}"] = element
                m.d.comb += [element.i.valid.eq(steps.valid), element.i.p.last.eq(steps.last),
                             element.o.ready.eq(1)]
                for name, value in {**left, **above[c]}.items():
                    m.d.comb += Value.cast(element.i.p[name]).eq(value)
                if c < self.columns - 1:
                    left = {name: self._hop(m, value, f"{name}_{r}_{c + 1}")
                            for name, value in left.items()}
                    steps = self._hop(m, steps, f"control_{r}_{c + 1}", init=True)
                below.append(above[c] if r == self.rows - 1 else {
                    name: self._hop(m, value, f"{name}_{r + 1}_{c}")
                    for name, value in above[c].items()})
            above = below

        # Sums of the first chain are ready so many cycles after the end of a group.
        per_chain = self.columns // self.chains
        skew = per_chain if self.systolic else 0
        wait = self.latency - skew * (self.chains - 1)
        end = Signal()
        m.d.comb += end.eq(self.i.valid & self.i.p.last)
        start = delayed(m, end, wait, name="end", init=True)
        tag = delayed(m, self.i.p.tag, wait, name="tag")

        # Chains: each shifts by one per cycle, a few cycles after the one before. Where the sums
        # from behind have passed, those of the next group may already wait: nothing moves any more.
        left = Signal(range(self.chain))
        busy = Signal()
        m.d.comb += busy.eq(start | (left != 0))
        m.d.sync += left.eq(Mux(start, self.chain - 1, left - busy))
        for d in range(self.chains):
            moving = Signal(self.chain - 1, name=f"moving_{d}")
            moves = Signal(self.chain - 1, name=f"moves_{d}")
            m.d.comb += moves.eq(moving | start.replicate(self.chain - 1))
            m.d.sync += moving.eq(moves[1:])
            source, place = None, self.chain - 1
            for c in range(d * per_chain, (d + 1) * per_chain):
                for r in rows:
                    element = self.elements[r][c]
                    shadow = Signal(Shape.cast(self.sum_shape), name=f"shadow_{r}_{c}",
                                    reset_less=True)
                    with m.If(element.o.valid):
                        m.d.sync += shadow.eq(Value.cast(element.o.p))
                    if source is not None:
                        with m.Elif(moves[place]):
                            m.d.sync += shadow.eq(source)
                    source, place = shadow, place - 1
            m.d.comb += Value.cast(self.o.p.sums[d]).eq(
                delayed(m, source, skew * (self.chains - 1 - d), name=f"sum_{d}"))
            if d < self.chains - 1:
                busy, start = (delayed(m, flag, skew, name=f"{name}_{d}", init=True)
                               for flag, name in ((busy, "busy"), (start, "start")))
                tag = delayed(m, tag, skew, name=f"tag_{d}")
        held = Signal.like(self.i.p.tag)
        with m.If(start):
            m.d.sync += held.eq(tag)
        m.d.comb += [self.o.valid.eq(busy), self.o.p.tag.eq(Mux(start, tag, held))]

        return m

    def _border(self, m, codes, name):
        """Operands of a row or column, one cycle later: a dict by port of the element."""
        element, operands = self.elements[0][0], {}
        for port, _ in codes.shape():
            value = codes[port]
            if port in ("a", "b") and not getattr(element, "decoders", True):
                value = element.border(m, port, value)
            operands[port] = delayed(m, Value.cast(value), 1, name=f"{name}_{port}")
        return operands

    def _hop(self, m, value, name, *, init=False):
        """The same for the next element: one cycle later if systolic."""
        return delayed(m, value, 1, name=name, init=init) if self.systolic else value
