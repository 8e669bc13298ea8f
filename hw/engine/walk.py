# SPDX-License-Identifier: Apache-2.0
"""Address of a table that is read tile by tile, each tile once per row."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["TileWalk"]


class TileWalk(wiring.Component):
    """Counts ``0 … columns - 1`` once for each of ``rows`` rows, then goes on to the next tile.

    Parameters
    ----------
    columns, rows : int
    depth : int
        Words of the table.

    Members
    -------
    advance : In(1)
        Move on by one word.
    restart : In(1)
        Back to the first word.
    address : Out
        Address of this cycle's word.
    ahead : Out
        Address of the next cycle's word, for a memory with synchronous read.
    row : Out
        Row of this cycle's word.
    tile_end : Out(1)
        This cycle's word is the last of its tile.
    """

    def __init__(self, columns, *, rows, depth):
        self.columns, self.rows = columns, rows
        super().__init__({
            "advance": In(1),
            "restart": In(1),
            "address": Out(range(max(depth, 2))),
            "ahead": Out(range(max(depth, 2))),
            "row": Out(range(rows)),
            "tile_end": Out(1),
        })

    def elaborate(self, platform):
        m = Module()

        column = Signal(range(self.columns))
        row_end = column == self.columns - 1
        m.d.comb += self.tile_end.eq(row_end & (self.row == self.rows - 1))

        m.d.comb += self.ahead.eq(self.address)
        with m.If(self.restart):
            m.d.comb += self.ahead.eq(0)
            m.d.sync += [column.eq(0), self.row.eq(0)]
        with m.Elif(self.advance):
            m.d.sync += column.eq(Mux(row_end, 0, column + 1))
            with m.If(row_end & ~self.tile_end):
                m.d.comb += self.ahead.eq(self.address - (self.columns - 1))
                m.d.sync += self.row.eq(self.row + 1)
            with m.Else():
                m.d.comb += self.ahead.eq(self.address + 1)
            with m.If(self.tile_end):
                m.d.sync += self.row.eq(0)
        m.d.sync += self.address.eq(self.ahead)

        return m
