# SPDX-License-Identifier: Apache-2.0
"""The compiler of graphs: integer network to step tables and memory images."""

from dataclasses import dataclass
from math import prod

import numpy as np

from ..arithmetic import range_shape
from .graph_program import ACTIVATION, GraphLayer, GraphProgram, Step, Unit
from .program import DoesNotFit

__all__ = ["compile_graph"]


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
        self.steps, self.scales, self.channels = [], [], []
        self.layers, self.greatest, self.group = [], 1, 1
        self.shapes = [_image(shape) for shape in network.shapes]
        used = [layer for layer in network.layers if hasattr(layer, "group")]
        if not used:
            raise DoesNotFit("The network has no layer with weights")
        self.weights = {bits: [] for bits in sorted({_bits(layer) for layer in used})}
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
            scales=self.scales, channels=self.channels, shifts=self.shifts,
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
            stride=stride, padding=padding, kernel=kernel))

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
        # Weights of 1 fit any width.
        bits = min(self.weights) if layer.kind == "average_pool" else _bits(layer)
        weights = self.weights[bits]
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
        bases = {"weight_bits": bits, "weight_base": len(weights),
                 "scale_base": len(self.scales), "channel_base": len(self.channels)}
        for t in range(tiles):
            # Physical columns: those of a chain are lanes of different words.
            physical = np.arange(config.columns).reshape(-1, lanes).T.reshape(-1)
            for tap, word, low, high, _ in steps:
                line = np.zeros((config.columns, lanes), np.int64)
                line[:, low:high] = seen[0, t, physical, tap, word, low:high]
                weights.append(line.reshape(-1).tolist())
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
        needed = sum(map(len, self.weights.values()))
        if capacity is not None and needed > capacity:
            raise DoesNotFit(f"Layer {layer.name}: needs {needed} weight_words, up to and with "
                             f"this layer; the engine has {capacity}")
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
            useful=out[0] * out[1] * outputs * taps * inside, kernel=kernel))
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


def _bits(layer):
    """Width of the memory that a layer's weights lie in."""
    return max(layer.group.element.bits, 2)


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
