# SPDX-License-Identifier: Apache-2.0
"""Programs of graphs: step tables, memory images, and the cycles that they take."""

from dataclasses import dataclass, field, fields
from math import prod

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib.enum import Enum

from ...quant.formats import Int
from ..arithmetic import check_choice, check_positive
from ..array.kind import ELEMENTS, Kind
from .program import LayerCycles

__all__ = ["ACTIVATION", "GraphConfig", "GraphLayer", "GraphProgram", "Step", "Unit"]

ACTIVATION = Int(8)


class Unit(Enum, shape=2):
    """What computes a layer."""

    MAC = 0
    MAX = 1
    ADD = 2


@dataclass(frozen=True)
class GraphConfig:
    """What an engine of graphs is built with.

    Attributes
    ----------
    rows : int
        Samples computed at once.
    columns : int
        Output channels computed at once.
    lanes : int
        Products of each element per step, and channels of a memory word; must divide ``columns``.
    element : str
        Of `ELEMENTS`.
    activation_words, weight_words : int or None
        Capacities, in words of `GraphProgram`; None: as much as the network needs.
    """

    rows: int = 1
    columns: int = 8
    lanes: int = 4
    element: str = "mixpe"
    activation_words: int | None = None
    weight_words: int | None = None

    def __post_init__(self):
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name != "element" and value is not None:
                check_positive(each.name, value)
        check_choice("element", self.element, ELEMENTS)
        if self.columns % self.lanes:
            raise ValueError(
                f"lanes must divide the {self.columns} columns, not {self.lanes!r}")

    @property
    def words_per_tile(self):
        """Memory words that the columns of a tile give for a row."""
        return self.columns // self.lanes

    @property
    def chain(self):
        return self.rows * self.words_per_tile


@dataclass(frozen=True)
class Step:
    """One step of a window: which word, relative to the window's first, and which lanes of it.

    ``y`` and ``x`` are the place in the window, for padding; ``end`` ends a group, ``last`` the
    window.
    """

    offset: int
    y: int
    x: int
    end: bool
    last: bool


@dataclass(frozen=True)
class GraphLayer:
    """One layer, as the sequencer reads it.

    Attributes
    ----------
    base, out_base : int
        Words where the input and the output start.
    step_base, steps : int
        Its part of the step table.
    weight_bits : int
        Width of its weights; those of each width have a memory.
    weight_base, scale_base, channel_base : int
        Its parts of the other tables.
    tiles, tile_stride : int
        Times that all windows are run, and words by which the input moves each time.
    groups : int
        Of a window.
    height, width, words : int
        Of the input; words of a pixel.
    out_height, out_width, out_words : int
    words_per_tile : int
        Words of a pixel of the output that a tile gives.
    kernel, stride, padding : (int, int)
        Along y and x; padding above and to the left.
    low, high : int
        Limits of the output.
    branches : tuple
        Of an addition: multiplier and shift of each input, and of the sum.
    final : bool
        Its accumulators are the result.
    """

    name: str
    unit: Unit
    base: int
    out_base: int
    step_base: int
    steps: int
    groups: int
    height: int
    width: int
    words: int
    out_height: int
    out_width: int
    out_words: int
    words_per_tile: int = 1
    tiles: int = 1
    tile_stride: int = 0
    weight_bits: int = 0
    weight_base: int = 0
    scale_base: int = 0
    channel_base: int = 0
    kernel: tuple = (1, 1)
    stride: tuple = (1, 1)
    padding: tuple = (0, 0)
    low: int = ACTIVATION.min
    high: int = ACTIVATION.max
    branches: tuple = ()
    final: bool = False
    useful: int = 0

    @property
    def pixels(self):
        return self.out_height * self.out_width

    @property
    def padded(self):
        """Whether windows reach beyond the input."""
        return any(
            before or (places - 1) * stride + kernel > size
            for before, places, stride, kernel, size in zip(
                self.padding, (self.out_height, self.out_width), self.stride, self.kernel,
                (self.height, self.width), strict=True))


