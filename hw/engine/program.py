# SPDX-License-Identifier: Apache-2.0
"""The compiler: integer network to program and memory images, and the cycles they take."""

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from amaranth import Shape, signed

from ..fixed.requantise import Requantise
from ..pe.mixpe import MixPE
from ..post.accumulator import Accumulator
from ..post.argmax import ArgMax
from ..post.group_scale import GroupScale

__all__ = [
    "DoesNotFit",
    "EngineConfig",
    "LayerCycles",
    "LayerProgram",
    "LayerShape",
    "Program",
    "check_capacity",
    "compile_network",
]


_WORST_PRODUCT = 8 * 128  # of a 4-bit weight and an 8-bit activation, both at their minimum


def _power_of_two(words):
    return 1 << (words - 1).bit_length()


class DoesNotFit(ValueError):
    """A network that an engine cannot run; the message names the layer and the numbers."""


@dataclass(frozen=True)
class EngineConfig:
    """What an engine is built with.

    Attributes
    ----------
    rows, columns : int
        Elements: vectors computed at once, outputs computed at once.
    drains : int or None
        Scale units, each shared by the rows / drains * columns sums of a chain; None: the fewest
        with which the array of this network hardly waits.
    weight_words, scale_words, bias_words, activation_words : int or None
        Capacities, in words of `Program`; None: as much as the network needs.
    multiplier_bits : int
        Greatest width of a requantisation multiplier.
    """

    rows: int = 1
    columns: int = 8
    drains: int | None = None
    weight_words: int | None = None
    scale_words: int | None = None
    bias_words: int | None = None
    activation_words: int | None = None
    multiplier_bits: int = 16

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            optional = field.default is None
            if value is None and optional:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise TypeError(f"{field.name} must be a positive integer, not {value!r}")
        if self.multiplier_bits > 32:
            raise ValueError(f"multiplier_bits must be at most 32, not {self.multiplier_bits!r}")
        if self.drains is not None and self.rows % self.drains:
            raise ValueError(f"drains must divide the {self.rows} rows, not {self.drains!r}")


@dataclass(frozen=True)
class LayerProgram:
    """Descriptor of one layer: what the sequencer needs to know."""

    name: str
    inputs: int
    outputs: int
    group: int
    tiles: int
    multiplier: int
    shift: int
    relu: bool


@dataclass(frozen=True)
class LayerCycles:
    """Where the cycles of a layer go.

    Attributes
    ----------
    prepare : int
        Before the first step: first words of the memories.
    macs : int
        Steps: all elements compute.
    stalls : int
        Between the first and the last step, waiting for the drain chain.
    drain : int
        From the last step to the last result written.
    useful : int
        Multiply-accumulates per vector that are not padding.
    """

    name: str
    prepare: int
    macs: int
    stalls: int
    drain: int
    useful: int

    @property
    def utilisation(self):
        """Share of steps among the cycles from the first step to the last."""
        return self.macs / (self.macs + self.stalls)


