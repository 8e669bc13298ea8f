# SPDX-License-Identifier: Apache-2.0
"""What a matrix engine is built with, and the descriptors that it runs."""

import math
from dataclasses import dataclass, fields

from amaranth.hdl import Shape, unsigned
from amaranth.lib import data

from ...quant.formats import Block
from ..arithmetic import check_positive, product_range, range_shape, sum_shape
from ..array.kind import Kind

__all__ = ["LEVELS", "NEVER", "Descriptor", "GemmConfig", "Layer", "descriptor_words",
           "program_words"]

LEVELS = 3  # loops of the nest, the innermost is 0
NEVER = LEVELS  # a level that no loop has

#: One GEMM, as the loader and the sequencer read it: 32-bit words.
Descriptor = data.StructLayout({
    "counts": data.ArrayLayout(unsigned(32), LEVELS),
    "steps": 16,        # of a panel: its lines
    "group": 16,        # steps of a group
    "groups": 16,       # of a panel
    "a_reuse": 2,       # level of the loop in which the panels of A are used again
    "w_reuse": 2,
    "k_level": 2,       # level of the loop over K, or NEVER
    "last": 1,          # of the program
    "unused": 105,      # up to a power of two of words
})


def descriptor_words():
    """32-bit words of a `Descriptor`."""
    return Descriptor.size // 32