@dataclass(frozen=True)
class GraphProgram:
    """Layers, their tables, and what the engine must hold.

    Attributes
    ----------
    steps : list of Step
    weights : dict of int to list of list of int
        Memories by width. One word per step of a tile: the codes of each column, of each lane.
    scales : list of list of int
        One word per word of results of a group: the scale of each lane.
    channels : list of list of (int, int, int)
        One word per word of results: bias, multiplier and number of the shift of each lane.
    shifts : list of int
        All shifts of requantisation.
    """

    config: GraphConfig
    layers: list
    steps: list
    weights: dict
    scales: list
    channels: list
    shifts: list
    scale_bits: int
    sum_shape: Shape
    group: int
    input_shape: tuple
    outputs: int
    activation_words: int
    multiplier_bits: int
    identity: bytes = bytes(8)
    network: object = field(default=None, compare=False)

    @property
    def inputs(self):
        return prod(self.input_shape)

    @property
    def weight(self):
        """The widest format of weights: what the array multiplies by."""
        return Int(max(self.weights))

    @property
    def weight_words(self):
        """Words of all memories of weights."""
        return sum(map(len, self.weights.values()))

    @property
    def kind(self):
        """Kind of the array."""
        unit, parameters = ELEMENTS[self.config.element]
        return Kind(unit, {**parameters, "lanes": self.config.lanes, "activation": ACTIVATION,
                           "weight": self.weight})

    @property
    def drains(self):
        """Sums that leave the array at once."""
        return self.config.lanes

    @property
    def chain(self):
        """Sums that share one scale unit."""
        return self.config.chain

    @property
    def peak(self):
        """Multiply-accumulates per cycle."""
        return self.config.rows * self.config.columns * self.config.lanes

    @property
    def array_latency(self):
        return 2 + 1  # registers of the array and of an element

    def spacing(self, layer):
        """Least steps from the end of a group to that of the next."""
        chain, rows = self.config.chain, self.config.rows
        return {Unit.MAC: max(chain, 2), Unit.MAX: 1, Unit.ADD: max(rows, 2)}[layer.unit]

    @property
    def memory_bits(self):
        """Bits of each memory, by name."""
        c = self.config
        return {
            "weights": sum(len(words) * bits for bits, words in self.weights.items())
            * c.columns * c.lanes,
            "scales": len(self.scales) * c.lanes * self.scale_bits,
            "channels": len(self.channels) * c.lanes * (
                self.sum_shape.width + self.multiplier_bits
                + (len(self.shifts) - 1).bit_length()),
            "activations": self.activation_words * c.lanes * ACTIVATION.bits * c.rows,
            "results": self.layers[-1].out_words * c.rows * c.lanes * self.sum_shape.width,
        }

    # From the last step of a layer to its last write, without the array and its chain.
    _after = {Unit.MAC: 5, Unit.MAX: 2, Unit.ADD: 5}

    def cycles(self):
        """Cycles of each layer, exactly as the engine takes them: a list of `LayerCycles`."""
        result = []
        for layer in self.layers:
            sizes = np.diff(np.flatnonzero(
                [True] + [step.end for step in self.steps[layer.step_base:][:layer.steps]]))
            spacing = self.spacing(layer)
            windows = layer.tiles * layer.pixels
            # Ends of groups are at least so far apart; the first window has nothing before it.
            regular = int(np.maximum(sizes, spacing).sum())
            span = regular * windows - max(spacing - int(sizes[0]), 0)
            macs = layer.steps * windows
            drain = self._after[layer.unit]
            if layer.unit is Unit.MAC:
                drain += self.array_latency + self.config.chain - (2 if layer.final else 0)
            elif layer.unit is Unit.ADD:
                drain += self.config.rows
            result.append(LayerCycles(name=layer.name, prepare=1, macs=macs, stalls=span - macs,
                                      drain=drain, useful=layer.useful))
        return result

    def latency(self, vectors=1):
        """Cycles from the last input to the last output, for a batch of up to ``rows`` samples."""
        busy = sum(c.prepare + c.macs + c.stalls + c.drain for c in self.cycles())
        return busy + self.readout + vectors * self.outputs

    # From the last write to the cycle before the first output: memory, arg-max.
    readout = 2
