# SPDX-License-Identifier: Apache-2.0
"""The compiler of graphs: integer network to step tables, memory images and cycles."""

from dataclasses import dataclass, field, fields
from math import prod

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib.enum import Enum

from ...quant.formats import Int
from ..arithmetic import check_choice, check_positive, range_shape
from ..array.kind import ELEMENTS, Kind
from .program import DoesNotFit, LayerCycles

__all__ = ["GraphConfig", "GraphLayer", "GraphProgram", "Step", "Unit", "compile_graph"]

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
    stride, padding : (int, int)
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
    weight_base: int = 0
    scale_base: int = 0
    channel_base: int = 0
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
        return any(self.padding) or (
            (self.out_height - 1) * self.stride[0] - self.padding[0] + self._extent[0] > self.height
            or (self.out_width - 1) * self.stride[1] - self.padding[1] + self._extent[1]
            > self.width)

    _extent: tuple = (1, 1)


@dataclass(frozen=True)
class GraphProgram:
    """Layers, their tables, and what the engine must hold.

    Attributes
    ----------
    steps : list of Step
    weights : list of list of int
        One word per step of a tile: the codes of each column, of each lane.
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
    weights: list
    scales: list
    channels: list
    shifts: list
    weight: Int
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
            "weights": len(self.weights) * c.columns * c.lanes * self.weight.bits,
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


def compile_graph(network, config):
    """Program of an integer network for an engine of graphs.

    Parameters
    ----------
    network : IntegerNetwork
        That ends with accumulators, one for each class.
    config : GraphConfig

    Returns
    -------
    GraphProgram

    Raises
    ------
    DoesNotFit
        A layer is of a kind, or exceeds a capacity or a width, that the engine has not.
    """
    return _Compiler(network, config).program()


class _Compiler:
    """Tables under construction."""

    def __init__(self, network, config):
        self.network, self.config = network, config
        self.steps, self.weights, self.scales, self.channels = [], [], [], []
        self.layers, self.greatest, self.group = [], 1, 1
        self.shapes = [_image(shape) for shape in network.shapes]
        used = [layer for layer in network.layers if hasattr(layer, "group")]
        if not used:
            raise DoesNotFit("The network has no layer with weights")
        bits = max(layer.group.element.bits for layer in used)
        self.weight = Int(max(bits, 2))
        self.scale_bits = max(int(np.asarray(layer.scales).max()).bit_length() for layer in used)
        self.scale_bits = max(self.scale_bits, 1)
        self.shifts = sorted({shift for layer in network.layers
                              for _, shift in _factors(getattr(layer, "requantiser", None))}) or [0]
        self.multiplier_bits = max(
            [1] + [multiplier.bit_length() for layer in network.layers
                   for multiplier, _ in _factors(getattr(layer, "requantiser", None))])

    def program(self):
        network, config = self.network, self.config
        self.sources = self._sources()
        self.places, words, fullest = self._allocate()
        for index, layer in enumerate(network.layers):
            if layer.kind != "flatten":
                self._layer(index, layer)
        last = network.layers[-1]
        if not self.layers or self.layers[-1].name != last.name or not self.layers[-1].final:
            raise DoesNotFit(f"Layer {last.name}: the engine ends with a linear or convolution "
                             f"layer without a requantiser")
        if self.layers[-1].pixels != 1:
            raise DoesNotFit(f"Layer {last.name}: the engine ends with one value for each class, "
                             f"not {self.layers[-1].pixels} positions")
        if config.activation_words is not None and words > config.activation_words:
            raise DoesNotFit(f"Layer {fullest}: with its inputs and what is needed later it takes "
                             f"{words} activation_words; the engine has {config.activation_words}")
        return GraphProgram(
            config=config, layers=self.layers, steps=self.steps, weights=self.weights,
            scales=self.scales, channels=self.channels, shifts=self.shifts, weight=self.weight,
            scale_bits=self.scale_bits,
            sum_shape=range_shape(-self.greatest - 1, self.greatest),
            group=self.group, input_shape=self.shapes[0], outputs=self.shapes[-1][2],
            activation_words=words, multiplier_bits=self.multiplier_bits,
            identity=network.identity, network=network)

    def _sources(self):
        """For each tensor the one whose memory it is: a flattened one is a view."""
        same = [0]
        for layer, places in zip(self.network.layers, self.network.places, strict=True):
            same.append(same[places[0]] if layer.kind == "flatten" else len(same))
        return same

    def _words(self, tensor):
        height, width, channels = self.shapes[self.sources[tensor]]
        return height * width * -(-channels // self.config.lanes)

    def _allocate(self):
        """First word of each tensor, words of all by first fit, and the layer that needs most."""
        network = self.network
        needed = {0: -1}
        for index, places in enumerate(network.places):
            needed.setdefault(self.sources[index + 1], index)
            for place in places:
                needed[self.sources[place]] = index
        final = self.sources[len(network.layers)]
        live, places, most, fullest = [], {}, 0, network.layers[0].name
        for tensor in sorted(needed):
            if tensor == final:
                places[tensor] = 0  # in the memory of results
                continue
            made = tensor - 1
            live = [(start, stop, until) for start, stop, until in live if until >= made]
            size, start = self._words(tensor), 0
            for begin, stop, _ in sorted(live):
                if start + size <= begin:
                    break
                start = max(start, stop)
            live.append((start, start + size, needed[tensor]))
            places[tensor] = start
            if start + size > most:
                most, fullest = start + size, network.layers[max(made, 0)].name
        return places, most, fullest

    def _layer(self, index, layer):
        places = self.network.places[index]
        sources = [self.sources[place] for place in places]
        shape, out = self.shapes[sources[0]], self.shapes[index + 1]
        lanes = self.config.lanes
        common = {
            "name": layer.name, "base": self.places[sources[0]],
            "out_base": self.places[self.sources[index + 1]], "step_base": len(self.steps),
            "height": shape[0], "width": shape[1], "words": -(-shape[2] // lanes),
            "out_height": out[0], "out_width": out[1], "out_words": -(-out[2] // lanes),
        }
        match layer.kind:
            case "linear" | "conv" | "average_pool":
                self._mac(index, layer, shape, out, common)
            case "max_pool":
                self._max(layer, common)
            case "add" | "rescale":
                self._add(layer, sources, common)
            case kind:
                raise DoesNotFit(f"Layer {layer.name}: the engine has no {kind}")

    def _max(self, layer, common):
        kernel, stride, padding = (_pair(x) for x in _window(layer))
        words = common["words"]
        taps = [(y, x) for y in range(kernel[0]) for x in range(kernel[1])]
        self.steps += [
            Step((y * common["width"] + x) * words, y, x, (y, x) == taps[-1], (y, x) == taps[-1])
            for y, x in taps]
        self.layers.append(GraphLayer(
            **common, unit=Unit.MAX, steps=len(taps), groups=1, tiles=words, tile_stride=1,
            stride=stride, padding=padding, _extent=kernel))

    def _add(self, layer, sources, common):
        count = common["height"] * common["width"] * common["words"]
        branches = [*_factors(layer.requantiser)]
        if layer.kind == "add":
            branches = [*(_factors(branch)[0] for branch in layer.branches), *branches]
        else:
            branches = [(1, 0), (0, 0), *branches]
        distance = self.places[sources[-1]] - common["base"]
        self.steps += [Step(0, 0, 0, False, False), Step(distance, 0, 0, True, True)]
        self.layers.append(GraphLayer(**{
            **common, "unit": Unit.ADD, "steps": 2, "groups": 1, "height": 1, "width": count,
            "words": 1, "out_height": 1, "out_width": count, "out_words": 1,
            "low": layer.bounds[0], "high": layer.bounds[1], "branches": tuple(branches)}))

    def _mac(self, index, layer, shape, out, common):
        config, lanes = self.config, self.config.lanes
        if layer.kind == "average_pool":
            layer = _Averages(layer, shape[2])
        codes, group_of, kernel, stride, padding, groups = _matrix(layer, shape)
        outputs, channels = out[2], shape[2]
        tiles = -(-outputs // config.columns)
        # A tile sees all channels, or its own where they are whole words.
        inside, per_group = channels // groups, outputs // groups
        words, tile_stride = common["words"], 0
        span = config.columns // per_group * inside
        if groups > 1 and config.columns % per_group == 0 and span % lanes == 0:
            words = tile_stride = span // lanes
        start = np.arange(tiles) * tile_stride * lanes
        # Codes by tile, column, tap, word and lane; groups likewise, -1 where there is no weight.
        taps = kernel[0] * kernel[1]
        room = (common["words"] + words) * lanes
        window = np.zeros((2, tiles * config.columns, taps, room), np.int64)
        window[1] = -1
        window[0, :outputs, :, :channels], window[1, :outputs, :, :channels] = codes, group_of
        columns = window.reshape(2, tiles, config.columns, taps, -1)
        seen = np.stack([columns[:, t, :, :, s:s + words * lanes] for t, s in enumerate(start)], 1)
        seen = seen.reshape(2, tiles, config.columns, taps, words, lanes)
        steps, runs = _steps(seen[1])
        scales = np.asarray(layer.scales)
        lane_order = np.arange(config.columns).reshape(-1, lanes)[::-1]  # as words leave the array
        requantiser = layer.requantiser
        bases = {"weight_base": len(self.weights), "scale_base": len(self.scales),
                 "channel_base": len(self.channels)}
        for t in range(tiles):
            # Physical columns: those of a chain are lanes of different words.
            physical = np.arange(config.columns).reshape(-1, lanes).T.reshape(-1)
            for tap, word, low, high, _ in steps:
                line = np.zeros((config.columns, lanes), np.int64)
                line[:, low:high] = seen[0, t, physical, tap, word, low:high]
                self.weights.append(line.reshape(-1).tolist())
            for run in range(len(runs)):
                which = runs[run][t]
                for word in lane_order:
                    self.scales.append([
                        int(scales[min(t * config.columns + c, outputs - 1), max(which[c], 0)])
                        if t * config.columns + c < outputs else 0 for c in word])
            factors = _factors(requantiser)
            for word in lane_order:
                entry = []
                for c in word:
                    channel = t * config.columns + c
                    if channel >= outputs:
                        entry.append((0, 0, 0))
                        continue
                    b, s = (factors[channel % len(factors)] if factors else (0, self.shifts[0]))
                    entry.append((int(layer.bias[channel]), b, self.shifts.index(s)))
                self.channels.append(entry)
        capacity = config.weight_words
        if capacity is not None and len(self.weights) > capacity:
            raise DoesNotFit(f"Layer {layer.name}: needs {len(self.weights)} weight_words, up to "
                             f"and with this layer; the engine has {capacity}")
        width, wide = common["width"], common["words"]
        for n, (tap, word, _, _, end) in enumerate(steps):
            y, x = divmod(tap, kernel[1])
            self.steps.append(Step((y * width + x) * wide + word, y, x, end, n == len(steps) - 1))
        # Sums: of the greatest activations, and so of every part of them.
        worst = np.abs(codes * np.where(group_of < 0, 0, np.take_along_axis(
            scales, np.maximum(group_of, 0).reshape(outputs, -1), 1).reshape(codes.shape)))
        worst = int(worst.reshape(outputs, -1).sum(1).max()) * -ACTIVATION.min
        worst += int(np.abs(np.asarray(layer.bias)).max())
        if worst.bit_length() + 1 > 40:
            raise DoesNotFit(f"Layer {layer.name}: its accumulator needs {worst.bit_length() + 1} "
                             f"bits; the engine has at most 40")
        self.greatest = max(self.greatest, worst)
        sizes = np.diff(np.flatnonzero([True] + [step[-1] for step in steps]))
        self.group = max(self.group, int(sizes.max()))
        self.layers.append(GraphLayer(
            **common, **bases, unit=Unit.MAC, steps=len(steps), groups=len(runs), tiles=tiles,
            tile_stride=tile_stride, words_per_tile=config.words_per_tile, stride=stride,
            padding=padding, low=layer.bounds[0], high=layer.bounds[1], final=requantiser is None,
            useful=out[0] * out[1] * outputs * taps * inside, _extent=kernel))
        if requantiser is None and index != len(self.network.layers) - 1:
            raise DoesNotFit(f"Layer {layer.name}: lacks its requantiser; the engine requantises "
                             f"every layer but the last")


class _Averages:
    """An average pool as a depthwise convolution whose weights are 1."""

    kind = "conv"

    def __init__(self, layer, channels):
        self.name, self.kernel = layer.name, layer.kernel
        self.stride, self.padding, self.groups = layer.stride, layer.padding, channels
        self.requantiser, self.bounds = layer.requantiser, layer.bounds
        taps = prod(layer.kernel)
        self.weights, self.scales = np.ones((channels, taps), np.int64), np.ones((channels, 1), int)
        self.bias, self.group = np.zeros(channels, np.int64), _Whole(taps)


@dataclass(frozen=True)
class _Whole:
    size: int


def _image(shape):
    """Height, width and channels of a sample."""
    return (1,) * (3 - len(shape)) + tuple(shape)


def _pair(values):
    return (1,) * (2 - len(values)) + tuple(values)


def _window(layer):
    """Kernel, stride, and padding before."""
    padding = tuple(before for before, _ in layer.padding)
    return layer.kernel, layer.stride, (0,) * (2 - len(padding)) + padding


def _factors(requantiser):
    """Multiplier and shift, of each channel where there are several: a list."""
    if requantiser is None:
        return []
    each = getattr(requantiser, "channels", (requantiser,))
    return [(r.multiplier, r.shift) for r in each]


def _matrix(layer, shape):
    """Weights by output, tap and input channel, the group of each, and the window.

    Returns
    -------
    codes, groups : int64 array, shape (outputs, taps, channels)
        0 and -1 where an output does not see a channel.
    kernel, stride, padding : (int, int)
    groups : int
        Of channels.
    """
    weights = np.asarray(layer.weights).astype(np.int64)
    outputs, k = weights.shape
    number = np.broadcast_to(np.arange(k) // layer.group.size, (outputs, k))
    if layer.kind == "linear":
        kernel, stride, padding, groups = shape[:2], (1, 1), (0, 0), 1
    else:
        kernel, stride, padding = (_pair(x) for x in _window(layer))
        groups = layer.groups
    taps, channels = prod(kernel), shape[2]
    inside, per_group = channels // groups, outputs // groups
    found = np.zeros((2, outputs, taps, channels), np.int64)
    found[1] = -1
    for g in range(groups):
        rows = slice(g * per_group, (g + 1) * per_group)
        for target, values in zip(found, (weights, number), strict=True):
            target[rows, :, g * inside:(g + 1) * inside] = values[rows].reshape(
                -1, taps, inside)
    return found[0], found[1], tuple(kernel), stride, padding, groups


def _steps(groups):
    """Steps in which no column has weights of two groups before an ``end``.

    Parameters
    ----------
    groups : int64 array, shape (tiles, columns, taps, words, lanes)
        Of each weight, -1 where there is none.

    Returns
    -------
    list of (int, int, int, int, bool)
        Tap, word, first lane, end of the lanes, whether a group ends.
    list of int64 array, shape (tiles, columns)
        For each end the group of each column, -1 where it had no weights.
    """
    tiles, columns, taps, words, lanes = groups.shape
    found, runs = [], []
    now = np.full((tiles, columns), -1, np.int64)

    def finish():
        nonlocal now
        found[-1] = (*found[-1][:4], True)
        runs.append(now)
        now = np.full((tiles, columns), -1, np.int64)

    for tap in range(taps):
        for word in range(words):
            first = 0
            for lane in range(lanes):
                of = groups[:, :, tap, word, lane]
                if ((of >= 0) & (now >= 0) & (of != now)).any():
                    if lane > first:
                        found.append((tap, word, first, lane, False))
                        first = lane
                    finish()
                now = np.where(of >= 0, of, now)
            found.append((tap, word, first, lanes, False))
    finish()
    return found, runs