@dataclass(frozen=True)
class Program:
    """Layer descriptors and memory images.

    Attributes
    ----------
    weights : list of list of int
        One word per step: the int4 weight of each column; tile after tile, K ascending.
    scales : list of int
        One word per sum of a row: tile, group, column.
    biases : list of int
        One word per output of a tile.
    identity : bytes
        Of the network.
    """

    config: EngineConfig
    layers: list
    drains: int
    weights: list
    scales: list
    biases: list
    scale_bits: int
    sum_shape: Shape
    identity: bytes = bytes(8)

    @property
    def chain(self):
        """Sums that share one scale unit."""
        return self.config.rows // self.drains * self.config.columns

    @property
    def peak(self):
        """Multiply-accumulates per cycle."""
        return self.config.rows * self.config.columns

    @property
    def inputs(self):
        return self.layers[0].inputs

    @property
    def outputs(self):
        return self.layers[-1].outputs

    @property
    def group(self):
        """Longest group of any layer."""
        return max(min(layer.group, layer.inputs) for layer in self.layers)

    @property
    def activation_words(self):
        """Words of one of the two activation buffers of a row."""
        columns = self.config.columns
        return max([self.inputs] + [layer.tiles * columns for layer in self.layers[:-1]])

    @property
    def memory_bits(self):
        """Bits of each memory, by name; buffers are powers of two."""
        c = self.config
        results = _power_of_two(self.layers[-1].tiles * c.columns)
        return {
            "weights": len(self.weights) * c.columns * 4,
            "scales": len(self.scales) * self.scale_bits,
            "biases": len(self.biases) * self.sum_shape.width,
            "activations": 2 * _power_of_two(self.activation_words) * c.rows * 8,
            "results": results * c.rows * self.sum_shape.width,
        }

    def cycles(self):
        """Cycles of each layer, exactly as the engine takes them: a list of `LayerCycles`."""
        result = []
        for layer in self.layers:
            sizes = [
                min(layer.group, layer.inputs - start)
                for start in range(0, layer.inputs, layer.group)
            ] * layer.tiles
            # The sums of a group move to the shadow register in the cycle after its last step, but
            # not before the chain is empty; in that cycle the next group starts.
            starts = [0]
            for before, size in enumerate(sizes):
                starts.append(starts[-1] + (max(size, self.chain) if before else size))
            span = starts[-2] + sizes[-1]
            macs = layer.tiles * layer.inputs
            # Chain, scale, accumulate; hidden layers requantise too.
            last_write = starts[-1] + self.chain + GroupScale.latency + Accumulator.latency
            if layer is not self.layers[-1]:
                last_write += Requantise.latency
            result.append(LayerCycles(
                name=layer.name,
                prepare=1,
                macs=macs,
                stalls=span - macs,
                drain=last_write + 1 - span,
                useful=layer.inputs * layer.outputs,
            ))
        return result

    def latency(self, vectors=1):
        """Cycles from the last input to the last output, for a batch of up to ``rows`` vectors."""
        busy = sum(c.prepare + c.macs + c.stalls + c.drain for c in self.cycles())
        return busy + self.readout + vectors * self.outputs

    # From the last write to the cycle before the first output: memory, arg-max.
    readout = 1 + ArgMax.latency


