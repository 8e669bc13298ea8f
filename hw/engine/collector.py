# SPDX-License-Identifier: Apache-2.0
"""What follows a matrix array: scale, accumulate, write results, give memory back."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..arithmetic import wire
from ..fixed.fp32_add import fp32_sum
from ..pe.mx_dot import product_of_scales, scaled_block
from .loader import depth
from .steps import tile_layout

__all__ = ["Collector"]

LATENCY = 3  # from a sum that leaves the array to the result that is written


class Collector(wiring.Component):
    """Sums of groups to results.

    Integers: ``C = bias + sum_g S[g] * P[g]``, exact; a block's sum is rounded to FP32 with its two
    scales, and blocks are added in FP32, ascending [1]_. Results go to their memory line by line,
    one of each chain.

    Parameters
    ----------
    config : GemmConfig
    array : PEArray

    Members
    -------
    tile : In(stream)
        See `Steps`.
    sums : In(stream)
        From the array.
    M : Out
        Line of memory M to read, for its `value_M` in the next cycle; M one of ``a_scale``,
        ``w_scale``, ``bias``.
    free_a, free_w : Out(1)
        The panels of the tile that ends, of ``steps`` steps and ``groups`` groups, are free.
    write : Out(1)
        ``results`` are written in this cycle, at ``place``.
    complete : Out(1)
        They are the last of their tile, ``end`` of the program.

    .. [1] SPECS 3.
    """

    def __init__(self, config, array):
        self.config, self.array = config, array
        self.memories = [name for name in ("a_scale", "w_scale", "bias")
                         if getattr(config, f"{name}_bits")]
        # Tiles whose sums are under way in the array: each has a group at least.
        self.tiles = array.latency // config.spacing + 3
        ports = {}
        for name in self.memories:
            ports |= {name: Out(range(depth(config, name))),
                      f"value_{name}": In(getattr(config, f"{name}_bits"))}
        super().__init__({
            "tile": In(stream.Signature(tile_layout(config), always_ready=True)),
            "sums": In(stream.Signature(array.o.p.shape(), always_ready=True)),
            **ports,
            "free_a": Out(1), "free_w": Out(1), "steps": Out(16), "groups": Out(16),
            "write": Out(1),
            "place": Out(range(config.result_lines)),
            "results": Out(data.ArrayLayout(config.sum_shape, config.chains)),
            "complete": Out(1),
            "end": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        layout = tile_layout(config)
        m.submodules.tiles = tiles = SyncFIFO(width=layout.size, depth=self.tiles)
        tile = data.View(layout, tiles.r_data)
        m.d.comb += [tiles.w_en.eq(self.tile.valid), tiles.w_data.eq(self.tile.p.as_value())]

        # Place of the sums: row, column and group; what belongs to them.
        per_chain = config.columns // config.chains
        row = Signal(range(config.rows), init=config.rows - 1)
        column = Signal(range(per_chain), init=per_chain - 1)
        group, position = Signal(16), Signal(range(config.chain))
        group_end = (row == 0) & (column == 0)
        groups_end = group == tile.groups - 1
        tile_end = Signal()
        m.d.comb += [
            tile_end.eq(self.sums.valid & group_end & groups_end),
            tiles.r_en.eq(tile_end),
            self.free_a.eq(tile_end & tile.free_a),
            self.free_w.eq(tile_end & tile.free_w),
            self.steps.eq(tile.steps),
            self.groups.eq(tile.groups),
        ]
        for name in self.memories:
            m.d.comb += getattr(self, name).eq(
                tile[name] if name == "bias" else tile[name] + group)
        with m.If(self.sums.valid):
            m.d.sync += position.eq(Mux(group_end, 0, position + 1))
            m.d.sync += row.eq(Mux(row == 0, config.rows - 1, row - 1))
            with m.If(row == 0):
                m.d.sync += column.eq(Mux(column == 0, per_chain - 1, column - 1))
            with m.If(group_end):
                m.d.sync += group.eq(Mux(groups_end, 0, group + 1))
        info = Signal(data.StructLayout({
            "valid": 1, "first": 1, "last": 1, "complete": 1, "end": 1,
            "slot": range(config.partial_tiles * config.chain),
            "place": range(config.result_lines),
        }), name="info")
        m.d.comb += [
            info.valid.eq(self.sums.valid),
            info.first.eq(tile.k_first & (group == 0)),
            info.last.eq(tile.k_last & groups_end),
            info.complete.eq(group_end),
            info.end.eq(tile.end),
            info.slot.eq(tile.partial * config.chain + position),
            info.place.eq(tile.result + position),
        ]

        # Stage 1: read scales and biases.
        scaled = self._next(m, info, "scaled")
        sums, of_row, of_column = (
            self._register(m, value, name) for value, name in (
                (self.sums.p.sums, "sums"), (row, "of_row"), (column, "of_column")))

        # Stage 2: scale.
        added = self._next(m, scaled, "added")
        terms, starts = [], []
        for d in range(config.chains):
            columns = range(d * per_chain, (d + 1) * per_chain)
            terms.append(self._register(
                m, self._term(m, d, sums[d], of_row, of_column, columns), f"term_{d}"))
            if config.bias:
                bias = Value.cast(
                    self._entry("bias", config.sum_shape.width, columns, of_column))
                starts.append(self._register(m, bias.as_signed(), f"start_{d}"))

        # Stage 3: accumulate.
        written = self._next(m, added, "written")
        lines = data.ArrayLayout(config.sum_shape, config.chains)
        m.submodules.partial = partial = Memory(
            shape=lines, depth=config.partial_tiles * config.chain, init=[])
        read, write = partial.read_port(), partial.write_port()
        m.d.comb += [read.addr.eq(scaled.slot), write.addr.eq(added.slot),
                     write.en.eq(added.valid)]
        for d, term in enumerate(terms):
            total = Signal(config.sum_shape, name=f"total_{d}")
            start = starts[d] if config.bias else 0
            if config.kind.scaling == "block":
                before = Signal(32, name=f"before_{d}")
                m.d.comb += before.eq(Mux(added.first, start, read.data[d]))
                m.d.comb += total.eq(fp32_sum(m, before, term))
            else:
                m.d.comb += total.eq(Mux(added.first, start, read.data[d]) + term)
            m.d.comb += write.data[d].eq(total)
            m.d.comb += self.results[d].eq(self._register(m, total, f"result_{d}"))
        m.d.comb += [
            self.write.eq(written.valid & written.last),
            self.place.eq(written.place),
            self.complete.eq(self.write & written.complete),
            self.end.eq(written.end),
        ]

        return m

    def _next(self, m, info, name):
        register = Signal(info.shape(), name=name)
        m.d.sync += register.eq(info)
        return register

    def _register(self, m, value, name):
        register = Signal.like(value, name=name, reset_less=True)
        m.d.sync += register.eq(value)
        return register

    def _entry(self, name, width, places, select):
        """One of some entries of a line that has been read."""
        line = getattr(self, f"value_{name}")
        return Array(line[k * width:(k + 1) * width] for k in places)[select]

    def _term(self, m, d, total, row, column, columns):
        """What a sum is worth with its scales."""
        kind = self.config.kind
        if kind.scaling == "none":
            return total
        if kind.scaling == "group":
            return total * self._entry("w_scale", kind.weights.scale_bits, columns, column)
        entries = (("a_scale", kind.activations, range(self.config.rows), row),
                   ("w_scale", kind.weights, columns, column))
        scales = [wire(m, self._entry(name, fmt.scale.bits, places, select), "scale")
                  for name, fmt, places, select in entries]
        formats = kind.activations, kind.weights
        scale = product_of_scales(m, *scales, *(fmt.scale for fmt in formats))
        return scaled_block(m, total, scale, *formats)