@dataclass(frozen=True)
class Layer:
    """A GEMM ``C[m, n] = sum_k A[m, k] * B[n, k]`` in the order in which an engine computes it.

    Attributes
    ----------
    m, n, k : int
        Its size.
    order : tuple of str
        Of the loops over tiles, ``m``, ``n`` and ``k``, the innermost first.
    counts : tuple of int
        Tiles of each loop, in that order.
    steps, group : int
        Of a panel, and of a group within it.
    a_resident, w_resident : bool
        Whether panels are kept as long as they are needed; otherwise they are loaded anew.
    name : str
    """

    m: int
    n: int
    k: int
    order: tuple
    counts: tuple
    steps: int
    group: int
    a_resident: bool = True
    w_resident: bool = True
    name: str = ""

    @property
    def tiles(self):
        """Of the result."""
        return self.visits // self.counts[self.order.index("k")]

    @property
    def groups(self):
        """Of a panel; the last may be shorter."""
        return -(-self.steps // self.group)

    @property
    def visits(self):
        """Panels of K of all tiles."""
        return self.counts[0] * self.counts[1] * self.counts[2]

    @property
    def a_reuse(self):
        """Level of the loop in which panels of A are used again."""
        return self.order.index("n") if self.a_resident else NEVER

    @property
    def w_reuse(self):
        return self.order.index("m") if self.w_resident else NEVER

    @property
    def k_level(self):
        level = self.order.index("k")
        return level if self.counts[level] > 1 else NEVER

    def live(self, operand):
        """Panels of an operand that are kept at once."""
        reuse = getattr(self, f"{operand}_reuse")
        return 1 if reuse == NEVER else math.prod(self.counts[:reuse])

    @property
    def partial(self):
        """Tiles whose sums are under way at once."""
        return 1 if self.k_level == NEVER else math.prod(self.counts[:self.k_level])

    def words(self, *, last):
        """Values of the fields of a `Descriptor`."""
        return {"counts": list(self.counts), "steps": self.steps, "group": self.group,
                "groups": self.groups, "a_reuse": self.a_reuse, "w_reuse": self.w_reuse,
                "k_level": self.k_level, "last": int(last)}


def program_words(layers):
    """32-bit words of a program, in the order of the program memory."""
    words = []
    for k, layer in enumerate(layers):
        bits = Descriptor.const(layer.words(last=k == len(layers) - 1)).as_bits()
        words += [bits >> 32 * n & 0xFFFFFFFF for n in range(descriptor_words())]
    return words


@dataclass(frozen=True)
class GemmConfig:
    """An engine: its array, its memories, its streams.

    Attributes
    ----------
    kind : Kind
    rows, columns : int
        Elements.
    chains : int or None
        By which sums leave, each with a scale unit; None: the fewest for which groups of the
        kind's size follow each other without a gap.
    systolic : bool
    bus : int
        Bits of a word of the streams, a multiple of 8.
    a_lines, w_lines : int
        Lines of the memories of activations and of weights, one per step, powers of two.
    scale_lines : int
        Lines of the memories of their scales, a power of two.
    result_lines : int or None
        Lines of the memory of results, a power of two, each a result of every chain; None: of four
        tiles.
    partial_tiles : int
        Tiles whose sums may be under way at once, where K is cut.
    k_max : int
        Longest K, which sets the width of the sums.
    bias : bool
        Whether each column of weights comes with an integer that its sums start from.
    """

    kind: Kind
    rows: int = 8
    columns: int = 8
    chains: int | None = None
    systolic: bool = True
    bus: int = 64
    a_lines: int = 4096
    w_lines: int = 2048
    scale_lines: int = 512
    result_lines: int | None = None
    partial_tiles: int = 1
    k_max: int = 4096
    bias: bool = False

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, int) or field.default is None and value is not None:
                if field.name not in ("systolic", "bias"):
                    check_positive(field.name, value)
        if self.columns % (self.chains or 1):
            raise ValueError(
                f"chains must divide the {self.columns} columns, not {self.chains!r}")
        if self.chains is None:
            object.__setattr__(self, "chains", self._fewest_chains())
        if self.result_lines is None:
            object.__setattr__(self, "result_lines", 1 << (4 * self.chain - 1).bit_length())
        for name in "a_lines", "w_lines", "scale_lines", "result_lines":
            value = getattr(self, name)
            if value & value - 1:
                raise ValueError(f"{name} must be a power of two, not {value!r}")
            if value >> 16:
                raise ValueError(f"{name} must be at most 32768, not {value!r}")
        if self.bus % 8:
            raise ValueError(f"bus must be a multiple of 8, not {self.bus!r}")
        if self.bias and self.kind.scaling == "block":
            raise ValueError("bias must be False where results are FP32")
        lines = self.result_lines or 0
        if lines < self.chain:
            raise ValueError(f"result_lines must be at least {self.chain}, the sums of a chain, "
                             f"not {lines!r}")

    def _fewest_chains(self):
        steps = self.longest_group if self.kind.group else 256
        return next(d for d in range(1, self.columns + 1) if self.columns % d == 0
                    and (self.rows * self.columns // d <= steps or d == self.columns))

    @property
    def chain(self):
        """Sums that leave by each chain."""
        return self.rows * self.columns // self.chains

    @property
    def spacing(self):
        """Least steps from the end of a group to that of the next."""
        return max(self.chain, 2)

    @property
    def longest_group(self):
        """Steps of the longest group."""
        kind = self.kind
        return -(-(kind.group or min(self.k_max, self.a_lines * kind.lanes)) // kind.lanes)

    @property
    def a_bits(self):
        """Bits of a line of activations."""
        return self.kind.layouts()[0].size * self.rows

    @property
    def w_bits(self):
        return self.kind.layouts()[1].size * self.columns

    @property
    def a_scale_bits(self):
        """Bits of a line of the activations' scales; 0 without."""
        return self.kind.activations.scale.bits * self.rows if self._blocks else 0

    @property
    def w_scale_bits(self):
        if self._blocks:
            return self.kind.weights.scale.bits * self.columns
        return self.kind.weights.scale_bits * self.columns if self.kind.scaling == "group" else 0

    @property
    def _blocks(self):
        return isinstance(self.kind.weights, Block)

    @property
    def sum_shape(self):
        """Shape of a result: exact for every K up to ``k_max``; an FP32 code for blocks."""
        if self._blocks:
            return unsigned(32)
        one = Shape.cast(self.kind.element.o.p.shape())
        products = -(1 << one.width - 1) if one.signed else 0, (1 << one.width - one.signed) - 1
        if self.kind.scaling == "group":
            products = product_range(products, (0, self.kind.weights.scale_max))
        shape = sum_shape(*products, -(-self.k_max // self.kind.lanes))
        if self.bias:
            shape = range_shape(-(1 << shape.width), (1 << shape.width) - 1)
        return shape

    @property
    def bias_bits(self):
        """Bits of a line of biases; 0 without."""
        return self.sum_shape.width * self.columns if self.bias else 0

    @property
    def result_bits(self):
        """Bits of a result on the stream: its width, rounded up to bytes."""
        return -(-self.sum_shape.width // 8) * 8

    @property
    def drains(self):
        """Chains by which sums leave, a number."""
        return self.chains or 1

    def beats(self, bits):
        """Words of the stream that a line takes."""
        return -(-bits // self.bus)

    @property
    def result_beats(self):
        return self.beats(self.drains * self.result_bits)

    def segments(self, layer, operand):
        """What a panel of an operand is made of: ``(memory, lines, beats per line)``.

        Parameters
        ----------
        layer : Layer
            Or a View of a `Descriptor`.
        operand : {"a", "w"}
        """
        found = [(operand, layer.steps, self.beats(getattr(self, f"{operand}_bits")))]
        bits = getattr(self, f"{operand}_scale_bits")
        if bits:
            found.append((f"{operand}_scale", layer.groups, self.beats(bits)))
        if operand == "w" and self.bias:
            found.append(("bias", 1, self.beats(self.bias_bits)))
        return found
