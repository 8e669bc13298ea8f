# SPDX-License-Identifier: Apache-2.0
"""Issues the steps of the array, tile after tile."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .gemm_config import NEVER, Descriptor
from .loader import depth
from .nest import Nest

__all__ = ["Steps", "tile_layout"]


def tile_layout(config):
    """What the collector needs to know of a tile, a layout.

    ``groups``; ``k_first`` and ``k_last``: its sums start, its results are complete; ``partial``:
    where its sums are under way; ``result``: where its results go; ``M``: where its lines of memory
    M start; ``free_a``, ``free_w``: its panels are not used again; ``steps``: their lines; ``end``:
    of the program.
    """
    places = {name: range(depth(config, name)) for name in ("a_scale", "w_scale", "bias")
              if getattr(config, f"{name}_bits")}
    return data.StructLayout({
        "groups": 16, "steps": 16, "k_first": 1, "k_last": 1,
        "partial": range(max(config.partial_tiles, 2)), "result": range(config.result_lines),
        **places, "free_a": 1, "free_w": 1, "end": 1,
    })


class Steps(wiring.Component):
    """Runs the nest of each `Descriptor` of a program on the array.

    A tile is taken up as soon as its panels are loaded and there is room for its results, while the
    tile before is still computed. Its steps follow those of the tile before without a gap; an end
    of a group waits until it is ``config.spacing`` steps after the one before.

    Parameters
    ----------
    config : GemmConfig

    Members
    -------
    start : In(1)
    layer, descriptor
        See `Loader`.
    loaded_a, loaded_w : In(1)
        See `Loader`.
    free_results : In
        Lines of results that are given back in this cycle.
    step : Out(1)
        Read a line of each memory in this cycle, at ``a`` and ``w``; ``last`` ends a group.
    tile : Out(stream)
        Tiles that are begun; always taken.
    """

    def __init__(self, config, *, layers):
        self.config = config
        super().__init__({
            "start": In(1),
            "layer": Out(range(max(layers, 2))),
            "descriptor": In(Descriptor),
            "loaded_a": In(1),
            "loaded_w": In(1),
            "free_results": In(range(config.chain + 1)),
            "step": Out(1),
            "a": Out(range(config.a_lines)),
            "w": Out(range(config.w_lines)),
            "last": Out(1),
            "tile": Out(stream.Signature(tile_layout(config), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        config, descriptor = self.config, self.descriptor
        m.submodules.nest = nest = Nest()
        layer = Signal.like(self.layer, name="current")
        running = Signal()
        m.d.sync += layer.eq(self.layer)
        m.d.comb += [nest.counts.eq(descriptor.counts), self.layer.eq(layer)]

        # Next tile: waits for its panels and for room.
        chosen = Signal(data.StructLayout({
            "a": range(config.a_lines), "w": range(config.w_lines), "group": 16,
            "tile": tile_layout(config)}), name="chosen")
        upcoming = Signal(chosen.shape(), reset_less=True)
        waiting, take = Signal(), Signal()
        k_first = nest.first.bit_select(descriptor.k_level, 1)
        k_last = nest.last.bit_select(descriptor.k_level, 1)
        ready = [running, ~waiting | take]
        choose = Signal()
        for operand in "a", "w":
            reuse = descriptor[f"{operand}_reuse"]
            there = Signal(range(getattr(config, f"{operand}_lines") + 1), name=f"there_{operand}")
            first = nest.first.bit_select(reuse, 1)
            ready.append(~first | (there != 0))
            m.d.sync += there.eq(there + getattr(self, f"loaded_{operand}") - (choose & first))
            m.d.comb += chosen.tile[f"free_{operand}"].eq(nest.last.bit_select(reuse, 1))
            self._walk(m, nest, choose, reuse, descriptor.steps, chosen[operand], operand)
            for name, lines, _ in config.segments(descriptor, operand)[1:]:
                self._walk(m, nest, choose, reuse, lines, chosen.tile[name], name)
        room = Signal(range(config.result_lines + 1), init=config.result_lines)
        ready.append(~k_last | (room >= config.chain))
        m.d.sync += room.eq(room + self.free_results - Mux(choose & k_last, config.chain, 0))
        m.d.comb += [
            choose.eq(Cat(ready).all()),
            nest.advance.eq(choose),
            chosen.group.eq(descriptor.group),
            chosen.tile.groups.eq(descriptor.groups),
            chosen.tile.steps.eq(descriptor.steps),
            chosen.tile.k_first.eq(k_first),
            chosen.tile.k_last.eq(k_last),
            chosen.tile.end.eq(nest.last.all() & descriptor.last),
        ]
        result = Signal(range(config.result_lines))
        partial = Signal(range(max(config.partial_tiles, 2)))
        m.d.comb += [chosen.tile.result.eq(result), chosen.tile.partial.eq(partial)]
        with m.If(choose):
            m.d.sync += [upcoming.eq(chosen), waiting.eq(1)]
            with m.If(k_last):
                m.d.sync += result.eq(result + config.chain)
            with m.If((descriptor.k_level != NEVER) & (nest.level < descriptor.k_level)):
                m.d.sync += partial.eq(partial + 1)
            with m.Else():
                m.d.sync += partial.eq(0)
            with m.If(nest.last.all()):
                m.d.comb += self.layer.eq(layer + 1)
                m.d.sync += running.eq(~descriptor.last)
        with m.Elif(take):
            m.d.sync += waiting.eq(0)
        with m.If(~running):
            m.d.comb += self.layer.eq(0)
            m.d.sync += running.eq(self.start)

        # Steps of the tile.
        active, left, left_group = Signal(), Signal(16), Signal(16)
        group, wait = Signal(16), Signal(range(config.spacing))
        end = Signal()
        m.d.comb += [
            end.eq(left == 0),
            self.last.eq(end | (left_group == 0)),
            self.step.eq(active & (~self.last | (wait == 0))),
            take.eq(waiting & (~active | (self.step & end))),
            self.tile.valid.eq(take),
            self.tile.p.eq(upcoming.tile),
        ]
        with m.If(self.step & self.last):
            m.d.sync += wait.eq(config.spacing - 1)
        with m.Elif(wait != 0):
            m.d.sync += wait.eq(wait - 1)
        with m.If(self.step):
            m.d.sync += [self.a.eq(self.a + 1), self.w.eq(self.w + 1), left.eq(left - 1),
                         left_group.eq(Mux(left_group == 0, group, left_group - 1))]
            with m.If(end):
                m.d.sync += active.eq(0)
        with m.If(take):
            m.d.sync += [
                active.eq(1), self.a.eq(upcoming.a), self.w.eq(upcoming.w),
                left.eq(upcoming.tile.steps - 1), left_group.eq(upcoming.group - 1),
                group.eq(upcoming.group - 1),
            ]

        return m

    def _walk(self, m, nest, advance, reuse, lines, place, name):
        """Where a panel starts: the next one, or back to those that are used again."""
        now, again = (Signal(len(place), name=f"{name}_{what}") for what in ("now", "again"))
        m.d.comb += place.eq(now)
        with m.If(advance & (nest.level != reuse)):
            m.d.sync += now.eq(now + lines)
            with m.If((nest.level > reuse) | (nest.level == NEVER)):
                m.d.sync += again.eq(now + lines)
        with m.Elif(advance & (reuse != 0) & (reuse != NEVER)):
            m.d.sync += now.eq(again)
        with m.Elif(advance & (reuse == NEVER)):  # the end of a layer
            m.d.sync += [now.eq(now + lines), again.eq(now + lines)]