def _image(layer, columns):
    """Weight, scale and bias words of a layer, padded with zeros to full tiles."""
    tiles = -(-layer.outputs // columns)
    weights, scales, biases = (
        [row.tolist() if hasattr(row, "tolist") else row for row in part]
        for part in (layer.weights, layer.scales, layer.bias)
    )
    groups = len(scales[0])
    padding = tiles * columns - layer.outputs
    weights += [[0] * layer.inputs] * padding
    scales += [[0] * groups] * padding
    biases += [0] * padding
    words, factors = [], []
    for tile in range(tiles):
        outputs = range(tile * columns, (tile + 1) * columns)
        words += [[weights[n][k] for n in outputs] for k in range(layer.inputs)]
        factors += [scales[n][g] for g in range(groups) for n in outputs]
    return tiles, words, factors, biases


class LayerShape(NamedTuple):
    """What decides whether a layer fits."""

    name: str
    inputs: int
    outputs: int
    group: int

    def tiles(self, columns):
        return -(-self.outputs // columns)

    def words(self, columns):
        """Words of weights, of scales and of biases."""
        tiles, groups = self.tiles(columns), -(-self.inputs // self.group)
        return tiles * self.inputs, tiles * columns * groups, tiles * columns


def check_capacity(shapes, config, *, bram_bits=None):
    """Raise `DoesNotFit` for the first layer that exceeds an engine, or so much block RAM.

    Parameters
    ----------
    shapes : list of LayerShape
    config : EngineConfig
    bram_bits : int, optional
        For weights and scales; biases are narrow and may be kept elsewhere.
    """
    columns, totals, bits = config.columns, (0, 0, 0), 0
    for layer in shapes:
        words = layer.words(columns)
        totals = tuple(total + count for total, count in zip(totals, words, strict=True))
        hidden = layer is not shapes[-1]
        buffer = max(layer.inputs, layer.tiles(columns) * columns if hidden else 0)
        where = f"Layer {layer.name} ({layer.inputs} to {layer.outputs})"
        for name, count, capacity in zip(
            ("weight_words", "scale_words", "bias_words", "activation_words"),
            (*totals, buffer),
            (config.weight_words, config.scale_words, config.bias_words, config.activation_words),
            strict=True,
        ):
            if capacity is not None and count > capacity:
                raise DoesNotFit(
                    f"{where}: needs {count} {name}, up to and with this layer; "
                    f"the engine has {capacity}"
                )
        bits += words[0] * columns * 4 + words[1] * 8
        if bram_bits is not None and bits > bram_bits:
            raise DoesNotFit(
                f"{where}: weights and scales up to and with this layer take {bits} bits; "
                f"there are {bram_bits} bits of block RAM"
            )


def compile_network(network, config):
    """Program and memory images of an integer network for an engine.

    Parameters
    ----------
    network : IntegerNetwork
        Linear layers, each but the last with a requantiser.
    config : EngineConfig

    Returns
    -------
    Program

    Raises
    ------
    DoesNotFit
        A layer exceeds a capacity or a width of the engine.
    """
    check_capacity(
        [LayerShape(la.name, la.inputs, la.outputs, la.group.size) for la in network.layers], config
    )
    layers, weights, scales, biases, greatest = [], [], [], [], 0
    held = MixPE().weight
    for index, layer in enumerate(network.layers):
        element = layer.group.element
        if element.min < held.min or element.max > held.max:
            raise DoesNotFit(
                f"Layer {layer.name}: its weights are {element.name}; the engine computes with "
                f"{held.name}"
            )
        last = index == len(network.layers) - 1
        if last != (layer.requantiser is None):
            raise DoesNotFit(
                f"Layer {layer.name}: {'has a' if last else 'lacks its'} requantiser; the engine "
                f"requantises every layer but the last"
            )
        tiles, words, factors, bias = _image(layer, config.columns)
        weights, scales, biases = weights + words, scales + factors, biases + bias
        requantiser = layer.requantiser
        if requantiser and requantiser.multiplier >> config.multiplier_bits:
            raise DoesNotFit(
                f"Layer {layer.name}: requantisation multiplier {requantiser.multiplier} needs "
                f"{requantiser.multiplier.bit_length()} bits, multiplier_bits allows "
                f"{config.multiplier_bits}"
            )
        if requantiser and not 0 <= requantiser.shift <= 62:
            raise DoesNotFit(f"Layer {layer.name}: shift must be 0 to 62, not {requantiser.shift}")
        bound = layer.inputs * _WORST_PRODUCT * layer.group.scale_max + max(map(abs, bias))
        if bound.bit_length() + 1 > 32:
            raise DoesNotFit(
                f"Layer {layer.name} ({layer.inputs} to {layer.outputs}): its accumulator needs "
                f"{bound.bit_length() + 1} bits; the engine has at most 32"
            )
        greatest = max(greatest, bound)
        layers.append(LayerProgram(
            name=layer.name,
            inputs=layer.inputs,
            outputs=layer.outputs,
            group=min(layer.group.size, layer.inputs),
            tiles=tiles,
            multiplier=requantiser.multiplier if requantiser else 1,
            shift=requantiser.shift if requantiser else 0,
            relu=layer.relu,
        ))
    program = Program(
        config=config,
        layers=layers,
        drains=config.drains or 1,
        weights=weights,
        scales=scales,
        biases=biases,
        scale_bits=max(layer.group.scale_bits for layer in network.layers),
        sum_shape=signed(greatest.bit_length() + 1),
        identity=network.identity,
    )
    return program if config.drains else _with_drains(program)


def _with_drains(program):
    """The fewest drain chains that cost no layer over a twentieth more than the fastest number."""
    rows = program.config.rows
    choices = [replace(program, drains=d) for d in range(1, rows + 1) if rows % d == 0]
    spans = [[entry.macs + entry.stalls for entry in choice.cycles()] for choice in choices]
    least = [min(column) for column in zip(*spans, strict=True)]
    return next(
        choice
        for choice, span in zip(choices, spans, strict=True)
        if all(20 * count <= 21 * best for count, best in zip(span, least, strict=True))
    )
